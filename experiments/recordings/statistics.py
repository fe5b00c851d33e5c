"""Errors of several models on the same episodes, and how they compare.

Predictions are (windows, horizon, nq) by model and by seed of its fit; a model without a fit has
the same under every seed. Results are what JSON can hold.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import ttest_1samp, ttest_rel

from worldmodel.commands.scores import named
from worldmodel.episodes.errors import GROUPS, Channels, episode_errors
from worldmodel.episodes.windows import Windows
from worldmodel.errors import InputError

RESAMPLES = 10_000  # of the bootstrap

BySeed = Mapping[int, np.ndarray]
Band = tuple[np.ndarray, np.ndarray, np.ndarray]  # a mean or a ratio, and the ends of its interval


def rows_at(
    predicted: Mapping[str, BySeed],
    windows: Windows,
    channels: Channels,
    pairs: Iterable[tuple[str, str]],
) -> list[dict[str, Any]]:
    """A row per model: its errors at one horizon, and its ratios to others.

    Args:
      pairs: (model, reference) that are compared, over the fit seeds that both have.

    Returns:
      ``model``, ``seeds``; by channel the mean error over seeds and episodes, None with a
      ``reason`` where a prediction is not finite; ``by_seed``; ``over``: reference → channel →
      ``compare``.

    Raises:
      InputError: models that are compared have no seed in common.
    """
    error: dict[str, dict[int, np.ndarray]] = {}
    counts = {"episodes": len(np.unique(np.asarray(windows.episode))), "windows": len(windows)}
    rows = {}
    for model, by_seed in predicted.items():
        row = counts | {"model": model, "seeds": sorted(by_seed), "reason": None, "over": {}}
        if bad := {s: int(n) for s, p in by_seed.items() if (n := diverged(p, windows).sum())}:
            row["reason"] = f"windows that are not finite, by seed: {bad}"
            rows[model] = row | named(np.full(3, np.nan)) | {"by_seed": {}}
            continue
        error[model] = {s: episode_errors(p, windows, channels) for s, p in by_seed.items()}
        means = {s: e.mean(axis=0) for s, e in sorted(error[model].items())}
        row |= named(np.mean(list(means.values()), axis=0))
        rows[model] = row | {"by_seed": {str(s): named(m) for s, m in means.items()}}
    for model, reference in pairs:
        if model in error and reference in error:
            rows[model]["over"][reference] = compare(error[model], error[reference])
    return list(rows.values())


def compare(error: BySeed, reference: BySeed) -> dict[str, dict[str, Any]]:
    """Mean error over a reference's, both averaged over the seeds they share.

    Args:
      error, reference: seed → (episodes, 3), of the same episodes.

    Returns:
      channel → ``ratio`` of the means; ``bootstrap`` and ``t``, its 95 % intervals, paired over
      episodes; ``p_above``, of a paired t-test that it is not above 1; ``seeds``, the ratio seed
      by seed.

    Raises:
      InputError: no seed in common.
    """
    shared = sorted(set(error) & set(reference))
    if not shared:
        raise InputError(f"no fit seed in common: {sorted(error)} and {sorted(reference)}")
    ours, theirs = (np.stack([by_seed[s] for s in shared]) for by_seed in (error, reference))
    compared = {}
    for i, name in enumerate(GROUPS):
        if np.isfinite(ours[..., i]).all():
            a, b = ours[..., i].mean(axis=0), theirs[..., i].mean(axis=0)
            ratio, *ends = (float(x) for x in ratio_t_interval(a, b))
            same = np.array_equal(a, b)  # the test has no p-value
            compared[name] = {
                "ratio": ratio,
                "bootstrap": bootstrap_interval(a, b),
                "t": ends,
                "p_above": 1.0 if same else float(ttest_rel(a, b, alternative="greater").pvalue),
                "seeds": (ours[..., i].mean(axis=1) / theirs[..., i].mean(axis=1)).tolist(),
            }
    return compared


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted p-values, of which the family is wrong about any with its own probability (Holm
    1979): below 0.05 in any cell means worse there."""
    order, adjusted = np.argsort(p), np.empty(len(p))
    stepped = np.arange(len(p), 0, -1) * np.array(p)[order]
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(stepped))
    return adjusted.tolist()


def bootstrap_interval(error: np.ndarray, reference: np.ndarray, seed: int = 0) -> list[float]:
    """95 % percentile interval of the ratio of two means over episodes, (episodes,) each, which are
    drawn together."""
    rows = np.random.default_rng(seed).integers(len(error), size=(RESAMPLES, len(error)))
    ratios = error[rows].mean(1) / reference[rows].mean(1)
    return np.quantile(ratios, [0.025, 0.975]).tolist()


def ratio_t_interval(error: np.ndarray, reference: np.ndarray) -> Band:
    """Ratio of two means over the first axis, with its 95 % t-interval from the residuals
    error − ratio · reference (the delta method for paired samples)."""
    over = reference.mean(axis=0)
    ratio = error.mean(axis=0) / over
    _, low, high = mean_interval(error - ratio * reference)
    return ratio, ratio + low / over, ratio + high / over


def mean_interval(error: np.ndarray) -> Band:
    """Mean over the first axis with its 95 % t-interval."""
    interval = ttest_1samp(error, 0.0).confidence_interval(0.95)
    return error.mean(axis=0), interval.low, interval.high


def diverged(predicted: np.ndarray, windows: Windows) -> np.ndarray:
    """(windows,) bool; whether a scored frame of (windows, horizon, nq) is not finite."""
    finite = np.isfinite(predicted).all(axis=2) | ~np.asarray(windows.scored)
    return np.logical_not(finite.all(axis=1))
