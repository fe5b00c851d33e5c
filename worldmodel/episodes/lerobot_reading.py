"""Reads LeRobot data sets, v3.0 and v2.1, as any recorder leaves them.

The rows are the truth: ``episode_index`` and ``frame_index`` say which frame a row is, whichever
file holds it and whatever the metadata count. ``Dataset.damaged`` names what is lost.
"""

import dataclasses
import difflib
import json
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from worldmodel.episodes.lerobot_tables import attempt, is_numeric, numbers, read_table
from worldmodel.errors import InputError

OWN = ("timestamp", "frame_index", "episode_index", "index", "task_index")  # the format's columns
_MEDIA = ("video", "image", "string")


class DatasetError(InputError):
    """No data set, one of which nothing can be read, or one that cannot be written."""


@dataclasses.dataclass(frozen=True)
class Feature:
    """A column of the data set."""

    dtype: str  # a NumPy number's: "float32", "int64", "bool", …
    shape: tuple[int, ...]  # (1,) is a scalar column, (k,) a list; more dimensions are flattened
    names: tuple[str, ...] | None = None  # one per component


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Episodes of one robot at one rate.

    An episode maps each feature to an array, (frames, k), or (frames,) where the shape is (1,); NaN
    is a value that is not there. An episode that was read has two more arrays of (frames,):
    ``timestamp`` [s] as recorded, and ``task_index``, the place of the frame's task among the
    episode's tasks. Both are written back; without them time is frame / fps and the task the first.
    """

    fps: float  # frames per second
    robot_type: str
    features: dict[str, Feature]
    episodes: list[dict[str, np.ndarray]]
    tasks: list[str | tuple[str, ...]]  # per episode: its task, or its several in their order
    provenance: dict[str, Any]  # JSON: where the episodes come from
    ids: tuple[int, ...] = ()  # episode_index of each episode read; written ones count from 0
    ignored: dict[str, str] = dataclasses.field(default_factory=dict)  # column: why it is not read
    damaged: tuple[str, ...] = ()  # what is lost or in doubt: file, cause and remedy


def read(directory: Path | str, features: Sequence[str] | None = None) -> Dataset:
    """Reads the episodes of a data set; of a damaged one, all that can be read.

    Args:
      directory: holds the folders ``meta`` and ``data``.
      features: the names wanted; by default all of numbers that ``meta/info.json`` describes.

    Returns:
      The data set, its episodes by their index. Integers and truth values with gaps are float64.

    Raises:
      DatasetError: no set there, one of another version, nothing to read in it; a wanted feature
        that is absent or not of numbers. The message names file or feature and the remedy.
    """
    root, damaged = Path(directory), []
    info = _info(root / "meta" / "info.json")
    fps, described = info["fps"], info["features"]
    if not (paths := _parquets(root / "data")):
        raise DatasetError(f"{root / 'data'} holds no Parquet file; fetch or record the data, too")
    schemas = attempt(paths, pq.read_schema, damaged)
    kinds = {field.name: field.type for schema in schemas.values() for field in schema}
    names, ignored = _selected(root, described, kinds, features) if schemas else ([], {})
    tables = attempt([*schemas], lambda path: read_table(path, (*names, *OWN)), damaged)
    if not tables:
        raise DatasetError("; ".join([f"{root} has no data file that can be read", *damaged]))
    table = _joined(root, tables, names, damaged)
    rows = {name: v for name in names if (v := numbers(table, name)) is not None}
    for name in [name for name in names if name not in rows]:
        ignored[name] = "its rows differ in length"
        if features is not None:
            raise DatasetError(f"{root}: feature '{name}' cannot be read: {ignored[name]}")
    texts = _tasks(root / "meta", damaged)
    episodes, tasks = _episodes(_order(table, fps, damaged), rows, texts, damaged)
    damaged += _losses(root / "meta", info, {i: len(e["timestamp"]) for i, e in episodes.items()})
    if not episodes:
        raise DatasetError("; ".join([f"{root} has no episode that can be read", *damaged]))
    provenance = attempt([*root.glob("meta/provenance.json")], _json, damaged)
    return Dataset(
        fps,
        str(info.get("robot_type") or "unknown"),
        {name: _feature(values, described.get(name, {})) for name, values in rows.items()},
        [*episodes.values()],
        tasks,
        next(iter(provenance.values()), {}),
        tuple(episodes),
        ignored,
        tuple(damaged),
    )


def _json(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8-sig")))


def _info(path: Path) -> dict[str, Any]:
    """``meta/info.json``, with fps a number and the features dictionaries."""
    damaged: list[str] = []
    if not path.is_file():
        raise DatasetError(f"no file {path}; give the folder that holds meta and data")
    info = attempt([path], _json, damaged).get(path, {})
    if damaged:
        raise DatasetError(damaged[0])
    version, features = info.get("codebase_version"), info.get("features")
    if not re.fullmatch(r"v2\.[01]|v3\.\d+", str(version)):
        raise DatasetError(
            f"{path}: codebase_version is {version!r}; v2.1 and v3.x are read: convert the set "
            "with LeRobot's own converter"
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


def _parquets(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.parquet") if path.name[0] != ".")


def _selected(
    root: Path,
    described: dict[str, Any],
    kinds: dict[str, pa.DataType],
    features: Sequence[str] | None,
) -> tuple[list[str], dict[str, str]]:
    """The features to read, and why each of the others is not."""
    known = [name for name in dict.fromkeys([*described, *kinds]) if name not in OWN]
    ignored = {}
    for name in known:
        declared = described.get(name, {}).get("dtype")
        if declared in _MEDIA:
            ignored[name] = f"it is {declared}, not numbers"
        elif not is_numeric(kinds.get(name, pa.null())):
            ignored[name] = f"it holds {kinds[name]}, not numbers"
        elif name not in kinds:
            ignored[name] = "no data file has such a column"
        elif features is not None and name not in features:
            ignored[name] = "it is not asked for"
        elif features is None and described and name not in described:
            ignored[name] = "meta/info.json does not describe it; ask for it by name"
    if features is None:
        return [name for name in known if name not in ignored], ignored
    names = [name for name in dict.fromkeys(features) if name not in OWN]
    for name in names:
        if name in ignored:
            raise DatasetError(f"{root}: feature '{name}' cannot be read: {ignored[name]}")
        if name not in known:
            near = [n for n in known if name in n or n in name]
            near += difflib.get_close_matches(name, known)
            listed = ", ".join(f"'{n}'" for n in dict.fromkeys(near or known))
            raise DatasetError(f"{root} has no feature '{name}'; it has {listed}")
    return names, ignored


def _feature(values: np.ndarray, spec: dict[str, Any]) -> Feature:
    width, labels = values.shape[1], tuple(_labels(spec.get("names")))
    return Feature(str(values.dtype), (width,), labels if len(labels) == width else None)


def _labels(names: Any) -> list[str]:
    """Names of components out of lists and dictionaries at any depth."""
    if isinstance(names, dict):
        if all(type(place) is int for place in names.values()):
            return sorted(names, key=names.__getitem__)
        parts = [(f"{key}." if len(names) > 1 else "", part) for key, part in names.items()]
        return [prefix + label for prefix, part in parts for label in _labels(part)]
    if isinstance(names, list):
        return [label for part in names for label in _labels(part)]
    return [names] if isinstance(names, str) else []


def _joined(
    root: Path, tables: dict[Path, pa.Table], names: Sequence[str], damaged: list[str]
) -> pa.Table:
    for name in (*names, "episode_index"):
        if lacking := [path for path, table in tables.items() if name not in table.column_names]:
            damaged.append(
                f"{len(lacking)} of {len(tables)} data files, such as {lacking[0]}, have no column "
                f"'{name}'; it is NaN there"
            )
    try:
        return pa.concat_tables(tables.values(), promote_options="permissive")
    except pa.ArrowException as error:
        remedy = "ask for the features that agree, or take the odd file out of data"
        raise DatasetError(f"{root}: data files disagree ({error}); {remedy}") from error


def _order(table: pa.Table, fps: float, damaged: list[str]) -> dict[str, np.ndarray]:
    """Every row's episode_index, frame_index, timestamp and task_index; NaN is unknown.

    Where no row has a frame_index, rows are in order. Where none has a timestamp, time is
    frame_index / fps, and so is a float32 that differs from it by its rounding alone.
    """
    own: dict[str, np.ndarray] = {}
    for name in ("episode_index", "frame_index", "timestamp", "task_index"):
        values = numbers(table, name)
        own[name] = np.full(table.num_rows, np.nan) if values is None else values[:, 0]
    if np.isnan(own["frame_index"]).all():
        own["frame_index"] = np.arange(table.num_rows)
    nominal, time = own["frame_index"] / fps, own["timestamp"]
    if time.size and np.isnan(time).all():
        own["timestamp"] = nominal
        damaged.append("no row has a timestamp [s]; time is frame_index / fps")
    elif time.dtype == np.float32:
        own["timestamp"] = np.where(nominal.astype(np.float32) == time, nominal, time)
    return {name: values.astype(np.float64) for name, values in own.items()}


def _episodes(
    own: dict[str, np.ndarray],
    rows: dict[str, np.ndarray],
    texts: dict[int, str],
    damaged: list[str],
) -> tuple[dict[int, dict[str, np.ndarray]], list[str | tuple[str, ...]]]:
    """The rows by episode_index, in the order of frame_index, and each episode's tasks."""
    placed = (own["episode_index"] % 1 == 0) & np.isfinite(own["frame_index"])
    if not placed.all():
        damaged.append(f"{(~placed).sum()} rows without episode_index or frame_index are not read")
    order = np.lexsort((own["frame_index"], own["episode_index"]))
    order = order[placed[order]]
    cuts = np.flatnonzero(np.diff(own["episode_index"][order])) + 1
    episodes, tasks, unnamed, doubled = {}, [], set(), []
    for part in np.split(order, cuts) if len(order) else ():
        number = int(own["episode_index"][part[0]])
        if (np.diff(own["frame_index"][part]) == 0).any():
            doubled.append(number)
            continue
        index = np.nan_to_num(own["task_index"][part], nan=-1).astype(int).tolist()
        place = {kind: at for at, kind in enumerate(dict.fromkeys(index))}
        unnamed |= place.keys() - texts.keys()
        names = tuple(texts.get(kind, "") for kind in place)
        tasks.append(names[0] if len(names) == 1 else names)
        columns = {n: v[part, 0] if v.shape[1] == 1 else v[part] for n, v in rows.items()}
        columns["timestamp"] = own["timestamp"][part]
        episodes[number] = columns | {"task_index": np.array([place[kind] for kind in index])}
    if doubled:
        damaged.append(
            f"episodes {_some(doubled)} have a frame_index twice; they are not read: delete the "
            "file or the rows that are not of this set"
        )
    if unnamed:
        damaged.append(f"no task has the task_index {_some(unnamed)}; the text of such is ''")
    return episodes, tasks


