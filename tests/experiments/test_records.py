"""Results as files: table.json has everything, table.md its rows as a plain table."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments.records import header, kept, table, write
from worldmodel import runtime

ROWS = [
    {"scene": "cube", "error": 1.23456e-7, "seconds": 2, "why": None},
    {"scene": "a|b", "error": 0.5, "seconds": np.int64(3), "why": "kink"},
]


def test_a_table_has_a_line_per_row_and_a_cell_per_column() -> None:
    columns = {"scene": "scene", "err": "error:.1e", "ms": lambda r: 1e3 * r["seconds"]}
    text = table(ROWS, {**columns, "error": "error", "why": "why"})
    assert text.splitlines() == [
        "| scene | err | ms | error | why |",
        "| --- | --- | --- | --- | --- |",
        "| cube | 1.2e-07 | 2000 | 1.235e-07 | – |",
        "| a\\|b | 5.0e-01 | 3000 | 0.5 | kink |",
    ]


def test_a_column_that_no_row_has_is_an_error() -> None:
    with pytest.raises(KeyError, match="speed"):
        table(ROWS, {"speed": "speed"})


def test_the_files_hold_rows_origin_and_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "orig_argv", ["/usr/bin/python3", "-m", "x"])
    out = tmp_path / "new" / "claim"
    result = write(out, "Errors", ROWS, {"scene": "scene"}, config={"n": 1})
    assert json.loads((out / "table.json").read_text()) == result
    assert (result["rows"], result["config"]) == (ROWS, {"n": 1})
    text = (out / "table.md").read_text()
    assert text == header("Errors", result) + table(ROWS, {"scene": "scene"})
    assert text.startswith("# Errors\n\n`python -m x`\n\nCommit ")
    assert f"Commit {result['provenance']['commit']}; " in text


def test_a_note_stands_above_the_table(tmp_path: Path) -> None:
    write(tmp_path, "Errors", ROWS, {"scene": "scene"}, note="What it means.")
    assert "\n\nWhat it means.\n\n| scene |\n" in (tmp_path / "table.md").read_text()


def test_a_number_that_is_not_finite_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        write(tmp_path, "Errors", [{"error": float("nan")}], {"error": "error"})


def test_rows_are_kept_at_the_same_commit_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    origin = runtime.provenance() | {"commit": "0123456789ab"}
    monkeypatch.setattr(runtime, "provenance", lambda: origin)
    assert kept(tmp_path) == []
    write(tmp_path, "Errors", ROWS[:1], {"scene": "scene"})
    assert kept(tmp_path) == ROWS[:1]
    for other in ({"commit": "0123456789ac"}, {"cpu": "another"}, {"versions": {}}):
        monkeypatch.setattr(runtime, "provenance", lambda other=other: origin | other)
        assert kept(tmp_path) == []
    monkeypatch.setattr(runtime, "provenance", lambda: origin | {"commit": "0123456789ab-dirty"})
    assert kept(tmp_path) == []
