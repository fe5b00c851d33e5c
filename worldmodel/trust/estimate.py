"""The trust coefficient, from errors: D_eff = L⁻¹(E), alpha = (D_eff − n) / m, with intervals.

L is the error of real-only training, see ``curve``. An estimate is that of the means over all
replicates. The interval of D_eff holds every D at which the jackknife's t-test accepts that the
cell's error equals the curve's (``intervals.accepted``). The intervals of alpha_avg, alpha_net and
the gain are that interval on other scales; those of a mean, a slope or a difference follow from
those of their D_eff. ``experiments.coverage.measure`` measures where they cover. There the
jackknife over blocks of a finite pool covers .97 to .99; it is too wide and not offered.
The curve is never extrapolated. Source: "effective data transferred", Hernandez et al. 2021.
"""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from worldmodel.errors import InputError
from worldmodel.trust import intervals, runs
from worldmodel.trust.curve import LEAST_SLOPE, NEGATIVE, VERDICTS, Reading, leave_one_out, read
from worldmodel.trust.intervals import NONE, Interval, hotelling, jackknife, pseudo_values
from worldmodel.trust.law import LAWS, REFUSED, fit
from worldmodel.trust.result import Cell, Curve, Difference, TaskResult, Version
from worldmodel.trust.table import KEYS, Key, Row, check, in_order, reused_cells


class _Estimate(NamedTuple):
    """D_eff of a cell; ``values`` and ``value`` are NaN unless every replicate has one."""

    values: np.ndarray  # (1 + S,) of all replicates, then with each left out
    interval: Interval
    verdict: str
    reason: str


_Estimates = Mapping[Key, _Estimate]


def measure(
    rows: Sequence[Row], *, level: float = 0.95, law: str = "pooled", pool: int | None = None
) -> list[TaskResult]:
    """Measures every task of a table.

    Args:
      rows: training runs, in any order.
      level: of the intervals, two-sided.
      law: of the recipe's weight rule: "pooled" for weight 1, or "oracle" for the best weight.
      pool: number of real episodes that all seeds draw from; None if each seed has fresh ones.

    Returns:
      a result per task, sorted by name.

    Raises:
      TableError: see ``table.check``.
      InputError: the level is not between 0 and 1, the law is unknown, or the pool is smaller
        than an n.
    """
    if not 0 < level < 1:
        raise InputError(f"level = {level} is not between 0 and 1; 0.95 is usual")
    if law not in LAWS:
        raise InputError(f"law = {law!r}; give the law of the weight rule, {' or '.join(LAWS)}")
    return [_task(own, level, law, pool) for _, own in check(rows).groupby("task")]