def _tasks(meta: Path, damaged: list[str]) -> dict[int, str]:
    """Text of each task_index; the texts' column has the name of whatever index pandas had."""
    paths = [path for path in (meta / "tasks.parquet", meta / "tasks.jsonl") if path.is_file()]
    for table in attempt(paths, read_table, damaged).values():
        columns = table.to_pydict()
        places = columns.pop("task_index", range(table.num_rows))
        for texts in columns.values():
            if all(isinstance(text, str) for text in texts):
                return dict(zip(places, texts, strict=True))
    return {}


def _losses(meta: Path, info: dict[str, Any], lengths: dict[int, int]) -> list[str]:
    """Where the metadata count episodes or frames that the data files do not hold, or fewer."""
    losses: list[str] = []
    paths = [*_parquets(meta / "episodes"), *meta.glob("episodes.jsonl")]
    names = ("episode_index", "length")
    tables = attempt(paths, lambda path: read_table(path, names), losses)
    rows = [row for table in tables.values() for row in table.to_pylist()]
    listed = {row["episode_index"]: row.get("length") for row in rows if "episode_index" in row}
    if not listed:
        losses.append(f"{meta} lists no episodes; whether they are whole is not known")
    elif lost := listed.keys() - lengths:
        losses.append(
            f"{meta} lists episodes {_some(lost)}, and no data file that can be read holds them: "
            "their file is elsewhere, or was never finished"
        )
    if uneven := [n for n, length in lengths.items() if listed.get(n, length) != length]:
        losses.append(
            f"{meta} counts other frames than the rows of episodes {_some(uneven)}, such as "
            f"{listed[uneven[0]]} for {lengths[uneven[0]]}; the rows are read"
        )
    total, saved = info.get("total_episodes"), len(listed or lengths)
    if type(total) is int and total > saved:
        losses.append(
            f"{meta / 'info.json'} counts {total} episodes, but {saved} were saved: the recorder "
            "was stopped before it saved the others; correct total_episodes"
        )
    return losses


def _some(places: Iterable[int]) -> str:
    shown = sorted(places)
    return ", ".join(map(str, shown[:8])) + (f" and {len(shown) - 8} more" if shown[8:] else "")
