"""Small LeRobot sets for the tests, and ways to change one on disk."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from worldmodel.episodes.lerobot import Dataset, Feature

FEATURES = {
    "observation.state": Feature("float32", (3,), ("x", "y", "θ")),
    "action": Feature("float64", (2,)),
    "next.reward": Feature("float32", (1,)),
    "next.done": Feature("bool", (1,)),
    "sim.contact": Feature("bool", (4,)),
    "sim.step": Feature("int64", (1,)),
}
DATA = "data/chunk-000/file-000.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
FILES = [DATA, EPISODES, "meta/tasks.parquet"]
FILES += [f"meta/{name}.json" for name in ("info", "stats", "provenance")]
OWN = ["timestamp", "frame_index", "episode_index", "index", "task_index"]
STATISTICS = {"min", "max", "mean", "std", "count", "q01", "q10", "q50", "q90", "q99"}


def example(lengths: tuple[int, ...] = (4, 1, 7), seed: int = 0, word: str = "push") -> Dataset:
    rng = np.random.default_rng(seed)
    episodes = []
    for frames in lengths:
        episode = {}
        for name, feature in FEATURES.items():
            values = rng.normal(size=(frames, *feature.shape)) * 9
            values = values > 0 if feature.dtype == "bool" else values
            values = values[:, 0] if feature.shape == (1,) else values
            episode[name] = values.astype(feature.dtype)
        episodes.append(episode)
    tasks: list[str | tuple[str, ...]]
    tasks = [word if i % 2 else f"{word} the cübe" for i in range(len(lengths))]
    return Dataset(30, "arm", FEATURES, episodes, tasks, {"seed": seed, "hash": {"a": [1, None]}})


CHANNELS = {
    "observation.gripper_width": Feature("float32", (1,)),
    "observation.gripper_force": Feature("float32", (2,), ("finger", "thumb")),
    "observation.object.cube": Feature("float64", (7,), ("x", "y", "z", "qw", "qx", "qy", "qz")),
    "contact.finger_on_cube": Feature("bool", (1,)),
    "goal.place": Feature("float64", (3,)),
    "intervention": Feature("bool", (1,)),
}


def manipulation() -> Dataset:
    """Every channel of manipulation, at a broken rate: the cube is not seen in frames 2 and 3 of
    episode 0, which has two tasks and the time of a clock that jitters."""
    rng, episodes = np.random.default_rng(0), []
    for frames in (5, 3):
        columns = {}
        for name, feature in CHANNELS.items():
            values = rng.normal(size=(frames, *feature.shape))
            values = values > 0 if feature.dtype == "bool" else values.astype(feature.dtype)
            columns[name] = values[:, 0] if feature.shape == (1,) else values
        episodes.append(columns)
    episodes[0]["observation.object.cube"][2:4] = np.nan
    episodes[0]["timestamp"] = np.array([0.0, 0.031, 0.07, 0.098, 0.134], np.float32)
    episodes[0]["task_index"] = np.array([0, 0, 1, 1, 0])
    return Dataset(29.97, "arm", CHANNELS, episodes, [("reach", "place"), "place"], {})


def same(a: Dataset, b: Dataset) -> None:
    for field in ("fps", "robot_type", "features", "tasks", "provenance"):
        assert getattr(a, field) == getattr(b, field)
    for one, other in zip(a.episodes, b.episodes, strict=True):
        for name in a.features:
            values = one[name]
            assert other[name].dtype == values.dtype == np.dtype(a.features[name].dtype)
            np.testing.assert_array_equal(other[name], values)


JOINTS = ["shoulder_pan.pos", "shoulder_lift.pos", "elbow_flex.pos", "gripper.pos"]


def stranger(
    folder: Path, *, episodes: int = 4, frames: int = 30, files: int = 1, tasks: int = 1
) -> Path:
    """A set as another recorder writes it, at 30 frames a second, episodes in turn over files and
    tasks; frame j of episode i has state 100 i + j + (0, .1, .2, .3), and action -state."""
    vector = {"dtype": "float32", "shape": [4], "names": JOINTS}
    features: dict[str, Any] = {"action": vector, "observation.state": vector}
    features["timestamp"] = {"dtype": "float32", "shape": [1], "names": None}
    features |= {n: {"dtype": "int64", "shape": [1], "names": None} for n in OWN[1:]}
    data: dict[int, list[pa.Table]] = {}
    rows = []
    names = ["pick the cube", "push the cube"][:tasks]
    for i in range(episodes):
        j = np.arange(frames)
        state = (100 * i + j[:, None] + np.arange(4) / 10).astype(np.float32)
        columns = {
            "action": pa.FixedSizeListArray.from_arrays(pa.array(-state.ravel()), 4),
            "observation.state": pa.FixedSizeListArray.from_arrays(pa.array(state.ravel()), 4),
            "timestamp": (j / 30).astype(np.float32),
            "frame_index": j,
            "episode_index": np.full(frames, i),
            "index": i * frames + j,
            "task_index": np.full(frames, i % tasks),
        }
        data.setdefault(i * files // episodes, []).append(pa.table(columns))
        row = {"episode_index": i, "tasks": [names[i % tasks]], "length": frames}
        row |= {"data/chunk_index": 0, "data/file_index": i * files // episodes}
        rows.append(row | {"dataset_from_index": i * frames, "dataset_to_index": (i + 1) * frames})
    for path in (folder / "data/chunk-000", (folder / EPISODES).parent):
        path.mkdir(parents=True)
    for number, parts in data.items():
        pq.write_table(
            pa.concat_tables(parts), folder / f"data/chunk-000/file-{number:03d}.parquet"
        )
    pq.write_table(pa.table({k: [row[k] for row in rows] for k in rows[0]}), folder / EPISODES)
    indexed = pa.table({"task_index": np.arange(tasks), "__index_level_0__": names})
    pq.write_table(indexed, folder / "meta/tasks.parquet")
    info = {"codebase_version": "v3.0", "robot_type": "arm", "fps": 30, "features": features}
    counts = {"total_episodes": episodes, "total_frames": episodes * frames, "total_tasks": tasks}
    (folder / "meta/info.json").write_text(json.dumps(info | counts))
    (folder / "meta/stats.json").write_text("{}")
    return folder


def declare(folder: Path, name: str, dtype: str, shape: Any, names: Any = None) -> None:
    """Adds or replaces a feature in ``meta/info.json``."""
    features = json.loads((folder / "meta/info.json").read_text())["features"]
    change_info(
        folder, features=features | {name: {"dtype": dtype, "shape": shape, "names": names}}
    )


def add(path: Path, name: str, values: Any) -> None:
    """Adds a column to a parquet file."""
    pq.write_table(pq.read_table(path).append_column(name, pa.array(values)), path)


def change_info(folder: Path, **entries: Any) -> None:
    path = folder / "meta/info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


def change(path: Path, name: str, to: Callable[[list[Any]], Any] | None) -> None:
    """Replaces a column of a parquet file, or drops it."""
    table = pq.read_table(path)
    at = table.column_names.index(name)
    values = table.column(name)
    new = table.remove_column(at)
    if to is not None:
        changed = to(values.to_pylist())
        array = changed if isinstance(changed, pa.Array) else pa.array(changed, values.type)
        new = new.add_column(at, name, array)
    pq.write_table(new, path)
