"""Errors of predictions over episodes: means, and curves against the horizon with intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from scipy.special import stdtrit

from worldmodel import runtime
from worldmodel._mujoco import mujoco
from worldmodel.episodes.errors import (
    GROUPS,
    Channels,
    episode_errors,
    named_episode_errors,
    over_episodes,
)
from worldmodel.episodes.windows import WindowGrid, Windows
from worldmodel.errors import InputError
from worldmodel.model import Parameters, Physics, WorldModel
from worldmodel.model.calibration import as_logged, calibrated
from worldmodel.model.ensemble import make_predictor
from worldmodel.physics import parameters as physical
from worldmodel.scene import report
from worldmodel.scene.advice import MANY_SLOTS
from worldmodel.scene.replay import replayed
from worldmodel.types import Episode

BATCH = 256  # windows predicted in one compiled call


def score(
    world: WorldModel,
    parameters: Parameters,
    channels: Channels,
    episodes: Sequence[Episode],
    grid: WindowGrid,
    remember: int,
    engine: str,
) -> dict[str, Any]:
    """Prediction error of a model on episodes; arguments as of ``predicted``.

    Returns:
      ``episodes, windows, skipped``; ``position_m, rotation_rad, joint_rad``, None where the scene
      has none; under ``channels`` the error of every named body and joint.

    Raises:
      InputError: no window, a prediction that is not finite, a model without physics in engine c.
    """
    windows, skipped = grid.cut(episodes)
    rows = predicted(world, parameters, windows, remember, engine)
    refuse_not_finite(rows, windows, episodes)
    error = episode_errors(rows, windows, channels)
    apart = named_episode_errors(rows, windows, channels)
    result: dict[str, Any] = {"episodes": len(error), "windows": len(windows), "skipped": skipped}
    result |= named(over_episodes(error))
    return result | {"channels": {name: _number(over_episodes(e)) for name, e in apart.items()}}


def predicted(
    world: WorldModel, parameters: Parameters, windows: Windows, remember: int, engine: str
) -> np.ndarray:
    """Predictions of windows, as their log has them.

    Args:
      remember: frames of history that a network sees, as it was fitted.
      engine: mjx, or c for a model with physics.

    Returns:
      (windows, horizon, nq).

    Raises:
      InputError: a model without physics in engine c.
    """
    scene = world.scene
    if engine == "c" and not isinstance(world.base, Physics):
        raise InputError(f"C MuJoCo cannot run a {world.name} model; give --engine mjx")
    if engine == "c" and world.learns:
        predictor = make_predictor(world, len(windows), engine)
        return predictor(parameters, windows.remembering(remember))
    if engine == "c":
        log = scene, world.free, parameters["physics"]
        model = mujoco.MjModel.from_xml_string(physical.to_mjcf(*log), dict(scene.assets))
        model.opt.timestep = scene.mj_model.opt.timestep
        robot = calibrated(*log, windows)
        rows = replayed(model, scene.substeps, robot.qpos, robot.qvel, robot.ctrl, robot.past)
        return np.asarray(as_logged(*log, jnp.asarray(rows)))
    if (slots := report(scene.mj_model).slots) > MANY_SLOTS:
        runtime.log(
            f"MJX computes {slots} contact slots in every step, used or not, and compiles them for "
            "minutes; `worldmodel check` says how to do with fewer"
        )
    predictor = make_predictor(world, min(BATCH, len(windows)))
    with runtime.compiling(f"and predicting {len(windows)} windows"):
        return predictor(parameters, windows.remembering(remember))


def refuse_not_finite(rows: np.ndarray, windows: Windows, episodes: Sequence[Episode]) -> None:
    """Refuses predictions that are not finite; names their episodes."""
    bad = ~np.isfinite(rows).all(axis=(1, 2))
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
    """Error at each horizon by group and model, the mean over episodes with its interval.

    The error at a horizon is the mean over the frames up to it, as ``score`` has it. Windows that
    are not scored at the last one are left out: every horizon and model has the same windows.

    Args:
      predicted: model → (windows, horizon, nq).

    Returns:
      group → model → {"mean", "low", "high"}, (horizon,) each; the interval is Student's, 95 %,
      over episodes; None for fewer than two.
    """
    scored = np.asarray(windows.scored)
    reach = np.flatnonzero(scored[:, -1] if scored[:, -1].any() else scored.any(axis=1))
    kept = windows.take(reach)
    horizons = range(1, kept.target.shape[1] + 1)
    by_horizon = {
        model: np.stack(
            [episode_errors(rows[reach], kept.shortened(h), channels) for h in horizons]
        )
        for model, rows in predicted.items()
    }
    return {
        group: {model: _summary(rows[..., g].T) for model, rows in by_horizon.items()}
        for g, group in enumerate(GROUPS)
        if channels.groups[g]
    }


def _summary(values: np.ndarray) -> dict[str, list[float | None]]:
    """(episodes, horizons), NaN where nothing is measured → the mean and its interval."""
    count = np.isfinite(values).sum(axis=0)
    mean = np.nansum(values, axis=0) / np.where(count, count, np.nan)
    freedom = np.where(count > 1, count - 1, np.nan)
    variance = np.nansum(np.square(values - mean), axis=0) / freedom
    half = stdtrit(freedom, 0.975) * np.sqrt(variance / count)
    ends = {"mean": mean, "low": mean - half, "high": mean + half}
    return {name: [_number(x) for x in row] for name, row in ends.items()}
