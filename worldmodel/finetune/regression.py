"""The network by regression on the errors of open-loop physics.

Windows are rolled out once, without the network; the error to the recorded frames is the sum that
the network's corrections should have. A ``Displacement`` does not change the physics, so windows of
any length serve; corrections that change the state are regressed on single frames. No gradient
passes through physics: a regression takes seconds where a fit through windows takes minutes, and it
gives that fit its start.
"""

import copy
import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from worldmodel import runtime
from worldmodel.episodes.windows import HISTORY, History, Windows
from worldmodel.errors import InputError
from worldmodel.finetune.loss import likelihood
from worldmodel.finetune.moved import compiled, packed
from worldmodel.finetune.settings import DivergedError
from worldmodel.model import Parameters, Physics, WorldModel
from worldmodel.model import network as learned
from worldmodel.model.calibration import calibrated
from worldmodel.model.features import features, layout, rotations, to_body, to_world
from worldmodel.model.simulate import predict_states
from worldmodel.runtime.devices import in_batches
from worldmodel.runtime.settings import check_settings
from worldmodel.scene import Scene
from worldmodel.scene.replay import Replayer
from worldmodel.scene.tangent import displacements, measured_dofs

BATCH = 512  # windows rolled out at once


@dataclasses.dataclass(frozen=True)
class RegressionConfig:
    """How the regression is run.

    Raises:
      InputError: a value that no regression can be run with; the message names the setting.
    """

    steps: int = 1200  # at most; 0: the weights stay
    batch: int = 256  # windows per step
    learning_rate: float = 2e-3  # falls to zero (cosine)
    weight_decay: float = 1.0
    huber: float = 0.25  # errors below this multiple of a standard residual count quadratically
    validate_every: int = 100  # steps
    seed: int = 0

    def __post_init__(self) -> None:
        check_settings(
            self,
            counts=("batch", "validate_every"),
            not_negative=("steps", "learning_rate", "weight_decay", "seed"),
            positive=("huber",),
        )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RegressionData:
    """The network's inputs along each window, not standardised, and its targets."""

    past: Any  # (windows, HISTORY − 1, changes)
    known: Any  # (windows, HISTORY − 1) bool
    now: Any  # (windows, horizon, features) before each step
    push: Any  # (windows, horizon, nv) change of velocity by each step, in the body's frame
    rotation: Any  # (windows, horizon, free joints, 3, 3) of each free body before the step
    target: Any  # (windows, horizon, nv) recorded less predicted pose [m, rad] after each step
    scored: Any  # (windows, horizon) bool
    measured: Any = None  # (windows, horizon, nv) bool, of ``target``; None: every number


def regression_data(world: WorldModel, parameters: Parameters, windows: Windows) -> RegressionData:
    """Rolls windows out without the network and compares them with the recorded frames.

    Raises:
      DivergedError: a prediction that is not finite; the message names the episodes.
    """
    windows = calibrated(world.scene, world.free, parameters["physics"], windows)
    qpos, qvel = _played(world.without_network(), parameters["physics"], windows)
    past, now, push, rotation = in_batches(
        _make_inputs(world.scene), BATCH, None, windows.history, windows.ctrl, qpos, qvel
    )
    qpos = qpos[:, 1:]
    finite = np.isfinite(qpos).all((1, 2)) & np.isfinite(push).all((1, 2))
    if not finite.all():
        bad = sorted({int(e) for e in np.asarray(windows.episode)[~finite]})
        raise DivergedError(f"the physics is not finite from recorded frames of episodes {bad[:8]}")
    target, measured = np.asarray(windows.target), None
    if windows.measured is not None:
        measured = measured_dofs(world.scene, np.asarray(windows.measured))
        target = np.where(windows.measured, target, qpos)
    target = displacements(world.scene, qpos, target)
    return RegressionData(
        past=past,
        known=np.asarray(windows.history.seen)[:, 1:],
        now=now,
        push=push,
        rotation=rotation,
        target=target if measured is None else np.where(measured, target, 0.0),
        scored=np.asarray(windows.scored),
        measured=measured,
    )


def _played(off: WorldModel, physics: Any, windows: Windows) -> tuple[np.ndarray, np.ndarray]:
    """Positions and velocities, (windows, horizon + 1, …) each, the start first: by C MuJoCo, which
    is many times faster than MJX here, where there is physics."""
    begin = np.asarray(windows.qpos, float)[:, None], np.asarray(windows.qvel, float)[:, None]
    if isinstance(off.base, Physics):
        substeps = off.scene.substeps
        replayer = Replayer(copy.copy(compiled(off)(packed(off, physics))))
        states = replayer.states(begin[0][:, 0], begin[1][:, 0])
        memory = replayer.memory(len(windows), substeps, windows.past)
        rows, _ = replayer.play(states, windows.ctrl, substeps, memory)
        rows = rows[:, substeps - 1 :: substeps]
        later = rows[..., replayer.qpos], rows[..., replayer.qvel]
    else:
        fixed = {"physics": physics, "network": {}}
        later = in_batches(_make_run(off), BATCH, fixed, windows)
    qpos, qvel = (np.concatenate(pair, axis=1) for pair in zip(begin, later, strict=True))
    return qpos, qvel


