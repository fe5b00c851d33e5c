"""Trust in a simulator as a judge: real episodes that one simulated *evaluation* is worth.

A policy is played n times in reality, the same n starts are played in the simulator, and N more
starts in the simulator alone. The mean of its real outcome is then estimated by
prediction-powered inference: θ̂ = Ȳ + λ (F̄_N − F̄_n), with the real outcomes Y and the simulated
ones F. With the best λ its variance is σ²/n · (1 − ρ² N/(n + N)), ρ the correlation of Y and F
over episodes, as if alpha_eval · N more real episodes had been played.

Sources: Angelopoulos et al. 2023, "Prediction-powered inference", Science 382; Angelopoulos, Duchi
and Zrnic 2023, "PPI++", arXiv 2311.01453 (λ: power tuning). With λ estimated from the n pairs it is
the regression estimator with double sampling (Cochran 1977, "Sampling techniques", chapter 12),
whose small-sample variance is used here instead of the papers' large-sample one.

This says nothing of training, and is never merged with alpha. The correlation of the *means* of
several policies says nothing of it either: call once per policy.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from worldmodel.errors import InputError
from worldmodel.trust.intervals import Interval, jackknife

LEAST_PAIRS = 10  # fewer were not tried; successes and failures need fifty for rho
TINY = 1e-9  # relative; rounding, no variation


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What simulated evaluation episodes of one policy are worth; NaN where not defined."""

    n: int  # pairs: the same start in reality and in the simulator
    extra: int  # N: episodes in the simulator alone
    rho: Interval  # correlation of real and simulated outcomes over the pairs
    threshold: float  # rho must lie above it for the simulator to pay, 1/√(n − 2)
    alpha: Interval  # alpha_eval: real evaluation episodes that a simulated one is worth
    real: Interval  # mean real outcome from the n real episodes alone, ± t(n − 1)
    mean: Interval  # mean real outcome with the simulator's help, ± t(n − 2)
    weight: float  # λ
    same_starts_p: float  # that the simulator's outcomes on the n and the N starts have one mean
    verdict: str  # PAYS, DOES NOT PAY, NOT SHOWN, NOT_IDENTIFIED
    reason: str


def alpha_eval(rho: float, n: int, extra: int) -> float:
    """ρ² n / (n + (1 − ρ²) N): from the variance above, effective episodes n_eff = n + α N.

    Args:
      rho: episode-level paired correlation.
      n, extra: pairs, and simulated episodes beyond them (N).
    """
    return rho**2 * n / (n + (1 - rho**2) * extra)


def least_correlation(n: int) -> float:
    """1/√(n − 2): below it, estimating λ from n pairs costs more than the simulator brings.

    With N → ∞ the variance is σ²/n · (1 − ρ²)(n − 2)/(n − 3) for normal outcomes (Lavenberg and
    Welch 1981, "A perspective on the use of control variables to increase the efficiency of Monte
    Carlo simulations", Management Science 27); it is below σ²/n from there on.
    """
    return 1 / math.sqrt(n - 2)


def evaluate(
    real: Sequence[float] | np.ndarray,
    paired: Sequence[float] | np.ndarray,
    extra: Sequence[float] | np.ndarray,
    *,
    level: float = 0.95,
) -> Evaluation:
    """Measures alpha_eval, and the policy's mean real outcome with and without the simulator.

    Args:
      real: (n,) outcomes of one policy in reality, one per episode: an error, a score, or 0 and 1.
      paired: (n,) the simulator's outcomes from the same starts, in the same order.
      extra: (N,) the simulator's outcomes from further starts, drawn as the n were.
      level: of the intervals, two-sided. Those of the mean cover .94 to .97 from ten pairs on;
        those of rho too for continuous outcomes, for successes and failures from fifty on.

    Returns:
      NOT_IDENTIFIED where outcomes do not vary, or are the same but for a single episode.

    Raises:
      InputError: fewer than ``LEAST_PAIRS`` pairs, fewer than two further episodes, lengths that
        differ, an outcome that is not finite, or a level not between 0 and 1.
    """
    if not 0 < level < 1:
        raise InputError(f"level = {level} is not between 0 and 1; 0.95 is usual")
    y, f, g = (np.asarray(x, float) for x in (real, paired, extra))
    for name, x, least in (("real", y, LEAST_PAIRS), ("paired", f, 0), ("extra", g, 2)):
        if x.ndim != 1 or len(x) < least:
            raise InputError(f"{name} outcomes of shape {x.shape}; give a list of {least} or more")
        if not np.isfinite(x).all():
            where = int(np.flatnonzero(~np.isfinite(x))[0])
            raise InputError(f"{name} outcome {where} is {x[where]}; leave the episode out")
    if len(y) != len(f):
        raise InputError(f"{len(y)} real and {len(f)} paired outcomes; give one for each start")
    n, count, bar = len(y), len(g), least_correlation(len(y))
    alone = _around(float(y.mean()), float(y.std(ddof=1)) / math.sqrt(n), n - 1, level)
    if _constant(y):  # no width is no certainty
        alone = Interval(alone.value, math.nan, math.nan)
    rho = _correlation(y, f, level)
    if math.isnan(rho.value):
        none = Interval(math.nan, math.nan, math.nan)
        reason = (
            "real and simulated outcomes agree in all episodes but one at most, or do not vary: "
            "no correlation, nor an interval, can be had from them; play more episodes"
        )
        return Evaluation(
            n, count, none, bar, none, alone, none, math.nan, math.nan, "NOT_IDENTIFIED", reason
        )
    mean, weight = _prediction_powered(y, f, g, level)
    ends = sorted(alpha_eval(end, n, count) for end in (rho.low, rho.high))
    low = 0.0 if rho.low < 0 < rho.high else ends[0]
    alpha = Interval(alpha_eval(rho.value, n, count), low, ends[1])
    verdict, reason = _verdict(rho, bar, alpha)
    welch: Any = stats.ttest_ind(f, g, equal_var=False)
    same = float(welch.pvalue)
    return Evaluation(n, count, rho, bar, alpha, alone, mean, weight, same, verdict, reason)


