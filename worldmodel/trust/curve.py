"""The real-only curve, and cells read off it: D_eff, its interval and its verdict.

Array functions over any leading axes, replicates last: the code that measures one table is the code
that the coverage study validates on thousands. They work on means (..., 1 + S) of the errors: over
all S replicates, then without each. The curve L is the mean error at each real-only size, made
monotone by isotonic regression in log error, linear in log error over log n, never extrapolated.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import isotonic_regression

from worldmodel.trust.intervals import accepted, ends

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


def leave_one_out(errors: np.ndarray) -> np.ndarray:
    """Means over the replicates: (..., S) to (..., 1 + S), the mean over all of them first."""
    count = errors.shape[-1]
    # Not (sum - x) / (S - 1), whose rounding would give equal errors unequal means.
    rest = [np.delete(errors, i, axis=-1).mean(axis=-1) for i in range(count)]
    return np.stack([errors.mean(axis=-1), *rest], axis=-1)


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