@functools.lru_cache(maxsize=8)
def _make_run(off: WorldModel) -> Callable[[Parameters, Windows], tuple[jax.Array, jax.Array]]:
    @jax.jit
    def run(parameters: Parameters, windows: Windows) -> tuple[jax.Array, jax.Array]:
        states = jax.vmap(lambda w: predict_states(off, parameters, w))(windows)
        return states.qpos, states.qvel

    return run


@functools.lru_cache(maxsize=8)
def _make_inputs(scene: Scene) -> Callable[..., tuple[jax.Array, ...]]:
    """The network's inputs along played windows, compiled once for a scene."""

    @jax.jit
    def inputs(
        _: None, history: History, ctrl: jax.Array, qpos: jax.Array, qvel: jax.Array
    ) -> tuple[jax.Array, ...]:
        def one(history: History, ctrl: jax.Array, qpos: jax.Array, qvel: jax.Array) -> tuple:
            before = qpos[:-1], qvel[:-1]
            rotation = jax.vmap(lambda q: rotations(scene, q))(before[0])
            push = jax.vmap(lambda r, v: to_body(scene, r, v))(rotation, qvel[1:] - before[1])
            now = jax.vmap(lambda *x: features(scene, *x))(*before, ctrl)
            return learned.history_features(scene, history)[1], now, push, rotation

        return jax.vmap(one)(history, ctrl, qpos, qvel)

    return inputs


