"""LeRobot sets on the way in: what is damaged, mixed up or foreign is message by file."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers.lerobot_sets import (
    DATA,
    EPISODES,
    FEATURES,
    FILES,
    change,
    change_info,
    example,
    foreign,
    same,
)
from worldmodel.episodes.lerobot import Dataset, DatasetError, read, write

QUICK = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "set", example())
    return tmp_path / "set"


@pytest.mark.parametrize(
    ("name", "ours"), [*((name, True) for name in FILES), *((name, False) for name in FILES[:-2])]
)
def test_truncated_or_missing(name: str, ours: bool, folder: Path) -> None:
    if not ours:
        foreign(folder)
    path, content = folder / name, (folder / name).read_bytes()
    for size in (0, 1, len(content) // 3, len(content) // 2, len(content) - 5, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(DatasetError, match=path.name):
            read(folder)
    path.unlink()
    if name != "meta/checksums.json":
        with pytest.raises(DatasetError, match=f"{path.name}.*fetch"):
            read(folder)


@QUICK
@given(name=st.sampled_from(FILES[:-1]), place=st.floats(0, 1, exclude_max=True))
def test_any_changed_byte_is_seen(name: str, place: float, folder: Path) -> None:
    path, content = folder / name, bytearray((folder / name).read_bytes())
    changed = content.copy()
    changed[int(place * len(content))] ^= 1
    path.write_bytes(changed)
    with pytest.raises(DatasetError, match=path.name):
        read(folder)
    path.write_bytes(content)


def test_other_versions_are_refused(folder: Path) -> None:
    for version in ("v2.1", "v3.1", None):
        change_info(folder, codebase_version=version)
        with pytest.raises(DatasetError, match=f"info.json: codebase_version is .?{version}"):
            read(folder)


@pytest.mark.parametrize("name", FILES[:-1])
def test_a_file_of_another_set_is_seen(name: str, folder: Path, tmp_path: Path) -> None:
    other = dataclasses.replace(example(seed=1, word="lift"), robot_type="leg")  # of the same form
    write(tmp_path / "other", other)
    shutil.copy(tmp_path / "other" / name, folder / name)
    with pytest.raises(DatasetError, match=f"{Path(name).name} is not as it was written"):
        read(folder)


@pytest.mark.parametrize("name", [DATA, EPISODES, "meta/tasks.parquet", "meta/info.json"])
def test_a_file_of_another_foreign_set_is_seen(name: str, folder: Path, tmp_path: Path) -> None:
    write(tmp_path / "other", example((4, 7, 3, 2), word="lift"))
    shutil.copy(tmp_path / "other" / name, folder / name)
    with pytest.raises(DatasetError, match="fetch it again"):
        read(foreign(folder))


def at(index: int, value: Any) -> Any:
    return lambda column: [*column[:index], value, *column[index + 1 :]]


@pytest.mark.parametrize(
    ("name", "column", "to", "message"),
    [
        (DATA, "index", at(3, 4), "episode 0: index is not"),
        (DATA, "index", lambda v: [i + 1 for i in v], "episode 0: index is not"),
        (DATA, "episode_index", at(4, 0), "episode 1: episode_index is not"),
        (DATA, "frame_index", at(6, 9), "episode 2: frame_index is not"),
        (DATA, "timestamp", at(7, 2.5 / 30), "episode 2: timestamp .* at frame 2"),
        (DATA, "timestamp", at(7, float("inf")), "'timestamp' is not finite at frame 2"),
        (DATA, "task_index", at(4, 7), "episode 1: its task_index 7"),
        (DATA, "task_index", at(0, 1), "episode 0 has 2 tasks; split it"),
        (DATA, "task_index", None, "column 'task_index'"),
        (DATA, "action", at(5, [0.0, float("nan")]), "episode 2: feature 'action' .* at frame 0"),
        (DATA, "action", None, "column 'action'"),
        (DATA, "action", lambda v: pa.array(v, pa.list_(pa.float32(), 2)), "'action' is fixed"),
        (DATA, "action", lambda v: pa.array([x[:1] for x in v]), "column 'action' is list"),
        (DATA, "action", lambda v: pa.array([*v[:3], None, *v[4:]]), "column 'action' is list"),
        (DATA, "action", lambda v: pa.array([[1.0], *v[1:]]), "column 'action' is list"),
        (DATA, "next.done", at(2, None), "'next.done' is bool or has gaps"),
        (DATA, "sim.step", lambda v: pa.array(v, pa.int32()), "'sim.step' is int32"),
        (EPISODES, "length", at(1, 2), "episode 1 is not"),
        (EPISODES, "length", None, "no column 'length'"),
        (EPISODES, "dataset_to_index", at(2, 13), "episode 2 is not"),
        (EPISODES, "dataset_from_index", at(0, None), "no index"),
        (EPISODES, "episode_index", at(2, 3), "episode 2 is not"),
        (EPISODES, "tasks", at(1, ["lift"]), "its task_index 1 is not its task"),
        (EPISODES, "tasks", at(1, None), "episode 1 has no frames or tasks"),
        (EPISODES, "data/file_index", at(2, 1), "4|file-000.parquet has 12 rows"),
        (EPISODES, "data/file_index", at(0, 1), "comes before"),
        ("meta/tasks.parquet", "task", at(1, None), "wants tasks"),
        ("meta/tasks.parquet", "task_index", at(1, 0), "wants tasks"),
        ("meta/tasks.parquet", "task", None, "wants tasks"),
    ],
)  # fmt: skip
def test_inconsistent_tables(name: str, column: str, to: Any, message: str, folder: Path) -> None:
    change(foreign(folder) / name, column, to)
    with pytest.raises(DatasetError, match=message) as error:
        read(folder)
    assert str(folder) in str(error.value)


def test_data_file_of_no_episode(folder: Path) -> None:
    shutil.copy(foreign(folder) / DATA, folder / DATA.replace("file-000", "file-001"))
    with pytest.raises(DatasetError, match=r"file-001\.parquet holds no episode"):
        read(folder)


@pytest.mark.parametrize(
    ("feature", "spec", "message"),
    [
        (
            "observation.images.up",
            {"dtype": "video", "shape": [3, 4, 4]},
            "images.up' is of dtype v",
        ),
        ("says", {"dtype": "string", "shape": [1]}, "'says' is of dtype string"),
        ("grid", {"dtype": "bool", "shape": [2, 2]}, "'grid' has shape"),
        ("a", None, "'a' is of dtype none"),
        ("index", {"dtype": "float32", "shape": [1]}, "'index' is missing or not a scalar int64"),
    ],
)
def test_declared_features(feature: str, spec: Any, message: str, folder: Path) -> None:
    features = json.loads((folder / "meta/info.json").read_text())["features"]
    change_info(foreign(folder), features=features | {feature: spec})
    with pytest.raises(DatasetError, match=message):
        read(folder)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=4,
)


@QUICK
@given(data=st.data())
def test_odd_info_is_read_or_refused(data: st.DataObject, folder: Path) -> None:
    path = foreign(folder) / "meta/info.json"
    text = path.read_text()
    info = json.loads(text)
    place = data.draw(st.sampled_from([info, info["features"], info["features"]["action"]]))
    place[data.draw(st.sampled_from(sorted(place)))] = data.draw(JSON)
    path.write_text(json.dumps(info))
    try:
        assert isinstance(read(folder), Dataset)
    except DatasetError as error:
        assert str(folder) in str(error)
    path.write_text(text)


def test_foreign_set_of_other_habits(folder: Path) -> None:
    """Lists of free length, row groups at will, an index without a name, several episode files."""
    dataset = example()
    change_info(foreign(folder), robot_type=None)
    info = json.loads((folder / "meta/info.json").read_text())
    info["features"]["observation.state"] |= {"names": {"motors": ["x", "y", "z"]}, "fps": 30}
    change_info(folder, features=info["features"])
    change(folder / DATA, "action", lambda v: pa.array(v))
    pq.write_table(pq.read_table(folder / DATA), folder / DATA, row_group_size=5)
    tasks = pq.read_table(folder / "meta/tasks.parquet")
    tasks = tasks.rename_columns(["task_index", "__index_level_0__"])
    pq.write_table(tasks, folder / "meta/tasks.parquet")
    rows = pq.read_table(folder / EPISODES)
    pq.write_table(rows[:2], folder / EPISODES)
    pq.write_table(rows[2:], folder / EPISODES.replace("file-000", "file-001"))
    result = read(folder)
    assert (result.robot_type, result.provenance, result.tasks) == ("unknown", {}, dataset.tasks)
    assert result.features["observation.state"].names is None
    for one, other in zip(result.episodes, dataset.episodes, strict=True):
        for name in FEATURES:
            np.testing.assert_array_equal(one[name], other[name])


def test_long_episodes_keep_their_time(tmp_path: Path) -> None:
    dataset = example((300_000,))  # 2.8 h: float32 seconds are coarser than the tolerance
    write(tmp_path / "set", dataset)
    same(dataset, read(tmp_path / "set"))