def _task(own: pd.DataFrame, level: float, law: str, pool: int | None) -> TaskResult:
    seeds = in_order(own.seed)
    numbered = own.assign(seed=own.seed.map({seed: i for i, seed in enumerate(seeds)}))
    errors = numbered.pivot(index=KEYS, columns="seed", values="error")
    errors.columns = seeds
    every: list[Key] = [(version, int(n), int(m), int(k)) for version, n, m, k in errors.index]
    means = dict(zip(every, leave_one_out(np.ascontiguousarray(errors)), strict=True))
    keys = [key for key in every if key[2]]
    sizes = [key[1] for key in every if not key[2]]
    on_curve = np.stack([means["", n, 0, 0] for n in sizes])
    of_cells = np.array([means[key] for key in keys]).reshape(len(keys), on_curve.shape[1])
    reading = read(np.array(sizes), on_curve, of_cells, np.array([key[1] for key in keys]), level)
    estimates = {key: _estimate(i, reading) for i, key in enumerate(keys)}
    second = reused_cells(keys)
    first = [key for key in keys if key not in second.values()]
    task = str(own.task.iloc[0])
    cells: list[Cell] = []
    for key in first:
        reused = estimates[second[key]] if key in second else None
        slope = NONE
        if cells and (cells[-1].version, cells[-1].n) == key[:2]:
            smaller = estimates[*key[:2], cells[-1].m, key[3]]
            slope = _contrast(estimates[key], smaller, 0, key[2] - cells[-1].m)
        mean_error = jackknife(means[key], level)
        cells.append(_cell(task, key, len(seeds), mean_error, estimates[key], reused, slope))
    versions = {
        version: _version([key for key in first if key[0] == version], estimates, law, level)
        for version in dict.fromkeys(key[0] for key in first)
    }
    pairs = [(a, b) for a in first for b in first if a[0] != b[0] and a[1:3] == b[1:3]]
    curve = Curve(
        n=tuple(sizes),
        error=tuple(jackknife(values, level) for values in on_curve),
        slope=tuple(jackknife(values, level) for values in reading.local),
        falls=float(on_curve[0, 0] / on_curve[-1, 0]),
    )
    spent = runs.budgets(own)
    notes = [*runs.notes(errors, first, pool), *runs.unequal(spent), *runs.uncertain(cells, curve)]
    return TaskResult(
        task=task,
        recipe=str(own.recipe.iloc[0]),
        split=str(own.split.iloc[0]),
        level=level,
        law=law,
        seeds=len(seeds),
        curve=curve,
        cells=tuple(cells),
        versions=versions,
        differences=tuple(_difference(a, b, estimates, second) for a, b in pairs),
        budgets=spent,
        notes=tuple(notes),
    )


def _estimate(i: int, reading: Reading) -> _Estimate:
    """D_eff of cell i, with its verdict and the reason."""
    values, verdict = reading.d_eff[i], VERDICTS[int(reading.verdict[i])]
    low, high = (
        float(x) if np.isfinite(x) else math.nan for x in (reading.low[i], reading.high[i])
    )
    if reading.verdict[i] <= NEGATIVE:
        return _Estimate(values, Interval(float(values[0]), low, high), verdict, "")
    none = np.full(len(values), math.nan)
    if verdict == "NOT_IDENTIFIED":
        return _Estimate(none, NONE, verdict, _trouble(i, reading))
    side = "better" if verdict == "CENSORED_HI" else "worse"
    who = "some leave-one-out means are" if np.isfinite(values[0]) else "the mean error is"
    reason = f"{who} {side} than the real-only curve"
    return _Estimate(none, Interval(math.nan, low, high), verdict, reason)


def _trouble(i: int, reading: Reading) -> str:
    """The reason why cell i is not identified."""
    if reading.rises.any():
        return "the real-only error rises between two sizes"
    if reading.whole <= LEAST_SLOPE:
        return "the real-only curve is flat"
    if not np.isfinite(reading.d_eff[i]).all():
        return "the real-only curve is no longer than its noise"
    return "the real-only curve is flat there"


def _cell(
    task: str,
    key: Key,
    seeds: int,
    error: Interval,
    estimate: _Estimate,
    reused: _Estimate | None,
    slope: Interval,
) -> Cell:
    _, n, m, k = key
    d_eff, again = estimate.interval, reused.interval if reused else NONE
    return Cell(
        *(task, *key, seeds, error),
        d_eff=d_eff,
        alpha_avg=_line(d_eff, n, m),
        alpha_net=_line(d_eff, n + k, m),
        gain_net=_line(d_eff, n + k, 1),
        alpha_marg=slope,
        verdict=estimate.verdict,
        reason=estimate.reason,
        d_eff_reused=again,
        alpha_net_reused=_line(again, n + k, m),
        gain_net_reused=_line(again, n + k, 1),
        verdict_reused=reused.verdict if reused else "",
    )


