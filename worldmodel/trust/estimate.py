"""The trust coefficient, from errors: D_eff = L⁻¹(E), alpha = (D_eff − n) / m, with intervals.

The real-only curve L is the mean error at each real-only size, made monotone by isotonic regression
in log error, linear in log error over log n, never extrapolated. The interval of D_eff holds every
D at which the jackknife's t-test accepts that the cell's error equals the curve's
(``intervals.accepted``); those of alpha and gain are that interval on other scales, and those of a
mean, a slope or a difference follow from those of their D_eff. ``experiments.coverage`` measures
where they cover. Source: "effective data transferred", Hernandez et al. 2021.

``falling``, ``invert`` and ``read`` take any leading axes, replicates last: the code that measures
one table is the code that the coverage study validates on thousands. They work on means
(..., 1 + S) of the errors: over all S replicates, then without each.
"""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.optimize import isotonic_regression

from worldmodel.errors import InputError
from worldmodel.trust import intervals
from worldmodel.trust.intervals import (
    NONE,
    Interval,
    accepted,
    ends,
    hotelling,
    jackknife,
    leave_one_out,
    pseudo_values,
)
from worldmodel.trust.law import LAWS, REFUSED, fit
from worldmodel.trust.result import Cell, Curve, Difference, TaskResult, Version, budgets, notes
from worldmodel.trust.table import KEYS, Key, Row, check, in_order

VERDICTS = ("OK", "NEGATIVE", "CENSORED_HI", "CENSORED_LO", "NOT_IDENTIFIED", "HETEROGENEOUS")
OUTCOMES = (  # verdict and reason of a cell; the first that holds
    ("NOT_IDENTIFIED", "the real-only error rises between two sizes: is it a success rate?"),
    ("NOT_IDENTIFIED", "the real-only curve is flat"),
    ("NOT_IDENTIFIED", "the real-only curve is no longer than its noise"),
    ("CENSORED_HI", "the mean error is better than the real-only curve"),
    ("CENSORED_HI", "some leave-one-out means are better than the real-only curve"),
    ("CENSORED_LO", "the mean error is worse than the real-only curve"),
    ("CENSORED_LO", "some leave-one-out means are worse than the real-only curve"),
    ("NOT_IDENTIFIED", "the real-only curve is flat there"),
    ("NEGATIVE", ""),
    ("OK", ""),
)
LEAST_SLOPE = 0.1  # the lower bound of the local slope must be above it


class Reading(NamedTuple):
    """Shapes are (..., cells) unless given."""

    # (..., cells, 1 + S), with all replicates, then without each; NaN unless all are on the curve
    d_eff: np.ndarray
    low: np.ndarray  # bounds of D_eff; infinite where unknown
    high: np.ndarray
    local: np.ndarray  # (..., segments, 1 + S) local slopes -d log L / d log n
    outcome: np.ndarray  # index into OUTCOMES


def measure(
    rows: Sequence[Row], *, level: float = 0.95, law: str = "pooled", pool: int | None = None
) -> list[TaskResult]:
    """Measures every task of a table: a result each, sorted by name.

    Args:
      rows: training runs, in any order.
      level: of the intervals, two-sided.
      law: of the recipe's weight rule: "pooled" for weight 1, or "oracle" for the best weight.
      pool: number of real episodes that all seeds draw from; None if each seed has fresh ones.

    Raises:
      TableError: see ``table.check``.
      InputError: the level is not between 0 and 1, the law is unknown, or the pool is smaller
        than an n.
    """
    intervals.check_level(level)
    if law not in LAWS:
        raise InputError(f"law = {law!r}; give the law of the weight rule, {' or '.join(LAWS)}")
    return [_task(own, level, law, pool) for _, own in check(rows).groupby("task")]


