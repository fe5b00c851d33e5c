"""Cells read off the real-only curve: D_eff, its interval and its verdict, for many tables at once.

The numeric core of ``estimate``, as array functions over any leading axes: the code that measures
one table is the code that the coverage study validates on thousands.
"""

import itertools
from typing import NamedTuple

import numpy as np

from worldmodel.trust.curve import falling, invert, slopes
from worldmodel.trust.intervals import accepted, ends

VERDICTS = ("OK", "NEGATIVE", "CENSORED_HI", "CENSORED_LO", "NOT_IDENTIFIED", "HETEROGENEOUS")
OK, NEGATIVE, CENSORED_HI, CENSORED_LO, NOT_IDENTIFIED = range(5)
LEAST_SLOPE = 0.1  # the lower bound of the local slope must be above it


class Reading(NamedTuple):
    """Shapes are (..., cells) or (..., cells, 1 + S) unless given."""

    monotone: np.ndarray  # (..., sizes, 1 + S) monotone log errors of real-only training
    d_eff: np.ndarray  # of all replicates, then with each left out; infinite beyond the curve
    low: np.ndarray  # bounds of D_eff; infinite where unknown
    high: np.ndarray
    local: np.ndarray  # (..., segments, 1 + S) local slopes -d log L / d log n
    slope: np.ndarray  # lower bound of the least local slope in use
    whole: np.ndarray  # (...) lower bound of the slope from the first to the last size
    rises: np.ndarray  # (..., pairs of sizes) whether the error rises significantly
    verdict: np.ndarray  # index into VERDICTS


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
    inside = np.isfinite(d_eff[..., 0])
    nothing = np.isnan(low) & ~inside  # no D has that error: it lies beyond an end
    above = logs[..., 0] < monotone[..., None, -1, 0]
    low = np.where(nothing, np.where(above, float(sizes[-1]), -np.inf), low)
    high = np.where(nothing, np.where(above, np.inf, float(sizes[0])), high)
    # The interval holds the estimate, despite rounding where there is no noise.
    low = np.where(inside, np.fmin(low, d_eff[..., 0]), low)
    high = np.where(inside, np.fmax(high, d_eff[..., 0]), high)

    local = np.swapaxes(slopes(sizes, by_replicate), -1, -2)
    least = ends(local, level)[0]
    places = np.arange(len(sizes) - 1)
    used = (places >= segment.min(axis=-1)[..., None]) & (places <= segment.max(-1)[..., None])
    slope = np.where(used, least[..., None, :], np.inf).min(axis=-1)
    fall = (monotone[..., 0, :] - monotone[..., -1, :]) / np.log(sizes[-1] / sizes[0])
    whole = ends(fall, level)[0]
    pairs = list(itertools.combinations(range(len(sizes)), 2))
    i, j = (list(x) for x in zip(*pairs, strict=True))
    # Bonferroni: all pairs of sizes are compared.
    rises = ends(log_curve[..., j, :] - log_curve[..., i, :], 1 - (1 - level) / len(pairs))[0] > 0

    trouble = (whole <= LEAST_SLOPE) | rises.any(axis=-1)
    verdict = np.select(
        [trouble[..., None] | (better & worse), better, worse, slope <= LEAST_SLOPE, high < n],
        [NOT_IDENTIFIED, CENSORED_HI, CENSORED_LO, NOT_IDENTIFIED, NEGATIVE],
        OK,
    )
    return Reading(monotone, d_eff, low, high, local, slope, whole, rises, verdict)
