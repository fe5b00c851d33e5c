"""Rows of results on a disk that fills up."""

from pathlib import Path

import pytest

from tests.helpers.disk import room
from worldmodel.runtime.records import append_row


def test_a_row_that_does_not_fit_leaves_no_part_of_itself(tmp_path: Path) -> None:
    rows = tmp_path / "metrics.jsonl"
    append_row(rows, {"step": 1})
    with room(rows.stat().st_size + 5), pytest.raises(OSError, match=r"metrics\.jsonl"):
        append_row(rows, {"step": 2})
    append_row(rows, {"step": 2})
    assert rows.read_text() == '{"step": 1}\n{"step": 2}\n'
