"""The trust coefficient, from errors: D_eff = L⁻¹(E), alpha = (D_eff − n) / m, with intervals.

L is the error of real-only training, see ``curve``. An estimate is that of the means over all
replicates. The interval of D_eff holds every D at which the jackknife's t-test accepts that the
cell's error equals the curve's (``intervals.accepted``). The intervals of alpha_avg, alpha_net and
the gain are that interval on other scales; those of a mean, a slope or a difference follow from
those of their D_eff. ``experiments.coverage.measure`` measures where they cover. There the
jackknife over blocks of a finite pool covers .97 to .99; it is too wide and not offered.
The curve is never extrapolated. Source: "effective data transferred", Hernandez et al. 2021.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from worldmodel.errors import InputError
from worldmodel.trust import intervals
from worldmodel.trust.curve import LEAST_SLOPE, NEGATIVE, VERDICTS, Reading, leave_one_out, read
from worldmodel.trust.intervals import NONE, Interval, hotelling, jackknife, pseudo_values
from worldmodel.trust.law import LAWS, REFUSED, fit
from worldmodel.trust.result import Cell, Curve, Difference, TaskResult, Version, budgets, notes
from worldmodel.trust.table import KEYS, Key, Row, check, in_order


class _Estimate(NamedTuple):
    """D_eff of a cell."""

    values: np.ndarray  # (1 + S,) of all replicates, then with each left out; NaN unless all have
    low: float  # bounds, infinite where unknown
    high: float
    verdict: str
    reason: str


_Estimates = Mapping[Key, _Estimate]


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
    estimates = {key: _estimate(i, reading) for i, key in enumerate(keys)}
    cells: dict[Key, Cell] = {}
    for i, key in enumerate(keys):
        (_, n, m, k), own_estimate, slope = key, estimates[key], NONE
        if i and keys[i - 1][:2] == key[:2]:
            slope = _contrast(own_estimate, estimates[keys[i - 1]], 0, m - keys[i - 1][2])
        d_eff = Interval.of(own_estimate.values[0], own_estimate.low, own_estimate.high)
        cells[key] = Cell(
            *(task, *key, len(seeds)),
            error=jackknife(of_cells[i], level),
            d_eff=d_eff,
            alpha_avg=d_eff.moved(n, m),
            alpha_net=d_eff.moved(n + k, m),
            gain_net=d_eff.moved(n + k, 1),
            alpha_marg=slope,
            verdict=own_estimate.verdict,
            reason=own_estimate.reason,
        )
    versions = {
        name: _version({key: cells[key] for key in group}, estimates, law, level)
        for name, group in itertools.groupby(cells, key=lambda key: key[0])
    }
    pairs = [(a, b) for a in cells for b in cells if a[0] != b[0] and a[1:3] == b[1:3]]
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
        differences=tuple(_difference(a, b, estimates) for a, b in pairs),
        budgets=tuple(spent),
        notes=tuple(notes(errors, cells, curve, spent, pool)),
    )


def _estimate(i: int, reading: Reading) -> _Estimate:
    """D_eff of cell i, with its verdict and the reason."""
    values, verdict = reading.d_eff[i], VERDICTS[int(reading.verdict[i])]
    low, high = float(reading.low[i]), float(reading.high[i])
    if reading.verdict[i] <= NEGATIVE:
        return _Estimate(values, low, high, verdict, "")
    none = np.full(len(values), math.nan)
    if verdict != "NOT_IDENTIFIED":
        side = "better" if verdict == "CENSORED_HI" else "worse"
        who = "some leave-one-out means are" if np.isfinite(values[0]) else "the mean error is"
        return _Estimate(none, low, high, verdict, f"{who} {side} than the real-only curve")
    reason = "the real-only curve is flat there"
    if reading.rises.any():
        reason = "the real-only error rises between two sizes"
    elif reading.whole <= LEAST_SLOPE:
        reason = "the real-only curve is flat"
    elif not np.isfinite(values).all():
        reason = "the real-only curve is no longer than its noise"
    return _Estimate(none, -math.inf, math.inf, verdict, reason)


def _version(cells: Mapping[Key, Cell], estimates: _Estimates, law: str, level: float) -> Version:
    own = [estimates[key] for key in cells]
    n, m = np.array([key[1:3] for key in cells], float).T
    values, low, high = (np.array([x[i] for x in own]) for i in range(3))
    share = 1 / (m * len(m))
    known = np.asarray(np.isfinite(values).all(axis=1))
    common = NONE
    if known.all():
        mean = Interval.of(*intervals.mean(share, values, low, high))
        common = mean.moved(float(share @ n), 1)
    homogeneity, additivity = _alike((values - n[:, None]) / m[:, None], m, known)
    verdict = max((x.verdict for x in own), key=VERDICTS.index)
    if homogeneity < REFUSED:
        verdict = "HETEROGENEOUS"
    fitted = fit(law, n, m, values, low, level)
    return Version(verdict, homogeneity, additivity, common, fitted, tuple(cells.values()))


def _alike(alpha: np.ndarray, m: np.ndarray, known: np.ndarray) -> tuple[float, float]:
    """p that the known cells have one alpha, and p that D_eff = n + g(m): the same gain at every n.

    One alpha is the stronger hypothesis, g(m) = alpha m. NaN as of ``hotelling``.

    Args:
      alpha: (cells, 1 + S), sorted by n.
      m: (cells,).
      known: (cells,) bool.
    """
    pseudo = pseudo_values(alpha[known])
    by_m = np.argsort(m[known], kind="stable")
    neighbours = np.diff(m[known][by_m]) == 0  # of one m at two n
    contrasts = np.diff(pseudo, axis=0), np.diff(pseudo[by_m], axis=0)[neighbours]
    homogeneity, additivity = (float(hotelling(x.T)) for x in contrasts)
    return homogeneity, additivity


def _difference(a: Key, b: Key, estimates: _Estimates) -> Difference:
    version, n, m, _ = a
    gain = _contrast(estimates[a], estimates[b], a[3] - b[3], 1)
    verdict = "RISES" if gain.low > 0 else "FALLS" if gain.high < 0 else "NO DIFFERENCE"
    verdict = "CENSORED" if math.isnan(gain.value) else verdict
    return Difference(
        version, b[0], n, m, _contrast(estimates[a], estimates[b], 0, m), gain, verdict
    )


def _contrast(a: _Estimate, b: _Estimate, less: float, per: float) -> Interval:
    """(D_eff of a − D_eff of b − less) / per, paired over the replicates."""
    values, low, high = (np.array([a[i], b[i]]) for i in range(3))
    if not np.isfinite(values).all():
        return NONE
    return Interval.of(*intervals.difference(values, low, high)).moved(less, per)
