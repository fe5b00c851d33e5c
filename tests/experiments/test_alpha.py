"""A result of alpha as files: means and cells of planted versions, and bounds as bounds."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.alpha import CONTROL, Args, interval, main, publish, summary
from experiments.slide.measurement import generations, successes
from experiments.slide.page import doubt, headline, page, success_chart
from experiments.slide.turn import Spent
from tests.helpers.html_page import whole
from tests.helpers.planted_alpha import planted_runs
from worldmodel import loop, trust
from worldmodel.trust.cost import Generation

CURVE, N, M, SEEDS = (4, 6, 9, 14, 21, 32, 48, 72), (8, 12), (8, 16, 24), 16
ALPHAS = {"v0": (-0.1, 0), "v1": (0.6, 6), "v1-hybrid": (8.0, 6), CONTROL: (1.0, 0)}

PRICED = Generation(
    version="v1",
    device="2 CPU cores",
    dollars_per_hour_low=0.02,
    dollars_per_hour_high=0.1,
    episode_seconds=0.25,
    model_seconds=100.0,
)


def runs() -> list[trust.Row]:
    return planted_runs(ALPHAS, CURVE, N, M, SEEDS)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("alpha")
    about = {
        "hidden_seed": 1,
        "config": {"smoke": False},
        "stages": {
            "v0: synthetic episodes": Spent(1.5, 2.4, 8, "v0"),
            "data sets": Spent(3.0, 2.9),
        },
        "generations": [PRICED],
        "success": successes([vars(r) | {"success": r.error < 0.1} for r in runs()]),
        "versions": [{"name": v, "corrections": k} for v, (_, k) in ALPHAS.items()],
        "direct": {"version": "v1", "episodes": 12, "error_m": 0.05, "low": 0.04, "high": 0.06},
        "launch": {"target": [1.0, 0.1], "qpos": {n: [[0.0] * 6] * 3 for n in ("reality", "v0")}},
    }
    publish(out, "Made up", runs(), pairs=[("v1", "v0")], theory={"v0": "below 0"}, **about)
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
    assert (published / "figure.png").read_bytes()[:4] == b"\x89PNG"


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


def test_the_page_is_whole_and_leads_with_the_first_version_that_learned(published: Path) -> None:
    table = json.loads((published / "table.json").read_text())
    line = headline(table)
    assert line.index("with v0 (0 corr") < line.index("with v1 (6 corr") < line.index("with v* (0")
    assert "v1-hybrid" not in line
    shown = whole(page(table), scripts=1)
    assert ["v0: synthetic episodes", "8", "1.5", "2.4", "0.3"] in shown.tables[1]
    assert ["data sets", "–", "3.0", "2.9", "–"] in shown.tables[1]
    priced = [row for row in shown.tables[2] if row[0] == "v1"]
    assert len(priced) == len(N) * len(M) and "break_even" in shown.tables[2][0]


def test_successes_are_means_over_the_replicates() -> None:
    shares = {("", 3, 0): (0.0, 0.5), ("v0", 3, 8): (0.5, 0.5), ("v0", 3, 16): (1.0, 0.0)}
    rows = [
        {"version": version, "n": n, "m": m, "seed": s, "success": share[s]}
        for s in range(2)
        for (version, n, m), share in shares.items()
    ]
    real, few, many = successes(rows)
    assert (real["version"], real["n"], real["m"], real["success"]) == ("", 3, 0, 0.25)
    assert real["success_high"] - 0.25 == pytest.approx(1.96 * 0.25)  # 1.96 · 0.354 / √2
    assert few["success_low"] == few["success"] == 0.5
    axis = success_chart([real, few, many]).axes[0]
    drawn = {c.get_label(): c[0].get_xydata().tolist() for c in axis.containers}
    assert drawn == {"real only": [[3, 25]], "v0": [[11, 50], [19, 50]]}


def test_a_version_costs_what_its_ancestors_cost() -> None:
    world: Any = None
    parents = {"v0": None, "v1": "v0", "v2": "v1"}
    versions = {n: loop.Version(n, parent, world, {}, 0) for n, parent in parents.items()}
    spent = {
        "reality: demonstrations": Spent(50.0, 90.0, 100),
        "v0: synthetic episodes": Spent(4.0, 6.0, 16, "v0"),
        "v1: finetune": Spent(30.0, 50.0, version="v1"),
        "v1: synthetic episodes": Spent(8.0, 12.0, 16, "v1"),
        "v2: finetune": Spent(7.0, 9.0, version="v2"),
        "v2: synthetic episodes": Spent(8.0, 12.0, 16, "v2"),
        "data sets": Spent(2.0, 3.0),
    }
    first, second, third = generations(versions, spent, cores=2)
    assert (first.episode_seconds, first.model_seconds) == (0.25, 0.0)
    assert (second.episode_seconds, second.model_seconds) == (0.5, 30.0)
    assert (third.episode_seconds, third.model_seconds) == (0.5, 37.0)
    assert second.device == "2 CPU cores" and second.fault() == ""


@pytest.mark.parametrize(
    ("ends", "holds"),
    [((0.8, 1.2), True), ((0.7, 1.3), False), ((1.1, 1.3), False), ((0.9, None), False)],
)
def test_the_page_doubts_what_its_control_does_not_carry(ends: tuple, holds: bool) -> None:
    row = {"version": CONTROL, "n": None, "alpha_avg": 1.0}
    row |= {"alpha_avg_low": ends[0], "alpha_avg_high": ends[1]}
    assert [note.loud for note in doubt({"rows": [row]})] == [True] * (not holds)
