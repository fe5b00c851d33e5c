"""Reads LeRobot data sets, v3 and v2, as any recorder leaves them.

``episode_index`` and ``frame_index`` say which frame a row is, whichever file holds it. An episode
whose rows are not all there is left out; ``Dataset.damaged`` names it, with file and remedy.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from worldmodel.episodes.lerobot_meta import DatasetError, Head, each, read_head
from worldmodel.episodes.tables import damage, numbers, read_parquet

OWN = ("timestamp", "frame_index", "episode_index", "index", "task_index")  # the format's columns


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
    damaged: list[str] = []
    head = read_head(Path(directory), damaged)
    files = each(head.paths, lambda path: _columns(read_parquet(path, head.names)), damaged)
    if not files:
        raise DatasetError("; ".join([f"{directory} has no data file that can be read", *damaged]))
    data = _dataset(head, [*files.values()], head.lengths, damaged)
    if not data.episodes:
        raise DatasetError("; ".join([f"{directory} has no episode that can be read", *damaged]))
    total, saved = head.info.get("total_episodes"), len(head.lengths or data.ids)
    if head.lengths and type(total) is int and total > saved:
        damaged.append(
            f"{head.meta / 'info.json'} counts {total} episodes, but {saved} were saved: the "
            "recorder was stopped before it saved the others; correct total_episodes"
        )
    elif not head.lengths:
        damaged.append(f"{head.meta} lists no episodes; whether they are whole is not known")
    return dataclasses.replace(data, damaged=tuple(damaged))


def stream(directory: Path | str) -> Iterator[Dataset]:
    """Reads a data set that may be larger than the memory: a row group of its files at a time.

    Raises:
      DatasetError: see ``read``; a set that is damaged, or an episode that is not whole in one row
        group, as ``lerobot.write`` writes it.
    """
    damaged: list[str] = []
    head, seen = read_head(Path(directory), damaged), 0
    for columns in itertools.chain(*(_row_groups(path, head.names) for path in head.paths)):
        inside = {int(n) for n in np.unique(columns["episode_index"])}
        lengths = {n: head.lengths[n] for n in inside & head.lengths.keys()}
        data = _dataset(head, [columns], lengths, damaged)
        if damaged:
            raise DatasetError("; ".join(damaged))
        seen += len(data.episodes)
        yield data
    if seen != head.info.get("total_episodes"):
        raise DatasetError(f"{directory} holds {seen} episodes, {head.meta} counts others; copy it")


def _row_groups(path: Path, names: Sequence[str]) -> Iterator[dict[str, np.ndarray | str]]:
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            here = [name for name in file.schema_arrow.names if name in names]
            for group in range(file.num_row_groups):
                yield _columns(file.read_row_group(group, here).select(here))
    except Exception as error:  # damage shows as any of Arrow's errors, or as Python's
        raise DatasetError(f"{path} {damage(path, error)}") from error


def _dataset(
    head: Head,
    files: Sequence[dict[str, np.ndarray | str]],
    lengths: dict[int, int],
    damaged: list[str],
) -> Dataset:
    """The whole episodes of files, or of a part of one, of which ``lengths`` are listed."""
    rows, odd = _joined(files, head.names)
    frame, episode = (rows[name][:, 0] for name in ("frame_index", "episode_index"))
    parts = _whole(head.meta, lengths, episode, frame, damaged)
    unknown = np.full((len(frame), 1), np.nan)
    fps = head.info["fps"]
    time = _time(rows.get("timestamp", unknown)[:, 0], frame / fps, damaged)
    places = np.nan_to_num(rows.get("task_index", unknown)[:, 0], nan=-1).astype(int)
    rows = {name: values for name, values in rows.items() if name not in OWN}
    episodes, tasks, texts, unnamed = [], [], head.texts, set()
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
    described = head.info["features"]
    return Dataset(
        fps,
        str(head.info.get("robot_type") or "unknown"),
        {name: _feature(values, described.get(name, {})) for name, values in rows.items()},
        episodes,
        tasks,
        head.provenance,
        tuple(parts),
        head.ignored | odd,
    )


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


def _columns(table: pa.Table) -> dict[str, np.ndarray | str]:
    """The columns of a file as ``tables.numbers`` has them; of its frames' places, numbers."""
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
    meta: Path,
    lengths: dict[int, int],
    episode: np.ndarray,
    frame: np.ndarray,
    damaged: list[str],
) -> dict[int, np.ndarray]:
    """The rows of every episode whose rows are all there, in the order of frame_index."""
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
    return whole


def _some(places: Iterable[int]) -> str:
    shown = sorted(places)
    return ", ".join(map(str, shown[:8])) + (f" and {len(shown) - 8} more" if shown[8:] else "")
