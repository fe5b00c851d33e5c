"""The training runs of a table as runs: what they took, and what looks wrong about them."""

import itertools
import math
from collections.abc import Sequence

import numpy as np

from worldmodel.trust.measurement import Budget
from worldmodel.trust.table import Row, some

EQUAL = 1.05  # mean budgets within this factor are equal


def budgets(rows: Sequence[Row]) -> tuple[Budget, ...]:
    """What a training run took in each cell, real only first; empty if no row says it."""
    cells: dict[tuple[str, int, int, int], list[Row]] = {}
    for row in rows:
        cells.setdefault((row.version, row.n, row.m, row.k), []).append(row)
    found = tuple(
        Budget(
            *key,
            steps=_mean([row.steps for row in own]),
            device_seconds=_mean([row.device_seconds for row in own]),
            energy_joules=_mean([row.energy_joules for row in own]),
        )
        for key, own in sorted(cells.items())
    )
    known = (x for b in found for x in (b.steps, b.device_seconds, b.energy_joules))
    return () if all(map(math.isnan, known)) else found


def warnings(rows: Sequence[Row]) -> list[str]:
    """What the numbers of a task's rows may hide, in sentences: copied seeds, unequal training."""
    said = []
    errors: dict[int, dict[tuple[str, int, int, int], float]] = {}
    for row in rows:
        errors.setdefault(row.seed, {})[row.version, row.n, row.m, row.k] = row.error
    pairs = itertools.combinations(sorted(errors), 2)
    if same := [f"{a} and {b}" for a, b in pairs if errors[a] == errors[b]]:
        said.append(
            f"Seeds {some(same)} have the same error in every cell, as if one run had been entered "
            "twice: the intervals are too narrow by that, and mean nothing where all are alike."
        )
    steps = [b.steps for b in budgets(rows) if not math.isnan(b.steps)]
    if steps and max(steps) > EQUAL * min(steps):
        said.append(
            f"Training took {min(steps):.0f} to {max(steps):.0f} steps, depending on the cell: "
            "alpha measures that too, unless maximum and stopping rule were the same everywhere."
        )
    return said


def _mean(values: Sequence[float | None]) -> float:
    """NaN unless all are known."""
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if len(known) == len(values) else math.nan
