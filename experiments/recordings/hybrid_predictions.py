"""What the rows of the hybrid's table predict: models as fitted, and a hybrid's corrections
replayed through its own physics, dealt to other windows or in part.

Programs are compiled once per world model and number of windows, whatever the fit.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.recordings.fitted import Fitted
from worldmodel.episodes.windows import HISTORY, Windows
from worldmodel.errors import InputError
from worldmodel.model import Displacement, Parameters, Physics, Velocity, WorldModel, pose, start
from worldmodel.model.calibration import as_logged, calibrated
from worldmodel.model.ensemble import make_predictor, mean_pose, members
from worldmodel.model.simulate import predict_states
from worldmodel.runtime.devices import in_batches
from worldmodel.types import State

DEAL_SEED = 0


def deal(count: int, seed: int) -> np.ndarray:
    """(count,) whose correction each window gets: one cycle, so none keeps its own.

    Raises:
      InputError: fewer than two windows.
    """
    if count < 2:
        raise InputError(f"{count} window: corrections can only be dealt between at least two")
    order = np.random.default_rng(seed).permutation(count)
    source = np.empty(count, int)
    source[order] = np.roll(order, 1)
    return source


def replayed(world: WorldModel) -> bool:
    """Whether a model's corrections can be played without their network."""
    return isinstance(world.base, Physics) and isinstance(world.correction, Displacement | Velocity)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Corrections:
    """What a member of a hybrid added in each window."""

    first: Any  # (windows, nv) to the recorded initial velocity [m/s, rad/s]
    steps: Any  # (windows, horizon, nv) to each step's velocity [m/s, rad/s] or pose [m, rad]

    def take(self, rows: np.ndarray) -> "Corrections":
        """Those of the windows at ``rows``."""
        return Corrections(self.first[rows], self.steps[rows])


def predict(
    fitted: Fitted, windows: Windows, batch: int
) -> tuple[np.ndarray, list[Corrections] | None]:
    """Positions (windows, horizon, nq) by a fit, which sees as much of the past as when it was
    fitted, ``batch`` windows at once; and what each member added, where that can be replayed."""
    world = fitted.world
    if world.learns:
        windows = windows.remembering(fitted.metadata.get("remember", HISTORY))
    if replayed(world):
        observe = make_observer(world, batch)
        each = [observe(one, windows) for one in members(fitted.parameters)]
        poses, corrections = zip(*each, strict=True)
        return mean_pose(world.scene, np.stack(poses))[0], list(corrections)
    return _predictor(world, batch)(fitted.parameters, windows), None


@functools.cache
def _predictor(world: WorldModel, batch: int) -> Callable[[Parameters, Windows], np.ndarray]:
    return make_predictor(world, batch)


def controls(
    fitted: Fitted, windows: Windows, own: list[Corrections], batch: int
) -> dict[str, np.ndarray]:
    """The rows ``dealt``, ``start_only`` and ``network_off`` of a hybrid, from its corrections."""
    replay, order = make_replay(fitted.world, batch), deal(len(windows), DEAL_SEED)
    given = {
        "dealt": [c.take(order) for c in own],
        "start_only": [Corrections(c.first, 0.0 * c.steps) for c in own],
        "network_off": [Corrections(0.0 * c.first, 0.0 * c.steps) for c in own],
    }
    out = {}
    for name, each in given.items():
        pairs = zip(members(fitted.parameters), each, strict=True)
        poses = np.stack([replay(one, windows, c) for one, c in pairs])
        out[name] = mean_pose(fitted.world.scene, poses)[0]
    return out


@functools.cache
def make_observer(
    world: WorldModel, batch: int
) -> Callable[[Parameters, Windows], tuple[np.ndarray, Corrections]]:
    """``model.ensemble.make_predictor`` of a hybrid that also returns its corrections."""

    @jax.jit
    def run(parameters: Parameters, windows: Windows) -> tuple[jax.Array, Corrections]:
        log = world.scene, world.free, parameters["physics"]

        def one(window: Windows) -> tuple[jax.Array, Corrections]:
            window = calibrated(*log, window)
            states = predict_states(world, parameters, window)
            first = start(world, parameters, window.history).qvel - window.qvel
            poses = jax.vmap(lambda state: pose(world, state))(states)
            return as_logged(*log, poses), Corrections(first, states.correction)

        return jax.vmap(one)(windows)

    return lambda parameters, windows: in_batches(run, batch, parameters, windows)


@functools.cache
def make_replay(
    world: WorldModel, batch: int
) -> Callable[[Parameters, Windows, Corrections], np.ndarray]:
    """The physics of ``world`` under given corrections instead of a network's.

    Returns:
      ``replay(parameters, windows, corrections)`` → (windows, horizon, nq).
    """
    scene, base, correction = world.scene, world.base, world.correction
    assert correction is not None

    @jax.jit
    def run(parameters: Parameters, windows: Windows, corrections: Corrections) -> jax.Array:
        log = scene, world.free, parameters["physics"]
        model = base.model(*log)

        def step(state: State, given: tuple[jax.Array, jax.Array]) -> tuple[State, jax.Array]:
            ctrl, g = given
            after = base.step(scene, model, state, ctrl, None)
            none = dataclasses.replace(state, correction=jnp.zeros_like(g))  # g is a sum already
            after = correction.add(scene, none, after, lambda force: after, g)
            return after, correction.pose(scene, after)

        def one(window: Windows, own: Corrections) -> jax.Array:
            window = calibrated(*log, window)
            state = base.start(*log, window.history)
            none = jnp.zeros_like(own.first)
            state = dataclasses.replace(state, qvel=state.qvel + own.first, correction=none)
            return as_logged(*log, jax.lax.scan(step, state, (window.ctrl, own.steps))[1])

        return jax.vmap(one)(windows, corrections)

    return lambda parameters, *rows: in_batches(run, batch, parameters, *rows)
