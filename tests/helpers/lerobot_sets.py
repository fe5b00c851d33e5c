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
    tasks = [word if i % 2 else f"{word} the cübe" for i in range(len(lengths))]
    return Dataset(30, "arm", FEATURES, episodes, tasks, {"seed": seed, "hash": {"a": [1, None]}})


def same(a: Dataset, b: Dataset) -> None:
    for field in ("fps", "robot_type", "features", "tasks", "provenance"):
        assert getattr(a, field) == getattr(b, field)
    for one, other in zip(a.episodes, b.episodes, strict=True):
        for name in a.features:
            values = one[name]
            assert other[name].dtype == values.dtype == np.dtype(a.features[name].dtype)
            np.testing.assert_array_equal(other[name], values)


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
