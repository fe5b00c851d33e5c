"""The trust coefficient, from errors: D_eff = L⁻¹(E), alpha = (D_eff − n) / m, with intervals.

L is the error of real-only training, a mean over the replicates at each n, made monotone by
pooling adjacent violators in log error and interpolated linearly in log error over log n. An
estimate is that of the means over all replicates; its interval is ± t(S − 1) standard errors by
the jackknife that leaves one replicate out of the curve and of the cell at once. Nothing is
extrapolated. Source of the idea: "effective data transferred", Hernandez et al. 2021.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from worldmodel.errors import InputError
from worldmodel.trust.table import Row, check

VERDICTS = ("OK", "NEGATIVE", "CENSORED_HI", "CENSORED_LO", "NOT_IDENTIFIED", "HETEROGENEOUS")
LEAST_SLOPE = 0.1  # the lower bound of the local slope must lie above it
HETEROGENEITY = 0.05  # one alpha for all cells is refused below this probability


@dataclasses.dataclass(frozen=True)
class Interval:
    """An estimate and its bounds; NaN where not defined."""

    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Cell:
    """What m synthetic episodes of a version are worth beside n real ones.

    Censored: the value is NaN and so is the open side; the other side is what is known for sure.
    CENSORED_HI: ``d_eff.low`` is the largest n of the curve than whose real-only error the cell's
    is significantly lower (the last n unless the cell is only just beyond it; NaN if there is
    none); CENSORED_LO: ``d_eff.high`` likewise, the smallest n than whose it is higher. The
    alphas and the gain follow from it. NOT_IDENTIFIED: all of them NaN.
    """

    task: str
    version: str
    n: int
    m: int
    k: int
    seeds: int
    error: Interval  # mean over the replicates
    d_eff: Interval  # real episodes that would have done as well
    alpha_avg: Interval  # (d_eff - n) / m
    alpha_net: Interval  # (d_eff - n - k) / m
    gain_net: Interval  # d_eff - n - k [episodes]
    alpha_marg: Interval  # change of d_eff per m since the next smaller m; NaN for the first
    verdict: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Curve:
    """Real-only training. ``error`` is as measured, ``slope`` that of the monotone curve."""

    n: tuple[int, ...]
    error: tuple[Interval, ...]
    slope: tuple[Interval, ...]  # -d log L / d log n, one per segment; 0 where pooled
    falls: float  # L(smallest n) / L(largest n)


@dataclasses.dataclass(frozen=True)
class Difference:
    """Version a minus version b, paired over the replicates."""

    a: str
    b: str
    n: int
    m: int
    alpha_avg: Interval
    gain_net: Interval
    verdict: str  # of gain_net: RISES, FALLS, NO DIFFERENCE; CENSORED where either has no value


@dataclasses.dataclass(frozen=True)
class Measurement:
    """All there is to say of one task. Differences are there both ways round."""

    task: str
    curve: Curve
    cells: tuple[Cell, ...]  # by version, n, m
    differences: tuple[Difference, ...]
    homogeneity_p: dict[str, float]  # by version, see ``homogeneous``
    alpha: dict[str, Interval]  # by version: mean of alpha_avg over its cells, if all have one
    level: float  # of the intervals


_NONE = Interval(math.nan, math.nan, math.nan)


def measure(rows: Sequence[Row], *, level: float = 0.95) -> list[Measurement]:
    """Measures every task of a table, in the order of their names.

    Args:
      rows: in any order.
      level: of the intervals, two-sided.

    Raises:
      TableError: see ``table.check``.
      InputError: a level that is not between 0 and 1.
    """
    if not 0 < level < 1:
        raise InputError(f"level = {level} is not between 0 and 1; 0.95 is usual")
    check(rows)
    tasks = sorted({row.task for row in rows})
    return [_task(task, [row for row in rows if row.task == task], level) for task in tasks]


def homogeneous(pseudo: np.ndarray) -> float:
    """Probability of means this unequal if all cells had one alpha: Hotelling's T².

    Args:
      pseudo: (replicates, cells) jackknife pseudo-values of alpha; cells with NaN do not count.

    Returns:
      p; NaN for fewer than two cells, for no more replicates than cells less one, or without
      noise to compare with.
    """
    alpha = pseudo[:, np.isfinite(pseudo).all(axis=0)]
    contrast = np.diff(alpha, axis=1)
    replicates, width = contrast.shape
    if not 0 < width < replicates or contrast.std(axis=0).min() <= 1e-9 * (1 + abs(alpha).max()):
        return math.nan
    mean, covariance = contrast.mean(0), np.atleast_2d(np.cov(contrast.T))
    if np.linalg.matrix_rank(covariance) < width:
        return math.nan
    square = replicates * mean @ np.linalg.solve(covariance, mean)
    ratio = square * (replicates - width) / (width * (replicates - 1))
    return float(stats.f.sf(ratio, width, replicates - width))


def version_verdict(measurement: Measurement, version: str) -> str:
    """HETEROGENEOUS where its cells have no common alpha, else the worst verdict among them."""
    if measurement.homogeneity_p[version] < HETEROGENEITY:
        return "HETEROGENEOUS"
    verdicts = {cell.verdict for cell in measurement.cells if cell.version == version}
    return max(verdicts, key=VERDICTS.index)


def _task(task: str, rows: Sequence[Row], level: float) -> Measurement:
    error = {(row.version, row.n, row.m, row.seed): row.error for row in rows}
    k = {(row.version, row.n, row.m): row.k for row in rows}
    sizes = sorted({row.n for row in rows if row.m == 0})
    keys = sorted(key for key in k if key[2] > 0)
    seeds = sorted({row.seed for row in rows})
    columns = [("", n, 0) for n in sizes] + keys
    means = leave_one_out(np.array([[error[(*c, seed)] for c in columns] for seed in seeds]))
    curve, monotone, trouble = _curve(sizes, means[:, : len(sizes)], level)
    cells, worth = [], {}
    for key, mean in zip(keys, means.T[len(sizes) :], strict=True):
        cell = (task, *key, k[key])
        cell, worth[key] = _cell(cell, mean, curve, monotone, trouble, level)
        if cells and (cells[-1].version, cells[-1].n) == key[:2]:
            less = cells[-1].m
            marginal = (worth[key] - worth[*key[:2], less]) / (key[2] - less)
            cell = dataclasses.replace(cell, alpha_marg=jackknife(marginal, level))
        cells.append(cell)
    homogeneity, common = {}, {}
    for version in sorted({key[0] for key in keys}):
        alpha = np.stack([(d - n) / m for (v, n, m), d in worth.items() if v == version], axis=1)
        homogeneity[version] = homogeneous(len(seeds) * alpha[0] - (len(seeds) - 1) * alpha[1:])
        common[version] = jackknife(alpha.mean(axis=1), level)
    pairs = [(a, b) for a in keys for b in keys if a[0] != b[0] and a[1:] == b[1:]]
    differences = tuple(_difference(a, b, k, worth, level) for a, b in pairs)
    return Measurement(task, curve, tuple(cells), differences, homogeneity, common, level)


def leave_one_out(errors: np.ndarray) -> np.ndarray:
    """Means over replicates: (replicates, …) to (1 + replicates, …).

    The first is over all of them, the others each leave one out, in order.
    """
    rest = [np.delete(errors, i, axis=0).mean(axis=0) for i in range(len(errors))]
    return np.stack([errors.mean(axis=0), *rest])


def jackknife(values: np.ndarray, level: float) -> Interval:
    """The estimate ± t(S − 1) jackknife standard errors.

    Args:
      values: (1 + S,) of all replicates and with each left out; NaN or infinite: no interval.
      level: two-sided.
    """
    if not np.isfinite(values).all():
        return _NONE
    full, rest = float(values[0]), values[1:]
    error = math.sqrt((len(rest) - 1) * float(np.mean((rest - rest.mean()) ** 2)))
    half = float(stats.t.ppf((1 + level) / 2, len(rest) - 1)) * error
    return Interval(full, full - half, full + half)


def _curve(sizes: Sequence[int], means: np.ndarray, level: float) -> tuple[Curve, np.ndarray, str]:
    """The curve, its monotone log errors (1 + S, sizes), and why no cell can be read off it."""
    logs, log_n = np.log(means), np.log(sizes)
    monotone = np.stack([_falling(row) for row in logs])
    slopes = -np.diff(monotone, axis=1) / np.diff(log_n)
    curve = Curve(
        n=tuple(sizes),
        error=tuple(jackknife(column, level) for column in means.T),
        slope=tuple(jackknife(column, level) for column in slopes.T),
        falls=float(means[0, 0] / means[0, -1]),
    )
    whole = jackknife((monotone[:, 0] - monotone[:, -1]) / (log_n[-1] - log_n[0]), level)
    trouble = ""
    if whole.low <= LEAST_SLOPE:
        trouble = f"the real-only curve is flat: its slope may be as low as {whole.low:.2f}"
    pairs = list(itertools.combinations(range(len(sizes)), 2))
    for i, j in pairs:  # Bonferroni: all pairs of sizes are held against each other
        if jackknife(logs[:, j] - logs[:, i], 1 - (1 - level) / len(pairs)).low > 0:
            trouble = f"the real-only error rises from n = {sizes[i]} to n = {sizes[j]}"
    return curve, monotone, trouble


def _falling(values: np.ndarray) -> np.ndarray:
    """The nearest sequence that never rises: adjacent violators pooled (min-max formula)."""
    places = range(len(values))
    return np.array(
        [
            min(max(values[a : b + 1].mean() for b in places[i:]) for a in places[: i + 1])
            for i in places
        ]
    )


def _invert(sizes: Sequence[int], falling: np.ndarray, log_error: float) -> tuple[float, int]:
    """Real episodes of that error and the segment they lie in; ± infinity beyond the curve."""
    rising = -falling
    if -log_error > rising[-1]:
        return math.inf, len(sizes) - 2
    if -log_error < rising[0]:
        return -math.inf, 0
    j = min(int(np.searchsorted(rising, -log_error, side="right")) - 1, len(sizes) - 2)
    gap = rising[j + 1] - rising[j]
    part = (-log_error - rising[j]) / gap if gap > 0 else 0.0
    if part == 1.0:  # exactly a knot, whatever the rounding of the power
        return float(sizes[j + 1]), j
    return sizes[j] * (sizes[j + 1] / sizes[j]) ** part, j


def _cell(
    cell: tuple[str, str, int, int, int],
    means: np.ndarray,
    curve: Curve,
    monotone: np.ndarray,
    trouble: str,
    level: float,
) -> tuple[Cell, np.ndarray]:
    """A cell but for alpha_marg, and its D_eff (1 + S,), NaN unless it has one throughout."""
    _, _, n, m, k = cell
    sizes, logs = curve.n, np.log(means)
    found = [_invert(sizes, *pair) for pair in zip(monotone, logs, strict=True)]
    worth, segments = np.array([d for d, _ in found]), [j for _, j in found]
    better, worse = bool((worth == math.inf).any()), bool((worth == -math.inf).any())
    slope = min(slope.low for slope in curve.slope[min(segments) : max(segments) + 1])
    who = "some leave-one-out means are" if math.isfinite(worth[0]) else "the mean error is"
    d_eff = _NONE
    if trouble:
        verdict, reason = "NOT_IDENTIFIED", trouble
    elif better and worse:
        verdict, reason = "NOT_IDENTIFIED", "the real-only curve is no longer than its noise"
    elif better:
        verdict = "CENSORED_HI"
        reason = f"{who} better than real only at the largest n = {sizes[-1]}"
        d_eff = Interval(math.nan, _bound(sizes, logs[:, None] - monotone, level), math.nan)
    elif worse:
        verdict = "CENSORED_LO"
        reason = f"{who} worse than real only at the smallest n = {sizes[0]}"
        high = _bound(sizes[::-1], (monotone - logs[:, None])[:, ::-1], level)
        d_eff = Interval(math.nan, math.nan, high)
    elif slope <= LEAST_SLOPE:
        verdict = "NOT_IDENTIFIED"
        reason = f"the curve is flat near n = {worth[0]:.0f}: its slope may be {slope:.2f}"
    else:
        d_eff = jackknife(worth, level)
        verdict = "NEGATIVE" if d_eff.high < n else "OK"
        reason = f"{n} real and {m} synthetic episodes are worth {worth[0]:.1f} real ones"
    alpha, net, gain = _line(d_eff, n, m), _line(d_eff, n + k, m), _line(d_eff, n + k, 1)
    seeds, error = len(means) - 1, jackknife(means, level)
    described = Cell(*cell, seeds, error, d_eff, alpha, net, gain, _NONE, verdict, reason)
    return described, worth if math.isfinite(d_eff.value) else np.full(len(worth), math.nan)


def _bound(sizes: Sequence[int], excess: np.ndarray, level: float) -> float:
    """The last of the sizes up to which the excess of log error (1 + S, sizes) is below 0."""
    bound = math.nan
    for n, column in zip(sizes, excess.T, strict=True):
        if not jackknife(column, level).high < 0:
            break
        bound = float(n)
    return bound


def _line(interval: Interval, less: float, per: float) -> Interval:
    value, low, high = ((x - less) / per for x in dataclasses.astuple(interval))
    return Interval(value, low, high)


def _difference(
    a: tuple[str, int, int], b: tuple[str, int, int], k: dict, worth: dict, level: float
) -> Difference:
    (_, n, m), more = a, worth[a] - worth[b]
    gain = jackknife(more - (k[a] - k[b]), level)
    verdict = "RISES" if gain.low > 0 else "FALLS" if gain.high < 0 else "NO DIFFERENCE"
    if math.isnan(gain.value):
        verdict = "CENSORED"
    return Difference(a[0], b[0], n, m, jackknife(more / m, level), gain, verdict)
