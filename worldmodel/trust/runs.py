"""The training runs behind a table: their budgets, and warnings about them."""

import itertools
import math
from collections.abc import Sequence

import numpy as np

from worldmodel.trust.result import Budget
from worldmodel.trust.table import Row, in_order, some

EQUAL = 1.05  # mean budgets within this factor count as equal


def budgets(rows: Sequence[Row]) -> tuple[Budget, ...]:
    """The mean budget of a training run in each cell, real only first; empty if no row has one."""
    cells: dict[tuple[str, int, int, int], list[Row]] = {}
    for row in rows:
        cells.setdefault((row.version, row.n, row.m, row.k), []).append(row)
    kinds = ("steps", "device_seconds", "energy_joules")
    means = tuple(
        Budget(*key, *(_mean([getattr(row, kind) for row in own]) for kind in kinds))
        for key, own in sorted(cells.items())
    )
    known = (x for b in means for x in (getattr(b, kind) for kind in kinds))
    return () if all(map(math.isnan, known)) else means


def warnings(rows: Sequence[Row]) -> list[str]:
    """Sentences on errors that grow with n, copied seeds and unequal training among a task's rows.

    An error that is larger at the largest n than at the smallest in every seed, real episodes
    only, is most likely a success rate, of which more is better.
    """
    sentences = []
    real = [row for row in rows if row.m == 0]
    few, many = min(row.n for row in real), max(row.n for row in real)
    first, last = ({row.seed: row.error for row in real if row.n == n} for n in (few, many))
    if all(last[seed] > first[seed] for seed in first):
        low, high = (np.mean(list(errors.values())) for errors in (first, last))
        sentences.append(
            f"The error grows with n in every seed, from {low:.3g} at n = {few} to {high:.3g} at "
            f"n = {many}, real episodes only. If it is a success rate, of which more is better, "
            "give 1 − rate, in per cent 100 − rate."
        )
    errors: dict[int | str, dict[tuple[str, int, int, int], float]] = {}
    for row in rows:
        errors.setdefault(row.seed, {})[row.version, row.n, row.m, row.k] = row.error
    pairs = itertools.combinations(in_order(errors), 2)
    if same := [f"{a} and {b}" for a, b in pairs if errors[a] == errors[b]]:
        sentences.append(
            f"Seeds {some(same)} have the same error in every cell, as if one run had been entered "
            "twice: the intervals are too narrow by that, and mean nothing where all are alike."
        )
    steps = [b.steps for b in budgets(rows) if not math.isnan(b.steps)]
    if steps and max(steps) > EQUAL * min(steps):
        sentences.append(
            f"Training took {min(steps):.0f} to {max(steps):.0f} steps, depending on the cell: "
            "alpha measures that too, unless maximum and stopping rule were the same everywhere."
        )
    return sentences


def _mean(values: Sequence[float | None]) -> float:
    """The mean, NaN unless all values are known."""
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if len(known) == len(values) else math.nan
