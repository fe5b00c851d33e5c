"""The scenarios of the coverage study: simulated tables, and the interval to compare with truth.

The interval of a scenario is wanted to cover within the claimed range, see ``in_range``.
"""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.coverage import estimators, simulation
from experiments.coverage.designs import fresh, nested, pool, scattered
from experiments.coverage.estimators import Bounds, Tables
from worldmodel.trust.intervals import quantile

COVERS, OUTSIDE, FAILS, PROPOSED = "covers", "outside", "must fail", "proposed"
RANGE = 0.3  # of t(S − 1) · cv / (slope · √S), the half-width of log D_eff from one mean error
LAW_RANGE = 0.11  # the same for a law fitted to several cells

CELLS = ((45, 60), (45, 120), (45, 180), (90, 60), (90, 120), (90, 180))  # two n by three m
LAWS: dict[
    str, tuple[tuple[float, float], ...]
] = {  # (κ, b) from high to low alpha, by weight rule
    "pooled": ((1.0, 0.0), (1.5, 0.004), (3.0, 0.02)),
    "oracle": ((1.0, 0.0), (2.0, 0.005), (4.0, 0.05)),
}

Draw = Callable[[np.random.Generator, int], Tables]


@dataclasses.dataclass(frozen=True)
class Scenario:
    """One figure of one design."""

    group: str
    design: str
    figure: str
    seeds: int
    cv: float  # seed noise: standard deviation over mean of the error
    slope: float  # -d log L / d log n
    wanted: str  # COVERS, OUTSIDE, FAILS or PROPOSED
    draw: Draw
    bounds: Callable[[Tables], Bounds]
    tables: int  # replications

    @property
    def name(self) -> str:
        """The unique name, which seeds the random numbers."""
        return f"{self.group}: {self.design}, S = {self.seeds}: {self.figure}"


def spread(seeds: int, cv: float, slope: float) -> float:
    """Half-width of log D_eff from one mean error."""
    return quantile(estimators.LEVEL, seeds) * cv / (slope * math.sqrt(seeds))


def in_range(seeds: int, cv: float, slope: float, most: float = RANGE) -> str:
    """COVERS within the claimed range, OUTSIDE beyond it."""
    return COVERS if spread(seeds, cv, slope) <= most else OUTSIDE


def scenarios(tables: int, pools: int) -> list[Scenario]:
    """All scenarios.

    Args:
      tables: replications of a scenario.
      pools: replications of a scenario that draws from pools, which takes longer.
    """
    return [*_cells(tables), *_several(tables), *_laws(tables), *_pools(pools), *_others(tables)]


def _cells(tables: int) -> list[Scenario]:
    """Scenarios of one cell."""
    rows = []
    for rule, laws in LAWS.items():
        for d in (5, 20, 100):
            for seeds in (5, 10, 20):
                for law in laws:
                    n, m = cell = (64, 64)
                    alpha = (float(simulation.d_eff(rule, np.array(n), np.array(m), *law)) - n) / m
                    how: dict[str, Any] = {"rule": rule, "d": d, "seeds": seeds, "cells": [cell]}
                    cv = math.sqrt(2 / d)
                    rows.append(
                        Scenario(
                            *("fresh episodes", f"{rule}, d = {d}", f"alpha = {alpha:.2f}"),
                            *(seeds, cv, 1.0, in_range(seeds, cv, 1.0)),
                            functools.partial(fresh, versions=[law], **how),
                            estimators.alpha,
                            tables,
                        )
                    )
    for cv in (0.1, 0.3, 0.6):
        for slope in (0.3, 0.5, 1.0):
            for seeds in (5, 10, 20):
                how: dict[str, Any] = dict(
                    seeds=seeds, cv=cv, slope=slope, cell=(64, 64), alpha=0.7
                )
                rows.append(
                    Scenario(
                        *("log-normal noise", f"cv = {cv}, slope = {slope}", "alpha = 0.70"),
                        *(seeds, cv, slope, in_range(seeds, cv, slope)),
                        functools.partial(scattered, floor=0.0, **how),
                        estimators.alpha,
                        tables,
                    )
                )
    for seeds, cv in ((10, 0.3), (20, 0.3), (20, 0.1)):
        how: dict[str, Any] = dict(seeds=seeds, cv=cv, slope=1.0, cell=(64, 64), alpha=0.7)
        rows.append(
            Scenario(
                *("curve with a floor", f"1/n + 1/256, cv = {cv}", "alpha = 0.70"),
                *(seeds, cv, 0.73, in_range(seeds, cv, 0.73)),
                functools.partial(scattered, floor=1 / 256, **how),
                estimators.alpha,
                tables,
            )
        )
    return rows


def _several(tables: int) -> list[Scenario]:
    """Scenarios of means over cells, differences and slopes."""
    rows = []
    better, worse = (1.0, 0.0), (1.5, 0.01)
    for kind, draw in (("fresh", functools.partial(fresh, rule="pooled")), ("nested", nested)):
        for d, seeds in ((20, 10), (20, 20), (100, 5), (100, 10), (100, 20)):
            for figure, of, cells, versions in (
                ("mean alpha of 6 cells", estimators.mean_alpha, CELLS, [better]),
                ("difference of versions", estimators.difference, CELLS[1:2], [better, worse]),
                ("difference, identical", estimators.difference, CELLS[1:2], [worse, worse]),
                ("alpha_marg", estimators.marginal, CELLS[:2], [worse]),
            ):
                cv = math.sqrt(2 / d)
                rows.append(
                    Scenario(
                        *(f"{kind} episodes, several cells", f"pooled, d = {d}", figure),
                        *(seeds, cv, 1.0, in_range(seeds, cv, 1.0)),
                        functools.partial(draw, d=d, seeds=seeds, cells=cells, versions=versions),
                        of,
                        tables,
                    )
                )
    return rows


