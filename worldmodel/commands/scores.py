"""Errors of predictions over episodes: means, and curves against the horizon with intervals."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import stdtrit

from worldmodel import runtime
from worldmodel.episodes.errors import (
    GROUPS,
    Channels,
    episode_errors,
    named_episode_errors,
    over_episodes,
)
from worldmodel.episodes.windows import HISTORY, WindowGrid, Windows
from worldmodel.errors import InputError
from worldmodel.model import Parameters, WorldModel
from worldmodel.model.simulate import make_predictor
from worldmodel.types import Episode

BATCH = 256  # windows predicted in one compiled call


def score(
    world: WorldModel,
    parameters: Parameters,
    channels: Channels,
    episodes: Sequence[Episode],
    grid: WindowGrid,
    remember: int = HISTORY,
) -> dict[str, Any]:
    """Prediction error of a model on episodes.

    Returns:
      ``episodes, windows, skipped``; ``position_m, rotation_rad, joint_rad``, None where the scene
      has none; under ``channels`` the error of every named body and joint.

    Raises:
      InputError: no window, or a prediction that is not finite.
    """
    windows, skipped = grid.cut(episodes)
    windows = windows.remembering(remember)  # as it was fitted
    predictor = make_predictor(world, min(BATCH, len(windows)))
    with runtime.compiling(f"and predicting {len(windows)} windows"):
        predicted = predictor(parameters, windows)
    refuse_not_finite(predicted, windows, episodes)
    error = episode_errors(predicted, windows, channels)
    apart = named_episode_errors(predicted, windows, channels)
    result: dict[str, Any] = {"episodes": len(error), "windows": len(windows), "skipped": skipped}
    result |= named(over_episodes(error))
    return result | {"channels": {name: _number(over_episodes(e)) for name, e in apart.items()}}


def refuse_not_finite(predicted: np.ndarray, windows: Windows, episodes: Sequence[Episode]) -> None:
    """Refuses predictions that are not finite; names their episodes."""
    bad = ~np.isfinite(predicted).all(axis=(1, 2))
    if bad.any():
        ids = sorted({str(episodes[e].id) for e in np.asarray(windows.episode)[bad]})
        raise InputError(f"{bad.sum()} predicted windows are not finite (episodes {ids[:8]})")


def named(error: np.ndarray) -> dict[str, float | None]:
    """(3,) errors by group; None where the scene has none."""
    return {name: _number(x) for name, x in zip(GROUPS, error, strict=True)}


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None


def curves(
    predicted: Mapping[str, np.ndarray], windows: Windows, channels: Channels
) -> dict[str, dict[str, dict[str, list[float | None]]]]:
    """Error of each predicted frame by group and model, the mean over episodes with its interval.

    Args:
      predicted: model → (windows, horizon, nq).

    Returns:
      group → model → {"mean", "low", "high"}, (horizon,) each; the interval is Student's, 95 %,
      over episodes; None for fewer than two.
    """
    by_frame = {
        model: np.stack([_at(rows, windows, channels, h) for h in range(rows.shape[1])], axis=1)
        for model, rows in predicted.items()
    }
    out: dict[str, dict[str, dict[str, list[float | None]]]] = {}
    for g, group in enumerate(GROUPS):
        if channels.groups[g]:
            out[group] = {m: _summary(values[..., g]) for m, values in by_frame.items()}
    return out


def _at(predicted: np.ndarray, windows: Windows, channels: Channels, h: int) -> np.ndarray:
    """(episodes, 3) errors of frame ``h`` alone; NaN where an episode has none there."""
    episode, scored = np.asarray(windows.episode), np.asarray(windows.scored)[:, h]
    every = np.unique(episode)
    out = np.full((len(every), len(GROUPS)), np.nan)
    if scored.any():
        part = windows.take(np.flatnonzero(scored))
        fields = {name: getattr(part, name) for name in ("ctrl", "target", "scored", "measured")}
        frame = {k: np.asarray(v)[:, h : h + 1] for k, v in fields.items() if v is not None}
        error = episode_errors(
            predicted[scored, h : h + 1], dataclasses.replace(part, **frame), channels
        )
        out[np.searchsorted(every, np.unique(episode[scored]))] = error
    return out


def _summary(values: np.ndarray) -> dict[str, list[float | None]]:
    """(episodes, horizon) → the mean and its interval at each frame."""
    count = np.isfinite(values).sum(axis=0)
    known = np.where(np.isfinite(values), values, 0.0)
    mean = known.sum(axis=0) / np.maximum(count, 1)
    square = np.where(np.isfinite(values), np.square(values - mean), 0.0).sum(axis=0)
    enough = count >= 2
    freedom = np.maximum(count - 1, 1)
    half = stdtrit(freedom, 0.975) * np.sqrt(square / freedom / np.maximum(count, 1))
    return {
        "mean": [float(m) if n else None for m, n in zip(mean, count, strict=True)],
        "low": [float(x) if e else None for x, e in zip(mean - half, enough, strict=True)],
        "high": [float(x) if e else None for x, e in zip(mean + half, enough, strict=True)],
    }
