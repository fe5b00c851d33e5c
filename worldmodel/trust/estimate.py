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

from worldmodel.errors import InputError
from worldmodel.trust import intervals
from worldmodel.trust.curve import leave_one_out
from worldmodel.trust.intervals import NONE, Interval, hotelling, jackknife, pseudo_values
from worldmodel.trust.law import LAWS, REFUSED, fit
from worldmodel.trust.phrases import number
from worldmodel.trust.reading import LEAST_SLOPE, VERDICTS, Reading, read
from worldmodel.trust.result import Cell, Curve, Difference, TaskResult, Version
from worldmodel.trust.runs import budgets, warnings
from worldmodel.trust.table import Row, check, in_order, reused_cells, some

Key = tuple[str, int, int, int]  # version, n, m, k
# The errors of seeds that each draw n of one pool correlate by about (n / pool)². Intervals cover
# new episodes as long as that, times the number of seeds less one, is at most this.
POOL_SHARED = 0.25
CERTIFIED = 0.3  # half-width of log D_eff from one mean error; coverage is shown up to it


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
    check(rows)
    tasks = sorted({row.task for row in rows})
    return [_task([row for row in rows if row.task == task], level, law, pool) for task in tasks]


def _task(rows: Sequence[Row], level: float, law: str, pool: int | None) -> TaskResult:
    error = {(row.version, row.n, row.m, row.k, row.seed): row.error for row in rows}
    sizes = sorted({row.n for row in rows if row.m == 0})
    keys = sorted({key[:4] for key in error if key[2] > 0})
    seeds = in_order({row.seed for row in rows})

    def means(key: Key) -> np.ndarray:
        return leave_one_out(np.array([error[*key, seed] for seed in seeds]))

    on_curve = np.stack([means(("", n, 0, 0)) for n in sizes])
    of_cells = np.stack([means(key) for key in keys]) if keys else np.empty((0, len(seeds) + 1))
    n = np.array([key[1] for key in keys])
    reading = read(np.array(sizes), on_curve, of_cells, n, level)
    estimates = {key: _estimate(i, key, sizes, reading) for i, key in enumerate(keys)}
    second = reused_cells(keys)
    first = [key for key in keys if key not in second.values()]
    cells: list[Cell] = []
    for key in first:
        mean_error = jackknife(of_cells[keys.index(key)], level)
        reused = estimates[second[key]] if key in second else None
        slope = NONE
        if cells and (cells[-1].version, cells[-1].n) == key[:2]:
            smaller = estimates[*key[:2], cells[-1].m, key[3]]
            slope = _contrast(estimates[key], smaller, 0, key[2] - cells[-1].m)
        cells.append(
            _cell(rows[0].task, key, len(seeds), mean_error, estimates[key], reused, slope)
        )
    versions = {
        version: _version([key for key in first if key[0] == version], estimates, law, level)
        for version in sorted({key[0] for key in first})
    }
    pairs = [(a, b) for a in first for b in first if a[0] != b[0] and a[1:3] == b[1:3]]
    curve = Curve(
        n=tuple(sizes),
        error=tuple(jackknife(values, level) for values in on_curve),
        slope=tuple(jackknife(values, level) for values in reading.local),
        falls=float(on_curve[0, 0] / on_curve[-1, 0]),
    )
    notes = _notes(rows, curve, first, len(seeds), pool)
    return TaskResult(
        task=rows[0].task,
        recipe=rows[0].recipe,
        split=rows[0].split,
        level=level,
        law=law,
        seeds=len(seeds),
        curve=curve,
        cells=tuple(cells),
        versions=versions,
        differences=tuple(_difference(a, b, estimates, second) for a, b in pairs),
        budgets=budgets(rows),
        notes=(*notes, *_uncertain(cells, curve)),
    )


def _estimate(i: int, key: Key, sizes: Sequence[int], reading: Reading) -> _Estimate:
    """D_eff of cell i, with its verdict and the reason."""
    _, n, m, _ = key
    values, verdict = reading.d_eff[i], VERDICTS[int(reading.verdict[i])]
    low, high = (
        float(x) if np.isfinite(x) else math.nan for x in (reading.low[i], reading.high[i])
    )
    reason = f"{n} real and {m} synthetic episodes are worth {values[0]:.1f} real ones"
    who = "some leave-one-out means are" if np.isfinite(values[0]) else "the mean error is"
    if verdict == "CENSORED_HI":
        reason = f"{who} better than real only at the largest n = {sizes[-1]}"
    elif verdict == "CENSORED_LO":
        reason = f"{who} worse than real only at the smallest n = {sizes[0]}"
    elif verdict == "NOT_IDENTIFIED":
        low, high, reason = math.nan, math.nan, _trouble(i, sizes, reading)
    if reading.verdict[i] <= VERDICTS.index("NEGATIVE"):
        return _Estimate(values, Interval(float(values[0]), low, high), verdict, reason)
    none = np.full(len(values), math.nan)
    return _Estimate(none, Interval(math.nan, low, high), verdict, reason)


def _trouble(i: int, sizes: Sequence[int], reading: Reading) -> str:
    """The reason why cell i is not identified."""
    if reading.rises.any():
        pairs = list(itertools.combinations(sizes, 2))
        a, b = pairs[int(np.flatnonzero(reading.rises)[-1])]
        return f"the real-only error rises from n = {a} to n = {b}"
    if reading.whole <= LEAST_SLOPE:
        least = number(float(reading.whole))
        return f"the real-only curve is flat: its slope may be as low as {least}"
    if not np.isfinite(reading.d_eff[i]).all():
        return "the real-only curve is no longer than its noise"
    at, least = reading.d_eff[i, 0], number(float(reading.slope[i]))
    return f"the curve is flat near n = {at:.0f}: its slope may be {least}"


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


def _notes(
    rows: Sequence[Row],
    curve: Curve,
    cells: Sequence[Key],
    seeds: int,
    pool: int | None,
) -> list[str]:
    """Sentences on what the numbers are conditional on and what the design lacks."""
    notes = warnings(rows)
    if pool is not None:
        most = max(row.n for row in rows)
        if most > pool:
            raise InputError(f"pool = {pool}, but n goes up to {most}; give the whole pool's size")
        to = f"All seeds draw from one pool of {pool} real episodes"
        free = pool * math.sqrt(POOL_SHARED / (seeds - 1))
        if most > free:
            notes.append(
                f"{to}: with {seeds} seeds, intervals of a D_eff up to {free:.0f} hold for new "
                "episodes too; beyond, they are conditional on these episodes."
            )
        else:
            notes.append(f"{to}, up to n = {most}: intervals hold for new episodes too.")
    if len(curve.n) < 6:
        notes.append(f"{len(curve.n)} real-only sizes; there should be six.")
    if seeds < 10:
        notes.append(f"{seeds} seeds; there should be ten.")
    if curve.falls < 2:
        notes.append(
            f"The error falls {curve.falls:.2f} times over the real-only sizes; it should twice."
        )
    grids = {key[0]: {k[1:3] for k in cells if k[0] == key[0]} for key in cells}
    if any(len({n for n, _ in g}) < 2 or len({m for _, m in g}) < 3 for g in grids.values()):
        notes.append("A version has fewer cells than two n by three m.")
    return notes


def _uncertain(cells: Sequence[Cell], curve: Curve) -> list[str]:
    """A note on the cells whose error is noisier than where coverage was shown; none if empty."""
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
