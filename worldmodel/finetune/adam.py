"""Parameters from episodes, by gradient descent through the physics.

Windows of recorded episodes are predicted open loop, their error is differentiated through every
contact, and Adam moves the physical parameters and the network's weights together. The loss of a
window is, per group (position, rotation, joints), the mean over its frames of a pseudo-Huber error
in units of the validation error of the parameters of origin: 1.0 means no better than those. Its
slope is bounded, so that one window of chaotic tumbling does not dominate. With a network it is one
member of an ensemble that is fitted, its variances by their likelihood (``loss.learned_loss``).
"""

import contextlib
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from worldmodel import runtime
from worldmodel.episodes.errors import GROUPS, Channels, episode_errors, over_episodes
from worldmodel.episodes.windows import HISTORY, Windows
from worldmodel.finetune.adam_step import FitState, make_optimiser, make_update
from worldmodel.finetune.settings import LENGTH, DivergedError, FitConfig, FitError
from worldmodel.model import Parameters, WorldModel
from worldmodel.model.ensemble import make_predictor
from worldmodel.physics import parameters as physical
from worldmodel.runtime import checkpoint, devices
from worldmodel.scene.tangent import measured_difference, measured_dofs

REPORT_SECONDS = 1.0  # between lines of progress, besides those of a validation


