"""The number of replicates that a measurement of alpha needs, from a real-only pilot.

sd(alpha) ≈ f · (n/m + alpha) · (cv/β) · √((1/J + 1/J_c) / S), cv and β taken at D_eff, with J
mixture cells, J_c knots of the curve in use, and f = 1 for independent draws, 1.5 for nested ones.
The interval's half-width is t(S − 1) times that.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from worldmodel.errors import InputError
from worldmodel.trust.estimate import LEAST_SLOPE, measure
from worldmodel.trust.intervals import quantile
from worldmodel.trust.table import Row, TableError, rate_of_few

PILOT_SEEDS = 3  # the fewest that show the noise
LEAST_SEEDS = 10  # of a measurement, at any noise
MOST_SEEDS = 10_000
LEAST_FALL = 2.0  # of the error over the real-only sizes
NESTED = 1.5  # factor f of nested draws
GRIDS = {1: 1, 2: 1, 4: 2, 6: 2, 9: 3}  # cells averaged: knots of the curve in use, roughly


@dataclasses.dataclass(frozen=True)
class Plan:
    """The seeds to run for the mean alpha of a number of cells; a refusal has none."""

    cells: int
    reason: str
    cv: float = math.nan  # seed noise at D_eff: standard deviation over mean of the error
    beta: float = math.nan  # slope -d log L / d log n at D_eff
    seeds: int | None = None
    runs: int | None = None  # training runs in all: seeds · (cells + real-only sizes)


def grids(
    pilot: Sequence[Row],
    n: int,
    m: int,
    alpha: float = 1.0,
    half_width: float = 0.25,
    nested: bool = False,
    *,
    level: float = 0.95,
) -> list[Plan]:
    """The seeds that give the mean alpha of 1, 2, 4, 6 or 9 cells like (n, m) that half-width.

    Args:
      pilot: real-only rows of one task, several seeds at each n.
      n, m: real and synthetic episodes of the cells to be measured.
      alpha: expected; the pilot gives cv and slope at D_eff = n + alpha · m.
      half_width: of the interval of alpha.
      nested: whether smaller real sets are parts of the larger ones.
      level: of the interval.

    Returns:
      a ``Plan`` of at least ``LEAST_SEEDS`` for each of ``GRIDS``; a refusal if the pilot cannot
      tell (``_noise``) or over ``MOST_SEEDS`` are needed.

    Raises:
      TableError: the pilot has mixture rows or several tasks, or see ``table.check``.
      InputError: an argument other than alpha is not above 0, or the level is not below 1.
    """
    for name, value in {"n": n, "m": m, "half_width": half_width}.items():
        if not 0 < value < math.inf:
            raise InputError(f"{name} = {value}; give a number above 0")
    if not math.isfinite(alpha):
        raise InputError(f"alpha = {alpha}; give the expected one, a finite number")
    if mixed := sum(row.m > 0 for row in pilot):
        raise TableError(f"the pilot holds {mixed} mixture rows (m > 0); give its real-only rows")
    if len(tasks := sorted({row.task for row in pilot})) > 1:
        raise TableError(f"the pilot holds the tasks {', '.join(tasks)}; give the rows of one")
    noise = _noise(pilot, n + alpha * m, level)
    if isinstance(noise, str):
        return [Plan(cells, noise) for cells in GRIDS]
    cv, beta = noise
    plans, sizes = [], len({row.n for row in pilot})
    counts = np.arange(2, MOST_SEEDS + 1)
    for cells, knots in GRIDS.items():
        once = abs(n / m + alpha) * cv / beta * math.sqrt(1 / cells + 1 / knots)
        once *= NESTED if nested else 1.0  # sd(alpha) of one seed
        halves = quantile(level, counts) * once / np.sqrt(counts)
        if halves[-1] > half_width:
            over = f"over {MOST_SEEDS} seeds for a half-width of {half_width:g}"
            plans.append(Plan(cells, f"{over}: enlarge m or the grid", cv, beta))
            continue
        i = int(np.argmax(halves <= half_width))
        reason = f"{counts[i]} seeds give alpha a half-width of {halves[i]:.3f}"
        if counts[i] < LEAST_SEEDS:
            reason += f"; no measurement has fewer than {LEAST_SEEDS}"
        seeds = max(int(counts[i]), LEAST_SEEDS)
        plans.append(Plan(cells, reason, cv, beta, seeds, seeds * (cells + sizes)))
    return plans


def _noise(pilot: Sequence[Row], d_eff: float, level: float) -> tuple[float, float] | str:
    """The seed noise cv and the slope β at a D_eff, or the reason why no plan can be made."""
    if (seeds := len({row.seed for row in pilot})) < PILOT_SEEDS:
        needs = f"needs {PILOT_SEEDS} at each n to show the noise"
        return f"too few seeds: the pilot has {seeds}, and {needs}"
    frame = pd.DataFrame([vars(row) for row in pilot])
    if few := rate_of_few(frame):
        return f"too few rollouts: {few}"
    curve = measure(pilot, level=level)[0].curve
    first, last = curve.n[0], curve.n[-1]
    if curve.falls < LEAST_FALL:
        return (
            f"the error falls {curve.falls:.2f} times from n = {first} to n = {last}, less than "
            f"{LEAST_FALL:g} times: take a wider range of n or another task"
        )
    if not first <= d_eff <= last:
        return (
            f"D_eff = n + alpha m = {d_eff:g} lies beyond the pilot's sizes, n = {first} to "
            f"{last}: extend them or change (n, m)"
        )
    slope = curve.slope_at(d_eff)
    if slope.low <= LEAST_SLOPE:
        return (
            f"the curve is flat at D_eff = {d_eff:g}: its slope {slope.value:.2f} may be as low "
            f"as {slope.low:.2f}, and must be above {LEAST_SLOPE}: choose another (n, m), or run "
            "more seeds of the pilot"
        )
    errors = frame.groupby("n").error
    noise = errors.std() / errors.mean()  # by size; linear in log n between the sizes
    return float(np.interp(math.log(d_eff), np.log(noise.index), noise)), slope.value