def _task(own: pd.DataFrame, level: float, law: str, pool: int | None) -> TaskResult:
    task, recipe, split = (str(own[name].iloc[0]) for name in ("task", "recipe", "split"))
    seeds = in_order(own.seed)
    errors = own.pivot(index=KEYS, columns="seed", values="error").reindex(columns=seeds)
    every: list[Key] = [(version, int(n), int(m), int(k)) for version, n, m, k in errors.index]
    means = leave_one_out(np.ascontiguousarray(errors, float))
    sizes = [n for _, n, m, _ in every if not m]  # they come first, since their version is empty
    keys, on_curve, of_cells = every[len(sizes) :], means[: len(sizes)], means[len(sizes) :]
    reading = read(np.array(sizes), on_curve, of_cells, np.array([key[1] for key in keys]), level)
    cells = []
    for i, (version, n, m, k) in enumerate(keys):
        slope = NONE
        if i and keys[i - 1][:2] == (version, n):
            slope = _contrast(reading, i, i - 1, 0, m - keys[i - 1][2])
        error = jackknife(of_cells[i], level)
        d_eff = Interval.of(reading.d_eff[i, 0], reading.low[i], reading.high[i])
        alphas = d_eff.moved(n, m), d_eff.moved(n + k, m), d_eff.moved(n + k, 1), slope
        outcome = OUTCOMES[reading.outcome[i]]
        cells.append(Cell(task, version, n, m, k, len(seeds), error, d_eff, *alphas, *outcome))
    versions = {}
    for version, group in itertools.groupby(range(len(keys)), key=lambda i: keys[i][0]):
        i = [*group]
        read_off = reading.d_eff[i], reading.low[i], reading.high[i]
        versions[version] = _version(cells[i[0] : i[-1] + 1], *read_off, law, level)
    pairs = itertools.permutations(range(len(keys)), 2)
    pairs = [(i, j) for i, j in pairs if keys[i][0] != keys[j][0] and keys[i][1:3] == keys[j][1:3]]
    curve = Curve(
        n=tuple(sizes),
        error=tuple(jackknife(values, level) for values in on_curve),
        slope=tuple(jackknife(values, level) for values in reading.local),
        falls=float(on_curve[0, 0] / on_curve[-1, 0]),
    )
    spent = budgets(own)
    return TaskResult(
        task=task,
        recipe=recipe,
        split=split,
        level=level,
        law=law,
        seeds=len(seeds),
        curve=curve,
        versions=versions,
        differences=tuple(_difference(reading, i, j, keys) for i, j in pairs),
        budgets=tuple(spent),
        notes=tuple(notes(errors, cells, curve, spent, pool)),
    )


def _version(
    cells: Sequence[Cell],
    d_eff: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    law: str,
    level: float,
) -> Version:
    n, m = np.array([(cell.n, cell.m) for cell in cells], float).T
    share = 1 / (m * len(m))
    known = np.asarray(np.isfinite(d_eff).all(axis=1))
    common = NONE
    if known.all():
        mean = Interval.of(*intervals.mean(share, d_eff, low, high))
        common = mean.moved(float(share @ n), 1)
    alpha = ((d_eff - n[:, None]) / m[:, None])[known]
    homogeneity = float(hotelling(np.diff(pseudo_values(alpha), axis=0).T))
    verdict = max((cell.verdict for cell in cells), key=VERDICTS.index)
    if homogeneity < REFUSED:
        verdict = "HETEROGENEOUS"
    return Version(verdict, homogeneity, common, fit(law, n, m, d_eff, low, level), tuple(cells))


def _difference(reading: Reading, i: int, j: int, keys: Sequence[Key]) -> Difference:
    (version, n, m, k), (other, _, _, spent) = keys[i], keys[j]
    alpha = _contrast(reading, i, j, 0, m)
    gain = _contrast(reading, i, j, k - spent, 1)
    verdict = "RISES" if gain.low > 0 else "FALLS" if gain.high < 0 else "NO DIFFERENCE"
    if math.isnan(gain.value):
        verdict = "CENSORED"
    return Difference(version, other, n, m, alpha, gain, verdict)


def _contrast(reading: Reading, i: int, j: int, less: float, per: float) -> Interval:
    """(D_eff of cell i − D_eff of cell j − less) / per, paired over the replicates."""
    values, low, high = (x[[i, j]] for x in (reading.d_eff, reading.low, reading.high))
    if not np.isfinite(values).all():
        return NONE
    return Interval.of(*intervals.difference(values, low, high)).moved(less, per)


def falling(values: np.ndarray) -> np.ndarray:
    """The nearest sequences that never rise, (..., sizes) to (..., sizes): violators are pooled."""
    return np.apply_along_axis(lambda y: isotonic_regression(y, increasing=False).x, -1, values)


