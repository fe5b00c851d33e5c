"""Rows of results on a disk that fills up, and a config's hash."""

from pathlib import Path

import pytest

from tests.helpers.disk import room
from worldmodel.runtime.records import append_row, config_hash


def test_a_row_that_does_not_fit_leaves_no_part_of_itself(tmp_path: Path) -> None:
    rows = tmp_path / "metrics.jsonl"
    append_row(rows, {"step": 1})
    with room(rows.stat().st_size + 5), pytest.raises(OSError, match=r"metrics\.jsonl"):
        append_row(rows, {"step": 2})
    append_row(rows, {"step": 2})
    assert rows.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_config_hash_sees_values_not_order() -> None:
    assert config_hash({"a": 1, "b": 2}) == config_hash({"b": 2, "a": 1})
    assert config_hash({"a": 1}) != config_hash({"a": 2})
