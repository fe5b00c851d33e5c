"""What is measured of a task, as values: the curve, its cells, its versions, their differences.

An end of an interval that lies beyond the curve is NaN: it is not known from this table.
"""

import dataclasses

from worldmodel.trust.intervals import NONE, Interval
from worldmodel.trust.law import Law


@dataclasses.dataclass(frozen=True)
class Cell:
    """What m synthetic episodes of a version are worth beside n real ones.

    Censored: the value is NaN and so is the open side; the other side is what is known for sure,
    unless it is NaN too. The alphas and the gain follow from D_eff. NOT_IDENTIFIED: all are NaN.

    ``…_reused`` is the second arm, whose training set holds the corrections too
    (``table.arms``): NaN and an empty verdict where it was not run.
    """

    task: str
    version: str
    n: int
    m: int
    k: int
    seeds: int
    error: Interval  # mean over the replicates
    d_eff: Interval  # real episodes that would have done as well
    alpha_avg: Interval  # (d_eff - n) / m
    alpha_net: Interval  # (d_eff - n - k) / m
    gain_net: Interval  # d_eff - n - k [episodes]
    alpha_marg: Interval  # change of d_eff per m since the next smaller m; NaN for the first
    verdict: str
    reason: str
    d_eff_reused: Interval = NONE
    alpha_net_reused: Interval = NONE  # (d_eff_reused - n - k) / m
    gain_net_reused: Interval = NONE
    verdict_reused: str = ""


@dataclasses.dataclass(frozen=True)
class Curve:
    """Real-only training. ``error`` is as measured, ``slope`` that of the monotone curve."""

    n: tuple[int, ...]
    error: tuple[Interval, ...]
    slope: tuple[Interval, ...]  # -d log L / d log n, one per segment; 0 where pooled
    falls: float  # L(smallest n) / L(largest n)


@dataclasses.dataclass(frozen=True)
class Version:
    """What holds for all cells of a version, its second arm aside."""

    verdict: str  # HETEROGENEOUS where its cells have no common alpha, else their worst
    homogeneity_p: float  # that all its cells have one alpha, by Hotelling's test
    additivity_p: float  # that a gain D_eff - n is the same at every n with the same m
    alpha: Interval  # mean of alpha_avg over its cells, if all have one
    law: Law


@dataclasses.dataclass(frozen=True)
class Difference:
    """Version a minus version b, paired over the replicates."""

    a: str
    b: str
    n: int
    m: int
    alpha_avg: Interval
    gain_net: Interval
    verdict: str  # of gain_net: RISES, FALLS, NO DIFFERENCE; CENSORED where either has no value
    gain_net_reused: Interval = NONE
    verdict_reused: str = ""  # empty where a version with corrections has no second arm


@dataclasses.dataclass(frozen=True)
class Budget:
    """What a training run took, a mean over the replicates; NaN where the table does not say."""

    version: str  # empty: real only
    n: int
    m: int
    k: int
    steps: float
    device_seconds: float  # [s]
    energy_joules: float  # [J]


@dataclasses.dataclass(frozen=True)
class Measurement:
    """All there is to say of one task. Differences are there both ways round."""

    task: str
    recipe: str
    split: str
    level: float  # of the intervals
    law: str  # of the recipe's weight rule, one of ``law.LAWS``
    seeds: int  # replicates
    curve: Curve
    cells: tuple[Cell, ...]  # by version, n, m
    versions: dict[str, Version]
    differences: tuple[Difference, ...]
    budgets: tuple[Budget, ...]  # of every cell, real-only ones among them; empty if unknown
    notes: tuple[str, ...]  # what the numbers are conditional on, and what the design lacks
