"""What a LeRobot data set says of itself, beside its data."""

import dataclasses
import json
import math
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq

from worldmodel.episodes.tables import damage, is_numeric, read_parquet
from worldmodel.errors import InputError

_MEDIA = ("video", "image", "string")
T = TypeVar("T")


class DatasetError(InputError):
    """No data set, one of which nothing can be read, or one that cannot be written."""


@dataclasses.dataclass(frozen=True)
class Head:
    """What a set says of itself, beside its data."""

    meta: Path
    info: dict[str, Any]
    paths: list[Path]  # of the data files whose schemas can be read
    names: list[str]  # of the columns that are read
    ignored: dict[str, str]  # why others are not
    lengths: dict[int, int]  # frames of each episode
    texts: dict[int, str]  # of each task_index
    provenance: dict[str, Any]


def read_head(root: Path, damaged: list[str]) -> Head:
    meta = root / "meta"
    info = _info(meta / "info.json")
    paths = sorted((root / "data").rglob("[!.]*.parquet"))
    if not paths:
        raise DatasetError(f"{root / 'data'} holds no Parquet file; fetch or record the data, too")
    schemas = each(paths, pq.read_schema, damaged)
    kinds = {field.name: field.type for schema in schemas.values() for field in schema}
    ignored = _ignored(info["features"], kinds)
    names = [name for name in dict.fromkeys([*info["features"], *kinds]) if name not in ignored]
    listed = sorted([*meta.glob("episodes/**/[!.]*.parquet"), *meta.glob("episodes.jsonl")])
    counts = each(listed, _lengths, damaged).values()
    lengths = {n: length for count in counts for n, length in count.items()}
    provenance = next(iter(each([*meta.glob("provenance.json")], _json, damaged).values()), {})
    texts = _texts(meta, damaged)
    return Head(meta, info, [*schemas], names, ignored, lengths, texts, provenance)


def each(paths: Sequence[Path], call: Callable[[Path], T], damaged: list[str]) -> dict[Path, T]:
    """What the call makes of each file; those it cannot read go to ``damaged``, by their cause."""
    results, causes = {}, {}
    for path in paths:
        try:
            results[path] = call(path)
        except Exception as error:  # damage shows as any of Arrow's errors, or as Python's
            causes.setdefault(damage(path, error), []).append(path)
    for why, files in causes.items():
        more = f" and {len(files) - 1} more files: each" if files[1:] else ""
        damaged.append(f"{files[0]}{more} {why}")
    return results


def _json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8-sig")))


def _info(path: Path) -> dict[str, Any]:
    """``meta/info.json``, with fps a number and the features dictionaries."""
    damaged: list[str] = []
    if not path.is_file():
        raise DatasetError(
            f"no file {path}, so {path.parents[1]} is no LeRobot data set; give the folder that "
            "holds meta and data"
        )
    info = each([path], _json, damaged).get(path, {})
    if damaged:
        raise DatasetError(damaged[0])
    version, features = info.get("codebase_version"), info.get("features")
    if not re.fullmatch(r"v2\.[01]|v3\.\d+", str(version)):
        raise DatasetError(
            f"{path}: codebase_version is {version!r}; v2.0, v2.1 and v3.x are read: "
            "convert the set with LeRobot's own converter"
        )
    try:
        fps = float(info["fps"])
    except (KeyError, TypeError, ValueError, OverflowError):
        fps = math.nan
    if not 0 < fps < math.inf:
        raise DatasetError(f"{path}: fps is {info.get('fps')!r}; write the frames per second there")
    features = features if isinstance(features, dict) else {}
    specs = {name: spec if isinstance(spec, dict) else {} for name, spec in features.items()}
    return info | {"fps": int(fps) if fps.is_integer() else fps, "features": specs}


def _ignored(described: dict[str, Any], kinds: dict[str, pa.DataType]) -> dict[str, str]:
    """Why features and columns are not read."""
    ignored = {}
    for name in dict.fromkeys([*described, *kinds]):
        kind = described.get(name, {}).get("dtype")
        if kind in _MEDIA:
            ignored[name] = f"it is {kind}, not numbers"
        elif name not in kinds:
            ignored[name] = "no data file has such a column"
        elif not is_numeric(kinds[name]):
            ignored[name] = f"it holds {kinds[name]}, not numbers"
    return ignored


def _lengths(path: Path) -> dict[int, int]:
    rows = _listed(path, ("episode_index", "length"))
    return {int(row["episode_index"]): int(row["length"]) for row in rows}


def _listed(path: Path, names: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """The rows of Parquet, or of lines of JSON."""
    lines = path.suffix == ".jsonl"
    return (pyarrow.json.read_json(path) if lines else read_parquet(path, names)).to_pylist()


def _texts(meta: Path, damaged: list[str]) -> dict[int, str]:
    """Text of each task_index; the texts' column has the name of whatever index pandas had."""
    paths = [path for path in (meta / "tasks.parquet", meta / "tasks.jsonl") if path.is_file()]
    return {
        row.get("task_index", place): next((t for t in row.values() if isinstance(t, str)), "")
        for rows in each(paths, _listed, damaged).values()
        for place, row in enumerate(rows)
    }
