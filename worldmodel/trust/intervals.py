"""Intervals and tests from leave-one-out values, as array functions over any leading axes.

``values`` are (..., 1 + S): the estimate from all replicates, then without each. Intervals have
t(S − 1): the plain jackknife; the inversion of its test, for a D_eff read off a curve; and that of
a linear combination of estimates whose own intervals are known.
"""

import dataclasses
import math
from typing import Any, Self

import numpy as np
from scipy import stats

from worldmodel.errors import InputError


@dataclasses.dataclass(frozen=True)
class Interval:
    """An estimate and its bounds; NaN where undefined or unknown."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, *ends: Any) -> Self:
        """The interval of value, low and high; NaN for an infinite one."""
        return cls(*(float(x) if np.isfinite(x) else math.nan for x in ends))

    def moved(self, less: float, per: float) -> "Interval":
        """(x − less) / per of all three, per above 0."""
        return Interval(*((x - less) / per for x in dataclasses.astuple(self)))


DIRECTIONS = 720  # searched for the ends of a difference, exact to 1e-5 of its width
NONE = Interval(math.nan, math.nan, math.nan)


def check_level(level: float) -> None:
    """Raises InputError unless the level is between 0 and 1."""
    if not 0 < level < 1:
        raise InputError(f"level = {level} is not between 0 and 1; 0.95 is usual")


def quantile(level: float, replicates: Any) -> Any:
    """The quantile of t(S − 1) for a two-sided interval, of one number S or an array of them."""
    return stats.t.ppf((1 + level) / 2, replicates - 1)


def leave_one_out(errors: np.ndarray) -> np.ndarray:
    """Means over the replicates: (..., S) to (..., 1 + S), the mean over all of them first."""
    count = errors.shape[-1]
    # Not (sum - x) / (S - 1), whose rounding would give equal errors unequal means.
    rest = [np.delete(errors, i, axis=-1).mean(axis=-1) for i in range(count)]
    return np.stack([errors.mean(axis=-1), *rest], axis=-1)


def covariance(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The jackknife's covariance: two (..., 1 + S) to (...)."""
    dx, dy = (v[..., 1:] - v[..., 1:].mean(-1, keepdims=True) for v in (x, y))
    return (x.shape[-1] - 2) * np.mean(dx * dy, axis=-1)


def pseudo_values(values: np.ndarray) -> np.ndarray:
    """The jackknife's pseudo-values, one per replicate: (..., 1 + S) to (..., S)."""
    count = values.shape[-1] - 1
    return count * values[..., :1] - (count - 1) * values[..., 1:]


def ends(values: np.ndarray, level: float) -> tuple[np.ndarray, np.ndarray]:
    """The estimate ± t(S − 1) jackknife standard errors, (...) each."""
    half = quantile(level, values.shape[-1] - 1) * np.sqrt(covariance(values, values))
    return values[..., 0] - half, values[..., 0] + half


def jackknife(values: np.ndarray, level: float) -> Interval:
    """The interval of one estimate (1 + S,); ``NONE`` if a value is NaN or infinite."""
    return Interval.of(values[0], *ends(values, level)) if np.isfinite(values).all() else NONE


