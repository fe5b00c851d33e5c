"""The training runs behind a task's table: their budgets, and notes on what the design lacks."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from worldmodel.errors import InputError
from worldmodel.trust.result import Cell, Curve
from worldmodel.trust.table import KEYS, Key, some

SPENT = ["steps", "device_seconds", "energy_joules"]
EQUAL = 1.05  # mean budgets within this factor count as equal
# The errors of seeds that each draw n of one pool correlate by about (n / pool)². Intervals cover
# new episodes as long as that, times the number of seeds less one, is at most this.
POOL_SHARED = 0.25
CERTIFIED = 0.3  # half-width of log D_eff from one mean error; coverage is shown up to it


def budgets(own: pd.DataFrame) -> list[dict[str, Any]]:
    """``KEYS`` and the mean of each of ``SPENT``, a cell each, real only first.

    A mean is NaN unless all runs of the cell have a number; there is no entry if all are.
    """
    cells = own.astype(dict.fromkeys(SPENT, float)).groupby(KEYS)[SPENT]
    means = cells.agg(lambda spent: spent.mean(skipna=False))
    return means.reset_index().to_dict("records") if means.notna().to_numpy().any() else []


def notes(
    errors: pd.DataFrame,
    cells: Mapping[Key, Cell],
    curve: Curve,
    spent: Sequence[Mapping[str, Any]],
    pool: int | None,
) -> list[str]:
    """What the numbers are conditional on and what the design lacks, a line each.

    Args:
      errors: of all cells (version, n, m, k), sorted, by seeds.
      cells: of the versions, second arms excluded.
      curve: the real-only one.
      spent: as of ``budgets``.
      pool: number of real episodes that all seeds draw from, or None.

    Raises:
      InputError: the pool is smaller than an n.
    """
    real, seeds, sizes = errors.loc[""], len(errors.columns), curve.n
    first, last = real.iloc[0], real.iloc[-1]
    pairs = itertools.combinations(errors.columns, 2)
    same = [f"{a} and {b}" for a, b in pairs if errors[a].equals(errors[b])]
    steps = [cell["steps"] for cell in spent if not math.isnan(cell["steps"])] or [0.0]
    grids = [[*group] for _, group in itertools.groupby(cells, key=lambda key: key[0])]
    small = any(len({k[1] for k in g}) < 2 or len({k[2] for k in g}) < 3 for g in grids)
    noisy = [f"{c.version} {c.n} + {c.m}" for c in cells.values() if _uncertain(c, curve)]
    lines = (
        (
            (last > first).all(),
            f"The error grows with n in every seed, from {first.mean():.3g} at n = {sizes[0]} to "
            f"{last.mean():.3g} at n = {sizes[-1]}: of a success rate, give 1 − rate, in per cent "
            "100 − rate.",
        ),
        (
            same,
            f"Seeds {some(same)} have the same error in every cell: if one run was entered twice, "
            "the intervals are too narrow.",
        ),
        (pool is not None, _pool_note(pool, max(n for _, n, _, _ in errors.index), seeds)),
        (len(sizes) < 6, f"{len(sizes)} real-only sizes; there should be six."),
        (seeds < 10, f"{seeds} seeds; there should be ten."),
        (
            curve.falls < 2,
            f"The error falls {curve.falls:.2f} times over the real-only sizes; it should twice.",
        ),
        (small, "A version has fewer cells than two n by three m."),
        (
            max(steps) > EQUAL * min(steps),
            f"Training took {min(steps):.0f} to {max(steps):.0f} steps, depending on the cell: "
            "alpha measures that too, unless maximum and stopping rule were the same everywhere.",
        ),
        (
            noisy,
            f"{some(noisy)}: the noise of the mean error alone leaves log D_eff uncertain beyond "
            f"± {CERTIFIED}, where it was not shown that the intervals cover.",
        ),
    )
    return [line for holds, line in lines if holds]


def _pool_note(pool: int | None, most: int, seeds: int) -> str:
    if pool is None:
        return ""
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


def _uncertain(cell: Cell, curve: Curve) -> bool:
    """Whether a cell's error is noisier than where coverage was shown."""
    if math.isnan(cell.d_eff.value):
        return False
    slope = curve.slope_at(cell.d_eff.value).value
    low, high = cell.error.low, cell.error.high
    return not (low > 0 and math.log(high / low) / 2 <= CERTIFIED * slope)
