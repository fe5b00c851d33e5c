"""The law of a weight rule, fitted to all cells of a version if the data allow it.

κ is the variance of a synthetic episode and b the version's squared bias, both in units of one
real episode's variance. In both laws a transform of D_eff is linear in them, y = κ + b m:

pooled with weight 1:  D_eff = (n + m)² / (n + κ m + b m²),  y = ((n + m)² / D_eff − n) / m
oracle weight:         D_eff = n + m / (κ + b m),            y = m / (D_eff − n)

The first has no cap: D_eff tends to 1/b as m grows, at any n, so that a large m hurts if n > 1/b;
alpha tends to 2 − κ as m tends to 0. Under the second D_eff exceeds n by the cap 1/b at most, and
alpha tends to 1/κ. Each D_eff is the inverse of the variance of a weighted mean.
"""

import dataclasses
import math

import numpy as np

from worldmodel.trust.intervals import NONE, Interval, hotelling, jackknife, pseudo_values

LAWS = ("pooled", "oracle")
REFUSED = 0.05  # p below which one (κ, b), or one alpha, for all cells is refused


@dataclasses.dataclass(frozen=True)
class Law:
    """(κ, b) of a version; all NaN, with a reason, if no one pair fits all its cells."""

    kappa: Interval = NONE
    b: Interval = NONE
    alpha_0: Interval = NONE  # alpha as m tends to 0
    cap: Interval = NONE  # oracle: the most by which D_eff exceeds n; a lower bound if b may be 0
    limit: Interval = NONE  # pooled: the limit of D_eff as m grows; a lower bound if b may be 0
    law_p: float = math.nan  # of Hotelling's test that one (κ, b) fits all cells
    law_reason: str = ""  # empty if fitted


def transform(law: str, n: np.ndarray, m: np.ndarray, d_eff: np.ndarray) -> np.ndarray:
    """y of the D_eff (..., cells, 1 + S), with n and m (cells,)."""
    n, m = n[:, None], m[:, None]
    with np.errstate(divide="ignore"):
        return ((n + m) ** 2 / d_eff - n) / m if law == "pooled" else m / (d_eff - n)


def precision(law: str, n: np.ndarray, m: np.ndarray, d_eff: np.ndarray) -> np.ndarray:
    """Weights (..., cells) of the cells' y if every D_eff (..., cells) has the same relative noise.

    n and m are (cells,); under the oracle weight D_eff is above n. Weights from the spread of each
    cell's replicates are so noisy that intervals cover .92 where these cover .95.
    """
    if law == "pooled":
        return (m * d_eff / (n + m) ** 2) ** 2
    return ((d_eff - n) ** 2 / (m * d_eff)) ** 2


def line(m: np.ndarray, y: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """κ and b of every y = κ + b m, with the contrasts that test the line.

    Args:
      m: (cells,), at least two different ones.
      y: (..., cells, 1 + S).
      weight: (..., cells) of each cell's squared residual.

    Returns:
      κ and b (..., 2, 1 + S), and contrasts (..., S, cells − 2) of mean 0 if the line fits.
    """
    design = np.stack([np.ones(len(m)), m / m.max()], axis=-1)
    weighed = design.T * weight[..., None, :]
    coefficients = np.linalg.solve(weighed @ design, weighed @ y)
    coefficients[..., 1, :] /= m.max()
    beyond = np.linalg.qr(design, mode="complete").Q[:, 2:]
    return coefficients, np.swapaxes(pseudo_values(y), -1, -2) @ beyond


def fit(
    law: str, n: np.ndarray, m: np.ndarray, d_eff: np.ndarray, low: np.ndarray, level: float
) -> Law:
    """Fits the law to a version's cells.

    Args:
      law: one of ``LAWS``, that of the recipe's weight rule.
      n, m: (cells,).
      d_eff: (cells, 1 + S); NaN where not measured.
      low: (cells,) lower bounds of D_eff.
      level: of the intervals.
    """
    cells, replicates = d_eff.shape[0], d_eff.shape[1] - 1
    if unknown := int((~np.isfinite(d_eff).all(axis=1)).sum()):
        return Law(law_reason=f"{unknown} of {cells} cells have no D_eff")
    if cells < 3 or len(set(m)) < 2:
        return Law(law_reason="it takes three cells at least, with two different m")
    if replicates <= cells - 2:
        return Law(law_reason=f"the test of {cells} cells takes over {cells - 2} replicates")
    if law == "oracle" and not (low > n).all():
        needs = "it needs a D_eff that is surely above n in each cell"
        return Law(law_reason=f"under the oracle weight {needs}")
    weight = precision(law, n, m, d_eff[:, 0])
    coefficients, contrasts = line(m, transform(law, n, m, d_eff), weight)
    p = float(hotelling(contrasts))
    if math.isnan(p):
        return Law(law_reason="the replicates have no noise to test it with")
    if p < REFUSED:
        return Law(law_p=p, law_reason=f"no one (κ, b) fits all cells (p = {p:.3g})")
    kappa, b = (jackknife(values, level) for values in coefficients)
    if law == "oracle":
        return Law(kappa, b, _inverse(kappa), cap=_inverse(b), law_p=p)
    start = Interval(2 - kappa.value, 2 - kappa.high, 2 - kappa.low)
    return Law(kappa, b, start, limit=_inverse(b), law_p=p)


def _inverse(x: Interval) -> Interval:
    """1/x; only a lower bound if x may be 0."""
    if x.high <= 0:
        return NONE
    if x.low <= 0:
        return Interval(math.nan, 1 / x.high, math.nan)
    return Interval(1 / x.value, 1 / x.high, 1 / x.low)
