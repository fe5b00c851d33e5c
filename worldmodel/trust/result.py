"""The result of a task: its curve, cells, versions and their differences; and as plain numbers.

An end of an interval is NaN if it lies beyond the curve, since the table does not show it.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from worldmodel.trust.intervals import NONE, Interval
from worldmodel.trust.law import Law

CONTROL = "v*"  # the version that is reality itself


@dataclasses.dataclass(frozen=True)
class Cell:
    """The value of m synthetic episodes of a version to a learner with n real ones.

    Censored: the value and the open end are NaN; the other end is a bound, or NaN too.
    NOT_IDENTIFIED: all are NaN. ``…_reused`` is the second arm, whose training set holds the
    corrections too (``table.reused_cells``): NaN and an empty verdict if it was not run.
    """

    task: str
    version: str
    n: int
    m: int
    k: int
    seeds: int
    error: Interval  # mean over the replicates
    d_eff: Interval  # effective number of real episodes
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
    """The real-only curve: the measured ``error``, and the ``slope`` of the monotone curve."""

    n: tuple[int, ...]
    error: tuple[Interval, ...]
    slope: tuple[Interval, ...]  # -d log L / d log n, one per segment; 0 where pooled
    falls: float  # L(smallest n) / L(largest n)

    def slope_at(self, d_eff: float) -> Interval:
        """The slope at a D_eff on the curve; at a size, that of the segment above it."""
        segment = int(np.searchsorted(self.n, d_eff, side="right")) - 1
        return self.slope[min(segment, len(self.slope) - 1)]


@dataclasses.dataclass(frozen=True)
class Version:
    """The common result of all cells of a version, its second arm excluded."""

    verdict: str  # HETEROGENEOUS if its cells have no common alpha, else their worst
    homogeneity_p: float  # of Hotelling's test that all its cells have one alpha
    additivity_p: float  # of the test that a gain D_eff - n depends on m alone
    alpha: Interval  # mean of alpha_avg over its cells; NaN unless all have a value
    law: Law
    cells: tuple[Cell, ...]  # by n, m


@dataclasses.dataclass(frozen=True)
class Difference:
    """Version a minus version b, paired over the replicates."""

    a: str
    b: str
    n: int
    m: int
    alpha_avg: Interval
    gain_net: Interval
    verdict: str  # of gain_net: RISES, FALLS, NO DIFFERENCE; CENSORED if either has no value
    gain_net_reused: Interval = NONE
    verdict_reused: str = ""  # empty if a version with corrections has no second arm


@dataclasses.dataclass(frozen=True)
class TaskResult:
    """The whole result of one task; ``differences`` holds every pair in both orders."""

    task: str
    recipe: str
    split: str
    level: float  # of the intervals
    law: str  # of the recipe's weight rule, one of ``law.LAWS``
    seeds: int  # replicates
    curve: Curve
    versions: dict[str, Version]
    differences: tuple[Difference, ...]
    budgets: tuple[dict[str, Any], ...]  # as of ``runs.budgets``
    notes: tuple[str, ...]  # on what the numbers are conditional, and what the design lacks

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All cells, by version, n, m."""
        return tuple(cell for version in self.versions.values() for cell in version.cells)


def document(results: Sequence[TaskResult]) -> dict[str, Any]:
    """The document that ``python -m worldmodel trust --json`` writes: ``tasks``, as ``to_json``."""
    return {"tasks": to_json(list(results))}


def to_json(value: Any) -> Any:
    """A result, or a part of one, as plain numbers, text, lists and dictionaries.

    NaN becomes None, a dataclass a dictionary of its fields. An interval ``x`` becomes ``x``,
    ``x_low`` and ``x_high``; in a list, ``value``, ``low`` and ``high``. The fields of a law are
    those of its version.
    """
    if isinstance(value, list | tuple):
        return [to_json(v) for v in value]
    if isinstance(value, dict):
        return {key: to_json(v) for key, v in value.items()}
    if not dataclasses.is_dataclass(value):
        value = value.item() if isinstance(value, np.generic) else value
        return None if isinstance(value, float) and math.isnan(value) else value
    out = {}
    for name, x in vars(value).items():
        plain = to_json(x)
        if isinstance(x, Law):
            out |= plain
        elif isinstance(x, Interval):
            ends = zip(("", "_low", "_high"), plain.values(), strict=True)
            out |= {name + end: bound for end, bound in ends}
        else:
            out[name] = plain
    return out
