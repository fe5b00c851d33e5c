"""Data sets on disk in LeRobot's format, which robot learning loads and trains from.

Written is v3.0: ``data/chunk-000/file-000.parquet`` and so on hold the episodes; ``meta/`` holds
``info.json``, ``stats.json``, ``tasks.parquet``, ``episodes/`` with one row per episode, and
``provenance.json``, which other writers have not. Any numeric channel is a feature,
such as ``observation.gripper_width``, ``observation.object.cube``, ``contact.finger_on_cube``,
``goal.target``, ``intervention``. Videos, images and text are neither written nor read.
"""

import contextlib
import dataclasses
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from worldmodel.episodes.lerobot_reading import (
    OWN,
    Dataset,
    DatasetError,
    Feature,
    read,
    stream,
)
from worldmodel.episodes.lerobot_statistics import Statistics, statistics
from worldmodel.errors import InputError, cause
from worldmodel.runtime.files import new_folder

__all__ = ["Dataset", "DatasetError", "Feature", "Named", "Rows", "read", "stream", "write"]

_PLACE = "chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_CHUNK, _FILE_MB = 1000, 100  # files in a folder, and the size of one before compression
_GROUP, _GROUP_MB = 100, 8  # of a row group, which alone is held in memory
_EMPTY = "a data set needs at least one feature and one episode; it has none"
_DTYPES = {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
_DTYPES |= {"bool", "float16", "float32", "float64"}
_TIME, _COUNT = Feature("float32", (1,)), Feature("int64", (1,))
Rows = dict[str, np.ndarray]  # an episode's, by feature
Named = str | tuple[str, ...]  # an episode's task, or its several


def write(
    directory: Path | str, dataset: Dataset, rows: Iterable[tuple[Rows, Named]] | None = None
) -> None:
    """Writes a data set, whole or not at all, also when it is killed.

    Episodes are numbered from 0. Of two writers of one set at a time, the later one wins.

    Args:
      directory: of the set; must not exist yet.
      dataset: its values are cast to the features' dtypes where that is safe, or among floats. NaN
        is a value that was not measured; it does not count in the statistics.
      rows: episodes with their tasks, in place of the data set's own: taken one after the other,
        so that a set may be larger than the memory. The provenance is written after the last.

    Raises:
      DatasetError: ``directory`` exists; a feature, episode, task or the provenance does
        not match ``Dataset``; a value is infinite; the disk is full. Nothing remains on disk.
    """
    directory = Path(directory)
    if directory.exists() or directory.is_symlink():
        raise DatasetError(f"{directory} is there already; choose another folder or delete it")
    _check(dataset)
    if rows is None:
        if len(dataset.tasks) != len(dataset.episodes):
            raise DatasetError(
                f"{len(dataset.tasks)} tasks for {len(dataset.episodes)} episodes; give one each"
            )
        rows = zip(dataset.episodes, dataset.tasks, strict=True)
    try:
        with new_folder(directory) as folder:
            _fill(folder, dataset, rows)
    except FileExistsError:
        raise DatasetError(f"{directory} has appeared meanwhile; choose another folder") from None
    except OSError as error:
        remedy = "nothing was left there; free space or choose another folder"
        raise DatasetError(f"cannot write {directory}: {cause(error)}; {remedy}") from error
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        remedy = "give text for tasks and names, and provenance of plain, finite values"
        raise DatasetError(f"cannot write {directory}: {cause(error)}; {remedy}") from error


def _check(dataset: Dataset) -> None:
    if not 0 < dataset.fps < np.inf:
        raise DatasetError(f"fps is {dataset.fps!r}; give the frames per second")
    if not dataset.features:
        raise DatasetError(_EMPTY)
    for name, feature in dataset.features.items():
        why = ""
        if not name or "/" in name or name in (*OWN, "task") or "image" in name:
            why = "has a name that LeRobot reserves; rename it"
        elif feature.dtype not in _DTYPES:
            why = f"is of dtype {feature.dtype}, not of a number's"
        elif len(feature.shape) != 1 or feature.shape[0] < 1:
            why = f"has shape {feature.shape}; flatten it to (k,)"
        elif feature.names is not None and len(feature.names) != feature.shape[0]:
            why = f"has {len(feature.names)} names; give one each"
        if why:
            raise DatasetError(f"feature '{name}' {why}")


def _columns(
    number: int, start: int, episode: dict[str, np.ndarray], dataset: Dataset, places: np.ndarray
) -> dict[str, np.ndarray]:
    """An episode's arrays of the features' dtypes, scalars (frames,), and the format's own."""
    if odd := sorted(dataset.features.keys() ^ (episode.keys() - {"timestamp", "task_index"})):
        what = "lacks" if odd[0] in dataset.features else "has the undeclared"
        raise DatasetError(f"episode {number} {what} feature '{odd[0]}'; all hold the same")
    frames = (np.shape(next(iter(episode.values()))) or (0,))[0]
    index = np.arange(frames)
    given = {"timestamp": index / dataset.fps, "task_index": np.zeros(frames, int)} | episode
    out = {}
    for name, feature in (dataset.features | {"timestamp": _TIME, "task_index": _COUNT}).items():
        array, where = np.asarray(given[name]), f"episode {number}: feature '{name}'"
        shape = (frames,) if feature.shape == (1,) else (frames, *feature.shape)
        if array.shape not in (shape, (frames, *feature.shape)) or not frames:
            raise DatasetError(
                f"{where} has shape {array.shape}, not {shape} with one frame or more"
            )
        wanted = np.dtype(feature.dtype)
        if not (np.can_cast(array.dtype, wanted) or (array.dtype.kind == wanted.kind == "f")):
            raise DatasetError(f"{where} is of type {array.dtype}, not {wanted}; convert it")
        with np.errstate(over="ignore"):
            out[name] = array.reshape(shape).astype(wanted)
        if wanted.kind == "f" and (bad := np.isinf(out[name]).reshape(frames, -1).any(1)).any():
            raise DatasetError(f"{where} is infinite at frame {bad.argmax()}; mend the episode")
    time, task = out["timestamp"], out["task_index"]
    if np.spacing(np.nanmax(np.abs(time), initial=0)) > 0.5 / dataset.fps:
        raise DatasetError(
            f"episode {number}: timestamp {time[0]} s is too large for the format's float32; count "
            "from the episode's start"
        )
    if not ((task >= 0) & (task < len(places))).all():
        raise DatasetError(f"episode {number} has {len(places)} tasks; task_index names others")
    own = {"frame_index": index, "episode_index": np.full(frames, number), "index": index + start}
    return out | own | {"task_index": places[task]}


def _fill(root: Path, dataset: Dataset, rows: Iterable[tuple[Rows, Named]]) -> None:
    features = dataset.features | {name: _TIME if name == "timestamp" else _COUNT for name in OWN}
    stats = {name: Statistics() for name in features}
    texts: dict[str, int] = {}
    frames = episodes = 0
    with contextlib.ExitStack() as stack:
        files = _Files(root, stack)
        for group in _groups(rows):
            columns, names = [], []
            for episode, task in group:
                names.append(task if isinstance(task, tuple) else (task,))
                places = np.array([texts.setdefault(text, len(texts)) for text in names[-1]])
                columns.append(_columns(episodes, frames, episode, dataset, places))
                episodes, frames = episodes + 1, frames + len(columns[-1]["index"])
            whole = {name: np.concatenate([one[name] for one in columns]) for name in features}
            for name, values in whole.items():
                stats[name].add(values)
            at = files.data(pa.table({name: _stored(values) for name, values in whole.items()}))
            files.episodes([_row(*one, at) for one in zip(columns, names, strict=True)])
    if not episodes:
        raise DatasetError(_EMPTY)
    pq.write_table(_tasks_table([*texts]), root / "meta/tasks.parquet", write_page_checksum=True)
    info = {
        "codebase_version": "v3.0",
        "robot_type": dataset.robot_type,
        "total_episodes": episodes,
        "total_frames": frames,
        "total_tasks": len(texts),
        "chunks_size": _CHUNK,
        "data_files_size_in_mb": _FILE_MB,
        "video_files_size_in_mb": 200,
        "fps": dataset.fps,
        "splits": {"train": f"0:{episodes}"},
        "data_path": f"data/{_PLACE}",
        "video_path": None,
        "features": {name: dataclasses.asdict(feature) for name, feature in features.items()},
    }
    described = {name: column.result() for name, column in stats.items()}
    for name, content in (("info", info), ("stats", described), ("provenance", dataset.provenance)):
        nan = name == "stats"  # of a column that is NaN throughout
        text = json.dumps(dict(content), indent=4, ensure_ascii=False, allow_nan=nan)
        (root / "meta" / f"{name}.json").write_text(text, encoding="utf-8")


def _groups(rows: Iterable[tuple[Rows, Named]]) -> Iterator[list[tuple[Rows, Named]]]:
    """Episodes that become one row group of Parquet: ``_GROUP`` of them, or ``_GROUP_MB``."""
    group, size = [], 0
    for row in rows:
        group.append(row)
        size += sum(np.asarray(values).nbytes for values in row[0].values())
        if len(group) == _GROUP or size >= 1e6 * _GROUP_MB:
            yield group
            group, size = [], 0
    if group:
        yield group


class _Files:
    """The Parquet files of data and episodes, which stay open until all is written."""

    def __init__(self, root: Path, stack: contextlib.ExitStack) -> None:
        self._root, self._stack = root, stack
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._number, self._bytes = 0, 0

    def data(self, table: pa.Table) -> tuple[int, int]:
        """Adds a row group, to another file where this one is full; its chunk and file."""
        if self._bytes and self._bytes + table.nbytes > 1e6 * _FILE_MB:
            self._number, self._bytes = self._number + 1, 0
            self._writers.pop("data").close()
        self._bytes += table.nbytes
        at = divmod(self._number, _CHUNK)
        place = _PLACE.format(chunk_index=at[0], file_index=at[1])
        self._writer("data", f"data/{place}", table.schema).write_table(table)
        return at

    def episodes(self, rows: list[dict[str, Any]]) -> None:
        """Adds what ``meta/episodes`` says of episodes."""
        writer = self._writers.get("episodes")
        table = pa.Table.from_pylist(rows, schema=writer.schema if writer else None)
        place = _PLACE.format(chunk_index=0, file_index=0)
        self._writer("episodes", f"meta/episodes/{place}", table.schema).write_table(table)

    def _writer(self, name: str, path: str, schema: pa.Schema) -> pq.ParquetWriter:
        if name not in self._writers:
            for folder in reversed((self._root / path).relative_to(self._root).parents[:-1]):
                (self._root / folder).mkdir(exist_ok=True)  # not its parents: a writer may sweep
            writer = pq.ParquetWriter(self._root / path, schema, write_page_checksum=True)
            self._writers[name] = self._stack.enter_context(writer)
        return self._writers[name]


def _stored(values: np.ndarray) -> pa.Array:
    flat = pa.array(values.ravel())
    return flat if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def _row(
    episode: dict[str, np.ndarray], tasks: tuple[str, ...], at: tuple[int, int]
) -> dict[str, Any]:
    """What ``meta/episodes`` says of an episode."""
    index = episode["index"]
    row: dict[str, Any] = {"episode_index": int(episode["episode_index"][0]), "tasks": [*tasks]}
    row |= {"length": len(index), "data/chunk_index": at[0], "data/file_index": at[1]}
    row |= {"dataset_from_index": int(index[0]), "dataset_to_index": int(index[-1]) + 1}
    row |= {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}
    return row | {
        f"stats/{name}/{what}": value
        for name, values in episode.items()
        for what, value in statistics(values).items()
    }


def _tasks_table(texts: list[str]) -> pa.Table:
    """Tasks by position, as pandas writes a frame whose index is named "task"."""
    index = {"name": "task", "field_name": "task", "metadata": None}
    index |= {"pandas_type": "unicode", "numpy_type": "object"}
    pandas = {"index_columns": ["task"], "columns": [index], "column_indexes": []}
    table = pa.table({"task_index": np.arange(len(texts)), "task": texts})
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})
