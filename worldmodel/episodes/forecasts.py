"""Forecasts with an error bar: how good the bar is, and multipliers that mend it.

A forecast of a channel is a mean and a deviation, the scale of Student's t about the mean; infinite
degrees of freedom make it the normal distribution, which is what a model gives. Scores are proper
(CRPS, negative log-likelihood) or say how often an interval holds. Frames and windows of an episode
err together, so every mean is over the windows of an episode, then over episodes, and an interval
is that of episodes.

``fit_multipliers`` makes a deviation factor · √(deviation² + floor²), by horizon and group of
channels, from held-out episodes. The floor is what the members agree on and are wrong by (the
constant of a nonhomogeneous regression, Gneiting et al. 2005). It also hides which windows they
disagree in, so it is small but where episodes that it was not fitted to show that more helps. The
factor is such that the median and the central 90 % of the standardised errors are where the
distribution has them; two quantiles give a scale and the degrees of freedom. On normal, Laplace's,
Student's and mixed errors these cover at 50, 68, 90 and 95 % to 0.03.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy import stats
from scipy.special import betaln

from worldmodel.errors import InputError

LEVELS = (0.5, 0.68, 0.9, 0.95)  # of the central intervals
# Of a fit, in root mean square deviations; members may agree by chance, so it is never 0.
FLOORS = (0.05, 0.25, 0.5, 1.0, 2.0, 4.0, 16.0)
QUANTILES = (0.5, 0.9)  # of |error| / deviation, to which factors are fitted
LEAST_FREEDOM = 1.5  # of a fitted t; CRPS needs more than 1, a variance more than 2
FEWEST, FOLDS = 3, 8  # parts of the episodes that judge multipliers fitted to the others
CONFIDENCE = 0.95  # with which a larger floor must be better than a smaller one
NEIGHBOURS = 2.0  # horizons within this factor of a horizon have a say in its multiplier


@dataclasses.dataclass(frozen=True)
class Forecasts:
    """Forecasts of windows and how far the recording was from them; on the host."""

    error: np.ndarray  # (windows, horizon, channels) recorded − mean [m, rad]
    deviation: np.ndarray  # (windows, horizon, channels) scale of Student's t [m, rad]
    episode: np.ndarray  # (windows,)
    counts: np.ndarray  # (windows, horizon, channels) bool; scored and measured
    freedom: np.ndarray | float = np.inf  # (horizon, channels); inf: normal

    def __post_init__(self) -> None:
        shape = self.error.shape
        if len(shape) != 3 or not shape == self.deviation.shape == self.counts.shape:
            raise InputError(
                f"errors {shape}, deviations {self.deviation.shape} and counts {self.counts.shape} "
                "differ; give (windows, horizon, channels) each"
            )
        if self.episode.shape != shape[:1]:
            raise InputError(f"{self.episode.shape} episodes of {shape[0]} windows; give one each")
        positive = np.isfinite(self.deviation) & (self.deviation > 0)
        for what, good, kind in (
            ("error", np.isfinite(self.error), "finite number; leave out members that diverge"),
            ("deviation", positive, "finite positive number; give at least a measurement's noise"),
        ):
            bad = self.counts & ~good
            if bad.any():
                window, step, channel = np.argwhere(bad)[0]
                raise InputError(
                    f"the {what} of {bad.sum()} of {self.counts.sum()} forecasts (window {window}, "
                    f"frame {step + 1}, channel {channel} first) is no {kind}"
                )

    def part(self, steps: Sequence[int] | slice, channels: Sequence[int] | slice) -> "Forecasts":
        """Some frames, counted from 0, and channels."""
        own = np.broadcast_to(self.freedom, self.error.shape[1:])
        error, deviation, counts = (
            x[:, steps][..., channels] for x in (self.error, self.deviation, self.counts)
        )
        return Forecasts(error, deviation, self.episode, counts, own[steps][:, channels])

    def of(self, windows: np.ndarray) -> "Forecasts":
        """Some windows: (windows,) bool."""
        error, deviation, counts = (x[windows] for x in (self.error, self.deviation, self.counts))
        return Forecasts(error, deviation, self.episode[windows], counts, self.freedom)

    def each(self, score: Callable[..., np.ndarray]) -> np.ndarray:
        """A score, ``crps`` or ``nll``, of every forecast that counts; NaN elsewhere."""
        with np.errstate(all="ignore"):  # what does not count may be anything
            result = score(self.error, self.deviation, self.freedom)
        return np.where(self.counts, result, np.nan)


@dataclasses.dataclass(frozen=True)
class Multipliers:
    """What mends the deviations, by horizon and channel: (horizon, channels) each."""

    floor: np.ndarray  # [m, rad]
    factor: np.ndarray
    freedom: np.ndarray  # of Student's t; inf: normal

    def applied(self, forecasts: Forecasts) -> Forecasts:
        """The forecasts with mended deviations, whatever their freedom was."""
        deviation = self.factor * np.hypot(forecasts.deviation, self.floor)
        return dataclasses.replace(forecasts, deviation=deviation, freedom=self.freedom)


def crps(error: np.ndarray, scale: np.ndarray, freedom: np.ndarray | float = np.inf) -> np.ndarray:
    """Continuous ranked probability score, elementwise, in the unit of the error.

    Gneiting & Raftery (2007), eq. 5, of the normal distribution; Jordan, Krüger & Lerch (2019) of
    Student's t, with more than one degree of freedom.
    """
    z, normal = error / scale, np.isinf(freedom)
    n = np.where(normal, 2.0, freedom)
    spread = np.where(normal, 1.0, (n + z * z) / (n - 1.0))
    pair = 2.0 * np.sqrt(n) / (n - 1.0) * np.exp(betaln(0.5, n - 0.5) - 2.0 * betaln(0.5, n / 2.0))
    pair = np.where(normal, 1.0 / np.sqrt(np.pi), pair)
    below, density = stats.t.cdf(z, freedom), stats.t.pdf(z, freedom)
    return scale * (z * (2.0 * below - 1.0) + 2.0 * density * spread - pair)


def nll(error: np.ndarray, scale: np.ndarray, freedom: np.ndarray | float = np.inf) -> np.ndarray:
    """Negative log-likelihood, elementwise [nat]."""
    return np.log(scale) - stats.t.logpdf(error / scale, freedom)


def by_episode(values: np.ndarray, forecasts: Forecasts) -> np.ndarray:
    """Means over what counts: (windows, horizon, channels) → (episodes,), those that count."""
    total, count = _sums(values, forecasts)
    total, count = total.sum(axis=1), count.sum(axis=1)
    return total[count > 0] / count[count > 0]


def by_horizon(values: np.ndarray, forecasts: Forecasts) -> np.ndarray:
    """Means over what counts in an episode, then over episodes: (windows, horizon, channels) →
    (horizon,), NaN where nothing counts."""
    total, count = _sums(values, forecasts)
    number = (count > 0).sum(axis=0)
    mean = (total / np.where(count > 0, count, 1)).sum(axis=0)
    return mean / np.where(number > 0, number, np.nan)


def _sums(values: np.ndarray, forecasts: Forecasts) -> tuple[np.ndarray, np.ndarray]:
    """(episodes, horizon) sums over an episode's windows and channels, and their numbers."""
    names, episode = np.unique(forecasts.episode, return_inverse=True)
    total, count = np.zeros((2, len(names), forecasts.error.shape[1]))
    np.add.at(total, episode, np.where(forecasts.counts, values, 0.0).sum(axis=2))
    np.add.at(count, episode, forecasts.counts.sum(axis=2))
    return total, count