def regress(
    world: WorldModel,
    parameters: Parameters,
    train: RegressionData,
    validation: RegressionData,
    config: RegressionConfig,
    *,
    record: Callable[[dict[str, Any]], None],
    stop: Callable[[], bool],
) -> Parameters:
    """Fits one member's network and returns the weights that are best on validation; physics stays.

    The loss is a pseudo-Huber one of the summed corrections, and ``loss.likelihood`` of the
    variances; every sample masks a random part of its history.

    Args:
      parameters: of one member, whose weights it starts from; its norm is that of ``standards``.
      train, validation: of horizon 1 unless the correction is a ``Displacement``.
      record: called with {"step", "loss", "validation", "seconds_left"}; validation is relative
        to no correction.
      stop: asked after each step; True raises ``runtime.Interrupted``.

    Raises:
      DivergedError: the validation is not finite.
      InputError: longer windows for a correction that changes the state.
      Interrupted: ``stop`` returned True; nothing is saved, a regression takes minutes.
    """
    horizon = train.target.shape[1]
    correction = world.correction
    if correction is None:
        raise InputError("a model without a correction has no network to regress")
    if correction.changes_state and horizon > 1:
        raise InputError(
            f"{correction} changes what the physics does next; regress it on windows of 1 frame, "
            f"not {horizon}"
        )
    block = learned.blocks(world.scene)
    commanded = world.scene.mj_model.nu + layout(world.scene).commanded
    encoder, transition, spread = world.network.modules(world.scene)
    # Sums of a window's steps need no double precision, and the regression is half its cost.
    norm, scale = jax.tree.map(_single, (parameters["network"]["norm"], _scale(train)))
    unit = config.huber * scale
    moved = correction.pose_change(world.scene)
    schedule = optax.cosine_decay_schedule(config.learning_rate, max(config.steps, 1))
    optimiser = optax.adamw(schedule, weight_decay=config.weight_decay)

    def added(weights: Any, row: RegressionData) -> tuple[jax.Array, jax.Array]:
        still = row.now[0].at[row.now.shape[1] - commanded :].set(0.0)  # no command is known yet
        still = learned.standardised(norm["now"], still)
        now = learned.standardised(norm["now"], row.now)
        push = row.push if correction.sees_push else jnp.zeros_like(row.push)
        push = learned.standardised(norm["push"], push)
        past = learned.standardised(norm["past"], row.past)
        z, _ = encoder.apply(weights["encoder"], still, past, row.known)

        def step(carry: tuple, x: tuple) -> tuple[tuple, tuple]:
            z, sum_, variance = carry
            now, push, rotation = x
            log = spread.apply(weights["spread"], z, now, push)
            z, g = transition.apply(weights["transition"], z, now, push)
            sum_ = sum_ + moved * to_world(world.scene, rotation, g * norm["residual"])
            variance = variance + jnp.square(norm["spread"]) * jnp.exp(log)[block]
            return (z, sum_, variance), (sum_, variance)

        nothing = jnp.zeros_like(row.target[0])
        return jax.lax.scan(step, (z, nothing, nothing), (now, push, row.rotation))[1]

    def counts(row: RegressionData) -> jax.Array:
        every = jnp.ones_like(row.target, bool) if row.measured is None else row.measured
        return every & row.scored[:, None]

    def shortfall(added: jax.Array, row: RegressionData) -> jax.Array:
        error = jnp.sqrt(1.0 + jnp.square((added - row.target) / unit)) - 1.0
        known = counts(row)
        return jnp.sum(jnp.where(known, error, 0.0)) / jnp.maximum(jnp.sum(known), 1)

    def loss(weights: Any, batch: RegressionData) -> jax.Array:
        def one(row: RegressionData) -> jax.Array:
            sums, variance = added(weights, row)
            error = jax.lax.stop_gradient(sums - row.target) / scale
            spread = likelihood(error, variance / jnp.square(scale), counts(row))
            return shortfall(sums, row) + spread

        return jnp.mean(jax.vmap(one)(batch))

    @jax.jit
    def update(weights: Any, state: Any, batch: RegressionData) -> tuple[Any, Any, jax.Array]:
        value, gradient = jax.value_and_grad(loss)(weights, batch)
        updates, state = optimiser.update(gradient, state, weights)
        return optax.apply_updates(weights, updates), state, value

    @jax.jit
    def judge(weights: Any, batch: RegressionData) -> jax.Array:
        def one(row: RegressionData) -> jax.Array:
            return shortfall(added(weights, row)[0], row)

        return jnp.mean(jax.lax.map(one, batch, batch_size=config.batch))

    train, judged = jax.tree.map(_single, (train, validation))
    precise = parameters["network"]["weights"]
    weights = jax.tree.map(_single, precise)
    state = optimiser.init(weights)
    nothing = float(
        jnp.mean(jax.vmap(lambda row: shortfall(jnp.zeros_like(row.target), row))(judged))
    )
    best, lowest = None, float(judge(weights, judged))
    began = time.monotonic()
    for step in range(config.steps):
        generator = np.random.default_rng([config.seed, step])
        rows = generator.integers(len(train.target), size=config.batch)
        batch = jax.tree.map(lambda x, rows=rows: jnp.asarray(x[rows]), train)
        remembered = generator.integers(1, HISTORY + 1, size=rows.shape)
        shown = np.arange(1, HISTORY) < remembered[..., None]
        batch = dataclasses.replace(batch, known=batch.known & jnp.asarray(shown))
        weights, state, value = update(weights, state, batch)
        if stop():
            raise runtime.Interrupted(
                f"stopped at step {step + 1} of the regression; the same command starts it again"
            )
        if (step + 1) % config.validate_every == 0 or step + 1 == config.steps:
            error = float(judge(weights, judged))
            if not np.isfinite(error):
                raise DivergedError(
                    f"step {step + 1} of the regression: the validation is {error}; lower "
                    "learning_rate"
                )
            seconds_left = (time.monotonic() - began) / (step + 1) * (config.steps - step - 1)
            row = {"step": step + 1, "loss": float(value), "validation": error / nothing}
            record(row | {"seconds_left": round(seconds_left)})
            if error < lowest:
                best, lowest = weights, error
    if best is None:
        best = precise
    best = jax.tree.map(lambda w, like: jnp.asarray(w, like.dtype), best, precise)
    return parameters | {"network": parameters["network"] | {"weights": best}}


def _single(x: Any) -> Any:
    return np.asarray(x, np.float32) if np.asarray(x).dtype == np.float64 else x


def _scale(train: RegressionData) -> np.ndarray:
    """(nv,) one standard residual of the pose over the windows [m, rad]."""
    target = np.asarray(train.target)[np.asarray(train.scored)]
    if train.measured is None:
        return np.maximum(target.std(0), 1e-6)
    counts = np.asarray(train.measured)[np.asarray(train.scored)]
    each = [column[known] for column, known in zip(target.T, counts.T, strict=True)]
    return np.array([max(x.std(), 1e-6) if len(x) else 1e-6 for x in each])


def standards(world: WorldModel, train: RegressionData) -> dict[str, Any]:
    """Constants that standardise inputs and outputs, from the training windows alone."""

    def of(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = x.reshape(-1, x.shape[-1])
        return x.mean(0), np.maximum(x.std(0), 1e-3)

    past = np.asarray(train.past)[np.asarray(train.known)]
    if world.correction is None:
        raise InputError("a model without a correction has no network to standardise")
    horizon = train.target.shape[1]
    residual = world.correction.unit(world.scene, _scale(train), horizon)
    spread = _scale(train) / np.sqrt(horizon)  # a window's steps add up to it
    mixed, block = np.zeros(len(spread)), learned.blocks(world.scene)
    for b in np.unique(block):
        mixed[block == b] = np.sqrt(np.mean(np.square(spread[block == b])))
    return {
        "now": of(np.asarray(train.now)),
        "past": of(past if len(past) else np.zeros((1, train.past.shape[-1]))),
        "push": of(np.asarray(train.push)),
        "residual": residual,
        "spread": mixed,
    }
