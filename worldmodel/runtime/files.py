"""The one atomic writer: a file or a folder is complete, or absent.

Content is written under a temporary name in the same folder, flushed to the disk and renamed. The
module needs the standard library alone, so every room can use it.
"""

import contextlib
import errno
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_WRITING, _FORMER = "writing", "former"


def write_bytes(path: Path | str, data: bytes) -> None:
    """Writes or replaces a file in a folder that exists; through a link its target, and straight
    into what cannot be renamed, such as a pipe or ``/dev/stdout``.

    Raises:
      OSError: such as a full disk, or a folder of that name; a former file is untouched and
        nothing else remains.
    """
    if Path(path).is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if Path(path).exists() and not Path(path).is_file():
        with Path(path).open("wb") as pipe:
            pipe.write(data)
        return
    target = Path(path).resolve()
    temporary = _temporary(target, _WRITING)
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path | str, text: str) -> None:
    """``write_bytes`` of UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path | str, content: Any, *, indent: int | None = 1) -> None:
    """``write_text`` of JSON and a newline.

    Raises:
      ValueError: a number that is not finite.
    """
    text = json.dumps(content, indent=indent, allow_nan=False, ensure_ascii=False)
    write_text(path, text + "\n")


@contextlib.contextmanager
def new_folder(path: Path | str, *, replace: bool = False, flush: bool = True) -> Iterator[Path]:
    """A folder to fill; it becomes ``path`` at the end of the block, and is removed if that raises.

    First removes the leftovers of killed writers of the same folder, and restores a folder that
    one of them was replacing (``recover``).

    Args:
      path: parents are created.
      replace: whether an existing folder is replaced.
      flush: whether each file is flushed to the disk; not where the block calls ``os.sync``.

    Raises:
      FileExistsError: it exists, and ``replace`` is False or it is no folder.
      OSError: such as a full disk; a former folder is untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    recover(path)
    temporary, former = _temporary(path, _WRITING), path.with_name(f".{path.name}.{_FORMER}")
    try:
        temporary.mkdir()
        yield temporary
        for part in (temporary, *temporary.rglob("*")) if flush else ():
            _sync(part)
        if replace and path.is_dir() and not path.is_symlink():
            path.rename(former)  # rename cannot replace a folder that is not empty
        elif path.exists() or path.is_symlink():
            raise FileExistsError(f"{path} is there already")
        temporary.rename(path)
        try:
            _sync(path.parent)
        except OSError:
            path.rename(temporary)
            raise
        shutil.rmtree(former, ignore_errors=True)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        if former.exists() and not path.exists():
            former.rename(path)
        raise


def recover(path: Path | str) -> None:
    """Removes the leftovers of killed writers of a folder; restores one that was being replaced."""
    path = Path(path)
    former = path.with_name(f".{path.name}.{_FORMER}")
    if former.exists():
        if path.exists():
            shutil.rmtree(former, ignore_errors=True)
        else:
            former.rename(path)
    pattern = re.compile(re.escape(f".{path.name}.") + rf"[0-9a-f]{{32}}\.{_WRITING}")
    for stale in [p for p in path.parent.iterdir() if pattern.fullmatch(p.name)]:
        with contextlib.suppress(FileNotFoundError):  # another writer removed it
            doomed = stale.rename(_temporary(path, _WRITING))  # so that its writer cannot finish
            shutil.rmtree(doomed, ignore_errors=True)


def _temporary(path: Path, purpose: str) -> Path:
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.{purpose}")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