def coverage_interval(share: np.ndarray) -> tuple[float, float]:
    """95 % interval of a coverage, from each episode's: (episodes,), two at least.

    Clopper and Pearson's interval of as many independent forecasts as would scatter like the
    episodes (Korn & Graubard 1998). Student's interval of the mean is too narrow here: for 15
    episodes and a coverage of 0.95 it holds the truth 80 to 85 times in 100, this one 92 to 98.
    Where all or none of the forecasts are covered, every episode counts as one.
    """
    n, mean = len(share), share.mean()
    variance = share.var(ddof=1) / n
    size = mean * (1.0 - mean) / variance if variance > 0 else float(n)
    size *= np.square(stats.norm.ppf(0.975) / stats.t.ppf(0.975, n - 1))
    hits = size * mean
    low = stats.beta.ppf(0.025, hits, size - hits + 1.0) if mean > 0 else 0.0
    high = stats.beta.ppf(0.975, hits + 1.0, size - hits) if mean < 1 else 1.0
    return float(low), float(high)


def scores(forecasts: Forecasts) -> dict[str, Any]:
    """The scores of all that counts.

    Returns:
      ``episodes``; ``nll`` [nat], ``crps`` [m or rad]; ``spread_over_error``, the root of the mean
      variance over the root of the mean squared error, None below 3 degrees of freedom, where a
      variance is infinite or nearly so; ``coverage``: level → ``share``, its 95 % interval ``low``
      to ``high`` over episodes, and ``right``, whether that holds the level (all three None for a
      single episode).
    """
    error, scale, freedom = forecasts.error, forecasts.deviation, forecasts.freedom
    mean = {f.__name__: by_episode(forecasts.each(f), forecasts).mean() for f in (nll, crps)}
    ratio = None
    if np.min(freedom) >= 3:
        variance = by_episode(np.square(scale) * stats.t.var(freedom), forecasts).mean()
        ratio = float(np.sqrt(variance / by_episode(np.square(error), forecasts).mean()))
    coverage = {}
    for level in LEVELS:
        half = scale * stats.t.ppf(0.5 + 0.5 * level, freedom)
        share = by_episode(np.abs(error) <= half, forecasts)
        cell = {"share": float(share.mean()), "low": None, "high": None, "right": None}
        if len(share) > 1:
            low, high = coverage_interval(share)
            cell |= {"low": low, "high": high, "right": low <= level <= high}
        coverage[str(level)] = cell
    episodes = len(np.unique(forecasts.episode[forecasts.counts.any(axis=(1, 2))]))
    return {"episodes": episodes, **mean, "spread_over_error": ratio, "coverage": coverage}


