"""A small coverage study: its estimators agree with the tool, and its intervals are not short."""

from dataclasses import astuple

import numpy as np
import pytest

from experiments.coverage import estimators
from experiments.coverage.designs import SIZES, fresh, nested_errors
from experiments.coverage.measure import CELLS, COVERS, FAILS, cover, measured, scenarios
from tests.helpers.training_runs import smooth, table
from worldmodel.trust import measure
from worldmodel.trust.intervals import leave_one_out, pseudo_values


def test_the_estimators_agree_with_the_tool() -> None:
    rng, versions = np.random.default_rng(1), [(1.0, 0.005), (1.5, 0.01)]
    curve, mixed = nested_errors(rng, 3, d=60, seeds=12, cells=CELLS, versions=versions)
    n, m = np.array(CELLS, float).T
    d_eff = tuple(np.full(len(CELLS), 100.0) for _ in versions)
    tables = estimators.Tables(
        SIZES, leave_one_out(curve), tuple(map(leave_one_out, mixed)), n, m, d_eff
    )
    for i in range(3):
        runs = {("", int(size), 0, 0): curve[i, j] for j, size in enumerate(SIZES)}
        for name, errors in zip("vw", mixed, strict=True):
            runs |= {(name, *cell, 0): errors[i, j] for j, cell in enumerate(CELLS)}
        for rule in ("pooled", "oracle"):
            result = measure(table(runs), law=rule)[0]
            law, bounds = result.versions["v"].law, estimators.law_of(tables, rule, 1.0, 0.005)
            assert law.law_reason == "" or np.isnan(bounds["kappa"].value[i])
            for of in ("kappa", "b", "alpha_0", "cap" if rule == "oracle" else "limit"):
                same(bounds[of], i, getattr(law, of))
        first, second = result.cells[:2]
        same(estimators.alpha(tables), i, first.alpha_avg)
        same(estimators.marginal(tables), i, second.alpha_marg)
        same(estimators.mean_alpha(tables), i, result.versions["v"].alpha)
        same(estimators.difference(tables), i, result.differences[0].alpha_avg)


def same(bounds: estimators.Bounds, i: int, expected: object) -> None:
    ends = np.array([x[i] for x in bounds[:3]])
    ends[~np.isfinite(ends)] = np.nan
    assert ends == pytest.approx(astuple(expected), nan_ok=True)  # type: ignore[call-overload]


def test_intervals_cover() -> None:
    # 1000 tables: 950 expected inside, ± 3.5 binomial standard deviations of 6.9.
    every = [s for s in scenarios(1000, 40) if (s.wanted, s.seeds, s.tables) == (COVERS, 10, 1000)]
    picked = {s.figure: s for s in every if "d = 100" in s.design or "noise" in s.group}
    assert {"alpha_marg", "mean alpha of 6 cells", "kappa", "b", "limit", "cap"} <= set(picked)
    for scenario in picked.values():
        row = measured(scenario, 1)
        assert row["covered"] >= 926, (scenario.name, row)
    short = next(a for a in scenarios(200, 40) if a.wanted == FAILS)
    row = measured(short, 1)
    assert row["covered"] < 0.9 * row["replications"]  # the study detects a short interval


def test_open_ends_claim_their_known_end() -> None:
    value, truth = np.array([1.0, np.nan, np.nan, np.nan]), np.ones(4)
    low, high = np.array([0.0, 2.0, 0.5, -np.inf]), np.full(4, np.inf)
    row = cover(estimators.Bounds(value, low, high, truth))
    assert [row[k] for k in ("valued", "covered_valued", "covered", "truth_below")] == [1, 1, 3, 1]


def test_leave_one_out_means_hold_the_runs() -> None:
    tables = fresh(
        np.random.default_rng(2), 2, rule="pooled", d=5, seeds=6, cells=CELLS, versions=[(1, 0)]
    )
    assert leave_one_out(pseudo_values(tables.curve)) == pytest.approx(tables.curve)


def test_a_note_bounds_the_d_eff_of_seeds_that_share_a_pool() -> None:
    # (seeds − 1) (n / pool)² ≤ .25: with 5 seeds a quarter of the pool, with 10 a sixth.
    for seeds, pool, note in (
        (5, 2048, "up to a D_eff of 512;"),
        (5, 2000, "up to a D_eff of 500;"),
        (10, 2048, "up to a D_eff of 341;"),
        (10, 3072, "up to a D_eff of 512;"),
    ):
        notes = measure(table(smooth(seeds)), pool=pool)[0].notes
        assert any(note in text for text in notes)


@pytest.mark.parametrize("slope", [1.0, 0.5])
def test_a_note_names_the_cells_that_are_noisier_than_the_study(slope: float) -> None:
    # atanh(w) is half the logarithm of (1 + w) / (1 − w); 2.776 is t(4) at 95 %.
    unit = np.array([-2, -1, 0, 1, 2]) / np.sqrt(2.5) * np.sqrt(5) / 2.776

    def noted(half: float, cells: int = 1) -> list[str]:
        runs = {key: errors**slope for key, errors in smooth(5).items()}
        for m in range(10, 10 + cells):
            runs["v", 64, m, 0] = (1 / 70) ** slope * (1 + np.tanh(half * slope) * unit)
        return [note for note in measure(table(runs))[0].notes if "not shown" in note]

    assert noted(0.29) == []
    (note,) = noted(0.31)
    assert note.startswith("v 64 + 10: the noise") and "± 0.3" in note
    assert noted(0.31, 5)[0].startswith("v 64 + 10, v 64 + 11, v 64 + 12 and 2 more: ")
