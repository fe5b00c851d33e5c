"""LeRobot sets as strangers' recorders leave them: each is read, with what is not read named."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.helpers.lerobot_sets import (
    DATA,
    EPISODES,
    JOINTS,
    add,
    change,
    change_info,
    declare,
    stranger,
)
from worldmodel.episodes.lerobot import Dataset, Feature, read

SECOND = DATA.replace("file-000", "file-001")
TASKS = "meta/tasks.parquet"


def at(index: int, value: Any) -> Callable[[list[Any]], list[Any]]:
    return lambda column: [*column[:index], value, *column[index + 1 :]]


def state(episode: int, frames: int = 30) -> np.ndarray:
    wanted = 100 * episode + np.arange(frames)[:, None] + np.arange(4) / 10
    return wanted.astype(np.float32)


def whole(dataset: Dataset, ids: tuple[int, ...] = (0, 1, 2, 3), damaged: int = 0) -> None:
    """Holds every episode against what was recorded, and counts what is reported as lost."""
    assert dataset.ids == ids and len(dataset.tasks) == len(ids)
    assert len(dataset.damaged) == damaged, dataset.damaged
    for number, episode in zip(ids, dataset.episodes, strict=True):
        np.testing.assert_array_equal(episode["observation.state"], state(number))
        np.testing.assert_array_equal(episode["action"], -state(number))
    assert dataset.features["action"] == Feature("float32", (4,), tuple(JOINTS))


def test_as_recorded(tmp_path: Path) -> None:
    dataset = read(stranger(tmp_path, tasks=2))
    whole(dataset)
    assert dataset.fps == 30 and type(dataset.fps) is int and dataset.robot_type == "arm"
    assert dataset.tasks == ["pick the cube", "push the cube"] * 2
    assert dataset.ignored == {} and dataset.provenance == {}
    for episode in dataset.episodes:
        np.testing.assert_array_equal(episode["timestamp"], np.arange(30) / 30)
        np.testing.assert_array_equal(episode["task_index"], np.zeros(30))


@pytest.mark.parametrize("has_column", [False, True])
@pytest.mark.parametrize("kind", ["video", "image", "string"])
def test_media_are_named_and_not_read(kind: str, has_column: bool, tmp_path: Path) -> None:
    folder = stranger(tmp_path)
    declare(folder, "observation.front", kind, [480, 640, 3], ["height", "width", "channels"])
    if has_column:
        add(folder / DATA, "observation.front", [{"bytes": b"x", "path": "a"}] * 120)
    dataset = read(folder)
    whole(dataset)
    assert dataset.ignored == {"observation.front": f"it is {kind}, not numbers"}


def test_columns_that_info_does_not_describe(tmp_path: Path) -> None:
    folder = stranger(tmp_path)
    add(folder / DATA, "subtask_index", np.arange(120))
    add(folder / DATA, "instruction", ["pick it"] * 120)
    dataset = read(folder)
    whole(dataset)
    assert dataset.ignored == {"instruction": "it holds string, not numbers"}
    assert list(dataset.features) == ["action", "observation.state", "subtask_index"]
    np.testing.assert_array_equal(dataset.episodes[2]["subtask_index"], np.arange(60, 90))


@pytest.mark.parametrize(
    "kind", ["uint8", "int16", "int64", "float16", "float32", "float64", "bool"]
)
@pytest.mark.parametrize("as_list", [False, True])
def test_one_number_of_any_type_as_scalar_or_list(kind: str, as_list: bool, tmp_path: Path) -> None:
    folder, values = stranger(tmp_path), (np.arange(120) % 2).astype(kind)
    stored = pa.FixedSizeListArray.from_arrays(pa.array(values), 1) if as_list else values
    add(folder / DATA, "observation.grip", stored)
    declare(folder, "observation.grip", kind, [1], ["open"])
    dataset = read(folder)
    whole(dataset)
    assert dataset.features["observation.grip"] == Feature(kind, (1,), ("open",))
    np.testing.assert_array_equal(dataset.episodes[1]["observation.grip"], values[30:60])
    assert dataset.episodes[1]["observation.grip"].dtype == kind


def test_more_dimensions_are_flattened(tmp_path: Path) -> None:
    folder, values = stranger(tmp_path), np.arange(120 * 6).reshape(120, 2, 3)
    add(folder / DATA, "tactile", values.astype(float).tolist())
    declare(folder, "tactile", "float64", [2, 3], ["row", "column"])
    dataset = read(folder)
    whole(dataset)
    assert dataset.features["tactile"] == Feature("float64", (6,))
    np.testing.assert_array_equal(dataset.episodes[3]["tactile"], values[90:].reshape(30, 6))


def test_rows_of_different_length(tmp_path: Path) -> None:
    folder = stranger(tmp_path)
    add(folder / DATA, "boxes", [[1.0] * (1 + i % 2) for i in range(120)])
    declare(folder, "boxes", "float64", [1])
    dataset = read(folder)
    whole(dataset)
    assert dataset.ignored == {"boxes": "its rows differ in length"}


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        ({"motors": ["a", "b", "c", "d"]}, ("a", "b", "c", "d")),
        ([["a", "b", "c", "d"]], ("a", "b", "c", "d")),
        ({"a": 0, "c": 2, "b": 1, "d": 3}, ("a", "b", "c", "d")),
        (
            {"left": ["pan", "lift"], "right": ["pan", "lift"]},
            ("left.pan", "left.lift", "right.pan", "right.lift"),
        ),
        (["a", "b"], None),
        (None, None),
        (7, None),
    ],
)
def test_names_of_components(names: Any, labels: tuple[str, ...] | None, tmp_path: Path) -> None:
    folder = stranger(tmp_path)
    declare(folder, "action", "float32", [4], names)
    assert read(folder).features["action"] == Feature("float32", (4,), labels)


@pytest.mark.parametrize(("fps", "wanted"), [(30.0, 30), ("30.0", 30), ("30", 30), (29.97, 29.97)])
def test_rates(fps: Any, wanted: float, tmp_path: Path) -> None:
    folder = stranger(tmp_path)
    change_info(folder, fps=fps)
    stamps = (np.tile(np.arange(30), 4) / wanted).astype(np.float32)
    change(folder / DATA, "timestamp", lambda _: stamps.tolist())
    dataset = read(folder)
    whole(dataset)
    assert dataset.fps == wanted and type(dataset.fps) is type(wanted)
    np.testing.assert_array_equal(dataset.episodes[0]["timestamp"], np.arange(30) / wanted)


def test_time_is_what_was_recorded(tmp_path: Path) -> None:
    """Of a clock with jitter, in float64, with a gap; and NaN where it was not written."""
    folder = stranger(tmp_path)
    stamps = 1.7e9 + np.arange(120) / 30 + np.random.default_rng(0).normal(0, 3e-3, 120)
    stamps[50:] += 0.6
    change(
        folder / DATA,
        "timestamp",
        lambda _: pa.array([None if i == 70 else float(t) for i, t in enumerate(stamps)]),
    )
    declare(folder, "timestamp", "float64", [1])
    dataset = read(folder)
    whole(dataset)
    stamps[70] = np.nan
    read_back = np.concatenate([episode["timestamp"] for episode in dataset.episodes])
    np.testing.assert_array_equal(read_back, stamps)


def test_without_timestamps_time_is_that_of_the_rate(tmp_path: Path) -> None:
    folder = stranger(tmp_path)
    change(folder / DATA, "timestamp", None)
    dataset = read(folder)
    whole(dataset, damaged=1)
    assert "timestamp" in dataset.damaged[0]
    np.testing.assert_array_equal(dataset.episodes[3]["timestamp"], np.arange(30) / 30)


def test_gaps_are_nan(tmp_path: Path) -> None:
    folder = stranger(tmp_path)
    gap = [float("nan")] * 4
    change(
        folder / DATA,
        "observation.state",
        lambda v: [gap if 40 <= i < 46 else x for i, x in enumerate(v)],
    )
    change(
        folder / DATA, "action", lambda v: [None if 100 <= i < 103 else x for i, x in enumerate(v)]
    )
    add(folder / DATA, "grip", [None if i == 3 else i for i in range(120)])
    add(folder / DATA, "touch", [None if i == 4 else True for i in range(120)])
    add(folder / DATA, "force", [[0.5, None if i == 5 else 1.0] for i in range(120)])
    for name, kind, shape in (("grip", "int64", 1), ("touch", "bool", 1), ("force", "float64", 2)):
        declare(folder, name, kind, [shape])
    dataset = read(folder)
    assert dataset.ids == (0, 1, 2, 3) and dataset.damaged == ()
    episodes = dataset.episodes
    wanted = state(1)
    wanted[10:16] = np.nan
    np.testing.assert_array_equal(episodes[1]["observation.state"], wanted)
    wanted = -state(3)
    wanted[10:13] = np.nan
    np.testing.assert_array_equal(episodes[3]["action"], wanted)
    assert {dataset.features[name].dtype for name in ("grip", "touch", "force")} == {"float64"}
    np.testing.assert_array_equal(episodes[0]["grip"][2:5], [2, np.nan, 4])
    np.testing.assert_array_equal(episodes[0]["touch"][3:6], [1, np.nan, 1])
    np.testing.assert_array_equal(episodes[0]["force"][4:6], [[0.5, 1], [0.5, np.nan]])


def test_tasks_of_one_episode(tmp_path: Path) -> None:
    folder = stranger(tmp_path, tasks=2)
    change(folder / DATA, "task_index", lambda v: [int(i % 30 < 20) for i in range(len(v))])
    dataset = read(folder)
    whole(dataset)
    assert dataset.tasks == [("push the cube", "pick the cube")] * 4
    np.testing.assert_array_equal(dataset.episodes[2]["task_index"], np.arange(30) >= 20)


def test_tables_of_tasks(tmp_path: Path) -> None:
    folder = stranger(tmp_path, tasks=2)
    wanted = ["pick the cube", "push the cube"] * 2
    table = pq.read_table(folder / TASKS)
    for changed in (table.take([1, 0]), table.rename_columns(["task_index", "task"])):
        pq.write_table(changed, folder / TASKS)
        assert read(folder).tasks == wanted
    (folder / TASKS).unlink()
    lines = [json.dumps({"task_index": i, "task": wanted[i]}) for i in (1, 0)]
    (folder / "meta/tasks.jsonl").write_text("\n".join(lines))
    whole(read(folder))
    assert read(folder).tasks == wanted
    (folder / "meta/tasks.jsonl").write_text(lines[0])
    dataset = read(folder)
    whole(dataset, damaged=1)
    assert dataset.tasks == ["", "push the cube"] * 2 and "task_index 0" in dataset.damaged[0]


def test_without_statistics(tmp_path: Path) -> None:
    (stranger(tmp_path) / "meta/stats.json").unlink()
    whole(read(tmp_path))


@pytest.mark.parametrize("size", [1, 7, 50])
def test_rows_in_any_order_and_groups(size: int, tmp_path: Path) -> None:
    folder = stranger(tmp_path)
    order = np.random.default_rng(size).permutation(120)
    pq.write_table(pq.read_table(folder / DATA).take(order), folder / DATA, row_group_size=size)
    whole(read(folder))


def test_files_and_indices_in_any_order(tmp_path: Path) -> None:
    folder = stranger(tmp_path, files=2)
    change(folder / EPISODES, "data/file_index", lambda _: [0, 0, 0, 1])
    change(folder / EPISODES, "dataset_from_index", lambda _: [0, 90, 30, 60])
    change(folder / EPISODES, "dataset_to_index", lambda _: [30, 120, 60, 90])
    whole(read(folder))
    other = folder / "data/chunk-001/file-007.parquet"
    other.parent.mkdir()
    (folder / DATA).rename(other)
    whole(read(folder))
    table = pq.read_table(other)  # an episode over two files, of other list types
    pq.write_table(table[:20], other)
    pq.write_table(table[20:], folder / "data/chunk-000/file-002.parquet")
    change(other, "action", lambda v: pa.array(v, pa.list_(pa.float32())))
    whole(read(folder))


def test_episodes_that_were_deleted(tmp_path: Path) -> None:
    folder = stranger(tmp_path)
    table, rows = pq.read_table(folder / DATA), pq.read_table(folder / EPISODES)
    pq.write_table(pa.concat_tables([table[:60], table[90:]]), folder / DATA)
    pq.write_table(pa.concat_tables([rows[:2], rows[3:]]), folder / EPISODES)
    change_info(folder, total_episodes=3, total_frames=90)
    whole(read(folder), ids=(0, 1, 3))


def test_episodes_of_one_frame(tmp_path: Path) -> None:
    dataset = read(stranger(tmp_path, frames=1))
    assert dataset.ids == (0, 1, 2, 3) and dataset.damaged == ()
    np.testing.assert_array_equal(dataset.episodes[3]["action"], -state(3, 1))


def test_version_2_1(tmp_path: Path) -> None:
    folder = stranger(tmp_path, tasks=2)
    table = pq.read_table(folder / DATA)
    for i in range(4):
        pq.write_table(
            table[30 * i : 30 * i + 30], folder / f"data/chunk-000/episode_{i:06d}.parquet"
        )
    tasks = ["pick the cube", "push the cube"]
    rows = [{"episode_index": i, "tasks": [tasks[i % 2]], "length": 30} for i in range(4)]
    texts = [{"task_index": i, "task": task} for i, task in enumerate(tasks)]
    for name, lines in (("episodes", rows), ("tasks", texts), ("episodes_stats", rows)):
        (folder / f"meta/{name}.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    (folder / DATA).unlink()
    (folder / TASKS).unlink()
    shutil.rmtree(folder / "meta/episodes")
    (folder / "meta/stats.json").unlink()
    path = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
    change_info(folder, codebase_version="v2.1", data_path=path, total_chunks=1)
    dataset = read(folder)
    whole(dataset)
    assert dataset.tasks == tasks * 2
    (folder / "data/chunk-000/episode_000002.parquet").unlink()
    dataset = read(folder)
    whole(dataset, ids=(0, 1, 3), damaged=1)
    assert "episodes 2 are not whole" in dataset.damaged[0]


@pytest.mark.parametrize("version", ["v2.0", "v2.1", "v3.0", "v3.1"])
def test_versions(version: str, tmp_path: Path) -> None:
    change_info(stranger(tmp_path), codebase_version=version)
    whole(read(tmp_path))
