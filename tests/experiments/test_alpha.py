"""A result of alpha as files: means and cells of planted versions, and bounds as bounds."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.alpha import CONTROL, Args, interval, main, publish, summary
from tests.helpers.planted_alpha import planted_runs
from worldmodel import trust

CURVE, N, M, SEEDS = (4, 6, 9, 14, 21, 32, 48, 72), (8, 12), (8, 16, 24), 16
ALPHAS = {"v0": (-0.1, 0), "v1": (0.6, 6), "v1-hybrid": (8.0, 6), CONTROL: (1.0, 0)}


def runs() -> list[trust.Row]:
    return planted_runs(ALPHAS, CURVE, N, M, SEEDS)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("alpha")
    theory = {"v0": "below 0"}
    publish(out, "Made up", runs(), pairs=[("v1", "v0")], theory=theory)
    return out


def test_planted_alphas_come_out_gross_and_net(published: Path) -> None:
    table = json.loads((published / "table.json").read_text())
    means = {row["version"]: row for row in table["rows"] if row["n"] is None}
    assert list(means) == list(ALPHAS)
    for name, (alpha, k) in ALPHAS.items():
        if name == "v1-hybrid":  # beyond the real-only curve
            assert means[name]["alpha_avg"] is None
            continue
        assert means[name]["alpha_avg_low"] < alpha < means[name]["alpha_avg_high"]
        paid = np.mean([k / m for m in M])
        assert means[name]["alpha_net"] == pytest.approx(means[name]["alpha_avg"] - paid)
    assert len(table["rows"]) == len(ALPHAS) * (1 + len(N) * len(M))
    assert {(d["a"], d["b"]) for d in table["differences"]} == {("v1", "v0")}
    assert summary(table)[CONTROL][""] == means[CONTROL]["alpha_avg"]
    text = (published / "table.md").read_text()
    assert "| v0 | all | all | 0 |" in text and "≥" in text and "below 0 |" in text


def test_the_same_numbers_come_from_the_rows_alone(published: Path, tmp_path: Path) -> None:
    assert main(Args(published / "rows.csv", tmp_path)) == 0
    again, before = (json.loads((d / "table.json").read_text()) for d in (tmp_path, published))
    assert again["rows"] == before["rows"]


@pytest.mark.parametrize(
    ("ends", "text"),
    [
        ((0.5, 0.25, 0.75), "0.50 [0.25, 0.75]"),
        ((0.5, 0.25, None), "0.50 [0.25, –]"),
        ((None, 0.7, None), "≥ 0.70"),
        ((None, None, 0.7), "≤ 0.70"),
        ((None, None, None), None),
    ],
)
def test_a_bound_is_shown_as_a_bound(ends: tuple, text: str | None) -> None:
    row: dict[str, Any] = dict(zip(("x", "x_low", "x_high"), ends, strict=True))
    assert interval(row, "x") == text
    assert interval({}, "x") is None
