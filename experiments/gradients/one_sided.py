"""Differences of a function that may have kinks: which slopes they are sure of."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

AGREE = 1e-3  # relative difference of one-sided slopes that is no kink, at most
# A gap between one-sided slopes is a kink's where it stays the same from width to width: one of
# curvature shrinks with the width, one of rounding grows. Least ratio of two such gaps:
STEADY = 0.3


@dataclasses.dataclass(frozen=True)
class Slopes:
    """Slopes of m outputs in one number each, of n numbers."""

    value: np.ndarray  # (m, n) central differences
    disagreement: np.ndarray  # (m, n) of two widths' central differences, absolute
    kink: np.ndarray  # (m, n) bool: the one-sided differences disagree at every width


def slopes(
    function: Callable[[int, float], np.ndarray], numbers: Sequence[int], widths: Sequence[float]
) -> Slopes:
    """Central differences of fourth order, of the two neighbouring widths that agree best.

    A difference is spoiled by rounding where it is narrow and by a nearby kink or by curvature
    where it is wide; two widths that agree are spoiled by neither.

    Args:
      function: number's index, its displacement → (m,) outputs.
      numbers: indices of the numbers that are displaced.
      widths: descending, at least three.
    """
    here = function(0, 0.0)
    columns = [_column(function, here, number, widths) for number in numbers]
    empty = np.zeros((len(here), 0))
    parts = [np.stack(part, 1) if columns else empty for part in zip(*columns, strict=True)]
    value, disagreement, kink = parts if columns else (empty, empty, empty.astype(bool))
    return Slopes(value, disagreement, kink)


def _column(
    function: Callable[[int, float], np.ndarray],
    here: np.ndarray,
    number: int,
    widths: Sequence[float],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    central, above, below = [], [], []
    for width in widths:
        up, down = function(number, width), function(number, -width)
        far = function(number, 2 * width) - function(number, -2 * width)
        central.append((8 * (up - down) - far) / (12 * width))
        above.append((up - here) / width)
        below.append((here - down) / width)
    between = np.abs(np.diff(central, axis=0))  # (widths − 1, m)
    best = np.argmin(between, axis=0)
    value = np.take_along_axis(np.array(central), best[None], 0)[0]
    disagreement = np.take_along_axis(between, best[None], 0)[0]
    gap = np.abs(np.subtract(above, below))
    size = np.maximum(np.abs(above[-1]), np.abs(below[-1]))
    steady = gap[-3:].min(axis=0) > STEADY * gap[-3:].max(axis=0)
    return value, disagreement, (gap[-1] > AGREE * size) & steady
