"""Reading and checking data sets in LeRobot's format v3.0 (see ``lerobot``)."""

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
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

_TOLERANCE = 1e-4  # [s] of timestamps


def read(directory: Path) -> Dataset:
    """Reads and checks a data set, our own or another writer's.

    Raises:
      DatasetError: no set there, of another version, with videos; a file missing, truncated or
        not of this set; columns, counts, indices or timestamps that disagree; values that are
        not finite. The message names the file and the remedy.
    """
    try:
        return _read(Path(directory))
    except OSError as error:
        raise DatasetError(f"{directory} cannot be read ({error}); see to that first") from error


def _read(root: Path) -> Dataset:
    path = root / "meta" / "info.json"
    info = _object(path)
    version = info.get("codebase_version")
    if version != VERSION:
        raise DatasetError(
            f"{path}: codebase_version is {version!r}, not '{VERSION}'; convert the set with "
            "LeRobot's own converter"
        )
    _check_sums(root)
    counts = {name: info.get(f"total_{name}") for name in ("episodes", "frames", "tasks")}
    for name, count in [*counts.items(), ("fps", info.get("fps"))]:
        if type(count) is not int or not 0 < count < 2**53:
            raise DatasetError(f"{path}: {name} is {count!r}, not a whole number above 0")
    if info.get("data_path") != f"data/{PLACE}":
        raise DatasetError(f"{path}: data_path is {info.get('data_path')!r}, not 'data/{PLACE}'")
    declared = _features(path, info.get("features"))
    _object(root / "meta" / "stats.json")
    provenance = root / "meta" / "provenance.json"
    tasks = _tasks(root / "meta" / "tasks.parquet")
    rows = _rows(root)
    frames = sum(row["length"] for row in rows)
    counted = {"episodes": len(rows), "frames": frames, "tasks": len(tasks)}
    if counted != counts:
        raise DatasetError(f"{path} lists {counts}, the files hold {counted}; fetch it again")
    episodes, of = [], []
    files = [
        root / "data" / PLACE.format(chunk_index=row[ROWS[2]], file_index=row[ROWS[3]])
        for row in rows
    ]
    odd = sorted({*(root / "data").glob("*/*.parquet")} - {*files})
    if odd:
        raise DatasetError(f"{odd[0]} holds no episode of meta/episodes; move it elsewhere")
    for file, group in itertools.groupby(range(len(rows)), files.__getitem__):
        members = [rows[i] for i in group]
        columns = _columns(file, declared, sum(row["length"] for row in members))
        start = members[0]["dataset_from_index"]
        for row in members:
            part = slice(row["dataset_from_index"] - start, row["dataset_to_index"] - start)
            episode = {name: values[part] for name, values in columns.items()}
            of.append(_check_episode(file, episode, row, info["fps"], tasks))
            episodes.append({k: v for k, v in episode.items() if k not in OWN})
    return Dataset(
        info["fps"],
        str(info.get("robot_type") or "unknown"),
        {name: feature for name, feature in declared.items() if name not in OWN},
        episodes,
        of,
        _object(provenance) if provenance.exists() else {},
    )


def _object(path: Path) -> dict[str, Any]:
    _require(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DatasetError(f"{path} is truncated or damaged ({error}); fetch it again") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path} is no JSON object; fetch it again")
    return content


def _require(path: Path) -> None:
    if not path.is_file():
        raise DatasetError(f"no file {path}; is it a LeRobot set? fetch it again, whole")


def _check_sums(root: Path) -> None:
    """Holds the files against ``checksums.json``, where there is one."""
    path = root / "meta" / "checksums.json"
    for name, digest in (_object(path) if path.exists() else {}).items():
        file = root / name
        if not file.is_file() or sha256(file) != digest:
            state = "not as it was written" if file.is_file() else "missing"
            raise DatasetError(
                f"{file} is {state}; fetch it again, or delete {path} if the change is meant"
            )


def _features(path: Path, described: Any) -> dict[str, Feature]:
    features = {}
    for name, spec in described.items() if isinstance(described, dict) else ():
        spec = spec if isinstance(spec, dict) else {}
        shape, names = spec.get("shape"), spec.get("names")
        shape = tuple(shape) if isinstance(shape, list) else ()
        flat = isinstance(names, list) and all(isinstance(n, str) for n in names)
        names = tuple(names) if names and flat and (len(names),) == shape else None
        features[name] = Feature(spec.get("dtype", "none"), shape, names)
        check_feature(str(path), name, features[name])
    for name, own in OWN.items():
        if dataclasses.replace(features.get(name, Feature("", ())), names=None) != own:
            raise DatasetError(f"{path}: feature '{name}' is missing or not a scalar {own.dtype}")
    return features


def _table(path: Path, columns: list[str] | None = None) -> pa.Table:
    _require(path)
    try:
        with pq.ParquetFile(path) as file:
            table = file.read(columns=columns)
            table.validate(full=True)
    except Exception as error:  # damage shows as any of Arrow's errors, or as Python's
        raise DatasetError(f"{path} is truncated or damaged ({error}); fetch it again") from error
    for name in columns or []:
        if name not in table.column_names:
            raise DatasetError(f"{path} has no column '{name}'; is it a LeRobot {VERSION} file?")
    return table


