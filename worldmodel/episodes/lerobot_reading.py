"""Reads LeRobot data sets, v3 and v2, as any recorder leaves them.

``episode_index`` and ``frame_index`` say which frame a row is, whichever file holds it. An episode
whose rows are not all there is left out; ``Dataset.damaged`` names it, with file and remedy.
"""

import dataclasses
import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq

from worldmodel.episodes.tables import damage, is_numeric, numbers, read_parquet
from worldmodel.errors import InputError

OWN = ("timestamp", "frame_index", "episode_index", "index", "task_index")  # the format's columns
_MEDIA = ("video", "image", "string")
T = TypeVar("T")


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


def read(directory: Path | str) -> Dataset:
    """Reads the whole episodes of a data set: all features of numbers.

    Args:
      directory: holds the folders ``meta`` and ``data``.

    Returns:
      The data set, its episodes by their index. Integers and truth values with gaps are float64.

    Raises:
      DatasetError: no set there, one of another version, nothing to read in it; the message names
        the file and the remedy.
    """
    root, damaged = Path(directory), []
    info = _info(root / "meta" / "info.json")
    paths = sorted((root / "data").rglob("[!.]*.parquet"))
    if not paths:
        raise DatasetError(f"{root / 'data'} holds no Parquet file; fetch or record the data, too")
    schemas = _each(paths, pq.read_schema, damaged)
    kinds = {field.name: field.type for schema in schemas.values() for field in schema}
    ignored = _ignored(info["features"], kinds)
    names = [name for name in dict.fromkeys([*info["features"], *kinds]) if name not in ignored]
    files = _each([*schemas], lambda path: _columns(path, names), damaged)
    if not files:
        raise DatasetError("; ".join([f"{root} has no data file that can be read", *damaged]))
    rows, odd = _joined([*files.values()], names)
    frame, episode = (rows[name][:, 0] for name in ("frame_index", "episode_index"))
    parts = _whole(root / "meta", info, episode, frame, damaged)
    if not parts:
        raise DatasetError("; ".join([f"{root} has no episode that can be read", *damaged]))
    unknown = np.full((len(frame), 1), np.nan)
    time = _time(rows.get("timestamp", unknown)[:, 0], frame / info["fps"], damaged)
    places = np.nan_to_num(rows.get("task_index", unknown)[:, 0], nan=-1).astype(int)
    rows = {name: values for name, values in rows.items() if name not in OWN}
    episodes, tasks, texts, unnamed = [], [], _texts(root / "meta", damaged), set()
    for part in parts.values():
        columns = {n: v[part, 0] if v.shape[1] == 1 else v[part] for n, v in rows.items()}
        present = list(dict.fromkeys(places[part].tolist()))
        columns["task_index"] = np.array([present.index(place) for place in places[part]])
        episodes.append(columns | {"timestamp": time[part]})
        several = tuple(texts.get(place, "") for place in present)
        tasks.append(several[0] if len(several) == 1 else several)
        unnamed |= {*present} - texts.keys()
    if unnamed:
        damaged.append(f"no task has the task_index {_some(unnamed)}; the text of such is ''")
    provenance = _each([*root.glob("meta/provenance.json")], _json, damaged)
    return Dataset(
        info["fps"],
        str(info.get("robot_type") or "unknown"),
        {name: _feature(values, info["features"].get(name, {})) for name, values in rows.items()},
        episodes,
        tasks,
        next(iter(provenance.values()), {}),
        tuple(parts),
        ignored | odd,
        tuple(damaged),
    )


def _each(paths: Sequence[Path], call: Callable[[Path], T], damaged: list[str]) -> dict[Path, T]:
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
        raise DatasetError(f"no file {path}; give the folder that holds meta and data")
    info = _each([path], _json, damaged).get(path, {})
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


def _columns(path: Path, names: Sequence[str]) -> dict[str, np.ndarray | str]:
    """The columns of a file as ``tables.numbers`` has them; of its frames' places, numbers."""
    table = read_parquet(path, names)
    columns = {name: numbers(table[name]) for name in table.column_names}
    for name in ("episode_index", "frame_index"):
        if isinstance(columns.get(name, ""), str):
            raise ValueError(f"it has no column '{name}' of numbers")
    return columns


def _joined(
    files: Sequence[dict[str, np.ndarray | str]], names: Sequence[str]
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The columns of all files, (rows, k) each, and why others cannot be joined."""
    rows, odd = {}, {}
    for name in names:
        parts = [file.get(name, "not every data file has it") for file in files]
        arrays = [x.reshape(len(x), -1 if len(x) else 1) for x in parts if not isinstance(x, str)]
        if len(arrays) < len(parts):
            odd[name] = next(x for x in parts if isinstance(x, str))
        elif len({x.shape[1] for x in arrays if len(x)}) > 1:
            odd[name] = "its rows differ in length"
        else:
            rows[name] = np.concatenate([x for x in arrays if len(x)] or arrays)
    return rows, odd


def _time(time: np.ndarray, nominal: np.ndarray, damaged: list[str]) -> np.ndarray:
    """(rows,) [s] as recorded. A float32 that differs from the nominal time by its rounding alone
    is that; so is the time where no row has one."""
    if np.isnan(time).all():
        damaged.append("no row has a timestamp [s]; time is frame_index / fps")
        return nominal
    rounded = (time.dtype == np.float32) & (nominal.astype(np.float32) == time)
    return np.where(rounded, nominal, time.astype(np.float64))


def _whole(
    meta: Path, info: dict[str, Any], episode: np.ndarray, frame: np.ndarray, damaged: list[str]
) -> dict[int, np.ndarray]:
    """The rows of every episode whose rows are all there, in the order of frame_index."""
    paths = sorted([*meta.glob("episodes/**/[!.]*.parquet"), *meta.glob("episodes.jsonl")])
    counts = _each(paths, _lengths, damaged).values()
    lengths = {n: length for count in counts for n, length in count.items()}
    order = np.lexsort((frame, episode))
    cuts = np.flatnonzero(np.diff(episode[order])) + 1
    parts = np.split(order, cuts) if len(order) else []
    there = {int(episode[part[0]]): part for part in parts if episode[part[0]] % 1 == 0}
    whole = {
        n: part
        for n, part in there.items()
        if lengths.get(n, len(part)) == len(part)
        and (np.diff(frame[part], prepend=-1) > 0).all()  # none twice, none NaN
    }
    if broken := {*lengths, *there} - whole.keys():
        damaged.append(
            f"episodes {_some(broken)} are not whole: the data files that can be read hold other "
            f"frames than {meta} counts, or one twice; they are left out: copy their "
            "files again, or delete what is not of this set"
        )
    total, saved = info.get("total_episodes"), len(lengths or there)
    if not lengths:
        damaged.append(f"{meta} lists no episodes; whether they are whole is not known")
    elif type(total) is int and total > saved:
        damaged.append(
            f"{meta / 'info.json'} counts {total} episodes, but {saved} were saved: the recorder "
            "was stopped before it saved the others; correct total_episodes"
        )
    return whole


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
        for rows in _each(paths, _listed, damaged).values()
        for place, row in enumerate(rows)
    }


def _some(places: Iterable[int]) -> str:
    shown = sorted(places)
    return ", ".join(map(str, shown[:8])) + (f" and {len(shown) - 8} more" if shown[8:] else "")
