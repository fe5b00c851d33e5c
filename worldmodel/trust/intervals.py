"""Intervals and tests from leave-one-out values, as array functions over any leading axes.

``values`` are (..., 1 + S): the estimate from all replicates, then with each left out. There are
three intervals, all with t(S − 1): the plain jackknife; the inversion of its test, for a D_eff read
off a curve; and that of a linear combination of estimates whose own intervals are known.
"""

import dataclasses
import math

import numpy as np
from scipy import stats


@dataclasses.dataclass(frozen=True)
class Interval:
    """An estimate and its bounds; NaN where undefined or unknown."""

    value: float
    low: float
    high: float


DIRECTIONS = 720  # searched for the ends of a difference, exact to 1e-5 of its width
NONE = Interval(math.nan, math.nan, math.nan)


def quantile(level: float, replicates: int) -> float:
    """The quantile of t(S − 1) for a two-sided interval."""
    return float(stats.t.ppf((1 + level) / 2, replicates - 1))


def spread(values: np.ndarray) -> np.ndarray:
    """The jackknife's standard error: (..., 1 + S) to (...)."""
    rest = values[..., 1:]
    return np.sqrt((rest.shape[-1] - 1) * np.mean((rest - rest.mean(-1, keepdims=True)) ** 2, -1))


def pseudo_values(values: np.ndarray) -> np.ndarray:
    """The jackknife's pseudo-values, one per replicate: (..., 1 + S) to (..., S)."""
    count = values.shape[-1] - 1
    return count * values[..., :1] - (count - 1) * values[..., 1:]


