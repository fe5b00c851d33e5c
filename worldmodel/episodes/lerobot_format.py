"""What a data set in LeRobot's format v3.0 is: its values, its names and their checks."""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from worldmodel.errors import InputError


class DatasetError(InputError):
    """A data set that is foreign, truncated, damaged or inconsistent, or cannot be written."""


@dataclasses.dataclass(frozen=True)
class Feature:
    """A column of the data set."""

    dtype: str  # "float32", "float64", "int64" or "bool"
    shape: tuple[int, ...]  # (1,) is a scalar column, (k,) a fixed-size list
    names: tuple[str, ...] | None = None  # one per component; a foreign set's nested names: None


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Episodes of one robot at one rate. The format's own columns are added and stripped."""

    fps: int  # frames per second
    robot_type: str
    features: dict[str, Feature]
    episodes: list[dict[str, np.ndarray]]  # feature: (frames, *shape), or (frames,) for (1,)
    tasks: list[str]  # per episode: its task as text
    provenance: dict[str, Any]  # JSON: where the episodes come from


VERSION = "v3.0"
PLACE = "chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
OWN = {"timestamp": Feature("float32", (1,))} | {
    name: Feature("int64", (1,)) for name in ("frame_index", "episode_index", "index", "task_index")
}
ROWS = ("episode_index", "length", "data/chunk_index", "data/file_index")
ROWS += ("dataset_from_index", "dataset_to_index")


def check_feature(where: str, name: str, feature: Feature) -> None:
    """Raises DatasetError for a name, dtype or shape that is not read or written here."""
    if not isinstance(name, str) or not name or "/" in name:
        raise DatasetError(f"{where}: feature name {name!r}: it must be text without '/'; rename")
    if feature.dtype in ("video", "image"):
        raise DatasetError(
            f"{where}: feature '{name}' is of dtype {feature.dtype}, which is not read here; "
            "make a copy of the set without it"
        )
    if feature.dtype not in ("float32", "float64", "int64", "bool"):
        raise DatasetError(
            f"{where}: feature '{name}' is of dtype {feature.dtype}; only float32, float64, int64 "
            "and bool: convert it"
        )
    if len(feature.shape) != 1 or type(feature.shape[0]) is not int or feature.shape[0] < 1:
        raise DatasetError(
            f"{where}: feature '{name}' has shape {feature.shape}; only (k,), k > 0: flatten it"
        )


def check_finite(where: str, values: np.ndarray) -> None:
    """Raises DatasetError with the first frame, (frames, …), that is not finite."""
    bad = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
    if bad.any():
        frame = int(np.flatnonzero(bad)[0])
        raise DatasetError(f"{where} is not finite at frame {frame}; cut or mend the episode")


def array_shape(frames: int, feature: Feature) -> tuple[int, ...]:
    """The shape of a feature's array in memory: scalar columns are (frames,)."""
    return (frames,) if feature.shape == (1,) else (frames, *feature.shape)


def sha256(path: Path) -> str:
    """Hexadecimal digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
