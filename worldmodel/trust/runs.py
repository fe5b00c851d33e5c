"""The training runs behind a task's table: their budgets, and notes on what the design lacks."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from worldmodel.errors import InputError
from worldmodel.trust.result import Budget, Cell, Curve
from worldmodel.trust.table import KEYS, Key, some

SPENT = ["steps", "device_seconds", "energy_joules"]
EQUAL = 1.05  # mean budgets within this factor count as equal
# The errors of seeds that each draw n of one pool correlate by about (n / pool)². Intervals cover
# new episodes as long as that, times the number of seeds less one, is at most this.
POOL_SHARED = 0.25
CERTIFIED = 0.3  # half-width of log D_eff from one mean error; coverage is shown up to it


def budgets(own: pd.DataFrame) -> tuple[Budget, ...]:
    """The mean budget of a training run in each cell, real only first; empty if no row has one.

    A mean is NaN unless all runs of the cell have a number.
    """
    if own[SPENT].isna().all(axis=None):
        return ()
    cells = own.astype(dict.fromkeys(SPENT, float)).groupby(KEYS)[SPENT]
    means = [Budget(*key, *np.ascontiguousarray(cell.T).mean(axis=1)) for key, cell in cells]
    known = any(not math.isnan(getattr(budget, name)) for budget in means for name in SPENT)
    return tuple(means) if known else ()


def notes(errors: pd.DataFrame, cells: Sequence[Key], pool: int | None) -> list[str]:
    """What the numbers are conditional on and what the design lacks, a line each.

    An error that is larger at the largest n than at the smallest in every seed, real episodes
    only, is most likely a success rate, of which more is better.

    Args:
      errors: of the cells (version, n, m, k), sorted, by seeds.
      cells: of the versions, second arms excluded.
      pool: number of real episodes that all seeds draw from, or None.

    Raises:
      InputError: the pool is smaller than an n.
    """
    lines = []
    curve, seeds = errors.loc[""], len(errors.columns)
    sizes, first, last = [n for n, _, _ in curve.index], curve.iloc[0], curve.iloc[-1]
    if (last > first).all():
        lines.append(
            f"The error grows with n in every seed, from {first.mean():.3g} at n = {sizes[0]} to "
            f"{last.mean():.3g} at n = {sizes[-1]}: of a success rate, give 1 − rate, in per cent "
            "100 − rate."
        )
    runs = zip(errors.columns, errors.to_numpy().T, strict=True)
    pairs = itertools.combinations(runs, 2)
    if same := [f"{a} and {b}" for (a, x), (b, y) in pairs if np.array_equal(x, y)]:
        lines.append(
            f"Seeds {some(same)} have the same error in every cell: if one run was entered twice, "
            "the intervals are too narrow."
        )
    if pool is not None:
        lines.append(_pool_note(pool, max(n for _, n, _, _ in errors.index), seeds))
    if len(sizes) < 6:
        lines.append(f"{len(sizes)} real-only sizes; there should be six.")
    if seeds < 10:
        lines.append(f"{seeds} seeds; there should be ten.")
    if (falls := first.mean() / last.mean()) < 2:
        lines.append(
            f"The error falls {falls:.2f} times over the real-only sizes; it should twice."
        )
    grids = {key[0]: {k[1:3] for k in cells if k[0] == key[0]} for key in cells}
    if any(len({n for n, _ in g}) < 2 or len({m for _, m in g}) < 3 for g in grids.values()):
        lines.append("A version has fewer cells than two n by three m.")
    return lines


def _pool_note(pool: int, most: int, seeds: int) -> str:
    if most > pool:
        raise InputError(f"pool = {pool}, but n goes up to {most}; give the whole pool's size")
    to = f"All seeds draw from one pool of {pool} real episodes"
    free = pool * math.sqrt(POOL_SHARED / (seeds - 1))
    if most <= free:
        return f"{to}, up to n = {most}: intervals hold for new episodes too."
    return (
        f"{to}: with {seeds} seeds, intervals of a D_eff up to {free:.0f} hold for new episodes "
        "too; beyond, they are conditional on these episodes."
    )


def unequal(means: Sequence[Budget]) -> list[str]:
    """A note where training took unequal steps; none otherwise."""
    steps = [budget.steps for budget in means if not math.isnan(budget.steps)]
    if not steps or max(steps) <= EQUAL * min(steps):
        return []
    return [
        f"Training took {min(steps):.0f} to {max(steps):.0f} steps, depending on the cell: alpha "
        "measures that too, unless maximum and stopping rule were the same everywhere."
    ]


def uncertain(cells: Sequence[Cell], curve: Curve) -> list[str]:
    """A note on the cells whose error is noisier than where coverage was shown; none otherwise."""
    names = []
    for cell in (cell for cell in cells if math.isfinite(cell.d_eff.value)):
        at = int(np.searchsorted(curve.n, cell.d_eff.value, side="right")) - 1
        slope = curve.slope[min(at, len(curve.slope) - 1)].value
        low, high = cell.error.low, cell.error.high
        if not (low > 0 and math.log(high / low) / 2 <= CERTIFIED * slope):
            names.append(f"{cell.version} {cell.n} + {cell.m}")
    if not names:
        return []
    return [
        f"{some(names)}: the noise of the mean error alone leaves log D_eff uncertain beyond "
        f"± {CERTIFIED}, where it was not shown that the intervals cover."
    ]
