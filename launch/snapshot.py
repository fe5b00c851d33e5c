"""A copy of the code in a sweep's folder: runs use it, so that later edits do not reach them.

What is not copied (data, large files, what git does not know) is a link to where it lies. Hidden
files are absent.
"""

import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from launch.source import Source, Tree
from worldmodel import runtime
from worldmodel.errors import InputError, cause
from worldmodel.runtime.files import new_folder, write_json

ROOT = Path(__file__).resolve().parent.parent  # of this package, which may itself be a copy
_FILE = "snapshot.json"


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """Where the code of a sweep's runs lies."""

    folder: Path  # whole
    roots: dict[str, str]  # whence each part was copied, by its place in the folder
    path: tuple[str, ...]  # its folders with packages and modules, in order of search

    def copied_path(self) -> str:
        """PYTHONPATH with the copy alone; it comes before what is installed, editable or not."""
        return os.pathsep.join(str(self.folder / entry) for entry in self.path)

    def python_path(self) -> str:
        """The copy's, then that of this process, for what was not copied."""
        present = [str(ROOT), os.getcwd(), os.environ.get("PYTHONPATH", "")]
        return os.pathsep.join(filter(None, [self.copied_path(), *present]))

    def inside(self, text: str) -> str:
        """The copy of a file, or of a reference ``file.py:name``, which may be relative to the
        working folder; any other text as it is."""
        path, colon, name = text.rpartition(":") if ".py:" in text else (text, "", "")
        for whole in (Path(os.path.abspath(path)), Path(path).resolve()):
            for to, root in self.roots.items():
                if not whole.is_relative_to(root):
                    continue
                copy = self.folder / to / whole.relative_to(root)
                if os.path.isfile(copy) and copy.resolve().is_relative_to(self.folder):
                    return f"{copy.resolve()}{colon}{name}"
        return text

    def placed(self, value: Any) -> Any:
        """A config, or a part of one, with the copies of the files that it names."""
        if isinstance(value, Path) or type(value) is str:
            return type(value)(self.inside(str(value)))
        if type(value) in (list, tuple):
            return type(value)(map(self.placed, value))
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            given = [field.name for field in dataclasses.fields(value) if field.init]
            parts = {name: self.placed(getattr(value, name)) for name in given}
            return dataclasses.replace(value, **parts)
        return value

    def original(self, value: Any) -> Any:
        """A value of JSON with the paths of copies as they were before."""
        text = json.dumps(value, ensure_ascii=False)
        for to, root in self.roots.items():
            text = text.replace(str(self.folder / to), root)
        return json.loads(text)


def describe(source: Source, out: Path) -> Snapshot:
    """The snapshot of a sweep's folder, which need not be there yet."""
    path = dict.fromkeys(entry for tree in source.trees for entry in _path(tree))
    roots = {tree.to: str(tree.root) for tree in source.trees}
    return Snapshot(out.resolve() / "snapshot", roots, tuple(path))


def write(source: Source, out: Path, again: Callable[[], Source]) -> None:
    """Copies the code to ``out/snapshot``, read-only, whole or not at all; once per folder.

    Args:
      source: the code.
      out: the sweep's folder.
      again: states the code once more, after the copy.

    Raises:
      InputError: the code changed meanwhile.
      OSError: such as a full disk.
    """
    described = describe(source, out)
    if described.folder.exists():
        return
    with new_folder(described.folder, flush=False) as folder:
        for tree in source.trees:
            try:
                _copy(tree, folder / tree.to)
                _link(tree.root, folder / tree.to, out.resolve())
            except OSError as error:  # which may name the original
                raise OSError(error.errno, error.strerror, str(described.folder)) from error
            runtime.log(f"the runs use a copy of {len(tree.files)} files of {tree.root}")
        if again().commit != source.commit:
            raise InputError("the code changed while it was copied; give another --out")
        write_json(folder / _FILE, {"roots": described.roots, "path": described.path})
        os.sync()  # at once, which takes a tenth of a flush of each of so many files


def read(out: Path) -> Snapshot:
    """That of a sweep's folder.

    Raises:
      InputError: there is none, or it is damaged.
    """
    folder = out.resolve() / "snapshot"
    try:
        content = json.loads((folder / _FILE).read_text("utf-8"))
        return Snapshot(folder, content["roots"], tuple(content["path"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{folder} cannot be read ({cause(error)}); launch the sweep again with another --out"
        ) from error


def _path(tree: Tree) -> Iterator[str]:
    """Where Python looks in this process, as far as it is copied; then the tree, and its src/."""
    if "/" in tree.to:  # a package
        yield str(Path(tree.to).parent)
        return
    folders = {folder for name in tree.files for folder in Path(name).parents}
    entries = [Path(entry).resolve() for entry in sys.path]  # "" is the working folder
    for entry in (*entries, tree.root, tree.root / "src"):
        if entry.is_relative_to(tree.root) and entry.relative_to(tree.root) in folders:
            yield str(tree.to / entry.relative_to(tree.root))


def _copy(tree: Tree, folder: Path) -> None:
    for name in tree.files:
        copy = folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tree.root / name, copy)
        copy.chmod(copy.stat().st_mode & 0o555)


def _link(root: Path, folder: Path, out: Path) -> None:
    """Links from a copied folder to what was not copied; not to what holds ``out``."""
    for entry in root.iterdir():
        copy = folder / entry.name
        if copy.is_dir() and not copy.is_symlink():
            _link(entry, copy, out)
            continue
        hidden = entry.name.startswith((".", "__pycache__"))
        if not (hidden or copy.exists() or out.is_relative_to(entry)):
            copy.symlink_to(entry)
