"""The planner of replicates, against its formula worked by hand, and its refusals."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.helpers.refusal import refused
from tests.helpers.training_runs import GRID, curve, smooth, table
from worldmodel import trust
from worldmodel.errors import InputError
from worldmodel.trust import Row


def plan(rows: list[Row], n: int = 64, m: int = 64, **how: Any) -> trust.Plan:
    """The plan for one cell."""
    return trust.grids(rows, n, m, **how)[0]


def pilot(cv: float = 0.3, power: float = 1.0, seeds: int = 9, floor: int = 512) -> list[Row]:
    noise = np.linspace(-1, 1, seeds)  # common to all sizes: the slope is known exactly
    noise *= cv / noise.std(ddof=1)
    return table({("", n, 0, 0): (1 + noise) * min(n, floor) ** -power for n in GRID})


def test_planner() -> None:
    # t(S - 1) f (n/m + alpha) (cv/β) √((1/J + 1/J_c)/S) ≤ .25, by hand: with (1 + 1)(.3/1)√2 =
    # .8485, S = 46 gives 2.0141 · .8485/√46 = .2520 and S = 47 gives 2.0129 · .8485/√47 = .2491.
    planned = plan(pilot())
    assert [planned.seeds, planned.cv, planned.beta] == [47, *map(pytest.approx, (0.3, 1.0))]
    # What multiplies sd(alpha) by 1.5 does to S what a half-width smaller by 1.5 does.
    same = plan(pilot(), half_width=0.25 / 1.5).seeds
    assert same == plan(pilot(), nested=True).seeds == plan(pilot(cv=0.45)).seeds
    assert same == plan(pilot(), alpha=2.0).seeds == plan(pilot(power=2 / 3)).seeds
    assert same == plan(pilot(), m=32).seeds
    assert plan(pilot(), half_width=0.5).seeds == 14
    # Four cells, two knots: √(1/4 + 1/2) in place of √2, as a half-width wider by √(8/3) for one.
    four = trust.grids(pilot(), 64, 64)[2]
    assert four.cells == 4 and four.runs == (four.seeds or 0) * (4 + len(GRID))
    assert four.seeds == plan(pilot(), half_width=0.25 * math.sqrt(8 / 3)).seeds
    assert plan(pilot(cv=0.05)).seeds == 10  # never fewer
    # Noise and slope are those at D_eff.
    kinked = [replace(r, error=r.error * math.sqrt(max(1, r.n / 64))) for r in pilot()]
    for n, alpha, beta in ((20, 1.0, 1.0), (64, 1.0, 0.5), (64, -0.5, 1.0)):
        assert plan(kinked, n=n, m=n, alpha=alpha).beta == pytest.approx(beta)
    loud = [r for r in pilot(cv=0.1) if r.n != 128] + [r for r in pilot(cv=0.2) if r.n == 128]
    for n, alpha, cv in ((64, 1.0, 0.2), (32, 1.0, 0.1), (64, math.sqrt(2) - 1, 0.15)):
        assert plan(loud, n=n, m=n, alpha=alpha).cv == pytest.approx(cv)
    # Refusals, in words.
    for rows, n, m, reason in (
        (pilot(seeds=2), 64, 64, "too few seeds: the pilot has 2"),
        (pilot(power=0.1), 64, 64, "falls 1.41 times"),
        (pilot(), 300, 300, "beyond the pilot's sizes"),
        (pilot(floor=128), 128, 128, "flat at D_eff = 256"),
        (table(curve(np.random.default_rng(21), 3, 2)), 64, 64, "may be as low as"),
        (pilot(cv=0.6), 500, 1, "over 10000 seeds"),
    ):
        refusal = plan(rows, n=n, m=m)
        assert refusal.seeds is None and reason in refusal.reason
    mixed = table(smooth(3) | {("v", 64, 10, 2): np.full(3, 1 / 70)})
    refused("3 mixture rows", plan, mixed)
    refused("tasks push, toss", plan, [*pilot(), *(replace(r, task="push") for r in pilot())])
    for wrong in ({"n": 0}, {"m": -1}, {"half_width": 0.0}, {"alpha": math.nan}):
        refused(next(iter(wrong)), plan, pilot(), **wrong, kind=InputError)