def fit(
    world: WorldModel,
    origin: Parameters,
    channels: Channels,
    train: Windows,
    validation: Windows,
    config: FitConfig,
    directory: Path,
    *,
    metadata: dict[str, Any],
    record: Callable[[dict[str, Any]], None],
    stop: Callable[[], bool],
    start: Parameters | None = None,
) -> FitState:
    """Fits a world model; resumes from ``directory`` to the same numbers, bit for bit.

    Args:
      world: static; its free parameters are checked against the scene.
      origin: the parameters that errors are relative to, kept if nothing beats them; of one member.
      channels: which positions are what.
      train, validation: windows; the latter decide when to stop and which parameters are best.
      config: static.
      directory: where the running state is kept.
      metadata: stored with each checkpoint, with ``config``; its "scene" and "settings" guard
        against another run's, so ``config`` stays out of the settings: it is guarded here, but for
        how long the fit runs.
      record: called with one row per step.
      stop: asked after each step; True saves and raises ``runtime.Interrupted``.
      start: parameters to start from; ``origin`` with a random spread of the physics when absent.

    Raises:
      ParameterError: a parameter that the scene does not have, or a leaf that is absent, of
        another shape or not finite.
      CheckpointError: ``directory`` belongs to another scene, settings, config or precision; the
        message names what differs.
      DivergedError: more than ``config.max_nonfinite`` of a batch is not finite, or ``origin``'s
        predictions are not.
      FitError: windows of which no frame is scored, or nothing measured to validate.
      Interrupted: ``stop`` returned True; the state is saved.
    """
    physical.check(world.scene, world.free)
    for given in (origin, start) if start is not None else (origin,):
        physical.check_leaves(world.free, given["physics"])
        physical.check_finite(given["physics"])
    for name, windows in (("train", train), ("validation", validation)):
        if not np.asarray(windows.scored).any():
            raise FitError(f"no frame of the {len(windows)} {name} windows is scored")
    kept = {k: v for k, v in dataclasses.asdict(config).items() if k not in LENGTH}
    metadata = metadata | {"config": kept}
    optimiser = make_optimiser(config)

    # The seed draws windows and starting points, not the step: one program for all seeds.
    update = make_update(world, channels, dataclasses.replace(config, seed=0))
    predictor = make_predictor(world, config.batch)

    def validate(parameters: Parameters) -> np.ndarray:
        predicted = predictor(parameters, validation)
        return over_episodes(episode_errors(predicted, validation, channels))

    speeds = np.std(np.asarray(train.qvel, float), axis=0)
    state = _start(world, origin, start, config, optimiser)
    if checkpoint.latest(directory) is not None:
        guards = {k: metadata[k] for k in ("scene", "settings", "config") if k in metadata}
        state, _ = checkpoint.restore(directory, state, expected=guards)
        runtime.log(f"resuming from step {int(state.step)} in {directory}")
        if int(state.since_best) >= config.patience:
            runtime.log(
                f"it ended after {int(state.since_best)} validations without improvement; a larger "
                "patience goes on"
            )
    else:
        with runtime.compiling(f"the prediction of {config.batch} windows"):
            predicted = predictor(origin, validation)
        scale = over_episodes(episode_errors(predicted, validation, channels))
        if np.isnan(scale).all():
            raise FitError("no validation window measures a channel that is scored")
        # A group without a finite error would count as absent from the scene.
        if np.isinf(scale).any():
            raise DivergedError(
                "the parameters of origin predict validation windows that are not finite"
                f"{_farthest(origin)}; start where the scene is stable"
            )
        unit = jnp.asarray(_unit(world, predicted, validation))
        state = dataclasses.replace(state, scale=jnp.asarray(scale), unit=unit)
        runtime.log("validation errors of the parameters of origin: " + _shown(scale))
        if start is not None:
            state, relative = _judge(state, validate(start))
            runtime.log(f"the start's, relative to them: {relative:.4f}")
            record({"step": 0, "validation": relative})

    def ended() -> bool:
        return int(state.step) >= config.steps or int(state.since_best) >= config.patience

    state = devices.replicated(state)
    began, first = time.monotonic(), int(state.step)
    reported = -np.inf
    while not ended():
        step = int(state.step)
        rows, remembered, jolt = _draw(config, step, len(train), world.scene.mj_model.nv)
        at, counts = devices.share(config.batch)
        remembers = remembered[at] if world.learns else HISTORY
        windows = train.take(rows[at]).remembering(remembers)
        if world.learns and config.start_noise:
            windows = _shaken(windows, config.start_noise * jolt[at] * speeds)
        if config.curriculum:
            windows = windows.cut(scored_frames(config, step))
        windows, counts = devices.split((windows, counts))
        compiling = runtime.compiling(f"the gradient through {config.batch} windows")
        with compiling if step == first else contextlib.nullcontext():
            state, loss, finite = jax.block_until_ready(update(state, windows, counts))
        if step == first:
            began = time.monotonic()
        _refuse_nonfinite(np.asarray(finite), train.episode[rows], state, config, metadata)
        row = {"step": step + 1, "loss": float(loss), "nonfinite": int(state.nonfinite)}
        due = (step + 1) % config.validate_every == 0 or step + 1 == config.steps
        if due and scored_frames(config, step) == scored_frames(config, config.steps - 1):
            state, relative = _judge(state, validate(state.parameters))
            row["validation"] = relative
        record(row)
        stopping, now = stop(), time.monotonic()
        if "validation" in row or ended() or stopping or now - reported >= REPORT_SECONDS:
            reported = now
            _report(row, state, (step - first) / max(now - began, 1e-9), config)
        if ended() or stopping or (step + 1) % config.checkpoint_every == 0:
            checkpoint.save(directory, step + 1, state, metadata)
        if stopping and not ended():
            raise runtime.Interrupted(f"stopped at step {step + 1}; run the same command to go on")
    return state


def _start(
    world: WorldModel,
    origin: Parameters,
    start: Parameters | None,
    config: FitConfig,
    optimiser: optax.GradientTransformation,
) -> FitState:
    parameters = start
    if parameters is None:
        keys = jax.random.split(jax.random.key(config.seed), len(origin["physics"]))
        spread = {
            name: u + config.start_spread * jax.random.normal(k, u.shape)
            for k, (name, u) in zip(keys, origin["physics"].items(), strict=True)
        }
        parameters = origin | {"physics": spread}
    return FitState(
        parameters=parameters,
        optimiser=optimiser.init(parameters),
        best=origin,
        best_error=jnp.ones(()),
        since_best=jnp.zeros((), int),
        nonfinite=jnp.zeros((), int),
        step=jnp.zeros((), int),
        scale=jnp.full(3, jnp.nan),
        unit=jnp.ones(world.scene.mj_model.nv),
    )


