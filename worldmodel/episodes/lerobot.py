"""Data sets on disk in LeRobot's format, which robot learning loads and trains from.

Written is v3.0: ``data/chunk-000/file-000.parquet`` holds all episodes; ``meta/`` holds
``info.json``, ``stats.json``, ``tasks.parquet``, ``episodes/`` with one row per episode, and
``provenance.json``, which other writers have not. Any numeric channel is a feature,
such as ``observation.gripper_width``, ``observation.object.cube``, ``contact.finger_on_cube``,
``goal.target``, ``intervention``. Videos, images and text are neither written nor read.
"""

import dataclasses
import itertools
import json
import warnings
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
)
from worldmodel.errors import cause
from worldmodel.runtime.files import new_folder

__all__ = ["Dataset", "DatasetError", "Feature", "read", "write"]

_PLACE = "chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_FILE = _PLACE.format(chunk_index=0, file_index=0)
_DTYPES = {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
_DTYPES |= {"bool", "float16", "float32", "float64"}
_TIME, _COUNT = Feature("float32", (1,)), Feature("int64", (1,))
_QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}


def write(directory: Path | str, dataset: Dataset) -> None:
    """Writes a data set, whole or not at all, also when it is killed.

    Episodes are numbered from 0. Of two writers of one set at a time, the later one wins.

    Args:
      directory: of the set; must not exist yet.
      dataset: its values are cast to the features' dtypes where that is safe, or among floats. NaN
        is a value that was not measured; it does not count in the statistics.

    Raises:
      DatasetError: ``directory`` exists; a feature, episode, task or the provenance does
        not match ``Dataset``; a value is infinite; the disk is full. Nothing remains on disk.
    """
    directory = Path(directory)
    if directory.exists() or directory.is_symlink():
        raise DatasetError(f"{directory} is there already; choose another folder or delete it")
    _check(dataset)
    tasks = [task if isinstance(task, tuple) else (task,) for task in dataset.tasks]
    texts = list(dict.fromkeys(itertools.chain(*tasks)))
    episodes, start = [], 0
    for number, episode in enumerate(dataset.episodes):
        places = np.array([texts.index(task) for task in tasks[number]])
        episodes.append(_columns(number, start, episode, dataset, places))
        start += len(episodes[-1]["index"])
    try:
        with new_folder(directory) as folder:
            _fill(folder, dataset, tasks, texts, episodes)
    except FileExistsError:
        raise DatasetError(f"{directory} has appeared meanwhile; choose another folder") from None
    except OSError as error:
        remedy = "nothing was left there; free space or choose another folder"
        raise DatasetError(f"cannot write {directory}: {cause(error)}; {remedy}") from error
    except (TypeError, ValueError) as error:
        remedy = "give text for tasks and names, and provenance of plain, finite values"
        raise DatasetError(f"cannot write {directory}: {cause(error)}; {remedy}") from error


def _check(dataset: Dataset) -> None:
    if not 0 < dataset.fps < np.inf:
        raise DatasetError(f"fps is {dataset.fps!r}; give the frames per second")
    if not dataset.features or not dataset.episodes:
        raise DatasetError("a data set needs at least one feature and one episode; it has none")
    if len(dataset.tasks) != len(dataset.episodes):
        raise DatasetError(
            f"{len(dataset.tasks)} tasks for {len(dataset.episodes)} episodes; give one each"
        )
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


def _fill(
    root: Path,
    dataset: Dataset,
    tasks: list[tuple[str, ...]],
    texts: list[str],
    episodes: list[dict[str, np.ndarray]],
) -> None:
    features = dataset.features | {name: _TIME if name == "timestamp" else _COUNT for name in OWN}
    whole = {name: np.concatenate([episode[name] for episode in episodes]) for name in features}
    stats = {name: _statistics(values) for name, values in whole.items()}
    tables = {
        f"data/{_FILE}": pa.table({name: _stored(values) for name, values in whole.items()}),
        f"meta/episodes/{_FILE}": pa.Table.from_pylist(
            [_row(episode, names) for episode, names in zip(episodes, tasks, strict=True)]
        ),
        "meta/tasks.parquet": _tasks_table(texts),
    }
    for path, table in tables.items():
        for folder in reversed((root / path).relative_to(root).parents[:-1]):
            (root / folder).mkdir(exist_ok=True)  # not its parents: another writer may sweep root
        pq.write_table(table, root / path, write_page_checksum=True)
    info = {
        "codebase_version": "v3.0",
        "robot_type": dataset.robot_type,
        "total_episodes": len(episodes),
        "total_frames": len(whole["index"]),
        "total_tasks": len(texts),
        "chunks_size": 1000,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": dataset.fps,
        "splits": {"train": f"0:{len(episodes)}"},
        "data_path": f"data/{_PLACE}",
        "video_path": None,
        "features": {name: dataclasses.asdict(feature) for name, feature in features.items()},
    }
    for name, content in (("info", info), ("stats", stats), ("provenance", dataset.provenance)):
        nan = name == "stats"  # of a column that is NaN throughout
        text = json.dumps(dict(content), indent=4, ensure_ascii=False, allow_nan=nan)
        (root / "meta" / f"{name}.json").write_text(text, encoding="utf-8")


def _stored(values: np.ndarray) -> pa.Array:
    flat = pa.array(values.ravel())
    return flat if values.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def _row(episode: dict[str, np.ndarray], tasks: tuple[str, ...]) -> dict[str, Any]:
    """What ``meta/episodes`` says of an episode."""
    index = episode["index"]
    row: dict[str, Any] = {"episode_index": int(episode["episode_index"][0]), "tasks": [*tasks]}
    row |= {"length": len(index), "data/chunk_index": 0, "data/file_index": 0}
    row |= {"dataset_from_index": int(index[0]), "dataset_to_index": int(index[-1]) + 1}
    row |= {"meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0}
    statistics = {name: _statistics(values) for name, values in episode.items()}
    return row | {
        f"stats/{name}/{what}": value for name, s in statistics.items() for what, value in s.items()
    }


def _tasks_table(texts: list[str]) -> pa.Table:
    """Tasks by position, as pandas writes a frame whose index is named "task"."""
    index = {"name": "task", "field_name": "task", "metadata": None}
    index |= {"pandas_type": "unicode", "numpy_type": "object"}
    pandas = {"index_columns": ["task"], "columns": [index], "column_indexes": []}
    table = pa.table({"task_index": np.arange(len(texts)), "task": texts})
    return table.replace_schema_metadata({"pandas": json.dumps(pandas)})


def _statistics(values: np.ndarray) -> dict[str, list[Any]]:
    """Per component, over the frames where it is not NaN: each a list, also of a scalar column."""
    values = values.reshape(len(values), -1)
    wide = values.astype(np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a column of NaN has NaN statistics
        real = {"mean": np.nanmean(wide, axis=0), "std": np.nanstd(wide, axis=0)}
        quantiles = np.nanquantile(wide, [*_QUANTILES.values()], axis=0)
    real |= zip(_QUANTILES, quantiles, strict=True)
    whole = {"min": np.fmin.reduce(values), "max": np.fmax.reduce(values)}
    counted = {what: value.tolist() for what, value in (whole | real).items()}
    return counted | {"count": [len(values)]}
