"""LeRobot sets on the way in: whole episodes are read out of damaged sets, and what is lost is
named; what is no set, or holds nothing that is wanted, is refused by file or feature."""

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
    add,
    change,
    change_info,
    declare,
    example,
    same,
    stranger,
)
from worldmodel.episodes.lerobot import Dataset, DatasetError, read, write

QUICK = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SECOND = DATA.replace("file-000", "file-001")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "set", example())
    return tmp_path / "set"


def sizes(content: bytes) -> list[int]:
    return [0, 1, len(content) // 3, len(content) // 2, len(content) - 5, len(content) - 1]


def test_a_file_of_data_without_its_end(tmp_path: Path) -> None:
    """The crash of a recorder: the last file has no footer. What is before it is whole."""
    path = stranger(tmp_path, files=2) / SECOND
    content = path.read_bytes()
    for size in sizes(content):
        path.write_bytes(content[:size])
        dataset = read(tmp_path)
        assert dataset.ids == (0, 1) and len(dataset.damaged) == 2
        assert str(path) in dataset.damaged[0]
        assert "is truncated or damaged" in dataset.damaged[0]
        assert "episodes 2, 3 are not whole" in dataset.damaged[1]


def test_nothing_is_left_of_the_only_file(tmp_path: Path) -> None:
    path = stranger(tmp_path) / DATA
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(
        DatasetError, match=r"no data file that can be read; .*file-0.* is truncated"
    ):
        read(tmp_path)
    path.unlink()
    with pytest.raises(DatasetError, match="data holds no Parquet file; fetch or record"):
        read(tmp_path)


def test_pointers_of_git_lfs(tmp_path: Path) -> None:
    """Many files of one cause are one line."""
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 9\n"
    folder = stranger(tmp_path, files=4)
    for number in (1, 3):
        (folder / f"data/chunk-000/file-{number:03d}.parquet").write_text(pointer)
    dataset = read(folder)
    assert dataset.ids == (0, 2) and len(dataset.damaged) == 2
    assert f"{folder / SECOND} and 1 more files: each is a pointer of Git LFS" in dataset.damaged[0]
    (folder / "meta/info.json").write_text(pointer)
    with pytest.raises(DatasetError, match=r"info\.json is a pointer of Git LFS; git lfs pull"):
        read(folder)


def test_a_subset_of_the_files(tmp_path: Path) -> None:
    (stranger(tmp_path, files=2) / DATA).unlink()
    dataset = read(tmp_path)
    assert dataset.ids == (2, 3) and len(dataset.damaged) == 1
    assert "episodes 0, 1 are not whole" in dataset.damaged[0]


def test_info_counts_more_than_was_saved(tmp_path: Path) -> None:
    change_info(stranger(tmp_path), total_episodes=6, total_frames=180)
    dataset = read(tmp_path)
    assert dataset.ids == (0, 1, 2, 3) and len(dataset.damaged) == 1
    assert "counts 6 episodes, but 4 were saved" in dataset.damaged[0]


@pytest.mark.parametrize("name", [EPISODES, "meta/tasks.parquet", "meta/provenance.json"])
def test_damaged_metadata(name: str, folder: Path) -> None:
    path, content = folder / name, (folder / name).read_bytes()
    for size in sizes(content):
        path.write_bytes(content[:size])
        dataset = read(folder)
        assert len(dataset.episodes) == 3 and str(path) in dataset.damaged[0]
    path.unlink()
    dataset = read(folder)
    assert len(dataset.episodes) == 3
    assert len(dataset.damaged) == (0 if name.endswith("json") else 1)


def test_damaged_info(folder: Path) -> None:
    path, content = folder / "meta/info.json", (folder / "meta/info.json").read_bytes()
    for size in sizes(content)[:-1]:
        path.write_bytes(content[:size])
        with pytest.raises(DatasetError, match=r"info\.json is truncated .* copy it again"):
            read(folder)
    path.write_text("[1]")
    with pytest.raises(DatasetError, match=r"info\.json is truncated or damaged"):
        read(folder)
    path.unlink()
    for nothing in (folder, folder / "meta", folder / "absent", path / "below"):
        with pytest.raises(
            DatasetError, match=r"info\.json, so .* is no LeRobot data set; give the"
        ):
            read(nothing)


@QUICK
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_changed_bit_of_the_pages_is_seen(place: float, bit: int, folder: Path) -> None:
    path, content = folder / DATA, (folder / DATA).read_bytes()
    with pq.ParquetFile(path) as file:
        footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
        assert footer > file.metadata.row_group(0).column(0).data_page_offset
    changed = bytearray(content)
    changed[4 + int(place * (footer - 4))] ^= 1 << bit
    path.write_bytes(changed)
    try:
        dataset = read(folder)
    except DatasetError as error:
        assert str(path) in str(error)
    else:
        assert dataset.damaged == ()  # a bit that carries nothing, such as a page's statistics
        same(example(), dataset)
    path.write_bytes(content)


@pytest.mark.parametrize("version", ["v1.6", "v2.2", "v4.0", "3", None, 3.0])
def test_other_versions_are_refused(version: Any, folder: Path) -> None:
    change_info(folder, codebase_version=version)
    with pytest.raises(DatasetError, match=f"codebase_version is .?{version}"):
        read(folder)


@pytest.mark.parametrize("fps", [0, -30, None, "fast", [30], float("inf"), float("nan"), 10**400])
def test_rates_that_are_none(fps: Any, folder: Path) -> None:
    change_info(folder, fps=fps)
    with pytest.raises(DatasetError, match=r"info\.json: fps is .*; write the frames per second"):
        read(folder)


def test_features_that_cannot_be_read(tmp_path: Path) -> None:
    declare(stranger(tmp_path), "observation.front", "video", [4, 4, 3])
    declare(tmp_path, "observation.torque", "float32", [6])
    add(tmp_path / DATA, "boxes", [[1.0] * (1 + i % 2) for i in range(120)])
    dataset = read(tmp_path)
    assert list(dataset.features) == ["action", "observation.state"]
    assert dataset.ignored == {
        "observation.front": "it is video, not numbers",
        "observation.torque": "no data file has such a column",
        "boxes": "its rows differ in length",
    }


def test_a_column_that_one_file_lacks_costs_no_episode(tmp_path: Path) -> None:
    """But the place of its frames does; so does a column that a file has twice."""
    folder = stranger(tmp_path, files=2)
    table = pq.read_table(folder / SECOND)
    pq.write_table(table.drop_columns("action"), folder / SECOND)
    dataset = read(folder)
    assert dataset.ids == (0, 1, 2, 3) and dataset.damaged == ()
    assert dataset.ignored == {"action": "not every data file has it"}
    names = [*table.column_names, "action"]
    twice = pa.table([table[name] for name in names], names=names)
    for changed in (table.drop_columns("frame_index"), twice):
        pq.write_table(changed, folder / SECOND)
        dataset = read(folder)
        assert dataset.ids == (0, 1) and len(dataset.damaged) == 2
        assert str(folder / SECOND) in dataset.damaged[0]
        assert "episodes 2, 3 are not whole" in dataset.damaged[1]


def test_files_that_disagree(tmp_path: Path) -> None:
    """A column of text in one file and of numbers in the other is none of numbers."""
    folder = stranger(tmp_path, files=2)
    change(folder / DATA, "observation.state", lambda v: pa.array([str(x) for x in v]))
    dataset = read(folder)
    assert list(dataset.features) == ["action"] and dataset.ids == (0, 1, 2, 3)
    assert "it holds string" in dataset.ignored["observation.state"]
    change(folder / DATA, "action", lambda v: pa.array([x[:3] for x in v]))
    assert read(folder).ignored["action"] == "its rows differ in length"


def test_rows_without_a_place(tmp_path: Path) -> None:
    """An episode of which a row has no place is not whole."""
    for name in ("episode_index", "frame_index"):
        folder = stranger(tmp_path / name, files=2)
        change(folder / DATA, name, lambda v: pa.array([None, *v[1:]]))
        dataset = read(folder)
        assert dataset.ids == (1, 2, 3) and len(dataset.damaged) == 1
        assert "episodes 0 are not whole" in dataset.damaged[0]


def test_a_set_without_rows(tmp_path: Path) -> None:
    table = pq.read_table(stranger(tmp_path) / DATA)
    pq.write_table(table[:0], tmp_path / DATA)
    with pytest.raises(DatasetError, match=r"no episode that can be read; episodes 0, 1, 2, 3 are"):
        read(tmp_path)


def test_files_that_are_no_tables(tmp_path: Path) -> None:
    (stranger(tmp_path, files=2) / DATA).write_bytes(b"\x80\x04\x95pickle of an array")
    (tmp_path / "data/folder.parquet").mkdir()
    dataset = read(tmp_path)
    assert dataset.ids == (2, 3) and len(dataset.damaged) == 3
    assert any(f"{tmp_path / DATA} is truncated" in line for line in dataset.damaged)
    assert any("folder.parquet cannot be opened" in line for line in dataset.damaged)


def test_a_file_that_is_there_twice(tmp_path: Path) -> None:
    folder = stranger(tmp_path, files=2)
    shutil.copy(folder / DATA, folder / DATA.replace("file-000", "file-002"))
    dataset = read(folder)
    assert dataset.ids == (2, 3)
    assert "episodes 0, 1 are not whole" in dataset.damaged[0]


def test_lengths_that_disagree(tmp_path: Path) -> None:
    """Rows were cut: their episode is left out, and named."""
    table = pq.read_table(stranger(tmp_path) / DATA)
    pq.write_table(pa.concat_tables([table[:40], table[45:]]), tmp_path / DATA)
    dataset = read(tmp_path)
    assert dataset.ids == (0, 2, 3) and len(dataset.damaged) == 1
    assert "episodes 1 are not whole" in dataset.damaged[0]


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
    path = folder / "meta/info.json"
    text = path.read_text()
    info = json.loads(text)
    place = data.draw(st.sampled_from([info, info["features"], info["features"]["action"]]))
    place[data.draw(st.sampled_from(sorted(place)))] = data.draw(JSON)
    path.write_text(json.dumps(info))
    try:
        dataset = read(folder)
    except DatasetError as error:
        assert str(folder) in str(error)
    else:
        assert isinstance(dataset, Dataset) and set(dataset.features) <= set(FEATURES)
        assert set(FEATURES) <= {*dataset.features, *dataset.ignored}
    path.write_text(text)


def test_long_episodes_keep_their_time(tmp_path: Path) -> None:
    dataset = example((300_000,))  # 2.8 h: float32 seconds are coarse
    write(tmp_path / "set", dataset)
    back = read(tmp_path / "set")
    same(dataset, back)
    np.testing.assert_array_equal(back.episodes[0]["timestamp"], np.arange(300_000) / 30)


def test_our_own_sets_are_whole(folder: Path) -> None:
    assert {p.relative_to(folder).as_posix() for p in folder.rglob("*.*")} == {*FILES}
    dataset = read(folder)
    assert (dataset.damaged, dataset.ignored, dataset.ids) == ((), {}, (0, 1, 2))
