"""Rows of results: values as JSON has them, and one row per step of a run."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """Dataclasses, tuples, paths and NumPy scalars as JSON has them."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    return value.item() if isinstance(value, np.generic) else value


def append_row(path: Path, row: dict[str, Any]) -> None:
    """One JSON line; a resumed run writes the steps since its checkpoint again."""
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")
