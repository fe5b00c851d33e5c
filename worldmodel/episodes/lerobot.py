"""Data sets on disk in LeRobot's format v3.0, which robot learning loads and trains from.

``data/chunk-000/file-000.parquet`` holds many episodes, one row group each; ``meta/`` holds
``info.json``, ``stats.json``, ``tasks.parquet``, ``episodes/`` with one row per episode,
``provenance.json`` and ``checksums.json`` (SHA-256 of every file; other writers have neither of
the last two). A set is written atomically, so a kill at any moment
leaves a complete set or none. Videos, images and text are neither written nor read.
"""

import dataclasses
import itertools
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from worldmodel.episodes.lerobot_format import (
    OWN,
    PLACE,
    ROWS,
    VERSION,
    Dataset,
    DatasetError,
    Feature,
    array_shape,
    check_feature,
    check_finite,
    sha256,
)
from worldmodel.episodes.lerobot_reading import read
from worldmodel.runtime.files import new_folder

__all__ = ["Dataset", "DatasetError", "Feature", "read", "write"]

_CHUNKS_SIZE = 1000  # files per chunk
_DATA_FILES_SIZE_IN_MB = 100  # before compression; an episode is never split
_QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}


def write(directory: Path, dataset: Dataset) -> None:
    """Writes a data set, whole or not at all.

    Leftovers of a killed writer of the same set are removed. Of two writers of one set at a time,
    the later one wins.

    Args:
      directory: of the set; must not exist yet.
      dataset: its values are cast to the features' dtypes where that is safe, or among floats.

    Raises:
      DatasetError: ``directory`` exists; a feature, episode, task or the provenance does
        not match ``Dataset``; a value is not finite; the disk is full. Nothing remains on disk.
    """
    directory = Path(directory)
    if directory.exists() or directory.is_symlink():
        raise DatasetError(f"{directory} is there already; choose another folder or delete it")
    episodes = _checked(dataset)
    try:
        with new_folder(directory) as folder:
            _fill(folder, dataset, episodes)
    except FileExistsError:
        raise DatasetError(f"{directory} has appeared meanwhile; choose another folder") from None
    except (OSError, pa.ArrowException) as error:
        remedy = "nothing was left there; free space or choose another folder"
        raise DatasetError(f"cannot write {directory}: {error}; {remedy}") from error


def _checked(dataset: Dataset) -> list[dict[str, np.ndarray]]:
    """The episodes as arrays of the features' dtypes, scalars (frames,), all there and finite."""
    if type(dataset.fps) is not int or not 0 < dataset.fps < 2**53:
        raise DatasetError(f"fps is {dataset.fps!r}; the format wants a whole number above 0")
    if not dataset.features or not dataset.episodes:
        raise DatasetError("a data set needs at least one feature and one episode; it has none")
    if len(dataset.tasks) != len(dataset.episodes):
        raise DatasetError(
            f"{len(dataset.tasks)} tasks for {len(dataset.episodes)} episodes; give one each"
        )
    texts = [dataset.robot_type, *dataset.tasks]
    for name, feature in dataset.features.items():
        check_feature("dataset", name, feature)
        if feature.names is not None and len(feature.names) != feature.shape[0]:
            raise DatasetError(f"feature '{name}' has {len(feature.names)} names; give one each")
        texts += [name, *(feature.names or ())]
        if name in OWN or name == "task" or "image" in name:
            raise DatasetError(f"feature '{name}' has a name that LeRobot reserves; rename it")
    if not all(isinstance(text, str) for text in texts):
        raise DatasetError("robot_type, the tasks and the features' names are text; give strings")
    try:
        content = [texts, dict(dataset.provenance)]
        json.dumps(content, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError) as error:
        raise DatasetError(
            f"provenance, tasks or names are not JSON ({error}); give plain, finite values"
        ) from None
    return [_checked_episode(i, e, dataset.features) for i, e in enumerate(dataset.episodes)]


def _checked_episode(
    number: int, episode: dict[str, np.ndarray], features: dict[str, Feature]
) -> dict[str, np.ndarray]:
    odd = sorted(features.keys() ^ episode.keys())
    if odd:
        what = "lacks" if odd[0] in features else "has the undeclared"
        raise DatasetError(f"episode {number} {what} feature '{odd[0]}'; all hold the same")
    frames = (np.shape(next(iter(episode.values()))) or (0,))[0]
    out = {}
    for name, feature in features.items():
        array, where = np.asarray(episode[name]), f"episode {number}: feature '{name}'"
        shapes = [(frames, *feature.shape), *([(frames,)] if feature.shape == (1,) else [])]
        if array.shape not in shapes or not frames:
            raise DatasetError(
                f"{where} has shape {array.shape}, not {shapes[-1]} with one frame or more"
            )
        wanted = np.dtype(feature.dtype)
        if not (np.can_cast(array.dtype, wanted) or (array.dtype.kind == wanted.kind == "f")):
            raise DatasetError(f"{where} is of type {array.dtype}, not {wanted}; convert it")
        with np.errstate(over="ignore"):
            out[name] = array.reshape(array_shape(frames, feature)).astype(wanted)
        check_finite(where, out[name])
    return out


