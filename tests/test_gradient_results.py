"""The committed reports on gradients are those of the rows beside them."""

import json
from pathlib import Path

import pytest

from experiments import bench_gradients, cube_side, useful_gradients
from experiments.gradient_figure import markdown

RESULTS = Path(__file__).resolve().parent.parent / "experiments" / "results" / "gradients"


def test_the_benchmarks_report_is_that_of_its_rows() -> None:
    result = json.loads((RESULTS / "gradients.json").read_text())
    rows = bench_gradients.rows_of(result)
    text, summary = markdown(rows, result["provenance"], result["command"])
    assert text == (RESULTS / "gradients.md").read_text()
    assert summary["error_64"] < 1e-6  # a gradient that got wrong would be committed as such


@pytest.mark.parametrize(
    ("module", "name"), [(useful_gradients, "useful"), (cube_side, "cube_side")], ids=str
)
def test_a_report_is_that_of_its_rows(module: object, name: str) -> None:
    folder = RESULTS / name
    result = json.loads((folder / f"{name}.json").read_text())
    assert module.markdown(result) == (folder / f"{name}.md").read_text()  # type: ignore[attr-defined]
