"""What the rows of the hybrid's table predict: models as fitted, and a hybrid's corrections
replayed through its own physics, dealt to other windows or in part.

Programs are compiled once per kind of model and number of windows, whatever the seed.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.recordings.fitted import Fitted
from experiments.recordings.hybrid_statistics import deal
from worldmodel import physics, runtime
from worldmodel.episodes.windows import HISTORY, Windows
from worldmodel.model import Displacement, Parameters, Physics, Velocity, WorldModel, pose, start
from worldmodel.model.features import heights, layout
from worldmodel.model.simulate import in_batches, make_predictor, predict_states
from worldmodel.physics import parameters as physical
from worldmodel.types import State

DEAL_SEED = 0


def replayed(world: WorldModel) -> bool:
    """Whether a model's corrections can be played without their network."""
    return isinstance(world.base, Physics) and isinstance(world.correction, Displacement | Velocity)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Corrections:
    """What a hybrid added in each window."""

    first: Any  # (windows, nv) to the recorded initial velocity [m/s, rad/s]
    steps: Any  # (windows, horizon, nv) to each step's velocity [m/s, rad/s] or pose [m, rad]

    def take(self, rows: np.ndarray) -> "Corrections":
        """Those of the windows at ``rows``."""
        return Corrections(self.first[rows], self.steps[rows])

    def part(self, *, first: float, steps: float) -> "Corrections":
        """The corrections times a factor each."""
        return Corrections(first * self.first, steps * self.steps)


class Predict:
    """Predicts with any fit, for batches of one size."""

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self._compiled: dict[Any, Any] = {}
        self.last: tuple[Fitted, Corrections] | None = None  # what a hybrid added last

    def model(self, fitted: Fitted, windows: Windows) -> np.ndarray:
        """(windows, horizon, nq) by a fit, which sees as much of the past as when it was fitted."""
        world = fitted.world
        if world.learns:
            windows = windows.remembering(fitted.metadata.get("remember", HISTORY))
        if replayed(world):
            observed = self._program("observe", fitted, make_observer)
            predicted, corrections = observed(fitted.parameters, windows)
            self.last = (fitted, corrections)
            return predicted
        return self._program("predict", fitted, make_predictor)(fitted.parameters, windows)

    def controls(self, fitted: Fitted, windows: Windows) -> dict[str, np.ndarray]:
        """The rows ``dealt``, ``start_only`` and ``network_off`` of the hybrid predicted last.

        Raises:
          ValueError: another fit, or one that corrects forces.
        """
        if self.last is None or self.last[0] is not fitted:
            raise ValueError("predict with this hybrid first; it must not correct forces")
        own = self.last[1]
        replay = self._program("replay", fitted, make_replay)
        given = {
            "dealt": own.take(deal(len(windows), DEAL_SEED)),
            "start_only": own.part(first=1.0, steps=0.0),
            "network_off": own.part(first=0.0, steps=0.0),
        }
        return {name: replay(fitted.parameters, windows, c) for name, c in given.items()}

    def _program(self, what: str, fitted: Fitted, make: Callable[[WorldModel, int], Any]) -> Any:
        """``make`` of the first fit of a structure: scenes that compute the same share it."""
        world = fitted.world
        key = (what, world.scene.digest, world.free, world.base, world.network, world.correction)
        if key not in self._compiled:
            program = make(world, self.batch)

            def first(*arguments: Any) -> Any:
                self._compiled[key] = program
                with runtime.compiling(f"to {what}, {world.name} ({world.correction})"):
                    return program(*arguments)

            self._compiled[key] = first
        return lambda *arguments: self._compiled[key](*arguments)


def make_observer(
    world: WorldModel, batch: int
) -> Callable[[Parameters, Windows], tuple[np.ndarray, Corrections]]:
    """``model.simulate.make_predictor`` of a hybrid that also returns its corrections."""

    @jax.jit
    def run(parameters: Parameters, windows: Windows) -> tuple[jax.Array, Corrections]:
        def one(window: Windows) -> tuple[jax.Array, Corrections]:
            states = predict_states(world, parameters, window)
            first = start(world, parameters, window.history).qvel - window.qvel
            poses = jax.vmap(lambda state: pose(world, state))(states)
            return poses, Corrections(first, states.correction)

        return jax.vmap(one)(windows)

    return lambda parameters, windows: in_batches(partial(run, parameters), batch, windows)


def make_replay(
    world: WorldModel, batch: int
) -> Callable[[Parameters, Windows, Corrections], np.ndarray]:
    """The physics of ``world`` under given corrections instead of a network's.

    Returns:
      ``replay(parameters, windows, corrections)`` → (windows, horizon, nq).
    """
    scene, correction = world.scene, world.correction
    assert correction is not None

    @jax.jit
    def run(parameters: Parameters, windows: Windows, corrections: Corrections) -> jax.Array:
        model = physical.apply(scene, scene.mjx_model(), world.free, parameters["physics"])

        def step(state: State, given: tuple[jax.Array, jax.Array]) -> tuple[State, jax.Array]:
            ctrl, g = given
            after = physics.control_step(scene, model, state, ctrl)
            none = dataclasses.replace(state, correction=jnp.zeros_like(g))  # g is a sum already
            after = correction.add(scene, none, after, lambda force: after, g)
            return after, correction.pose(scene, after)

        def one(window: Windows, own: Corrections) -> jax.Array:
            state = physics.initial_state(scene, window.qpos, window.qvel + own.first)
            state = dataclasses.replace(state, correction=jnp.zeros_like(own.first))
            return jax.lax.scan(step, state, (window.ctrl, own.steps))[1]

        return jax.vmap(one)(windows, corrections)

    return lambda parameters, *rows: in_batches(partial(run, parameters), batch, *rows)


def lowest_corners(world: WorldModel, windows: Windows) -> np.ndarray | None:
    """(windows,) height of the lowest corner at the start [m]; None without a free body."""
    if not layout(world.scene).geoms:
        return None
    lowest = jax.jit(jax.vmap(lambda q: heights(world.scene, q).min()))
    return np.asarray(lowest(jnp.asarray(windows.qpos)))
