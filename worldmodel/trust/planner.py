"""The number of replicates that a measurement of alpha needs, from a real-only pilot.

sd(alpha) ≈ f · (n/m + alpha) · (cv/β) · √((1/J + 1/J_c) / S), cv and β taken at D_eff, with J
mixture cells, J_c knots of the curve in use, and f = 1 for independent draws, 1.5 for nested ones.
The interval's half-width is t(S − 1) times that.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy import stats

from worldmodel.errors import InputError
from worldmodel.trust.curve import LEAST_SLOPE
from worldmodel.trust.estimate import measure
from worldmodel.trust.table import Row, TableError, rate_of_few

PILOT_SEEDS = 3  # the fewest that show the noise
LEAST_SEEDS = 10  # of a measurement, at any noise
MOST_SEEDS = 10_000
LEAST_FALL = 2.0  # of the error over the real-only sizes
NESTED = 1.5  # factor f of nested draws
GRIDS = {1: 1, 2: 1, 4: 2, 6: 2, 9: 3}  # cells averaged: knots of the curve in use, roughly


@dataclasses.dataclass(frozen=True)
class Plan:
    """The seeds to run, or a refusal with ``seeds`` None; NaN for what it left uncomputed."""

    seeds: int | None
    cv: float  # seed noise at D_eff: standard deviation over mean of the error
    beta: float  # slope -d log L / d log n at D_eff
    reason: str


@dataclasses.dataclass(frozen=True)
class Grid:
    """The plan for the mean alpha of a number of cells."""

    cells: int
    plan: Plan
    runs: int | None  # training runs in all: seeds · (cells + real-only sizes); None if refused


def grids(
    pilot: Sequence[Row],
    n: int,
    m: int,
    alpha: float = 1.0,
    half_width: float = 0.25,
    nested: bool = False,
    *,
    level: float = 0.95,
) -> list[Grid]:
    """Plans for the mean of alpha over 1, 2, 4, 6 or 9 cells like (n, m) of one version.

    More cells need fewer seeds and more runs per seed. Arguments and errors: ``seeds_needed``.
    """
    sizes = len({row.n for row in pilot})
    plans = []
    for cells, knots in GRIDS.items():
        plan = seeds_needed(pilot, n, m, alpha, half_width, cells, knots, nested, level=level)
        runs = None if plan.seeds is None else plan.seeds * (cells + sizes)
        plans.append(Grid(cells, plan, runs))
    return plans


def seeds_needed(
    pilot: Sequence[Row],
    n: int,
    m: int,
    alpha: float = 1.0,
    half_width: float = 0.25,
    cells: int = 1,
    knots: int = 1,
    nested: bool = False,
    *,
    level: float = 0.95,
) -> Plan:
    """The number of seeds that gives alpha at (n, m) an interval of that half-width.

    Args:
      pilot: real-only rows of one task, several seeds at each n.
      n, m: real and synthetic episodes of the cells to be measured.
      alpha: expected; the pilot gives cv and slope at D_eff = n + alpha · m.
      half_width: of the interval of alpha.
      cells, knots: J and J_c; one of each assumes the most noise.
      nested: whether smaller real sets are parts of the larger ones.
      level: of the interval.

    Returns:
      a ``Plan`` of at least ``LEAST_SEEDS``. It is a refusal if the pilot has fewer than
      ``PILOT_SEEDS`` seeds, the error is a rate over too few rollouts or falls less than
      ``LEAST_FALL`` times, D_eff lies beyond the pilot's sizes, the curve is flat there, or over
      ``MOST_SEEDS`` are needed.

    Raises:
      TableError: the pilot has mixture rows or several tasks, or see ``table.check``.
      InputError: an argument other than alpha is not above 0, or the level is not below 1.
    """
    numbers = {"n": n, "m": m, "half_width": half_width, "cells": cells, "knots": knots}
    for name, value in numbers.items():
        if not (math.isfinite(value) and value > 0):
            raise InputError(f"{name} = {value}; give a number above 0")
    refused = functools.partial(Plan, None, math.nan, math.nan)
    if not math.isfinite(alpha):
        raise InputError(f"alpha = {alpha}; give the expected one, a finite number")
    if mixed := sum(row.m > 0 for row in pilot):
        raise TableError(
            f"the pilot holds {mixed} mixture rows (m > 0); give its real-only rows alone"
        )
    if len(tasks := sorted({row.task for row in pilot})) > 1:
        raise TableError(f"the pilot holds the tasks {', '.join(tasks)}; give the rows of one")
    seeds = {row.seed for row in pilot}
    if len(seeds) < PILOT_SEEDS:
        return refused(
            f"too few seeds: the pilot has {len(seeds)}, and needs {PILOT_SEEDS} at each n to show "
            "the noise"
        )
    frame = pd.DataFrame([vars(row) for row in pilot])
    if few := rate_of_few(frame):
        return refused(f"too few rollouts: {few}")
    curve = measure(pilot, level=level)[0].curve
    if curve.falls < LEAST_FALL:
        return refused(
            f"the error falls {curve.falls:.2f} times from n = {curve.n[0]} to n = {curve.n[-1]}, "
            f"less than {LEAST_FALL:g} times: take a wider range of n or another task"
        )
    target = n + alpha * m
    if not curve.n[0] <= target <= curve.n[-1]:
        return refused(
            f"D_eff = n + alpha m = {target:g} lies beyond the pilot's sizes, n = {curve.n[0]} to "
            f"{curve.n[-1]}: extend them or change (n, m)"
        )
    errors = frame.groupby("n").error
    noise = errors.std() / errors.mean()  # by size; linear in log n between the sizes
    cv = float(np.interp(math.log(target), np.log(noise.index), noise))
    slope = curve.slope[min(int(np.searchsorted(curve.n, target, "right")), len(curve.n) - 1) - 1]
    if slope.low <= LEAST_SLOPE:
        reason = (
            f"the curve is flat at D_eff = {target:g}: its slope {slope.value:.2f} may be as low "
            f"as {slope.low:.2f}, and must be above {LEAST_SLOPE}: choose another (n, m), or run "
            "more seeds of the pilot"
        )
        return Plan(None, cv, slope.value, reason)
    once = (n / m + alpha) * cv / slope.value * math.sqrt(1 / cells + 1 / knots)
    once = abs(once) * (NESTED if nested else 1.0)  # sd(alpha) of one seed

    def half(count: int) -> float:
        return float(stats.t.ppf((1 + level) / 2, count - 1)) * once / math.sqrt(count)

    needed = next((s for s in range(2, MOST_SEEDS + 1) if half(s) <= half_width), None)
    if needed is None:
        reason = (
            f"over {MOST_SEEDS} seeds for a half-width of {half_width:g}: enlarge m or the grid"
        )
        return Plan(None, cv, slope.value, reason)
    count = max(needed, LEAST_SEEDS)
    reason = f"{needed} seeds give alpha a half-width of {half(needed):.3f}"
    if count > needed:
        reason += f"; no measurement has fewer than {LEAST_SEEDS}"
    return Plan(count, cv, slope.value, reason)
