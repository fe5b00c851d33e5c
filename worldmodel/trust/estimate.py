"""The trust coefficient, from errors: D_eff = L⁻¹(E), alpha = (D_eff − n) / m, with intervals.

L is the error of real-only training (``curve``). The interval of D_eff holds every D at which the
jackknife's t-test accepts that the cell's error equals the curve's (``intervals.accepted``); those
of alpha and gain are that interval on other scales, and those of a mean, a slope or a difference
follow from those of their D_eff. ``experiments.coverage`` measures where they cover.
Source: "effective data transferred", Hernandez et al. 2021.
"""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from worldmodel.errors import InputError
from worldmodel.trust import intervals
from worldmodel.trust.curve import OUTCOMES, VERDICTS, Reading, leave_one_out, read
from worldmodel.trust.intervals import NONE, Interval, hotelling, jackknife, pseudo_values
from worldmodel.trust.law import LAWS, REFUSED, fit
from worldmodel.trust.result import Cell, Curve, Difference, TaskResult, Version, budgets, notes
from worldmodel.trust.table import KEYS, Key, Row, check, in_order


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
