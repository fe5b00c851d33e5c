"""The code that a run belongs to: commits, and what differs from them."""

import dataclasses
import functools
import hashlib
import os
import subprocess
from pathlib import Path

from worldmodel.runtime.progress import log

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
    package, places = root(_PACKAGE), {file: root(file) for file in files}
    commits, diffs = [], []
    for folder in dict.fromkeys(f for f in (package, *places.values()) if f):
        diff = _diff(folder)
        head = git(folder, "rev-parse", "--short=12", "HEAD").strip()
        commits.append(f"{head}-dirty-{short_hash(diff.encode())}" if diff else head)
        diffs.append(diff)
    if package is None:
        commits.insert(0, os.environ.get("WORLDMODEL_COMMIT", "unknown"))
    for file, place in places.items():
        if place is None:
            commits.append(f"{file.name}-{short_hash(file.read_bytes())}")
    return Source(" ".join(commits), "".join(diffs))


def root(file: Path) -> Path | None:
    """The repository around a file that has a commit; None without one, or without git, and of a
    file that it ignores, such as one in an environment. Warns of one that git refuses to read."""
    try:
        top, _ = git(file.parent, "rev-parse", "--show-toplevel", "HEAD").splitlines()
    except subprocess.CalledProcessError as error:
        _warn(error.stderr.decode("utf-8", "replace"))
        return None
    except OSError:
        return None
    ignored = ["git", "-C", str(file.parent), "check-ignore", "--quiet", str(file)]
    known = subprocess.run(ignored, capture_output=True).returncode != 0
    return Path(top) if known else None


def new_files(repository: Path, suffixes: tuple[str, ...]) -> list[str]:
    """Files that git neither tracks nor ignores, below the repository; not what is no file, such as
    the broken link by which an editor locks one."""
    kinds = [f"*{suffix}" for suffix in suffixes]
    names = git(repository, "ls-files", "-z", "--others", "--exclude-standard", "--", *kinds)
    return [name for name in names.split("\0") if (repository / name).is_file()]


def git(folder: Path, *arguments: str) -> str:
    """Git's stdout.

    Raises:
      OSError: there is no git.
      subprocess.CalledProcessError: it refuses.
    """
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, check=True)
    return done.stdout.decode("utf-8", "replace")


def short_hash(content: bytes) -> str:
    """Eight digits of SHA-256."""
    return hashlib.sha256(content).hexdigest()[:8]


@functools.cache  # once for each repository
def _warn(refusal: str) -> None:
    """Of a repository that belongs to another user, as git names it with the remedy."""
    remedy = refusal.strip().rpartition("\n")[2].strip()
    if "safe.directory" in remedy:
        log(
            "WARNING: git refuses a repository of another user, so the run's config has not its "
            f"commit; to allow it: {remedy}"
        )


def _diff(repository: Path) -> str:
    kinds = [f"*{suffix}" for suffix in CODE]
    tracked = git(repository, "diff", "HEAD", "--no-ext-diff", "--no-color", "--", *kinds)
    new = new_files(repository, CODE)
    texts = [(name, (repository / name).read_text("utf-8", "replace")) for name in new]
    return tracked + "".join(f"new file {name}\n{text}" for name, text in texts)
