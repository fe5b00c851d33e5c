"""The result of a task: its curve, cells, versions, differences, budgets and notes; and as numbers.

An end of an interval is NaN if it lies beyond the curve, since the table does not show it.
"""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from worldmodel.errors import InputError
from worldmodel.trust.intervals import Interval
from worldmodel.trust.law import Law
from worldmodel.trust.table import KEYS, some

CONTROL = "v*"  # the version that is reality itself
SPENT = ["steps", "device_seconds", "energy_joules"]
EQUAL = 1.05  # mean budgets within this factor count as equal
# The errors of seeds that each draw n of one pool correlate by about (n / pool)². Intervals cover
# new episodes as long as that, times the number of seeds less one, is at most this.
POOL_SHARED = 0.25
CERTIFIED = 0.3  # half-width of log D_eff from one mean error; coverage is shown up to it


@dataclasses.dataclass(frozen=True)
class Cell:
    """The value of m synthetic episodes of a version to a learner with n real ones.

    Censored: the value and the open end are NaN; the other end is a bound, or NaN too.
    NOT_IDENTIFIED: all are NaN.
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
    """The common result of all cells of a version."""

    verdict: str  # HETEROGENEOUS if its cells have no common alpha, else their worst
    homogeneity_p: float  # of Hotelling's test that all its cells have one alpha
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
    budgets: tuple[dict[str, Any], ...]  # as of ``budgets``
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

    NaN becomes None. An interval ``x`` becomes ``x``, ``x_low`` and ``x_high``; in a list,
    ``value``, ``low`` and ``high``. The fields of a law are those of its version.
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


def budgets(own: pd.DataFrame) -> list[dict[str, Any]]:
    """``KEYS`` and the mean of each of ``SPENT``, a cell each, real only first.

    A mean is NaN unless all runs of the cell have a number; there is no entry if all are.
    """
    cells = own.astype(dict.fromkeys(SPENT, float)).groupby(KEYS)[SPENT]
    means = cells.agg(lambda spent: spent.mean(skipna=False))
    return means.reset_index().to_dict("records") if means.notna().to_numpy().any() else []


def notes(
    errors: pd.DataFrame,
    cells: Sequence[Cell],
    curve: Curve,
    spent: Sequence[Mapping[str, Any]],
    pool: int | None,
) -> list[str]:
    """What the numbers are conditional on and what the design lacks, a line each.

    Args:
      errors: of all cells (version, n, m, k), sorted, by seeds.
      cells, curve: of the versions, and real only.
      spent: as of ``budgets``.
      pool: number of real episodes that all seeds draw from, or None.

    Raises:
      InputError: the pool is smaller than an n.
    """
    seeds, sizes, lines = len(errors.columns), len(curve.n), []
    pairs = itertools.combinations(errors.columns, 2)
    if same := [f"{a} and {b}" for a, b in pairs if errors[a].equals(errors[b])]:
        lines.append(f"Seeds {some(same)} have the same error in every cell: one run twice?")
    if pool is not None:
        if (most := max(n for _, n, _, _ in errors.index)) > pool:
            raise InputError(f"pool = {pool}, but n goes up to {most}; give the whole pool's size")
        lines.append(
            f"All seeds draw from one pool of {pool} real episodes. Intervals hold for new ones up "
            f"to a D_eff of {pool * math.sqrt(POOL_SHARED / (seeds - 1)):.0f}; beyond, they are "
            "conditional on these episodes."
        )
    if sizes < 6 or seeds < 10:
        lines.append(f"{sizes} real-only sizes and {seeds} seeds; there should be six and ten.")
    if curve.falls < 2:
        lines.append(f"The error falls {curve.falls:.2f} times over the real-only sizes, not 2.")
    small = []
    for name, group in itertools.groupby(cells, key=lambda cell: cell.version):
        n, m = zip(*((cell.n, cell.m) for cell in group), strict=True)
        small += [name] * (len({*n}) < 2 or len({*m}) < 3)
    if small:
        lines.append(f"{some(small)}: fewer cells than two n by three m.")
    steps = [cell["steps"] for cell in spent if not math.isnan(cell["steps"])] or [0.0]
    if max(steps) > EQUAL * min(steps):
        lines.append(
            f"Training took {min(steps):.0f} to {max(steps):.0f} steps, depending on the cell: "
            "alpha measures that too, unless maximum and stopping rule were the same everywhere."
        )
    if noisy := [f"{cell.version} {cell.n} + {cell.m}" for cell in cells if _noisy(cell, curve)]:
        lines.append(
            f"{some(noisy)}: the noise of the mean error alone leaves log D_eff uncertain beyond "
            f"± {CERTIFIED}, where it was not shown that the intervals cover."
        )
    return lines


def _noisy(cell: Cell, curve: Curve) -> bool:
    """Whether a cell's error is noisier than where coverage was shown."""
    if math.isnan(cell.d_eff.value):
        return False
    slope = curve.slope_at(cell.d_eff.value).value
    low, high = cell.error.low, cell.error.high
    return not (low > 0 and math.log(high / low) / 2 <= CERTIFIED * slope)
