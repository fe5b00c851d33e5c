"""Predictions and simulations of one member of a model, every correction applied; see
``model.ensemble`` for those of all."""

import dataclasses
import functools

import jax

from worldmodel import physics
from worldmodel.episodes.windows import History, Windows
from worldmodel.model.calibration import as_logged, calibrated
from worldmodel.model.linear import LinearPath
from worldmodel.model.world import Parameters, WorldModel, make_step, pose, start
from worldmodel.rollout import Replay, Step, rollout
from worldmodel.types import State


def simulate(world: WorldModel, parameters: Parameters, history: History, ctrl: jax.Array) -> State:
    """The states of a model from a start, one robot.

    Args:
      world: static.
      parameters: of one member; differentiable.
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
      parameters: of one member; differentiable.
      window: one window (no leading dimension), as logged.

    Returns:
      (horizon, nq) positions at the control rate, as the log would have them (``calibration``).
    """
    return predict_spread(world, parameters, window)[0]


def predict_spread(
    world: WorldModel, parameters: Parameters, window: Windows
) -> tuple[jax.Array, jax.Array]:
    """``predict``, and the variance (horizon, nv) [m², rad²] of the predicted poses; (horizon, 0)
    without a network."""
    log = world.scene, world.free, parameters["physics"]
    states = predict_states(world, parameters, calibrated(*log, window))
    poses = as_logged(*log, jax.vmap(functools.partial(pose, world))(states))
    return poses, states.variance


def predict_states(world: WorldModel, parameters: Parameters, window: Windows) -> State:
    """The states, (horizon, …) each, that ``predict`` reads its positions from (``world.pose``),
    of a window in the robot's own coordinates; no derivative passes through their contacts, which
    no window scores."""
    if window.path is not None:
        world = dataclasses.replace(world, base=LinearPath())
        parameters = parameters | {"physics": window.path}
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
