"""The code that a run belongs to: commits, what differs from them, its files, and versions."""

import dataclasses
import hashlib
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

import worldmodel
from worldmodel import runtime
from worldmodel.errors import InputError

CODE = (".py", ".xml", ".urdf", ".toml")
ASSETS = (".obj", ".stl", ".msh", ".png")  # of MJCF
LARGEST = 10_000_000  # [bytes] of a file that is copied
_ENTRIES = 10_000  # that the folder of a config without git may hold


@dataclasses.dataclass(frozen=True)
class Tree:
    """A folder of code."""

    root: Path
    to: str  # its place in a snapshot
    files: tuple[str, ...]  # that are copied, below root


@dataclasses.dataclass(frozen=True)
class Source:
    """The state of the code; two states with one ``commit`` are the same."""

    commit: str  # one part per tree: its commit and, if it is dirty, the diff's hash
    diff: str  # what differs from the commits, files that are not tracked included
    trees: tuple[Tree, ...] = ()


def source(module: Path, name: str = "") -> Source:
    """That of this package and of a module's file, which may lie in another repository or in none.

    Of a repository all tracked files are copied, and new ones that are code or assets; Python,
    MJCF, URDF and TOML files that differ count as another state. Of a folder without git, code and
    assets are copied, and all count. A copy of the package without history (a container) is used
    as it is, and has its commit in WORLDMODEL_COMMIT.

    Args:
      module: the file.
      name: the module's dotted name.

    Raises:
      InputError: the module's folder has no git and too many files.
    """
    module = module.resolve()
    package, place = _root(Path(worldmodel.__file__)), _root(module)
    roots = [(package, "package")] + ([(place, "config")] if place != package else [])
    commits, diffs, trees = [], [], []
    for root, to in roots:
        if root is not None:
            diff = _diff(root)
            head = _git(root, "rev-parse", "--short=12", "HEAD").strip()
            commits.append(f"{head}-dirty-{_hash(diff.encode())}" if diff else head)
            diffs.append(diff)
            trees.append(Tree(root, to, _known(root)))
    if package is None:
        commits.insert(0, os.environ.get("WORLDMODEL_COMMIT", "unknown"))
    if place is None:
        tree = _without_git(module, name)
        contents = b"".join(f"{n}\0".encode() + (tree.root / n).read_bytes() for n in tree.files)
        commits.append(f"{module.name}-{_hash(contents)}")
        trees.append(tree)
    return Source(" ".join(commits), "".join(diffs), tuple(trees))


def versions() -> dict[str, str]:
    """Of Python and of the packages that decide the numbers."""
    packages = {name: importlib.metadata.version(name) for name in runtime.VERSIONED}
    return {"python": platform.python_version()} | packages


def _root(file: Path) -> Path | None:
    """The repository around a file that has a commit; None without one, or without git, and of a
    file that it ignores, such as one in an environment."""
    try:
        _git(file.parent, "rev-parse", "HEAD")
        root = Path(_git(file.parent, "rev-parse", "--show-toplevel").strip())
    except (OSError, subprocess.CalledProcessError):
        return None
    ignored = ["git", "-C", str(file.parent), "check-ignore", "--quiet", str(file)]
    return None if subprocess.run(ignored, capture_output=True).returncode == 0 else root


def _known(root: Path) -> tuple[str, ...]:
    """A repository's files to copy: tracked ones, and new ones that are code or assets."""
    kinds = [f"*{suffix}" for suffix in CODE + ASSETS]
    new = _git(root, "ls-files", "-z", "--others", "--exclude-standard", "--", *kinds)
    names = (_git(root, "ls-files", "-z") + new).split("\0")
    return tuple(name for name in names if name and _small(root / name))


def _without_git(module: Path, name: str) -> Tree:
    """The folder of a file, or the package of a module: its code and its assets."""
    packages = name.split(".")[: None if module.stem == "__init__" else -1]
    root = module.parents[max(0, len(packages) - 1)]
    files, seen = [], 0
    for place, folders, names in os.walk(root):
        at = Path(place)
        folders[:] = sorted(folder for folder in folders if not _foreign(at / folder))
        seen += len(folders) + len(names)
        if seen > _ENTRIES:
            raise InputError(
                f"{root}, the folder of {module.name}, has no git and holds more than {_ENTRIES} "
                "files; put the config into a folder of its own, or under git"
            )
        paths = [at / n for n in sorted(names) if Path(n).suffix in CODE + ASSETS]
        files += [str(path.relative_to(root)) for path in paths if _small(path)]
    return Tree(root, f"config/{root.name}" if packages else "config", tuple(files))


def _foreign(folder: Path) -> bool:
    """Whether it is hidden, an environment, or ignores itself, as caches and sweeps do."""
    if folder.name.startswith((".", "__pycache__")) or (folder / "pyvenv.cfg").exists():
        return True
    own = folder / ".gitignore"
    return own.is_file() and "*" in own.read_text("utf-8", "replace").split()


def _small(file: Path) -> bool:
    return file.is_file() and file.stat().st_size <= LARGEST


def _diff(root: Path) -> str:
    kinds = [f"*{suffix}" for suffix in CODE]
    tracked = _git(root, "diff", "HEAD", "--no-ext-diff", "--no-color", "--", *kinds)
    new = _git(root, "ls-files", "-z", "--others", "--exclude-standard", "--", *kinds)
    texts = [
        (name, (root / name).read_text("utf-8", "replace")) for name in new.split("\0") if name
    ]
    return tracked + "".join(f"new file {name}\n{text}" for name, text in texts)


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    done = subprocess.run(command, capture_output=True, check=True)
    return done.stdout.decode("utf-8", "replace")


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]
