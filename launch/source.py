"""The code of a sweep: its state, and the files that its runs need."""

import dataclasses
import os
from pathlib import Path

import worldmodel
from worldmodel.errors import InputError
from worldmodel.runtime import source as state

ASSETS = (".obj", ".stl", ".msh", ".png")  # of MJCF
LARGEST = 10_000_000  # [bytes] of a file that is copied
_KINDS = state.CODE + ASSETS
_REPOSITORY = 200_000_000  # [bytes] of a repository that is copied with its data
_ENTRIES = 10_000  # that the folder of a config without git may hold


@dataclasses.dataclass(frozen=True)
class Tree:
    """A folder of code."""

    root: Path
    to: str  # its place in a snapshot
    files: tuple[str, ...]  # that are copied, below root


@dataclasses.dataclass(frozen=True)
class Source(state.Source):
    """The state of the code, and where its files lie."""

    trees: tuple[Tree, ...] = ()


def source(module: Path, name: str = "") -> Source:
    """That of this package and of a config, which may lie in another repository or in none.

    Of a repository all tracked files are copied, and new ones that are code or assets; of a large
    one, code and assets alone. Of a folder without git, code and assets are copied, and all count
    for its state. A copy of the package that git does not know (a container) is used as it is.

    Args:
      module: the config's file.
      name: the module's dotted name.

    Raises:
      InputError: the config's folder has no git and too many files.
    """
    module = module.resolve()
    package, place = state.root(Path(worldmodel.__file__)), state.root(module)
    known, trees = state.source(module), []
    commit = known.commit
    if package is not None:
        trees.append(Tree(package, "package", _known(package)))
    if place is None:
        tree = _without_git(module, name)
        contents = b"".join(f"{n}\0".encode() + (tree.root / n).read_bytes() for n in tree.files)
        commit += f" {tree.root.name}-{state.short_hash(contents)}"
        trees.append(tree)
    elif place != package:
        trees.append(Tree(place, "config", _known(place)))
    return Source(commit, known.diff, tuple(trees))


def _known(root: Path) -> tuple[str, ...]:
    """A repository's files to copy."""
    tracked = state.git(root, "ls-files", "-z").split("\0")[:-1]
    names = [*tracked, *state.new_files(root, _KINDS)]
    sizes = {name: (root / name).stat().st_size for name in names if _small(root / name)}
    if sum(sizes.values()) > _REPOSITORY:
        return tuple(name for name in sizes if Path(name).suffix in _KINDS)
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
        paths = [at / n for n in sorted(names) if Path(n).suffix in _KINDS]
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
