"""The code that a run belongs to: commits, what differs from them, and its files."""

import dataclasses
import os
from pathlib import Path

import worldmodel
from worldmodel.errors import InputError
from worldmodel.runtime.source import CODE, git, repository, short_hash, state

ASSETS = (".obj", ".stl", ".msh", ".png")  # of MJCF
LARGEST = 10_000_000  # [bytes] of a file that is copied
_REPOSITORY = 200_000_000  # [bytes] of a repository that is copied with its data
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

    Of a repository all tracked files are copied, and new ones that are code or assets; of a large
    one, code and assets alone. Files of code that differ count as another state. Of a folder
    without git, code and assets are copied, and all count. A copy of the package that git does not
    know (a container) is used as it is, and has its commit in WORLDMODEL_COMMIT.

    Args:
      module: the file.
      name: the module's dotted name.

    Raises:
      InputError: the module's folder has no git and too many files.
    """
    module = module.resolve()
    package, place = repository(Path(worldmodel.__file__)), repository(module)
    roots = [(package, "package")] + ([(place, "config")] if place != package else [])
    commits, diffs, trees = [], [], []
    for root, to in roots:
        if root is not None:
            one = state(root)
            commits.append(one.commit)
            diffs.append(one.diff)
            trees.append(Tree(root, to, _known(root)))
    if package is None:
        commits.insert(0, os.environ.get("WORLDMODEL_COMMIT", "unknown"))
    if place is None:
        tree = _without_git(module, name)
        contents = b"".join(f"{n}\0".encode() + (tree.root / n).read_bytes() for n in tree.files)
        commits.append(f"{module.name}-{short_hash(contents)}")
        trees.append(tree)
    return Source(" ".join(commits), "".join(diffs), tuple(trees))


def _known(root: Path) -> tuple[str, ...]:
    """A repository's files to copy."""
    kinds = [f"*{suffix}" for suffix in CODE + ASSETS]
    new = git(root, "ls-files", "-z", "--others", "--exclude-standard", "--", *kinds)
    names = (git(root, "ls-files", "-z") + new).split("\0")[:-1]
    sizes = {name: (root / name).stat().st_size for name in names if _small(root / name)}
    if sum(sizes.values()) > _REPOSITORY:
        return tuple(name for name in sizes if Path(name).suffix in CODE + ASSETS)
    return tuple(sizes)


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