def _draw(
    config: FitConfig, step: int, count: int, nv: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The windows of one step, how many frames each remembers, and its starting velocity's noise
    (batch, nv): functions of seed and step alone, so a resume draws the same."""
    generator = np.random.default_rng([config.seed, step])
    rows = generator.choice(count, size=config.batch, replace=count < config.batch)
    remembered = generator.integers(1, HISTORY + 1, size=config.batch)
    return rows, remembered, generator.standard_normal((config.batch, nv))


def _shaken(windows: Windows, jolt: np.ndarray) -> Windows:
    """Windows whose starting velocities are moved."""
    qvel = np.array(windows.history.qvel, float)
    qvel[:, 0] += jolt
    return dataclasses.replace(windows, history=dataclasses.replace(windows.history, qvel=qvel))


def _unit(world: WorldModel, predicted: np.ndarray, windows: Windows) -> np.ndarray:
    """(nv,) the root mean square of a prediction's errors [m, rad]; 1 where none was measured."""
    counts = np.broadcast_to(np.asarray(windows.scored)[..., None], windows.target.shape)
    if windows.measured is not None:
        counts = counts & np.asarray(windows.measured)
    error = measured_difference(world.scene, windows.target, predicted, counts)
    known = measured_dofs(world.scene, counts).sum((0, 1))
    return np.sqrt(np.where(known > 0, np.square(error).sum((0, 1)) / np.maximum(known, 1), 1.0))


def scored_frames(config: FitConfig, step: int) -> int:
    """The frames of a step's windows under the curriculum; 0: all. Validation, whose windows are
    as long as the longest, chooses among the parameters of the last share alone."""
    if not config.curriculum:
        return 0
    return config.curriculum[step * len(config.curriculum) // config.steps]


def _judge(state: FitState, error: np.ndarray) -> tuple[FitState, float]:
    relative = float(np.nanmean(error / np.asarray(state.scale)))
    if not np.isfinite(relative):
        relative = float("inf")
    better = relative < float(state.best_error)
    return (
        dataclasses.replace(
            state,
            best=state.parameters if better else state.best,
            best_error=jnp.asarray(np.minimum(relative, np.asarray(state.best_error))),
            since_best=jnp.asarray(np.where(better, 0, np.asarray(state.since_best) + 1)),
        ),
        relative,
    )


def _refuse_nonfinite(
    finite: np.ndarray,
    episode: np.ndarray,
    state: FitState,
    config: FitConfig,
    metadata: dict[str, Any],
) -> None:
    if np.mean(~finite) <= config.max_nonfinite:
        return
    ids = metadata.get("train_ids")
    bad = sorted({int(e) for e in episode[~finite]})
    named = [ids[e] for e in bad[:8]] if ids else bad[:8]
    raise DivergedError(
        f"step {int(state.step)}: {int((~finite).sum())} of {finite.size} windows are not finite "
        f"(episodes {named}{'…' if len(bad) > 8 else ''}){_farthest(state.parameters)}; lower "
        "learning_rate or shorten the windows, the last checkpoint is intact"
    )


def _farthest(parameters: Parameters) -> str:
    """The physical number farthest from the MJCF's, as text; empty where there is none."""
    leaves = parameters["physics"].items()
    numbers = {f"{k}[{i}]": float(x) for k, u in leaves for i, x in enumerate(u)}
    name = max(numbers, key=lambda k: abs(numbers[k]), default=None)
    return f"; {name} is {numbers[name]:.4g} prior widths from the MJCF's value" if name else ""


def _report(row: dict[str, Any], state: FitState, rate: float, config: FitConfig) -> None:
    remaining = f"{(config.steps - int(state.step)) / rate:4.0f} s left at most" if rate > 0 else ""
    validation = f"  validation {row['validation']:.4f}" if "validation" in row else ""
    runtime.log(
        f"step {row['step']:4d}/{config.steps}  loss {row['loss']:.4f}{validation}  "
        f"best {float(state.best_error):.4f}  non-finite {row['nonfinite']}  "
        f"{rate:.2f} steps/s  {remaining}"
    )


def _shown(scale: np.ndarray) -> str:
    named = zip(GROUPS, scale, strict=True)
    return ", ".join(f"{name} {value:.4g}" for name, value in named if np.isfinite(value))