def _tasks(path: Path) -> list[str]:
    """Tasks by position; pandas calls an index without a name ``__index_level_0__``."""
    table = _table(path)
    name = next((n for n in ("task", "__index_level_0__") if n in table.column_names), "task")
    content = {column: table.column(column).to_pylist() for column in table.column_names}
    tasks = content.get(name, [None])
    if content.get("task_index") != [*range(len(tasks))] or not all(
        isinstance(task, str) for task in tasks
    ):
        raise DatasetError(f"{path}: wants tasks (text) with task_index 0, 1, …; fetch it again")
    return tasks


def _rows(root: Path) -> list[dict[str, Any]]:
    """The rows of ``meta/episodes``, contiguous."""
    rows, end, last = [], 0, [0, 0]
    paths = sorted((root / "meta" / "episodes").glob("*/*.parquet"))
    for path in paths or [root / "meta" / "episodes" / PLACE.format(chunk_index=0, file_index=0)]:
        for row in _table(path, [*ROWS, "tasks"]).to_pylist():
            if not all(type(row[key]) is int and row[key] >= 0 for key in ROWS):
                raise DatasetError(f"{path}: row {len(rows)} holds a value that is no index")
            place = [row[key] for key in ROWS[2:4]]
            if not row["length"] or not isinstance(row["tasks"], list) or place < last:
                raise DatasetError(
                    f"{path}: episode {len(rows)} has no frames or tasks, or its data file comes "
                    "before that of the last; fetch the set again"
                )
            last = place
            span = (len(rows), end, end + row["length"])
            end = span[2]
            if span != tuple(row[k] for k in (ROWS[0], *ROWS[4:])):
                raise DatasetError(
                    f"{path}: episode {span[0]} is not episode {span[0]} from frame {span[1]} to "
                    f"{span[2]}; episodes are missing or of another set: fetch it again"
                )
            rows.append(row)
    return rows


def _columns(path: Path, features: dict[str, Feature], frames: int) -> dict[str, np.ndarray]:
    table = _table(path)
    if table.num_rows != frames:
        raise DatasetError(
            f"{path} has {table.num_rows} rows where meta/episodes lists {frames}; it is truncated "
            "or of another set: fetch it again"
        )
    odd = sorted(features.keys() ^ {*table.column_names})
    if odd:
        raise DatasetError(f"{path}: column '{odd[0]}' is not both there and in meta/info.json")
    columns = {}
    for name, feature in features.items():
        values = _values(table.column(name), feature)
        if values is None:
            raise DatasetError(
                f"{path}: column '{name}' is {table.column(name).type} or has gaps, not "
                f"{feature.dtype}{list(feature.shape)} in every row; fetch the set again"
            )
        columns[name] = values
    return columns


def _values(column: Any, feature: Feature) -> np.ndarray | None:
    """A column as an array, or None where its type or shape is not the feature's."""
    shape = array_shape(len(column), feature)
    if len(shape) > 1:
        kinds = (pa.types.is_fixed_size_list, pa.types.is_list, pa.types.is_large_list)
        if column.null_count or not any(is_kind(column.type) for is_kind in kinds):
            return None
        widths = pc.call_function("list_value_length", [column]).unique().to_pylist()
        if widths != [*feature.shape]:
            return None
        column = pc.call_function("list_flatten", [column])
    if column.null_count or column.type != pa.type_for_alias(feature.dtype):
        return None
    chunks = [chunk.to_numpy(zero_copy_only=False) for chunk in column.chunks]
    return np.concatenate(chunks).reshape(shape)


def _check_episode(
    path: Path, episode: dict[str, np.ndarray], row: dict[str, Any], fps: int, tasks: list[str]
) -> str:
    """Holds an episode against its row; returns its task."""
    number, frames = row["episode_index"], np.arange(row["length"])
    where = f"{path}: episode {number}"
    for name, values in episode.items():
        check_finite(f"{where}: feature '{name}'", values)
    first = {"frame_index": 0, "index": row["dataset_from_index"]}
    for name, wanted in [("episode_index", number), *((k, frames + v) for k, v in first.items())]:
        if (episode[name] != wanted).any():
            raise DatasetError(
                f"{where}: {name} is not as in meta/episodes; rows are missing or of another "
                "set: fetch it again"
            )
    # Against the nearest float32, whose spacing alone is above the tolerance after half an hour.
    late = np.abs(episode["timestamp"] - (frames / fps).astype(np.float32)) > _TOLERANCE
    if late.any():
        raise DatasetError(
            f"{where}: timestamp is not frame_index / {fps} at frame {np.flatnonzero(late)[0]}; "
            "resample it, or correct fps in meta/info.json"
        )
    indices = np.unique(episode["task_index"]).tolist()
    if len(indices) > 1:
        raise DatasetError(f"{where} has {len(indices)} tasks; split it into one per task")
    if not 0 <= indices[0] < len(tasks) or tasks[indices[0]] not in row["tasks"]:
        raise DatasetError(
            f"{where}: its task_index {indices[0]} is not its task in meta/tasks.parquet; one of "
            "the files is of another set: fetch it again"
        )
    return tasks[indices[0]]
