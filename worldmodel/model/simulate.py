"""Predictions and simulations of a model, every correction applied."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel import physics
from worldmodel.episodes.windows import History, Windows
from worldmodel.errors import InputError
from worldmodel.model.calibration import as_logged, calibrated
from worldmodel.model.world import Parameters, WorldModel, make_step, pose, start
from worldmodel.rollout import Replay, Step, rollout
from worldmodel.runtime.devices import in_batches
from worldmodel.runtime.executables import cached_jit
from worldmodel.types import State


def simulate(world: WorldModel, parameters: Parameters, history: History, ctrl: jax.Array) -> State:
    """The states of a model from a start, one robot.

    Args:
      world: static.
      parameters: differentiable.
      history: of the start; nothing later is used.
      ctrl: (steps, nu).

    Returns:
      (steps, …) each leaf, after each step; ``qpos`` are the positions that the model predicts.
    """
    states = _play(world, make_step(world, parameters), parameters, history, ctrl)
    return dataclasses.replace(states, qpos=jax.vmap(functools.partial(pose, world))(states))


def predict(world: WorldModel, parameters: Parameters, window: Windows) -> jax.Array:
    """Predicted positions of one window, from its past and its controls alone.

    Args:
      world: static.
      parameters: differentiable.
      window: one window (no leading dimension), as logged.

    Returns:
      (horizon, nq) positions at the control rate, as the log would have them (``calibration``).
    """
    log = world.scene, world.free, parameters["physics"]
    states = predict_states(world, parameters, calibrated(*log, window))
    return as_logged(*log, jax.vmap(functools.partial(pose, world))(states))


def predict_states(world: WorldModel, parameters: Parameters, window: Windows) -> State:
    """The states, (horizon, …) each, that ``predict`` reads its positions from (``world.pose``),
    of a window in the robot's own coordinates; no derivative passes through their contacts, which
    no window scores."""
    advance = make_step(world, parameters)

    def step(state: State, ctrl: jax.Array) -> State:
        state = advance(state, ctrl)
        # Without this the contacts' derivative would be carried along.
        return dataclasses.replace(state, contacts=jax.lax.stop_gradient(state.contacts))

    return _play(world, step, parameters, window.history, window.ctrl)


def _play(
    world: WorldModel, step: Step, parameters: Parameters, history: History, ctrl: jax.Array
) -> State:
    first = start(world, parameters, history)
    keep = (physics.SOLUTION,)
    return rollout(step, Replay(ctrl), first, ctrl.shape[0], jax.random.key(0), keep=keep)[0]


@functools.lru_cache(maxsize=8)
def make_predictor(world: WorldModel, batch: int) -> Callable[[Parameters, Windows], np.ndarray]:
    """``predict`` compiled once for batches of one size, for any number of windows.

    Returns:
      ``predictor(parameters, windows)`` → (windows, horizon, nq) predicted positions; InputError
      where there is no window or no frame to predict.
    """

    @cached_jit(world)
    def run(parameters: Parameters, windows: Windows) -> jax.Array:
        return jax.vmap(lambda w: predict(world, parameters, w))(windows)

    def predictor(parameters: Parameters, windows: Windows) -> np.ndarray:
        if 0 in windows.target.shape[:2]:
            raise InputError(f"nothing to predict in windows of shape {windows.target.shape}")
        windows = dataclasses.replace(windows, measured=None)  # one program for all windows
        return in_batches(run, batch, parameters, windows)

    return predictor


@functools.lru_cache(maxsize=8)
def make_simulator(world: WorldModel, batch: int) -> Callable[..., State]:
    """``simulate`` compiled once for batches of one size, from starts without a past.

    Returns:
      ``simulator(parameters, qpos, ctrl, qvel)`` → states (episodes, frames + 1, …) as NumPy, the
      starting one first; qpos (episodes, nq), ctrl (episodes, frames, nu), qvel (episodes, nv),
      from rest when absent. InputError without episodes.
    """
    nv, nu = world.scene.mj_model.nv, world.scene.mj_model.nu

    @cached_jit(world)
    def run(parameters: Parameters, qpos: jax.Array, ctrl: jax.Array, qvel: jax.Array) -> State:
        def one(qpos: jax.Array, ctrl: jax.Array, qvel: jax.Array) -> State:
            history = History.without_past(qpos, qvel, nu)
            states = simulate(world, parameters, history, ctrl)
            first = start(world, parameters, history)
            return jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, states)

        return jax.vmap(one)(qpos, ctrl, qvel)

    def simulator(
        parameters: Parameters,
        qpos: np.ndarray,
        ctrl: np.ndarray,
        qvel: np.ndarray | None = None,
    ) -> State:
        if not len(qpos):
            raise InputError("no episode to simulate")
        qvel = np.zeros((len(qpos), nv)) if qvel is None else qvel
        return in_batches(run, batch, parameters, qpos, ctrl, qvel)

    return simulator
