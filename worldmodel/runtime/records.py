"""Rows of results: values as JSON has them, and one row per step of a run."""

import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from worldmodel.runtime.files import write_bytes


def plain(value: Any) -> Any:
    """Dataclasses, mappings, tuples, paths, NumPy's scalars and arrays as JSON has them."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    return value.tolist() if isinstance(value, np.generic | np.ndarray) else value


def config_hash(config: Any) -> str:
    """A short hash of a value of JSON, in any order of its keys."""
    text = json.dumps(config, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def write_arrays(path: Path, arrays: Mapping[str, Any], *, compressed: bool = False) -> None:
    """An .npz archive, written atomically."""
    buffer = io.BytesIO()
    save = np.savez_compressed if compressed else np.savez
    save(buffer, allow_pickle=False, **arrays)
    write_bytes(path, buffer.getvalue())


def append_row(path: Path, row: dict[str, Any]) -> None:
    """One JSON line; a resumed run writes the steps since its checkpoint again.

    Raises:
      OSError: such as a full disk; it names the file, which has no part of the row.
    """
    line, size = json.dumps(row) + "\n", path.stat().st_size if path.is_file() else 0
    try:
        with path.open("a") as file:
            file.write(line)
    except OSError as error:
        if path.is_file():
            os.truncate(path, size)
        raise OSError(error.errno, error.strerror, str(path)) from error