def _laws(tables: int) -> list[Scenario]:
    """Scenarios of the law fitted to six cells."""
    rows = []
    for rule, (kappa, b), last in (
        ("pooled", (1.5, 0.01), "limit"),
        ("oracle", (1.0, 0.01), "cap"),
    ):
        for d, seeds in ((20, 20), (100, 10), (100, 20), (400, 10), (400, 20)):
            draw = functools.partial(
                fresh, rule=rule, d=d, seeds=seeds, cells=CELLS, versions=[(kappa, b)]
            )

            def law(tables: Tables, of: str, rule: str, kappa: float, b: float) -> Bounds:
                return estimators.law_of(tables, rule, kappa, b)[of]

            for of in ("fits", "kappa", "b", "alpha_0", last):
                bounds = functools.partial(law, of=of, rule=rule, kappa=kappa, b=b)
                cv = math.sqrt(2 / d)
                rows.append(
                    Scenario(
                        *("the law", f"{rule}, d = {d}", of, seeds, cv, 1.0),
                        *(in_range(seeds, cv, 1.0, LAW_RANGE), draw, bounds, tables),
                    )
                )
    return rows


def _pools(tables: int) -> list[Scenario]:
    """Scenarios with one pool; claimed for new episodes if (S − 1)(D_eff / pool)² is below .25."""
    rows = []
    for d, seeds, of, most, cell, population, wanted, how in (
        (20, 10, 512, 64, (16, 16), "new episodes", COVERS, {}),
        (20, 10, 512, 64, (32, 24), "new episodes", COVERS, {}),
        (100, 10, 512, 64, (32, 24), "new episodes", COVERS, {}),
        (20, 10, 256, 64, (16, 16), "new episodes", COVERS, {}),
        (20, 10, 256, 64, (32, 24), "new episodes", OUTSIDE, {}),
        (100, 10, 256, 64, (32, 24), "new episodes", OUTSIDE, {}),
        (100, 20, 256, 64, (32, 24), "new episodes", OUTSIDE, {}),
        (100, 5, 256, 64, (32, 24), "new episodes", COVERS, {}),
        (20, 10, 128, 96, (48, 40), "new episodes", FAILS, {}),
        (100, 10, 128, 96, (48, 40), "new episodes", FAILS, {}),
        (100, 20, 128, 96, (48, 40), "new episodes", FAILS, {}),
        (20, 10, 128, 96, (24, 24), "these episodes", COVERS, {"conditional": True}),
        (100, 10, 128, 96, (48, 40), "these episodes", COVERS, {"conditional": True}),
        (20, 10, 256, 64, (16, 16), "new episodes, jackknife of 8 blocks", PROPOSED, {"blocks": 8}),
        (20, 10, 128, 64, (32, 16), "new episodes, jackknife of 8 blocks", PROPOSED, {"blocks": 8}),
        (20, 10, 128, 96, (48, 32), "new episodes, jackknife of 8 blocks", PROPOSED, {"blocks": 8}),
        (20, 5, 128, 96, (48, 32), "new episodes, jackknife of 8 blocks", PROPOSED, {"blocks": 8}),
        (
            100,
            10,
            128,
            96,
            (48, 32),
            "new episodes, jackknife of 8 blocks",
            PROPOSED,
            {"blocks": 8},
        ),
        (
            20,
            10,
            128,
            96,
            (48, 32),
            "new episodes, jackknife of 16 blocks",
            PROPOSED,
            {"blocks": 16},
        ),
    ):
        sizes = tuple(most >> i for i in range(5, -1, -1))
        rows.append(
            Scenario(
                *("one pool for all seeds", f"d = {d}, n ≤ {most} of {of}, n, m = {cell}"),
                *(f"alpha = 1, for {population}", seeds, math.sqrt(2 / d), 1.0, wanted),
                functools.partial(pool, d=d, seeds=seeds, of=of, sizes=sizes, cell=cell, **how),
                estimators.alpha,
                tables,
            )
        )
    return rows


def _others(tables: int) -> list[Scenario]:
    """Scenarios of other common intervals."""
    rows = []
    one = {"cells": [(64, 64)], "versions": [(1.5, 0.004)]}
    for figure, of, d, seeds, wanted, draw in (
        ("percentile bootstrap", estimators.percentile_bootstrap, 20, 5, FAILS, one),
        ("percentile bootstrap", estimators.percentile_bootstrap, 100, 5, FAILS, one),
        ("estimate ± t · jackknife", estimators.around_the_estimate, 5, 20, PROPOSED, one),
        ("estimate ± t · jackknife", estimators.around_the_estimate, 20, 10, PROPOSED, one),
        ("estimate ± t · jackknife", estimators.around_the_estimate, 100, 10, PROPOSED, one),
        *(
            (
                *("mean of 6 cells, as if independent", estimators.cells_independent),
                *(d, seeds, FAILS, {"cells": CELLS, "versions": [(1.0, 0.0)]}),
            )
            for d, seeds in ((20, 10), (100, 10))
        ),
    ):
        rows.append(
            Scenario(
                *("other intervals", f"pooled, d = {d}", figure, seeds, math.sqrt(2 / d), 1.0),
                *(wanted, functools.partial(fresh, rule="pooled", d=d, seeds=seeds, **draw)),
                of,
                tables,
            )
        )
    return rows