def ends(values: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """The estimate ± t(S − 1) jackknife standard errors, (...) each."""
    half = quantile(level, values.shape[-1] - 1) * spread(values)
    return values[..., 0] - half, values[..., 0] + half


def jackknife(values: np.ndarray, level: float) -> Interval:
    """The interval of one estimate (1 + S,); ``NONE`` if a value is NaN or infinite."""
    if not np.isfinite(values).all():
        return NONE
    low, high = ends(values, level)
    return Interval(float(values[0]), float(low), float(high))


def accepted(
    sizes: np.ndarray, monotone: np.ndarray, logs: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """The hull of all D at which a test accepts that an error equals the curve's.

    At each D the jackknife's t-test compares log E with log L(D), the replicates paired. Both are
    means with weights that do not depend on the data. The test therefore holds at knots and at
    much noise, where an interval around the estimate is too short. In a segment log L is linear
    in log D, and the test is a quadratic inequality (Fieller 1954).

    Args:
      sizes: (sizes,) n of the curve, rising.
      monotone: (..., sizes, 1 + S) log errors of the curve.
      logs: (..., 1 + S) log E.
      level: of the interval.

    Returns:
      low and high (...) in episodes. An end is unknown from this curve and infinite: low is
      -infinity if the smallest size is accepted, high infinity if the largest is. Both are NaN if
      no D is accepted.
    """
    gap = logs[..., None, :] - monotone
    a, b = gap[..., :-1, :], np.diff(gap, axis=-2)  # at fraction w of a segment: a + w b
    square = quantile(level, logs.shape[-1] - 1) ** 2

    def product(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """The product of the estimates less t² times their jackknife covariance."""
        dx, dy = (v[..., 1:] - v[..., 1:].mean(-1, keepdims=True) for v in (x, y))
        covariance = (x.shape[-1] - 2) * np.mean(dx * dy, axis=-1)
        return x[..., 0] * y[..., 0] - square * covariance

    constant, linear, curved = product(a, a), product(a, b), product(b, b)
    root = np.sqrt(np.maximum(linear**2 - curved * constant, 0.0))
    real = linear**2 >= curved * constant
    with np.errstate(all="ignore"):
        # Both roots without cancellation.
        q = -(linear + np.where(linear >= 0, root, -root))
        roots = np.stack([q / curved, constant / q], axis=-1)
    roots = np.where(real[..., None] & (roots >= 0) & (roots <= 1), roots, np.nan)
    knot = np.concatenate([constant, (constant + 2 * linear + curved)[..., -1:]], axis=-1) <= 0
    knots = np.stack([knot[..., :-1] * 1.0, knot[..., 1:] * 1.0], axis=-1)
    knots = np.where(knots > 0, np.array([0.0, 1.0]), np.nan)
    parts = np.concatenate([roots, knots], axis=-1)
    start, end = (np.asarray(x, float)[:, None] for x in (sizes[:-1], sizes[1:]))
    where = np.where(parts == 1.0, end, start * (end / start) ** parts)
    low, high = (pick.reduce(where, axis=(-2, -1)) for pick in (np.fmin, np.fmax))
    low = np.where(knot[..., 0], -np.inf, low)
    return low, np.where(knot[..., -1], np.inf, high)


def correlations(values: np.ndarray) -> np.ndarray:
    """Jackknife correlations of estimates: (..., cells, 1 + S) to (..., cells, cells)."""
    deviation = values[..., 1:] - values[..., 1:].mean(axis=-1, keepdims=True)
    scale = np.sqrt(np.sum(deviation**2, axis=-1, keepdims=True))
    unit = deviation / np.where(scale > 0, scale, 1.0)
    # Rounded, so that equal estimates correlate by exactly 1.
    return np.clip(np.round(unit @ np.swapaxes(unit, -1, -2), 12), -1.0, 1.0)


def mean(
    weights: np.ndarray, values: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A weighted sum of estimates, with the interval that follows from theirs.

    Distances from estimate to bound add up as standard errors do, with the jackknife's
    correlations (MOVER: Zou and Donner 2008, "Construction of confidence limits about effect
    measures", Statistics in Medicine 27). The sum covers as the estimates do.

    Args:
      weights: (cells,) above 0.
      values: (..., cells, 1 + S).
      low, high: (..., cells) of each interval.

    Returns:
      estimate, low, high (...); a bound is infinite if one that it needs is.
    """
    estimate = values[..., 0]
    total = (weights * estimate).sum(axis=-1)
    together = correlations(values)
    halves = []
    for part in (weights * (estimate - low), weights * (high - estimate)):
        finite = np.where(np.isfinite(part), part, 0.0)
        square = np.einsum("...i,...ij,...j", finite, together, finite)
        known = np.isfinite(part).all(axis=-1)
        halves.append(np.where(known, np.sqrt(np.maximum(square, 0.0)), np.inf))
    return total, total - halves[0], total + halves[1]


def difference(
    values: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first of two estimates less the second, with the interval that follows from theirs.

    Its ends are the extremes over the ellipse of their correlation; each direction moves each
    estimate towards one end of its interval. Independent estimates give MOVER, equal ones no width.

    Args:
      values: (..., 2, 1 + S).
      low, high: (..., 2) of each interval.

    Returns:
      estimate, low, high (...); a bound is infinite if one that it needs is.
    """
    estimate = values[..., 0]
    rho = correlations(values)[..., 0, 1, None]
    turn = np.arange(DIRECTIONS) * (2 * math.pi / DIRECTIONS)
    first = np.cos(turn) + 0.0 * rho
    second = rho * np.cos(turn) + np.sqrt(np.maximum(1 - rho**2, 0.0)) * np.sin(turn)
    moved = []
    for i, z in enumerate((first, second)):
        below, above = (x[..., i, None] for x in (estimate - low, high - estimate))
        with np.errstate(invalid="ignore"):
            moved.append(np.where(z < 0, below * z, np.where(z > 0, above * z, 0.0)))
    with np.errstate(invalid="ignore"):
        step = moved[0] - moved[1]
    value = estimate[..., 0] - estimate[..., 1]
    least, most = (np.where(np.isnan(step), x, step) for x in (-np.inf, np.inf))
    return value, value + least.min(axis=-1), value + most.max(axis=-1)


def hotelling(contrasts: np.ndarray) -> np.ndarray:
    """p-value of Hotelling's T² test that all means are 0.

    Args:
      contrasts: (..., S, contrasts) pseudo-values of order 1, roughly normal over the replicates.

    Returns:
      p (...); NaN if there are no contrasts or no fewer than replicates, or if one has no noise.
    """
    replicates, width = contrasts.shape[-2:]
    none = np.full(contrasts.shape[:-2], np.nan)
    if not 0 < width < replicates:
        return none
    means = contrasts.mean(axis=-2)
    centred = contrasts - means[..., None, :]
    covariance = np.swapaxes(centred, -1, -2) @ centred / (replicates - 1)
    noise = centred.std(axis=-2).min(axis=-1)
    sound = (np.linalg.matrix_rank(covariance) == width) & (noise > 1e-9)
    covariance = np.where(sound[..., None, None], covariance, np.eye(width))
    solved = np.linalg.solve(covariance, means[..., None])[..., 0]
    square = replicates * (means * solved).sum(axis=-1)
    ratio = square * (replicates - width) / (width * (replicates - 1))
    return np.where(sound, stats.f.sf(ratio, width, replicates - width), np.nan)