def accepted(
    sizes: np.ndarray, monotone: np.ndarray, logs: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray]:
    """The hull of all D at which a test accepts that an error equals the curve's.

    At each D the jackknife's t-test compares log E with log L(D), the replicates paired. It holds
    at knots and at much noise, where an interval around the estimate is too short. In a segment
    log L is linear in log D, and the test is a quadratic inequality (Fieller 1954).

    Args:
      sizes: (sizes,) n of the curve, rising.
      monotone: (..., sizes, 1 + S) log errors of the curve.
      logs: (..., 1 + S) log E.
      level: of the interval.

    Returns:
      low and high (...) in episodes; low is -infinity if the smallest size is accepted, high
      infinity if the largest is; both are NaN if no D is.
    """
    gap = logs[..., None, :] - monotone
    a, b = gap[..., :-1, :], np.diff(gap, axis=-2)  # at fraction w of a segment: a + w b
    square = quantile(level, logs.shape[-1] - 1) ** 2
    # Accepted where constant + 2 w linear + w² curved ≤ 0.
    constant, linear, curved = (
        x[..., 0] * y[..., 0] - square * covariance(x, y) for x, y in ((a, a), (a, b), (b, b))
    )
    root = np.sqrt(np.maximum(linear**2 - curved * constant, 0.0))
    with np.errstate(all="ignore"):
        # Both roots without cancellation.
        q = -(linear + np.where(linear >= 0, root, -root))
        roots = np.stack([q / curved, constant / q], axis=-1)
    real = (linear**2 >= curved * constant)[..., None]
    roots = np.where(real & (roots >= 0) & (roots <= 1), roots, np.nan)
    knot = np.concatenate([constant, (constant + 2 * linear + curved)[..., -1:]], axis=-1) <= 0
    knots = [np.where(knot[..., :-1], 0.0, np.nan), np.where(knot[..., 1:], 1.0, np.nan)]
    parts = np.concatenate([roots, np.stack(knots, -1)], axis=-1)
    start, end = (np.asarray(x, float)[:, None] for x in (sizes[:-1], sizes[1:]))
    where = np.where(parts == 1.0, end, start * (end / start) ** parts)
    low, high = (pick.reduce(where, axis=(-2, -1)) for pick in (np.fmin, np.fmax))
    return np.where(knot[..., 0], -np.inf, low), np.where(knot[..., -1], np.inf, high)


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
    correlations (MOVER: Zou and Donner 2008, Statistics in Medicine 27).

    Args:
      weights: (cells,) above 0.
      values: (..., cells, 1 + S).
      low, high: (..., cells) of each interval.

    Returns:
      estimate, low, high (...); a bound is infinite if one that it needs is.
    """
    estimate, together, halves = values[..., 0], correlations(values), []
    for part in (weights * (estimate - low), weights * (high - estimate)):
        known = np.isfinite(part)
        finite = np.where(known, part, 0.0)
        square = np.einsum("...i,...ij,...j", finite, together, finite)
        halves.append(np.where(known.all(axis=-1), np.sqrt(np.maximum(square, 0.0)), np.inf))
    total = (weights * estimate).sum(axis=-1)
    return total, total - halves[0], total + halves[1]


def difference(
    values: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first of two estimates less the second, with the interval that follows from theirs.

    Its ends are the extremes over the ellipse of their correlation; each direction moves each
    estimate towards one end of its interval. Independent estimates give MOVER, equal ones no width.
    Shapes and returns are those of ``mean``, with two cells.
    """
    estimate = values[..., 0]
    rho = correlations(values)[..., 0, 1, None]
    turn = np.arange(DIRECTIONS) * (2 * math.pi / DIRECTIONS)
    first = np.cos(turn) + 0.0 * rho
    second = rho * np.cos(turn) + np.sqrt(np.maximum(1 - rho**2, 0.0)) * np.sin(turn)
    z = np.stack([first, second], axis=-2)  # (..., 2, directions)
    with np.errstate(invalid="ignore"):
        length = np.where(z < 0, (estimate - low)[..., None], (high - estimate)[..., None])
        moved = np.where(z == 0, 0.0, z * length)
        step = moved[..., 0, :] - moved[..., 1, :]  # NaN if both are infinite
    value = estimate[..., 0] - estimate[..., 1]
    least, most = (np.where(np.isnan(step), x, step) for x in (-np.inf, np.inf))
    return value, value + least.min(axis=-1), value + most.max(axis=-1)


def hotelling(contrasts: np.ndarray) -> np.ndarray:
    """p-value (...) of Hotelling's T² test that all means of contrasts (..., S, width) are 0.

    Contrasts are pseudo-values of order 1, roughly normal over the replicates. NaN if there are
    none or no fewer than replicates, or if one has no noise.
    """
    replicates, width = contrasts.shape[-2:]
    if not 0 < width < replicates:
        return np.full(contrasts.shape[:-2], np.nan)
    means = contrasts.mean(axis=-2)
    centred = contrasts - means[..., None, :]
    covariances = np.swapaxes(centred, -1, -2) @ centred / (replicates - 1)
    noise = centred.std(axis=-2).min(axis=-1)
    sound = (np.linalg.matrix_rank(covariances) == width) & (noise > 1e-9)
    covariances = np.where(sound[..., None, None], covariances, np.eye(width))
    solved = np.linalg.solve(covariances, means[..., None])[..., 0]
    square = replicates * (means * solved).sum(axis=-1)
    ratio = square * (replicates - width) / (width * (replicates - 1))
    return np.where(sound, stats.f.sf(ratio, width, replicates - width), np.nan)
