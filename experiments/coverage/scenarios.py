"""The scenarios of the coverage study: simulated tables, and the interval to compare with truth.

The interval of a scenario is wanted to cover within the claimed range, see ``in_range``. Other
intervals, at 7031a3be1389: the percentile bootstrap at 5 seeds covered in 0.84 and cells taken as
independent in 0.87 (too short), a jackknife of 8 or 16 blocks of one pool in 0.98 (too wide); t
times the jackknife around the estimate covers too.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from experiments.coverage import estimators
from experiments.coverage.designs import d_eff, fresh, nested, pool, scattered
from experiments.coverage.estimators import Bounds, Tables
from worldmodel.trust.intervals import quantile

COVERS, OUTSIDE, FAILS = "covers", "outside", "must fail"
RANGE = 0.3  # of t(S − 1) · cv / (slope · √S), the half-width of log D_eff from one mean error
LAW_RANGE = 0.11  # the same for a law fitted to several cells

CELLS = ((45, 60), (45, 120), (45, 180), (90, 60), (90, 120), (90, 180))  # two n by three m
LAWS = {  # (κ, b) from high to low alpha, by weight rule
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
    wanted: str  # COVERS, OUTSIDE or FAILS
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


def noise(d: int) -> float:
    """The seed noise cv of a learner in d dimensions (``designs``)."""
    return math.sqrt(2 / d)


def in_range(seeds: int, cv: float, slope: float, most: float = RANGE) -> str:
    """COVERS within the claimed range, OUTSIDE beyond it."""
    return COVERS if spread(seeds, cv, slope) <= most else OUTSIDE


def scenarios(tables: int, pools: int) -> list[Scenario]:
    """All scenarios.

    Args:
      tables: replications of a scenario.
      pools: replications of a scenario that draws from pools, which takes longer.
    """
    return [*_cells(tables), *_several(tables), *_laws(tables), *_pools(pools)]


def _cells(tables: int) -> Iterator[Scenario]:
    """Scenarios of one cell."""
    n, m = cell = (64, 64)
    for (rule, laws), d, seeds in itertools.product(LAWS.items(), (5, 20, 100), (5, 10, 20)):
        cv, wanted = noise(d), in_range(seeds, noise(d), 1.0)
        for law in laws:
            alpha = (float(d_eff(rule, np.array(n), np.array(m), *law)) - n) / m
            named = ("fresh episodes", f"{rule}, d = {d}", f"alpha = {alpha:.2f}")
            draw = functools.partial(
                fresh, rule=rule, d=d, seeds=seeds, cells=[cell], versions=[law]
            )
            yield Scenario(*named, seeds, cv, 1.0, wanted, draw, estimators.alpha, tables)
    draw_from = functools.partial(scattered, cell=cell, alpha=0.7)
    for cv, slope, seeds in itertools.product((0.1, 0.3, 0.6), (0.3, 0.5, 1.0), (5, 10, 20)):
        wanted = in_range(seeds, cv, slope)
        named = ("log-normal noise", f"cv = {cv}, slope = {slope}", "alpha = 0.70")
        draw = functools.partial(draw_from, seeds=seeds, cv=cv, slope=slope, floor=0.0)
        yield Scenario(*named, seeds, cv, slope, wanted, draw, estimators.alpha, tables)
    for seeds, cv in ((10, 0.3), (20, 0.3), (20, 0.1)):
        wanted = in_range(seeds, cv, 0.73)
        named = ("curve with a floor", f"1/n + 1/256, cv = {cv}", "alpha = 0.70")
        draw = functools.partial(draw_from, seeds=seeds, cv=cv, slope=1.0, floor=1 / 256)
        yield Scenario(*named, seeds, cv, 0.73, wanted, draw, estimators.alpha, tables)


def _several(tables: int) -> Iterator[Scenario]:
    """Scenarios of means over cells, differences and slopes."""
    better, worse = (1.0, 0.0), (1.5, 0.01)
    figures = (
        ("mean alpha of 6 cells", estimators.mean_alpha, CELLS, [better]),
        ("difference of versions", estimators.difference, CELLS[1:2], [better, worse]),
        ("difference, identical", estimators.difference, CELLS[1:2], [worse, worse]),
        ("alpha_marg", estimators.marginal, CELLS[:2], [worse]),
    )
    for kind, how in (("fresh", functools.partial(fresh, rule="pooled")), ("nested", nested)):
        for d, seeds in ((20, 10), (20, 20), (100, 5), (100, 10), (100, 20)):
            cv, wanted = noise(d), in_range(seeds, noise(d), 1.0)
            for figure, of, cells, versions in figures:
                named = (f"{kind} episodes, several cells", f"pooled, d = {d}", figure)
                draw = functools.partial(how, d=d, seeds=seeds, cells=cells, versions=versions)
                yield Scenario(*named, seeds, cv, 1.0, wanted, draw, of, tables)


def _law(tables: Tables, figure: str, **law: Any) -> Bounds:
    return estimators.law_of(tables, **law)[figure]


def _laws(tables: int) -> Iterator[Scenario]:
    """Scenarios of the law fitted to six cells."""
    for rule, kappa, last in (("pooled", 1.5, "limit"), ("oracle", 1.0, "cap")):
        for d, seeds in ((20, 20), (100, 10), (100, 20), (400, 10), (400, 20)):
            cv, wanted = noise(d), in_range(seeds, noise(d), 1.0, LAW_RANGE)
            draw = functools.partial(
                fresh, rule=rule, d=d, seeds=seeds, cells=CELLS, versions=[(kappa, 0.01)]
            )
            for figure in ("fits", "kappa", "b", "alpha_0", last):
                of = functools.partial(_law, figure=figure, rule=rule, kappa=kappa, b=0.01)
                named = ("the law", f"{rule}, d = {d}", figure)
                yield Scenario(*named, seeds, cv, 1.0, wanted, draw, of, tables)


def _pools(tables: int) -> Iterator[Scenario]:
    """Scenarios with one pool; claimed for new episodes if (S − 1)(D_eff / pool)² is below .25."""
    for d, seeds, of, most, cell, wanted, conditional in (
        (20, 10, 512, 64, (16, 16), COVERS, False),
        (20, 10, 512, 64, (32, 24), COVERS, False),
        (100, 10, 512, 64, (32, 24), COVERS, False),
        (20, 10, 256, 64, (16, 16), COVERS, False),
        (20, 10, 256, 64, (32, 24), OUTSIDE, False),
        (100, 10, 256, 64, (32, 24), OUTSIDE, False),
        (100, 20, 256, 64, (32, 24), OUTSIDE, False),
        (100, 5, 256, 64, (32, 24), COVERS, False),
        (20, 10, 128, 96, (48, 40), FAILS, False),
        (100, 10, 128, 96, (48, 40), FAILS, False),
        (100, 20, 128, 96, (48, 40), FAILS, False),
        (20, 10, 128, 96, (24, 24), COVERS, True),
        (100, 10, 128, 96, (48, 40), COVERS, True),
    ):
        episodes = "these episodes" if conditional else "new episodes"
        sizes = tuple(most >> i for i in range(5, -1, -1))
        design = f"d = {d}, n ≤ {most} of {of}, n, m = {cell}"
        named = ("one pool for all seeds", design, f"alpha = 1, for {episodes}")
        draw = functools.partial(
            pool, d=d, seeds=seeds, of=of, sizes=sizes, cell=cell, conditional=conditional
        )
        yield Scenario(*named, seeds, noise(d), 1.0, wanted, draw, estimators.alpha, tables)
