"""The simulator as a judge: how many real episodes one simulated *evaluation* is worth.

A policy is played from n starts in reality and in the simulator, and from N more starts in the
simulator alone. Prediction-powered inference (Angelopoulos et al. 2023, Science 382, and arXiv
2311.01453) estimates the mean of its real outcome from all of them. At its best the variance is
σ²/n · (1 − ρ² N/(n + N)), ρ the correlation of real and simulated outcomes over episodes: that of
n + alpha_eval · N real episodes.

alpha_eval is no measure of training and is never merged with alpha. It does not follow from the
correlation of several policies' *means* either: call ``evaluate`` once per policy.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from worldmodel.errors import InputError
from worldmodel.trust.intervals import NONE, Interval, check_level, jackknife, leave_one_out
from worldmodel.trust.result import to_json
from worldmodel.trust.table import TableError

LEAST_PAIRS = 10  # coverage was not tested below; for successes and failures rho needs fifty
TINY = 1e-9  # relative; a smaller variation is rounding
VERDICTS = {
    "PAYS": "the correlation lies above 1/√(n − 2)",
    "DOES NOT PAY": "the correlation lies below 1/√(n − 2): play real episodes",
    "NOT SHOWN": "the correlation may lie on either side of 1/√(n − 2): play more pairs",
    "NOT_IDENTIFIED": "outcomes agree in all episodes but one at most, or do not vary: play more",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pair:
    """A policy's outcomes from one start: a row of the table of pairs."""

    policy: str  # evaluated; each policy is judged by itself
    real: float | None = None  # outcome in reality; empty where the start was simulated only
    simulated: float  # outcome in the simulator, from the same start

    def fault(self) -> str:
        """The reason why the row is invalid by itself; empty if it is valid."""
        if not self.policy:
            return "the policy is empty; name one"
        for name in ("real", "simulated"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                return f"{name} = {value}; give a finite outcome"
        return ""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The value of simulated evaluation episodes of one policy; NaN where not defined."""

    n: int  # pairs: starts played in reality and in the simulator
    extra: int  # N: starts played in the simulator alone
    threshold: float  # 1/√(n − 2); the simulator pays if rho is above it
    verdict: str  # one of ``VERDICTS``
    rho: Interval = NONE  # correlation of real and simulated outcomes over the pairs
    alpha: Interval = NONE  # alpha_eval: real evaluation episodes that a simulated one is worth


def alpha_eval(rho: float, n: int, extra: int) -> float:
    """ρ² n / (n + (1 − ρ²) N), from n + alpha_eval N = n / (1 − ρ² N/(n + N)).

    ρ is the paired correlation over n episodes; ``extra`` is N, the further simulated ones.
    """
    return rho**2 * n / (n + (1 - rho**2) * extra)


def least_correlation(n: int) -> float:
    """1/√(n − 2): below it, estimating λ from n pairs costs more than the simulator saves.

    With N → ∞ the variance is σ²/n · (1 − ρ²)(n − 2)/(n − 3) for normal outcomes (Lavenberg and
    Welch 1981, Management Science 27).
    """
    return 1 / math.sqrt(n - 2)


def evaluate(
    real: Sequence[float] | np.ndarray,
    paired: Sequence[float] | np.ndarray,
    extra: Sequence[float] | np.ndarray,
    *,
    level: float = 0.95,
) -> Evaluation:
    """Measures rho and alpha_eval of one policy.

    Args:
      real: (n,) real outcomes, one per start: an error, a score, or 0 and 1.
      paired: (n,) simulated outcomes from the same starts, in the same order.
      extra: (N,) simulated outcomes from further starts of the same distribution; their number
        alone counts.
      level: of the intervals, two-sided. At .95 that of rho covers .94 to .97 from ten pairs on,
        for successes and failures from fifty.

    Raises:
      InputError: there are fewer than ``LEAST_PAIRS`` pairs or two further episodes, the lengths
        differ, an outcome is not finite, or the level is not between 0 and 1.
    """
    check_level(level)
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
    rho = _correlation(y, f, level)
    if math.isnan(rho.value):
        return Evaluation(n, count, bar, "NOT_IDENTIFIED")
    verdict = "PAYS" if rho.low > bar else "DOES NOT PAY" if rho.high < bar else "NOT SHOWN"
    low, high = sorted(alpha_eval(end, n, count) for end in (rho.low, rho.high))
    low = 0.0 if rho.low < 0 < rho.high else low
    alpha = Interval(alpha_eval(rho.value, n, count), low, high)
    return Evaluation(n, count, bar, verdict, rho, alpha)


def _correlation(y: np.ndarray, f: np.ndarray, level: float) -> Interval:
    """ρ with its interval by the leave-one-out jackknife on Fisher's z = artanh ρ.

    Fisher's own variance 1/(n − 3) holds for normal outcomes: with successes and failures and
    ρ = .9 its interval covers .80, this one .98.
    """
    if any(np.ptp(x) <= TINY * abs(x).max() for x in (y, f)):  # constant
        return NONE
    a, b = y - y.mean(), f - f.mean()
    a_mean, b_mean, aa, bb, ab = leave_one_out(np.stack([a, b, a * a, b * b, a * b]))
    yy, ff = aa - a_mean**2, bb - b_mean**2
    if (yy <= TINY * yy[0]).any() or (ff <= TINY * ff[0]).any():  # equal but for one
        return NONE
    rho = (ab - a_mean * b_mean) / np.sqrt(yy * ff)
    if abs(rho).max() >= 1 - TINY:
        return NONE
    return Interval.of(*(math.tanh(z) for z in vars(jackknife(np.arctanh(rho), level)).values()))


def evaluations(pairs: Sequence[Pair], level: float = 0.95) -> dict[str, dict[str, Any]]:
    """The fields of ``Evaluation`` by policy, as plain numbers.

    Raises TableError if there are no pairs, and InputError as ``evaluate`` does, with the policy.
    """
    if not pairs:
        raise TableError("the table has no rows; give one per evaluation episode")
    by_policy = {}
    for policy in dict.fromkeys(pair.policy for pair in pairs):
        own = [pair for pair in pairs if pair.policy == policy]
        both = [(pair.real, pair.simulated) for pair in own if pair.real is not None]
        extra = [pair.simulated for pair in own if pair.real is None]
        try:
            evaluation = evaluate([y for y, _ in both], [f for _, f in both], extra, level=level)
        except InputError as error:
            raise InputError(f"policy {policy!r}: {error}") from error
        by_policy[policy] = to_json(evaluation)
    return by_policy