def sizes(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Root mean square over the channels that count: (windows, horizon, channels) → (windows,
    horizon), NaN where none does."""
    total = np.where(counts, values * values, 0.0).sum(axis=2)
    number = counts.sum(axis=2)
    return np.sqrt(total / np.where(number > 0, number, np.nan))


def rank_correlation(spread: np.ndarray, size: np.ndarray) -> float | None:
    """Spearman's, of spread and |error| of one shape, over the forecasts where both are finite;
    None where one of them does not vary."""
    kept = np.isfinite(spread) & np.isfinite(size)
    x, y = spread[kept], size[kept]
    if len(x) < 2 or min(np.ptp(v) / np.abs(v).max(initial=1e-300) for v in (x, y)) < 1e-12:
        return None  # rounding does not count
    result: Any = stats.spearmanr(x, y)
    return float(result.statistic)


def fit_multipliers(held: Forecasts, groups: Sequence[Any]) -> Multipliers:
    """Multipliers of a model's deviations, from held-out episodes, which weigh the same.

    A group has one floor, one of ``FLOORS`` times the root mean square deviation at a horizon.
    Folds of episodes, one each where there are up to ``FOLDS``, are scored with what is fitted to
    the others, by CRPS, its logarithm averaged over horizons. The floor is the smallest that is not
    worse than the best by a paired t-test; where the deviations score better as they are, or there
    are fewer than ``FEWEST`` episodes, the multipliers are none. The quantiles at a horizon are
    those of a power law through its neighbours, since single ones of few episodes scatter; a random
    walk is a power law. Where errors have lighter tails than the normal distribution, or heavier
    ones than Student's t with 1.5 degrees of freedom, those are taken, and the scale is the
    geometric mean of those that both quantiles want.

    Few held-out episodes cover too little: with 5 that differ by 30 % in their errors, 0.03 on
    average and 0.05 to 0.08 at one horizon; with 4 windows of 4 episodes 0.05 to 0.1.

    Args:
      groups: (channels,) the group of each.

    Raises:
      InputError: nothing of a group counts at a horizon, or most errors there are exactly 0.
    """
    floor, factor, freedom = (np.empty(held.error.shape[1:]) for _ in range(3))
    for group in dict.fromkeys(groups):
        members = [c for c, name in enumerate(groups) if name == group]
        own = held.part(slice(None), members)
        _refuse_unknown(own, group)
        best = _chosen(own)
        floor[:, members], factor[:, members] = best.floor, best.factor
        freedom[:, members] = best.freedom
    return Multipliers(floor, factor, freedom)


def _refuse_unknown(held: Forecasts, group: Any) -> None:
    """Refuses a horizon where nothing counts, or where most errors are exactly 0."""
    for step, usual in enumerate(_typical(held)):
        where = f"{step + 1} frames from the start, in group {group}"
        if np.isnan(usual):
            raise InputError(f"no held-out forecast counts {where}; take a shorter horizon")
        if usual == 0:
            raise InputError(f"most held-out errors are exactly 0 {where}; leave such channels out")


def _typical(held: Forecasts) -> np.ndarray:
    """(horizon,) the median |error|, NaN where nothing counts."""
    steps = range(held.error.shape[1])
    each = (np.abs(held.error[:, step][held.counts[:, step]]) for step in steps)
    return np.array([np.median(error) if len(error) else np.nan for error in each])


def _chosen(held: Forecasts) -> Multipliers:
    """The multipliers of one group, (horizon, 1) each, that its own episodes choose."""
    fitted = _candidates(held)
    _, episode = np.unique(held.episode, return_inverse=True)
    folds = min(FOLDS, episode.max() + 1)
    losses = []
    for fold in range(folds if folds >= FEWEST else 0):
        own = episode % folds == fold
        known = _typical(held.of(~own)) > 0
        reach = len(known) if known.all() else int(np.argmin(known))
        judged = held.of(own).part(slice(reach), slice(None))
        if judged.counts.any():
            others = _candidates(held.of(~own).part(slice(reach), slice(None)))
            score = [by_horizon(m.applied(judged).each(crps), judged) for m in others]
            losses.append([np.nanmean(np.log(each)) for each in score])
    if len(losses) < FEWEST:
        return fitted[0]
    plain, *loss = np.transpose(losses)
    worse = np.array(loss) - loss[int(np.argmin(np.mean(loss, axis=1)))]
    doubt = worse.std(axis=1, ddof=1) / np.sqrt(len(losses))
    floor = np.argmax(worse.mean(axis=1) <= stats.t.ppf(CONFIDENCE, len(losses) - 1) * doubt)
    return fitted[1 + floor] if loss[floor].mean() < plain.mean() else fitted[0]


def _candidates(held: Forecasts) -> list[Multipliers]:
    """None, and those of each of ``FLOORS``: (horizon, 1) each."""
    usual = np.sqrt(by_horizon(np.square(held.deviation), held))[:, None]
    none = Multipliers(0.0 * usual, np.ones_like(usual), np.full_like(usual, np.inf))
    return [none, *(_fit(held, share * usual) for share in FLOORS)]


def _fit(held: Forecasts, floor: np.ndarray) -> Multipliers:
    """The multipliers of one group, (horizon, 1) each, with a given floor."""
    logs = np.log(_quantiles(held, np.hypot(held.deviation, floor)))
    low, high = (_smoother(len(logs)) @ logs).T
    inverse = np.linspace(0.0, 1.0 / LEAST_FREEDOM, 200)  # of the degrees of freedom
    with np.errstate(divide="ignore"):
        inner, outer = (np.log(stats.t.ppf(0.5 + 0.5 * q, 1.0 / inverse)) for q in QUANTILES)
        own = np.interp(high - low, outer - inner, inverse)
        freedom = 1.0 / own[:, None]
    wanted = low - np.interp(own, inverse, inner) + high - np.interp(own, inverse, outer)
    return Multipliers(floor, np.exp(0.5 * wanted)[:, None], freedom)


@functools.lru_cache(maxsize=8)
def _smoother(horizon: int) -> np.ndarray:
    """(horizon, horizon) that takes logarithms by horizon to their local linear regression on that
    of the frame's number; a row has the weights of the neighbours of a frame."""
    frame, weights = np.arange(1, horizon + 1), np.zeros((horizon, horizon))
    for now in frame:
        near = np.flatnonzero((frame * NEIGHBOURS >= now) & (frame <= now * NEIGHBOURS))
        distance = np.log(frame[near] / now)
        lines = np.stack([np.ones_like(distance), distance], axis=1)[:, : len(near)]
        weights[now - 1, near] = np.linalg.pinv(lines)[0]
    return weights


def _quantiles(held: Forecasts, deviation: np.ndarray) -> np.ndarray:
    """(horizon, 2) ``QUANTILES`` of |error| / deviation, every episode with the same weight."""
    horizon = held.error.shape[1]
    _, number = _sums(held.error, held)
    _, episode = np.unique(held.episode, return_inverse=True)
    weights = held.counts / np.maximum(number, 1)[episode][..., None]
    z = np.where(held.counts, np.abs(held.error) / deviation, 0.0)
    z, weights = (np.moveaxis(x, 1, 0).reshape(horizon, -1) for x in (z, weights))
    return np.quantile(z, QUANTILES, axis=1, weights=weights, method="inverted_cdf").T
