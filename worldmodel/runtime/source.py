"""The code that a run belongs to: commits, and what differs from them."""

import dataclasses
import hashlib
import os
import subprocess
from pathlib import Path

CODE = (".py", ".xml", ".urdf", ".toml")
_PACKAGE = Path(__file__).resolve().parents[1] / "__init__.py"


@dataclasses.dataclass(frozen=True)
class Source:
    """The state of the code; two states with one ``commit`` are the same."""

    commit: str  # one part per repository: its commit and, if it is dirty, the diff's hash
    diff: str  # what differs from the commits, files that are not tracked included


def source(*files: Path) -> Source:
    """That of this package and of a run's files, which may lie in other repositories or in none.

    Python, MJCF, URDF and TOML files count; of a file in no repository its own text. A copy of the
    package that git does not know (a container, a sweep's snapshot) has the commit in
    WORLDMODEL_COMMIT.
    """
    package, places = repository(_PACKAGE), {file: repository(file) for file in files}
    states = [state(root) for root in dict.fromkeys([package, *places.values()]) if root]
    commits = [one.commit for one in states]
    if package is None:
        commits.insert(0, os.environ.get("WORLDMODEL_COMMIT", "unknown"))
    alone = [file for file, place in places.items() if place is None and file.is_file()]
    commits += [f"{file.name}-{short_hash(file.read_bytes())}" for file in alone]
    return Source(" ".join(commits), "".join(one.diff for one in states))


def state(root: Path) -> Source:
    """That of a repository."""
    kinds = [f"*{suffix}" for suffix in CODE]
    diff = git(root, "diff", "HEAD", "--no-ext-diff", "--no-color", "--", *kinds)
    new = git(root, "ls-files", "-z", "--others", "--exclude-standard", "--", *kinds)
    for name in filter(None, new.split("\0")):
        diff += f"new file {name}\n{(root / name).read_text('utf-8', 'replace')}"
    head = git(root, "rev-parse", "--short=12", "HEAD").strip()
    return Source(f"{head}-dirty-{short_hash(diff.encode())}" if diff else head, diff)


def repository(file: Path) -> Path | None:
    """The repository around a file that has a commit; None without one, or without git, and of a
    file that it ignores, such as one in an environment."""
    try:
        git(file.parent, "rev-parse", "HEAD")
        root = Path(git(file.parent, "rev-parse", "--show-toplevel").strip())
    except (OSError, subprocess.CalledProcessError):
        return None
    ignored = ["git", "-C", str(file.parent), "check-ignore", "--quiet", str(file)]
    return None if subprocess.run(ignored, capture_output=True).returncode == 0 else root


def git(folder: Path, *arguments: str) -> str:
    """What git prints there.

    Raises:
      OSError, subprocess.CalledProcessError: there is no git, or it fails.
    """
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, check=True)
    return done.stdout.decode("utf-8", "replace")


def short_hash(content: bytes) -> str:
    """Eight digits."""
    return hashlib.sha256(content).hexdigest()[:8]
