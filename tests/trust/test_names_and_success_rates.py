"""Replicates may have names; a success rate in place of an error is noticed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.refusal import refused
from tests.helpers.training_runs import smooth, table
from worldmodel import trust
from worldmodel.trust import Row, measure
from worldmodel.trust.report import summary

NOISE = np.random.default_rng(0).uniform(0.99, 1.01, size=(6, 3))
GOOD = table(
    {key: e * NOISE[i] for i, (key, e) in enumerate(smooth(3).items())}
    | {("v", 64, 10, 2): np.array([0.0142, 0.0143, 0.0141])}
)
NAMES = {0: "run b", 1: "a", 2: "1st"}


def named(rows: list[Row], names: dict[int, str]) -> list[Row]:
    return [replace(row, seed=names.get(int(row.seed), row.seed)) for row in rows]


@pytest.mark.parametrize("names", [NAMES, {1: "a"}], ids=["all", "one"])
def test_replicates_may_have_names(names: dict[int, str], tmp_path: Path) -> None:
    rows = named(GOOD, names)
    ours, theirs = (trust.document(measure(r))["tasks"][0] for r in (rows, GOOD))
    cell, other = (t["versions"]["v"]["cells"][0] for t in (ours, theirs))
    for key in ("d_eff", "alpha_avg", "alpha_avg_low", "alpha_avg_high"):
        assert cell[key] == pytest.approx(other[key], rel=1e-9)
    assert ours["notes"] == theirs["notes"]
    trust.write_csv(path := tmp_path / "runs.csv", rows)
    assert trust.read(path) == rows
    refused(f"n 64, m 10 lacks seed {names.get(2, 2)}", measure, rows[:-1])
    path.write_text(path.read_text().replace(",a,", ",1.5,"))
    refused(r"seed = '1\.5' is no whole number", trust.read, path)


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_a_success_rate_in_place_of_an_error_is_noticed(scale: float, tmp_path: Path) -> None:
    rates = [replace(row, error=scale * (1 - row.error)) for row in GOOD]
    (result,) = measure(rates)
    assert "is it a success rate?" in result.cells[0].reason
    assert "is it a success rate?" in summary(trust.document([result]))
    assert measure(GOOD)[0].cells[0].reason == ""

    trust.write_csv(path := tmp_path / "runs.csv", rates)
    path.write_text(path.read_text().replace("error", "success_rate"))
    refused("no column 'error'.*the error of a success rate is 1 − rate", trust.read, path)