def _fill(root: Path, dataset: Dataset, episodes: list[dict[str, np.ndarray]]) -> None:
    features = dataset.features | OWN
    tasks = list(dict.fromkeys(dataset.tasks))
    frames = [len(next(iter(episode.values()))) for episode in episodes]
    ends = np.cumsum(frames).tolist()
    for i, episode in enumerate(episodes):
        numbers = np.arange(frames[i])
        episode["timestamp"] = (numbers / dataset.fps).astype(np.float32)
        episode["frame_index"] = numbers
        episode["episode_index"] = np.full(frames[i], i)
        episode["index"] = numbers + ends[i] - frames[i]
        episode["task_index"] = np.full(frames[i], tasks.index(dataset.tasks[i]))
    for folder in (root / "data", root / "meta", root / "meta" / "episodes"):
        folder.mkdir()
    places = _places([sum(column.nbytes for column in episode.values()) for episode in episodes])
    for (chunk, file), members in itertools.groupby(range(len(episodes)), places.__getitem__):
        path = root / "data" / PLACE.format(chunk_index=chunk, file_index=file)
        _write_parquet(path, (_data_table(episodes[i], features) for i in members))
    rows = []
    for i, (chunk, file) in enumerate(places):
        whole = (i, frames[i], chunk, file, ends[i] - frames[i], ends[i])
        row: dict[str, Any] = dict(zip(ROWS, whole, strict=True)) | {"tasks": [dataset.tasks[i]]}
        row |= {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}
        for name in features:
            statistics = _statistics(name, episodes[i][name])
            row |= {f"stats/{name}/{what}": value for what, value in statistics.items()}
        rows.append(row)
    path = root / "meta" / "episodes" / PLACE.format(chunk_index=0, file_index=0)
    _write_parquet(path, [pa.table({key: [row[key] for row in rows] for key in rows[0]})])
    _write_parquet(root / "meta" / "tasks.parquet", [_tasks_table(tasks)])
    info = {
        "codebase_version": VERSION,
        "robot_type": dataset.robot_type,
        "total_episodes": len(episodes),
        "total_frames": ends[-1],
        "total_tasks": len(tasks),
        "chunks_size": _CHUNKS_SIZE,
        "data_files_size_in_mb": _DATA_FILES_SIZE_IN_MB,
        "video_files_size_in_mb": 200,
        "fps": dataset.fps,
        "splits": {"train": f"0:{len(episodes)}"},
        "data_path": f"data/{PLACE}",
        "video_path": None,
        "features": {name: dataclasses.asdict(feature) for name, feature in features.items()},
    }
    _write_json(root / "meta" / "info.json", info)
    stats = {
        name: _statistics(name, np.concatenate([episode[name] for episode in episodes]))
        for name in features
    }
    _write_json(root / "meta" / "stats.json", stats)
    _write_json(root / "meta" / "provenance.json", dataset.provenance)
    files = sorted(path for path in root.rglob("*") if path.is_file())
    sums = {path.relative_to(root).as_posix(): sha256(path) for path in files}
    _write_json(root / "meta" / "checksums.json", sums)


def _places(sizes: list[int]) -> list[tuple[int, int]]:
    """Chunk and file of each episode, for their sizes [bytes]."""
    places, number, used = [], 0, 0
    for size in sizes:
        if used and used + size > _DATA_FILES_SIZE_IN_MB * 2**20:
            number, used = number + 1, 0
        used += size
        places.append(divmod(number, _CHUNKS_SIZE))
    return places


def _data_table(episode: dict[str, np.ndarray], features: dict[str, Feature]) -> pa.Table:
    columns = {}
    for name, feature in features.items():
        flat = pa.array(episode[name].ravel())
        scalar = feature.shape == (1,)
        columns[name] = flat if scalar else pa.FixedSizeListArray.from_arrays(flat, *feature.shape)
    return pa.table(columns)


def _tasks_table(tasks: list[str]) -> pa.Table:
    """Tasks by position, as pandas writes a frame whose index is named "task"."""
    text = {"pandas_type": "unicode", "numpy_type": "object"}
    number = {"pandas_type": "int64", "numpy_type": "int64", "metadata": None}
    encoding = {"metadata": {"encoding": "UTF-8"}}
    pandas = {
        "index_columns": ["task"],
        "column_indexes": [{"name": None, "field_name": None} | text | encoding],
        "columns": [
            {"name": "task_index", "field_name": "task_index"} | number,
            {"name": "task", "field_name": "task"} | text | {"metadata": None},
        ],
        "pandas_version": "2.2.0",
    }
    table = pa.table({"task_index": np.arange(len(tasks)), "task": tasks})
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})


def _statistics(name: str, values: np.ndarray) -> dict[str, list[Any]]:
    """Per component, over the frames: each a list, also of a scalar column."""
    values = values.reshape(len(values), -1)
    wide = values.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        real = {"mean": wide.mean(axis=0), "std": wide.std(axis=0)}
        real |= zip(_QUANTILES, np.quantile(wide, [*_QUANTILES.values()], axis=0), strict=True)
    if not np.isfinite([*real.values()]).all():
        raise DatasetError(f"feature '{name}': the values' statistics overflow; scale them down")
    whole = {"min": values.min(axis=0), "max": values.max(axis=0), "count": np.array([len(values)])}
    return {what: value.tolist() for what, value in (whole | real).items()}


def _write_parquet(path: Path, tables: Iterable[pa.Table]) -> None:
    """One row group per table; the footer is closed."""
    path.parent.mkdir(exist_ok=True)  # no parents: another writer may have removed them
    tables = iter(tables)
    first = next(tables)
    with path.open("wb") as sink, pq.ParquetWriter(sink, first.schema, compression="snappy") as out:
        for table in itertools.chain([first], tables):
            out.write_table(table, row_group_size=table.num_rows)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=4, ensure_ascii=False), encoding="utf-8")