def invert(
    sizes: np.ndarray, monotone: np.ndarray, logs: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The number of real episodes D with a given log error, and the segment that holds it.

    Args:
      sizes: (sizes,) n of the curve, rising.
      monotone: (..., sizes) log errors of the curve, never rising.
      logs: (...) log errors.

    Returns:
      D (...) in episodes, infinity if better than the whole curve, -infinity if worse; segments
      (...), indices.
    """
    last = len(sizes) - 2
    segment = np.clip((monotone >= logs[..., None]).sum(axis=-1) - 1, 0, last)
    start = np.take_along_axis(monotone, segment[..., None], axis=-1)[..., 0]
    gap = start - np.take_along_axis(monotone, segment[..., None] + 1, axis=-1)[..., 0]
    inside = (monotone[..., 0] >= logs) & (logs >= monotone[..., -1])
    part = np.where(inside & (gap > 0), (start - logs) / np.where(gap > 0, gap, 1.0), 0.0)
    n = np.asarray(sizes, float)
    d_eff = n[segment] * (n[segment + 1] / n[segment]) ** part
    d_eff = np.where(part == 1.0, n[segment + 1], d_eff)  # a knot exactly, despite rounding
    beyond = np.where(logs < monotone[..., -1], np.inf, -np.inf)
    return np.where(inside, d_eff, beyond), segment


def read(
    sizes: np.ndarray, curve: np.ndarray, cells: np.ndarray, n: np.ndarray, level: float
) -> Reading:
    """Reads cells off a curve.

    Args:
      sizes: (sizes,) n of the real-only runs, rising.
      curve: (..., sizes, 1 + S) their mean errors, as of ``leave_one_out``.
      cells: (..., cells, 1 + S) mean errors of the cells.
      n: (cells,) real episodes of the cells.
      level: of the intervals.
    """
    logs, log_curve = np.log(cells), np.log(curve)
    by_replicate = falling(np.swapaxes(log_curve, -1, -2))  # (..., 1 + S, sizes)
    monotone = np.swapaxes(by_replicate, -1, -2)
    d_eff, segment = invert(sizes, by_replicate[..., None, :, :], logs)
    low, high = accepted(sizes, monotone[..., None, :, :], logs, level)
    better, worse = ((d_eff == end).any(axis=-1) for end in (np.inf, -np.inf))
    value = d_eff[..., 0]
    # If no D is accepted, it lies beyond an end.
    beyond = [np.isnan(low) & (value == end) for end in (np.inf, -np.inf)]
    low = np.select(beyond, [float(sizes[-1]), -np.inf], low)
    high = np.select(beyond, [np.inf, float(sizes[0])], high)
    # The interval holds the estimate, despite rounding where there is no noise.
    inside = np.isfinite(value)
    low = np.where(inside, np.fmin(low, value), low)
    high = np.where(inside, np.fmax(high, value), high)

    log_n = np.log(sizes)
    local = -np.diff(monotone, axis=-2) / np.diff(log_n)[:, None]  # 0 where pooled
    least = ends(local, level)[0]
    places = np.arange(len(sizes) - 1)
    used = (places >= segment.min(axis=-1)[..., None]) & (places <= segment.max(-1)[..., None])
    flat = np.where(used, least[..., None, :], np.inf).min(axis=-1) <= LEAST_SLOPE
    fall = (monotone[..., 0, :] - monotone[..., -1, :]) / (log_n[-1] - log_n[0])
    whole = ends(fall, level)[0]
    i, j = np.triu_indices(len(sizes), 1)
    # Bonferroni: all pairs of sizes are compared.
    rises = ends(log_curve[..., j, :] - log_curve[..., i, :], 1 - (1 - level) / len(i))[0] > 0

    conditions = [
        np.expand_dims(rises.any(axis=-1), -1),
        np.expand_dims(whole <= LEAST_SLOPE, -1),
        better & worse,
        *(better & ~inside, better, worse & ~inside, worse),
        *(flat, high < n),
    ]
    outcome = np.select(conditions, range(len(conditions)), len(conditions))
    verdict = np.array([verdict for verdict, _ in OUTCOMES])[outcome]
    nothing, valued = verdict == "NOT_IDENTIFIED", np.isin(verdict, ("OK", "NEGATIVE"))
    low, high = np.where(nothing, -np.inf, low), np.where(nothing, np.inf, high)
    d_eff = np.where(valued[..., None], d_eff, np.nan)
    return Reading(d_eff, low, high, local, outcome)
