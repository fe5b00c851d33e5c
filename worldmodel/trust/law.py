"""What fits all cells of a version: its weight rule's law, fitted where the data allow it.

κ is the variance of a synthetic episode and b the version's squared bias, both in units of one
real episode's variance. In both laws a transform of D_eff is linear in them, y = κ + b m:

pooled with weight 1:  D_eff = (n + m)² / (n + κ m + b m²),  y = ((n + m)² / D_eff − n) / m
oracle weight:         D_eff = n + m / (κ + b m),            y = m / (D_eff − n)

Under the first there is no cap: D_eff tends to 1/b as m grows, whatever n, so that a large m
hurts where n > 1/b; and alpha tends to 2 − κ as m tends to 0. Under the second D_eff exceeds n by
the cap 1/b at most, and alpha tends to 1/κ. Both are the variances of a weighted mean, inverted.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from worldmodel.trust.intervals import (
    NONE,
    Interval,
    hotelling,
    jackknife,
    pseudo_values,
)

LAWS = ("pooled", "oracle")
REFUSED = 0.05  # one (κ, b), or one alpha, for all cells is refused below this probability


@dataclasses.dataclass(frozen=True)
class Law:
    """(κ, b) of a version; all NaN, and a reason, where no one pair fits all its cells."""

    kappa: Interval
    b: Interval
    alpha_0: Interval  # alpha as m tends to 0
    cap: Interval  # oracle: most that D_eff can exceed n by; a lower bound if b may be 0
    limit: Interval  # pooled: what D_eff tends to as m grows; a lower bound if b may be 0
    p: float  # that one (κ, b) fits all cells, by Hotelling's test
    reason: str  # empty if fitted


def transform(law: str, n: np.ndarray, m: np.ndarray, worth: np.ndarray) -> np.ndarray:
    """y of D_eff (..., cells, 1 + S), with n, m (cells,)."""
    n, m = n[:, None], m[:, None]
    with np.errstate(divide="ignore"):
        return ((n + m) ** 2 / worth - n) / m if law == "pooled" else m / (worth - n)


def precision(law: str, n: np.ndarray, m: np.ndarray, worth: np.ndarray) -> np.ndarray:
    """Weights of the cells' y, where each D_eff has the same relative noise: (..., cells).

    By the law, not by the spread of each cell's replicates: a spread of ten is itself so noisy
    that intervals with such weights are too short (.92 where these cover .95, of ten seeds).

    Args:
      n, m: (cells,).
      worth: (..., cells) D_eff; above n under the oracle weight.
    """
    if law == "pooled":
        return (m * worth / (n + m) ** 2) ** 2
    return ((worth - n) ** 2 / (m * worth)) ** 2


def line(m: np.ndarray, y: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """κ and b of every y = κ + b m, and what is left over.

    Args:
      m: (cells,), two different ones at least.
      y: (..., cells, 1 + S).
      weight: (..., cells) of each cell's square.

    Returns:
      (..., 2, 1 + S) and (..., S, cells − 2) contrasts that are 0 on average if the line fits.
    """
    design = np.stack([np.ones(len(m)), m / m.max()], axis=-1)
    weighed = design.T * weight[..., None, :]
    found = np.linalg.solve(weighed @ design, weighed @ y)
    found[..., 1, :] /= m.max()
    beyond = np.linalg.qr(design, mode="complete").Q[:, 2:]
    return found, np.swapaxes(pseudo_values(y), -1, -2) @ beyond


def fit(
    law: str,
    n: Sequence[int],
    m: Sequence[int],
    worth: np.ndarray,
    low: Sequence[float],
    level: float,
) -> Law:
    """The law of a version's cells.

    Args:
      law: of ``LAWS``, that of the weight rule of the table's recipe.
      n, m: (cells,).
      worth: (cells, 1 + S) D_eff; NaN where not measured.
      low: (cells,) lower bounds of D_eff.
      level: of the intervals.
    """
    sizes, counts = np.array(n, float), np.array(m, float)
    cells, replicates = worth.shape[0], worth.shape[1] - 1
    if not np.isfinite(worth).all():
        lost = int((~np.isfinite(worth).all(axis=1)).sum())
        return _none(f"{lost} of {cells} cells have no D_eff")
    if cells < 3 or len(set(counts)) < 2:
        return _none("it takes three cells at least, with two different m")
    if replicates <= cells - 2:
        return _none(f"the test of {cells} cells takes over {cells - 2} replicates")
    if law == "oracle" and not all(bound > size for bound, size in zip(low, n, strict=True)):
        return _none("under the oracle weight it needs a D_eff that is surely above n in each cell")
    weight = precision(law, sizes, counts, worth[:, 0])
    found, contrasts = line(counts, transform(law, sizes, counts, worth), weight)
    p = float(hotelling(contrasts))
    if math.isnan(p):
        return _none("the replicates have no noise to test it with")
    if p < REFUSED:
        return dataclasses.replace(_none(f"no one (κ, b) fits all cells (p = {p:.3g})"), p=p)
    kappa, b = (jackknife(values, level) for values in found)
    if law == "pooled":
        start = Interval(2 - kappa.value, 2 - kappa.high, 2 - kappa.low)
        return Law(kappa, b, start, NONE, _inverse(b), p, "")
    return Law(kappa, b, _inverse(kappa), _inverse(b), NONE, p, "")


def _inverse(x: Interval) -> Interval:
    """1/x; a lower bound alone where x may be 0."""
    if x.high <= 0:
        return NONE
    if x.low <= 0:
        return Interval(math.nan, 1 / x.high, math.nan)
    return Interval(1 / x.value, 1 / x.high, 1 / x.low)


def _none(reason: str) -> Law:
    return Law(NONE, NONE, NONE, NONE, NONE, math.nan, reason)
