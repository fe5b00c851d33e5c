"""The code that a run belongs to: commits, and what differs from them."""

import dataclasses
import hashlib
import os
import subprocess
from pathlib import Path

_CODE = ("*.py", "*.xml")
_PACKAGE = Path(__file__).resolve().parents[1]


@dataclasses.dataclass(frozen=True)
class Source:
    """The state of the code; two states with one ``commit`` are the same."""

    commit: str  # one part per repository: its commit and, if it is dirty, the diff's hash
    diff: str  # what differs from the commits, files that are not tracked included


def source(*files: Path) -> Source:
    """That of this package and of a run's files, which may lie in other repositories or in none.

    Python and MJCF files count; of a file in no repository its own text. A copy of the package
    without history (a container) has the commit in WORLDMODEL_COMMIT.
    """
    package, places = root(_PACKAGE), {file: root(file.parent) for file in files}
    commits, diffs = [], []
    for folder in dict.fromkeys(f for f in (package, *places.values()) if f):
        diff = _diff(folder)
        head = _git(folder, "rev-parse", "--short=12", "HEAD").strip()
        commits.append(f"{head}-dirty-{_hash(diff)}" if diff else head)
        diffs.append(diff)
    if package is None:
        commits.insert(0, os.environ.get("WORLDMODEL_COMMIT", "unknown"))
    for file, place in places.items():
        if place is None:
            commits.append(f"{file.name}-{_hash(file.read_text('utf-8'))}")
    return Source(" ".join(commits), "".join(diffs))


def root(folder: Path) -> Path | None:
    """The repository around a folder that has a commit; None without one, or without git."""
    try:
        _git(folder, "rev-parse", "HEAD")
        return Path(_git(folder, "rev-parse", "--show-toplevel").strip())
    except (OSError, subprocess.CalledProcessError):
        return None


def _diff(root: Path) -> str:
    tracked = _git(root, "diff", "HEAD", "--no-ext-diff", "--no-color", "--", *_CODE)
    new = _git(root, "ls-files", "-z", "--others", "--exclude-standard", "--", *_CODE)
    texts = [
        (name, (root / name).read_text("utf-8", "replace")) for name in new.split("\0") if name
    ]
    return tracked + "".join(f"new file {name}\n{text}" for name, text in texts)


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, check=True)
    return done.stdout.decode("utf-8", "replace")


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
