"""Logs on disk: each kind as named arrays, and every way in which a file can be bad."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers.lerobot_sets import example
from worldmodel.episodes.columns import ColumnsError
from worldmodel.episodes.lerobot import write
from worldmodel.episodes.sources import SourceError, expanded, open_source
from worldmodel.errors import InputError

Q = np.arange(24.0).reshape(12, 2)


def archive(path: Path, **changed: Any) -> Path:
    arrays: dict[str, Any] = {"q": Q, "start": np.array([0, 5, 12]), "id": np.array([3, 9])}
    np.savez(path, **{k: v for k, v in (arrays | changed).items() if v is not None})
    return path


def column(path: Path, address: str, episode: str | None = None) -> list[np.ndarray]:
    source = open_source(path, [address], episode)
    return [source.column(log, address) for log in source.logs]


def test_an_archive_is_cut_by_start_and_named_by_id(tmp_path: Path) -> None:
    source = open_source(archive(tmp_path / "a.npz", rate_hz=np.array(50.0), note=np.array("x")))
    assert [log.id for log in source.logs] == [3, 9] and source.rate_hz == 50.0
    assert list(source.ignored) == ["note"] and "not numbers" in source.ignored["note"]
    for log, rows in zip(source.logs, (slice(0, 5), slice(5, 12)), strict=True):
        np.testing.assert_array_equal(source.column(log, "q[1]"), Q[rows, 1])
    np.testing.assert_array_equal(column(tmp_path / "a.npz", "q[1]")[1], Q[5:, 1])
    one = archive(tmp_path / "b.npz", start=None, id=None)
    assert [log.id for log in open_source(one).logs] == ["b"]
    text = archive(tmp_path / "c.npz", id=np.array(["a", "bé"]))
    assert [log.id for log in open_source(text).logs] == ["a", "bé"]


def test_csv_and_parquet_hold_the_same_columns(tmp_path: Path) -> None:
    table = pa.table({"t": np.arange(4) / 10, "q": [0.5, None, 1.5, 2.0], "n": [1, 2, 3, 4]})
    table = table.append_column("who", pa.array(["a", "b", "c", "d"]))
    table = table.append_column("pose", pa.array([[1.0, 2.0]] * 4))
    pq.write_table(table, tmp_path / "a.parquet")
    rows = ["# t; q;n;who", "0;0.5;1;a", "0.1;;2;b", "0.2;1.5;3;c", "0.3;2;4;d"]
    (tmp_path / "a.csv").write_text("﻿" + "\n".join(rows) + "\n", encoding="utf-8")
    for name in ("a.parquet", "a.csv"):
        np.testing.assert_array_equal(column(tmp_path / name, "q")[0], [0.5, np.nan, 1.5, 2.0])
        np.testing.assert_allclose(column(tmp_path / name, "t")[0], [0, 0.1, 0.2, 0.3])
        assert "'a' in row 1" in open_source(tmp_path / name).ignored["who"]
        with pytest.raises(ColumnsError, match="'who' cannot be read: it holds string"):
            open_source(tmp_path / name, ["who"])
        with pytest.raises(ColumnsError, match=r"no column 'w'; it has t, q, n(, pose)?$"):
            open_source(tmp_path / name, ["q", "w"])
    np.testing.assert_array_equal(column(tmp_path / "a.parquet", "pose[1]")[0], [2.0] * 4)


@pytest.mark.parametrize("labels", [[7, 7, 2, 2, 2], ["b", "b", "a", "a", "a"]])
def test_a_column_numbers_the_episodes(labels: list, tmp_path: Path) -> None:
    pq.write_table(pa.table({"run": labels, "q": np.arange(5.0)}), tmp_path / "a.parquet")
    (tmp_path / "a.csv").write_text(
        "run,q\n" + "\n".join(f"{run},{q}" for run, q in zip(labels, range(5), strict=True))
    )
    for name in ("a.parquet", "a.csv"):
        source = open_source(tmp_path / name, ["q"], "run")
        assert [log.id for log in source.logs] == [labels[0], labels[2]]
        assert source.ignored == {}
        np.testing.assert_array_equal(column(tmp_path / name, "q", "run")[1], [2, 3, 4])
    with pytest.raises(ColumnsError, match=r"no column 'runs'; (did you mean run|it has q)"):
        open_source(tmp_path / "a.csv", ["q"], "runs")


def test_stamps_of_a_calendar_are_seconds(tmp_path: Path) -> None:
    stamps = pa.array([1_700_000_000_000_000_000 + 10_000_000 * k for k in range(3)])
    pq.write_table(pa.table({"t": stamps.cast(pa.timestamp("ns"))}), tmp_path / "a.parquet")
    np.testing.assert_allclose(np.diff(column(tmp_path / "a.parquet", "t")[0]), 0.01, atol=5e-7)


def test_a_folder_of_files_is_a_log(tmp_path: Path) -> None:
    for k in range(3):
        (tmp_path / f"run{k}.csv").write_text(f"q\n{k}\n{k}\n")
    source = open_source(tmp_path)
    assert [log.id for log in source.logs] == ["run0", "run1", "run2"]
    (tmp_path / "run3.csv").write_text("q\n1\nbad\n")
    with pytest.raises(
        ColumnsError, match=r"run3\.csv: column 'q' cannot be read: .*'bad' in row 2"
    ):
        open_source(tmp_path, ["q"])
    (tmp_path / "run3.csv").write_text("p\n1\n2\n")
    with pytest.raises(SourceError, match=r"run3\.csv has no column 'q', which run0\.csv has"):
        open_source(tmp_path)
    archive(tmp_path / "a.npz")
    with pytest.raises(SourceError, match=r"holds \.npz and \.csv; give a folder of files of one"):
        open_source(tmp_path)


def test_ids_that_occur_in_two_files_get_the_files_name(tmp_path: Path) -> None:
    for name in ("a", "b"):
        archive(tmp_path / f"{name}.npz")
    assert [log.id for log in open_source(tmp_path).logs] == ["a/3", "a/9", "b/3", "b/9"]


def test_a_column_that_only_another_file_has_is_named_with_that_file(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("t,pan_pos,lift_pos\n0,1,2\n1,1,2\n")
    (tmp_path / "b.csv").write_text("t,pan_pos,lift\n0,1,2\n1,1,2\n")
    with pytest.raises(ColumnsError, match=r"b\.csv has no column 'lift_pos', which a\.csv has"):
        open_source(tmp_path, ["pan_pos", "lift_pos"])
    (tmp_path / "b.csv").write_text("t,pan_pos\n0,1\n1,1\n")
    with pytest.raises(SourceError, match=r"b\.csv has no column 'lift_pos', which a\.csv has"):
        open_source(tmp_path)


def test_a_lerobot_set_is_read_by_its_components(tmp_path: Path) -> None:
    dataset = example()
    write(tmp_path / "set", dataset)
    source = open_source(tmp_path / "set", ["observation.state[1]"])
    assert source.clock == "timestamp" and source.rate_hz == dataset.fps
    for log, episode in zip(source.logs, dataset.episodes, strict=True):
        values = source.column(log, "observation.state[1]")
        np.testing.assert_array_equal(values, episode["observation.state"][:, 1])
    with pytest.raises(ColumnsError, match="has no column 'observation"):
        open_source(tmp_path / "set", ["observation.stat", "action[0]"])


def test_another_robots_log_is_named(tmp_path: Path) -> None:
    with pytest.raises(ColumnsError, match=r"none of the 2 columns .* log of another robot"):
        open_source(archive(tmp_path / "a.npz"), ["observation.state[0]", "action[0]"])
    assert expanded(["q[1:3]", "t"]) == ["q[1]", "q[2]", "t"]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"start": np.array([0, 10])}, "id has shape"),
        ({"start": np.array([0, 20, 10])}, "start must rise from 0"),
        ({"start": np.array([0.0, 5, 12])}, "start has shape.*type float64"),
        ({"start": np.array([0, 5, 20])}, "array q: it has 12 rows where start names 20"),
        ({"start": np.array([0, 12, 5], np.uint64)}, "rise from 0"),
        ({"id": np.array([1, 1])}, "twice"),
        ({"id": np.array([0.5, 1.5])}, "id is of type float64"),
        ({"rate_hz": np.ones(2)}, "rate_hz has shape"),
        ({"q": np.full((12, 2), "x")}, "q: it is of type <U1, not numbers"),
        ({"q": np.array([{"a": 1}], dtype=object)}, "pickled objects, which are never loaded"),
        ({"q": np.zeros((12, 2, 2))}, r"q: its shape is \(12, 2, 2\)"),
    ],
)
def test_bad_arrays_are_named(tmp_path: Path, arrays: dict, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        open_source(archive(tmp_path / "a.npz", **arrays), ["q[0]"])


def test_what_nobody_asks_for_may_be_anything(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", note=np.array([{"a": 1}], dtype=object))
    assert column(path, "q[0]")[0].shape == (5,)
    assert open_source(path).ignored == {"note": "pickled objects, which are never loaded"}


@pytest.mark.parametrize("content", [b"", b"P", b"a,b\n1,2\n", b"\x80\x04K\x01."])
def test_what_is_no_archive_is_not_called_pickled(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(SourceError, match=r"x\.npz is .*damaged, or no \.npz; copy it again"):
        open_source(tmp_path / "x.npz", ["q[0]"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "a,b\n1,2\n3\n", r"a\.csv: line 3 has 1 cells where the header has 2"),
        ("a.csv", "a,a\n1,2\n", "has two columns 'a'"),
        ("a.csv", "", "is no CSV"),
        ("a.csv", "0.5,1e-3\n1,2\n", r"a\.csv: line 1, '0.5,1e-3', names no columns"),
        ("a.csv", "# by me\na,b\n1,2\n", r"a\.csv: line 1, '# by me', names no columns"),
        (
            "a.csv",
            "# by me, a, b\na,b\n1,2\n",
            r"a\.csv: line 1, '# by me, a, b', names no columns",
        ),
        ("a.csv", "0.5,\n1,2\n", r"a\.csv: line 1, '0.5,', names no columns"),
        ("a.csv", '"0.5","1.5"\n1,2\n', r"a\.csv: line 1, '\"0.5\",\"1.5\"', names no columns"),
        ("a.csv", "a,b\n", r"a\.csv has columns but no row"),
        ("a.parquet", "PAR1", "truncated or damaged"),
        ("a.txt", "a b\n", r"is no \.npz, \.csv, \.parquet file; convert it"),
    ],
)
def test_bad_tables_are_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        open_source(tmp_path / name)


def test_columns_that_pandas_counts_have_names(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("0,1\n3,4\n5,6\n")
    assert column(tmp_path / "a.csv", "1")[0].tolist() == [4.0, 6.0]


def test_a_truncated_parquet_ragged_lists_and_no_file(tmp_path: Path) -> None:
    pq.write_table(pa.table({"q": np.arange(100.0)}), tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole[:-40])
    with pytest.raises(InputError, match=r"a\.parquet is truncated or damaged"):
        open_source(tmp_path / "a.parquet")
    pq.write_table(pa.table({"q": [[1.0], [1.0, 2.0]]}), tmp_path / "b.parquet")
    with pytest.raises(ColumnsError, match=r"'q\[0\]' cannot be read: its rows differ in length"):
        open_source(tmp_path / "b.parquet", ["q[0]"])
    with pytest.raises(SourceError, match="no file"):
        open_source(tmp_path / "absent.npz")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=r"holds no \.npz, \.csv, \.parquet and no LeRobot set"):
        open_source(tmp_path / "empty")


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(where=st.floats(0, 0.999), flip=st.booleans())
def test_a_damaged_archive_is_never_anything_but_bad_input(
    tmp_path: Path, where: float, flip: bool
) -> None:
    whole = archive(tmp_path / "whole.npz").read_bytes()
    cut = int(where * len(whole))
    damaged = bytearray(whole) if flip else bytearray(whole[:cut])
    if flip:
        damaged[cut : cut + 8] = bytes(255 - b for b in damaged[cut : cut + 8])
    path = tmp_path / "damaged.npz"
    path.write_bytes(bytes(damaged))
    try:
        open_source(path, ["q[0]"])
    except InputError as error:
        assert "damaged.npz" in str(error)
    else:
        assert flip  # a flipped byte may hit padding; a truncated file must never load