def described(found: Evaluation) -> dict[str, Any]:
    """An evaluation as plain numbers and text; an interval ``x`` is ``x, x_low, x_high``."""
    out: dict[str, Any] = {}
    for name, value in vars(found).items():
        if isinstance(value, Interval):
            out |= {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
        else:
            out[name] = value
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in out.items()}


def _prediction_powered(
    y: np.ndarray, f: np.ndarray, g: np.ndarray, level: float
) -> tuple[Interval, float]:
    """The PPI++ mean with its interval, and λ. Shapes (n,), (n,), (N,).

    λ = cov(Y, F) / var(F) · N/(n + N) is not cut to [0, 1]: outcomes of
    different scale are not wrong. The variance is that of a regression on F with n − 2 degrees of
    freedom, and of the mean of F over all n + N.
    """
    n, count = len(y), len(g)
    everywhere = np.concatenate([f, g])
    deviation = f - f.mean()
    square = float(deviation @ deviation)
    slope = float(deviation @ (y - y.mean())) / square
    shift = float(everywhere.mean() - f.mean())
    residual = y - y.mean() - slope * deviation
    noise = float(residual @ residual) / (n - 2)
    variance = noise * (1 / n + shift**2 / square)
    variance += slope**2 * float(everywhere.var(ddof=1)) / (n + count)
    mean = _around(float(y.mean()) + slope * shift, math.sqrt(variance), n - 2, level)
    return mean, slope * count / (n + count)


def _correlation(y: np.ndarray, f: np.ndarray, level: float) -> Interval:
    """ρ, its interval by the leave-one-out jackknife on Fisher's z = artanh ρ.

    Fisher's own variance 1/(n − 3) is that of normal outcomes: with successes and failures and
    ρ = .9 its interval covers .80, this one .98.
    """
    if _constant(y) or _constant(f):
        return Interval(math.nan, math.nan, math.nan)
    n = len(y)
    a, b = (np.append(0.0, x - x.mean()) for x in (y, f))
    # Sums of squares with one episode out: the full ones less its own share n/(n - 1).
    less = np.append(0.0, np.full(n, n / (n - 1)))
    yy, ff, yf = a @ a - less * a * a, b @ b - less * b * b, a @ b - less * a * b
    if (yy <= TINY * yy[0]).any() or (ff <= TINY * ff[0]).any():  # all alike but for one
        return Interval(math.nan, math.nan, math.nan)
    rho = yf / np.sqrt(yy * ff)
    if abs(rho).max() >= 1 - TINY:
        return Interval(math.nan, math.nan, math.nan)
    z = jackknife(np.arctanh(rho), level)
    return Interval(math.tanh(z.value), math.tanh(z.low), math.tanh(z.high))


def _constant(x: np.ndarray) -> bool:
    return float(np.ptp(x)) <= TINY * float(abs(x).max())


def _around(value: float, error: float, freedom: int, level: float) -> Interval:
    half = float(stats.t.ppf((1 + level) / 2, freedom)) * error
    return Interval(value, value - half, value + half)


def _verdict(rho: Interval, bar: float, alpha: Interval) -> tuple[str, str]:
    worth = f"a simulated evaluation is worth {alpha.value:.2f} real ones"
    found = f"rho = {rho.value:.2f} [{rho.low:.2f}, {rho.high:.2f}]"
    if rho.low > bar:
        return "PAYS", f"{worth}: {found} lies above 1/√(n − 2) = {bar:.2f}"
    if rho.high < bar:
        return "DOES NOT PAY", f"{found} lies below 1/√(n − 2) = {bar:.2f}: play real episodes"
    return "NOT SHOWN", f"{found} may lie on either side of 1/√(n − 2) = {bar:.2f}: more pairs"
