"""One-frame residuals → the network: what the base step gets wrong, learned by regression.

Every recorded frame is stepped once; the velocity that would have led to the next recorded
frame, less the one predicted, is what the network's correction should have been. No rollout and
no gradient through physics: seconds where fitting through windows takes minutes, and the start
that the latter needs.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from worldmodel._mujoco import mujoco
from worldmodel.dynamics import HISTORY, Parameters, WorldModel, start, stepper
from worldmodel.dynamics import latent as learned
from worldmodel.dynamics.features import features, rotations, to_body
from worldmodel.predict import Windows
from worldmodel.types import InputError

BATCH = 512  # frames stepped at once


@dataclasses.dataclass(frozen=True)
class RegressionConfig:
    """How the regression is run."""

    steps: int = 2000  # at most; 0 only standardises
    batch: int = 1024  # frames per step
    learning_rate: float = 2e-3  # falls to zero (cosine)
    weight_decay: float = 1e-2
    validate_every: int = 100  # steps
    seed: int = 0


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Residuals:
    """What the network sees of each frame, raw, and what it should have answered."""

    now: Any  # (frames, features)
    past: Any  # (frames, HISTORY − 1, changes)
    known: Any  # (frames, HISTORY − 1) bool
    push: Any  # (frames, nv) change of velocity by the base step, in the body's frame
    target: Any  # (frames, nv) correction [m/s, rad/s], in the body's frame


def residuals(world: WorldModel, parameters: Parameters, windows: Windows) -> Residuals:
    """Steps every window's first frame once and compares with its second.

    Args:
      windows: their first target frame is the one compared with; the horizon does not matter.

    Raises:
      InputError: a step that is not finite; the message names the episode.
    """
    off = jax.tree.map(jnp.asarray, parameters)
    off["network"] = learned.init(world.network, world.scene, jax.random.key(0))

    @jax.jit
    def run(windows: Windows) -> tuple[jax.Array, ...]:
        def one(w: Windows) -> tuple[jax.Array, ...]:
            state = start(world, off, w.history)
            after = stepper(world, off)(state, w.ctrl[0])
            rotation = rotations(world.scene, state.qpos)
            _, past = learned.seen(world.scene, w.history)
            now = features(world.scene, state.qpos, state.qvel, w.ctrl[0])
            push = to_body(world.scene, rotation, after.qvel - state.qvel)
            return now, past, push, rotation, after.qpos

        return jax.vmap(one)(windows)

    first = dataclasses.replace(windows, ctrl=windows.ctrl[:, :1], target=windows.target[:, :1])
    out = []
    for begin in range(0, len(windows), BATCH):
        rows = np.minimum(np.arange(begin, begin + BATCH), len(windows) - 1)
        batch = jax.tree.map(jnp.asarray, first.take(rows))
        out.append([np.asarray(x) for x in run(batch)])
    now, past, push, rotation, qpos = (
        np.concatenate(column)[: len(windows)] for column in zip(*out, strict=True)
    )
    finite = np.isfinite(qpos).all(1) & np.isfinite(push).all(1)
    if not finite.all():
        bad = sorted({int(e) for e in np.asarray(windows.episode)[~finite]})
        raise InputError(f"one step from a recorded frame is not finite (episodes {bad[:8]})")
    error = _velocity_between(world, qpos, np.asarray(windows.target[:, 0]))
    target = jax.vmap(lambda r, v: to_body(world.scene, r, v))(rotation, error)
    return Residuals(now, past, np.asarray(windows.history.known)[:, 1:], push, np.asarray(target))


def _velocity_between(world: WorldModel, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(frames, nv) the velocity that leads from the first to the second in one control step."""
    m = world.scene.mj_model
    out = np.zeros((len(first), m.nv))
    for row, a, b in zip(out, first, second, strict=True):
        mujoco.mj_differentiatePos(m, row, 1.0 / world.scene.control_hz, a, b)
    return out


def regress(
    world: WorldModel,
    parameters: Parameters,
    train: Residuals,
    validation: Residuals,
    config: RegressionConfig,
    *,
    record: Callable[[dict[str, Any]], None],
) -> Parameters:
    """Fits the network to residuals; the best on validation is kept. Physics is left alone.

    The loss is a pseudo-Huber one in units of a standard residual; every sample forgets a random
    part of its history.

    Args:
      parameters: with a network (``dynamics.init``), whose weights are started from.
      record: called with {"step", "loss", "validation"}; the latter is relative to no correction.
    """
    encoder, transition = world.network.modules(world.scene.mj_model.nv)
    norm = standards(train)
    schedule = optax.cosine_decay_schedule(config.learning_rate, max(config.steps, 1))
    optimiser = optax.adamw(schedule, weight_decay=config.weight_decay)

    def loss(weights: Any, batch: Residuals) -> jax.Array:
        def one(row: Residuals) -> jax.Array:
            now = learned.standardised(norm["now"], row.now)
            past = learned.standardised(norm["past"], row.past)
            z, _ = encoder.apply(weights["encoder"], now, past, row.known)
            push = learned.standardised(norm["push"], row.push)
            _, g = transition.apply(weights["transition"], z, now, push)
            return jnp.mean(jnp.sqrt(1.0 + jnp.square(g - row.target / norm["residual"])) - 1.0)

        return jnp.mean(jax.vmap(one)(batch))

    @jax.jit
    def update(weights: Any, state: Any, batch: Residuals) -> tuple[Any, Any, jax.Array]:
        value, gradient = jax.value_and_grad(loss)(weights, batch)
        updates, state = optimiser.update(gradient, state, weights)
        return optax.apply_updates(weights, updates), state, value

    judge = jax.jit(loss)
    judged = jax.tree.map(jnp.asarray, validation)
    weights = parameters["network"]["weights"]
    state = optimiser.init(weights)
    nothing = float(judge(weights, judged))  # untrained corrections are zero
    best, lowest = weights, nothing
    for step in range(config.steps):
        generator = np.random.default_rng([config.seed, step])
        rows = generator.integers(len(train.target), size=config.batch)
        batch = jax.tree.map(lambda x, rows=rows: jnp.asarray(x[rows]), train)
        remembered = generator.integers(1, HISTORY + 1, size=config.batch)
        shown = np.arange(1, HISTORY) < remembered[:, None]
        batch = dataclasses.replace(batch, known=batch.known & jnp.asarray(shown))
        weights, state, value = update(weights, state, batch)
        if (step + 1) % config.validate_every == 0:
            error = float(judge(weights, judged))
            record({"step": step + 1, "loss": float(value), "validation": error / nothing})
            if error < lowest:
                best, lowest = weights, error
    network = {"weights": best, "norm": jax.tree.map(jnp.asarray, norm)}
    return {"physics": parameters["physics"], "network": network}


def standards(train: Residuals) -> dict[str, Any]:
    """Constants that standardise inputs and outputs, from the training frames alone."""

    def of(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return x.mean(0), np.maximum(x.std(0), 1e-3)

    past = np.asarray(train.past)[np.asarray(train.known)]
    return {
        "now": of(np.asarray(train.now)),
        "past": of(past if len(past) else np.zeros((1, train.past.shape[-1]))),
        "push": of(np.asarray(train.push)),
        "residual": np.maximum(np.asarray(train.target).std(0), 1e-6),
    }