def _version(keys: Sequence[Key], estimates: _Estimates, law: str, level: float) -> Version:
    n, m = [key[1] for key in keys], [key[2] for key in keys]
    own = [estimates[key] for key in keys]
    values = np.stack([x.values for x in own])
    low, high = _bounds(own)
    size, count = np.array(n, float), np.array(m, float)
    share = 1 / (count * len(keys))
    alpha = (values - size[:, None]) / count[:, None]
    common = NONE
    if np.isfinite(values).all():
        common = _line(_closed(*intervals.mean(share, values, low, high)), float(share @ size), 1)
    homogeneity = _homogeneous(alpha)
    verdict = max((x.verdict for x in own), key=VERDICTS.index)
    if homogeneity < REFUSED:
        verdict = "HETEROGENEOUS"
    fitted = fit(law, n, m, values, low.tolist(), level)
    return Version(verdict, homogeneity, _additive(alpha, n, m), common, fitted)


def _homogeneous(alpha: np.ndarray) -> float:
    """p that all cells (cells, 1 + S) without NaN have one alpha; NaN as of ``hotelling``."""
    known = alpha[np.isfinite(alpha).all(axis=1)]
    return float(hotelling(np.diff(pseudo_values(known), axis=0).T))


def _additive(alpha: np.ndarray, n: Sequence[int], m: Sequence[int]) -> float:
    """p that D_eff = n + g(m): the gain of m is the same at every n; cells are sorted by n.

    One alpha is a stronger hypothesis, g(m) = alpha m. NaN if no m has two n, too.
    """
    known = [i for i in range(len(n)) if np.isfinite(alpha[i]).all()]
    of_size = ([i for i in known if m[i] == count] for count in sorted(set(m)))
    pairs = [pair for cells in of_size for pair in itertools.pairwise(cells)]
    pseudo = pseudo_values(alpha)
    contrasts = [pseudo[j] - pseudo[i] for i, j in pairs]
    return float(hotelling(np.stack(contrasts, axis=1))) if contrasts else math.nan


def _difference(a: Key, b: Key, estimates: _Estimates, second: Mapping[Key, Key]) -> Difference:
    (version, n, m, _), spent = a, a[3] - b[3]
    gain = _contrast(estimates[a], estimates[b], spent, 1)
    alpha = _contrast(estimates[a], estimates[b], 0, m)
    difference = Difference(version, b[0], n, m, alpha, gain, _change(gain))
    # A version without corrections has no second arm.
    if not all(key in second or not key[3] for key in (a, b)) or not {a, b} & set(second):
        return difference
    gain = _contrast(estimates[second.get(a, a)], estimates[second.get(b, b)], spent, 1)
    return dataclasses.replace(difference, gain_net_reused=gain, verdict_reused=_change(gain))


def _change(gain: Interval) -> str:
    if math.isnan(gain.value):
        return "CENSORED"
    return "RISES" if gain.low > 0 else "FALLS" if gain.high < 0 else "NO DIFFERENCE"


def _contrast(a: _Estimate, b: _Estimate, less: float, per: float) -> Interval:
    """(D_eff of a − D_eff of b − less) / per, paired over the replicates."""
    values = np.stack([a.values, b.values])
    if not np.isfinite(values).all():
        return NONE
    return _line(_closed(*intervals.difference(values, *_bounds((a, b)))), less, per)


def _line(interval: Interval, less: float, per: float) -> Interval:
    value, low, high = ((x - less) / per for x in dataclasses.astuple(interval))
    return Interval(value, low, high)


def _bounds(estimates: Sequence[_Estimate]) -> tuple[np.ndarray, np.ndarray]:
    """The bounds of each D_eff; infinite where unknown."""
    low, high = np.array([(x.interval.low, x.interval.high) for x in estimates]).T
    return np.where(np.isnan(low), -np.inf, low), np.where(np.isnan(high), np.inf, high)


def _closed(*ends: np.ndarray) -> Interval:
    """The interval of a finite value; NaN for an infinite bound."""
    value, low, high = (float(x) if np.isfinite(x) else math.nan for x in ends)
    return Interval(value, low, high)
