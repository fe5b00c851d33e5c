"""What the rows of the hybrid's table predict: models as fitted, and a hybrid's corrections
replayed through its own physics, dealt to other windows or in part.

Programs are compiled once per kind of model and number of windows, whatever the seed.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.recordings.evaluate import Fitted
from experiments.recordings.hybrid_statistics import deal
from worldmodel import physics, runtime
from worldmodel.model import HISTORY, Parameters, WorldModel, pose, start
from worldmodel.model.features import heights, layout
from worldmodel.model.world import add
from worldmodel.episodes.errors import window_starts
from worldmodel.episodes.recording import Recording
from worldmodel.physics import parameters as physical
from worldmodel.scene.tangent import integrate
from worldmodel.model.simulate import Windows, make_predictor, predict_states
from worldmodel.types import Episode, State

DEAL_SEED = 0
REPLAYED = ("displacement", "velocity")  # corrections that can be played without their network


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
        self._programs: dict[Any, Any] = {}
        self.last: tuple[Fitted, Corrections] | None = None  # what a hybrid added last

    def model(self, fitted: Fitted, windows: Windows) -> np.ndarray:
        """(windows, horizon, nq) by a fit, which sees as much of the past as when it was fitted."""
        world = fitted.world
        if world.learns:
            windows = windows.remembering(fitted.metadata.get("remember", HISTORY))
        if world.kind == "hybrid" and world.correction in REPLAYED:
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
        """Made for the first fit of a structure: scenes are compared by what they compile from."""
        world, meta = fitted.world, fitted.metadata
        scene = (meta["mjcf"], meta["control_hz"], meta["substeps"])
        key = (what, *scene, world.free, world.kind, world.network, world.correction)
        if key not in self._programs:
            program = make(world, self.batch)

            def first(*arguments: Any) -> Any:
                self._programs[key] = program
                with runtime.compiling(f"to {what}, {world.kind} ({world.correction})"):
                    return program(*arguments)

            self._programs[key] = first
        return lambda *arguments: self._programs[key](*arguments)


def make_observer(
    world: WorldModel, batch: int
) -> Callable[[Parameters, Windows], tuple[np.ndarray, Corrections]]:
    """``predict.make_predictor`` of a hybrid that also tells its corrections."""

    @jax.jit
    def run(parameters: Parameters, windows: Windows) -> tuple[jax.Array, Corrections]:
        def one(window: Windows) -> tuple[jax.Array, Corrections]:
            states = predict_states(world, parameters, window)
            first = start(world, parameters, window.history).qvel - window.qvel
            poses = jax.vmap(lambda state: pose(world, state))(states)
            return poses, Corrections(first, states.correction)

        return jax.vmap(one)(windows)

    return lambda parameters, windows: _in_batches(run, batch, parameters, windows)


def make_replay(
    world: WorldModel, batch: int
) -> Callable[[Parameters, Windows, Corrections], np.ndarray]:
    """The physics of ``world`` under given corrections instead of a network's.

    Returns:
      ``replay(parameters, windows, corrections)`` → (windows, horizon, nq).
    """
    scene, dt = world.scene, 1.0 / world.scene.control_hz

    @jax.jit
    def run(parameters: Parameters, windows: Windows, corrections: Corrections) -> jax.Array:
        model = physical.apply(scene, scene.mjx_model(), world.free, parameters["physics"])

        def step(state: State, given: tuple[jax.Array, jax.Array]) -> tuple[State, jax.Array]:
            ctrl, g = given
            state = physics.control_step(scene, model, state, ctrl)
            if world.correction == "displacement":
                return state, integrate(scene, state.qpos, g, 1.0)
            state = add(scene, state, g, dt)
            return state, state.qpos

        def one(window: Windows, own: Corrections) -> jax.Array:
            state = physics.initial_state(scene, window.qpos, window.qvel + own.first)
            return jax.lax.scan(step, state, (window.ctrl, own.steps))[1]

        return jax.vmap(one)(windows, corrections)

    return lambda parameters, *given: _in_batches(run, batch, parameters, *given)


def _in_batches(run: Callable[..., Any], batch: int, parameters: Parameters, *given: Any) -> Any:
    """``run`` over rows of ``given``, the last batch filled up with its last row."""
    count, out = len(given[0]), []
    for begin in range(0, count, batch):
        rows = np.minimum(np.arange(begin, begin + batch), count - 1)
        part = jax.tree.map(lambda x, rows=rows: jnp.asarray(np.asarray(x)[rows]), given)
        out.append(jax.tree.map(np.asarray, run(parameters, *part)))
    return jax.tree.map(lambda *x: np.concatenate(x)[:count], *out)


def starting_frames(episodes: Sequence[Episode], recording: Recording, horizon: int) -> np.ndarray:
    """(windows,) frame at which each of ``protocol_windows`` starts, in its order."""
    return np.concatenate(
        [window_starts(recording, horizon, e.valid, e.fresh)[0] for e in episodes]
    )


def lowest_corners(world: WorldModel, windows: Windows) -> np.ndarray | None:
    """(windows,) height of the lowest corner at the start [m]; None without a free body."""
    if not layout(world.scene).geoms:
        return None
    lowest = jax.jit(jax.vmap(lambda q: heights(world.scene, q).min()))
    return np.asarray(lowest(jnp.asarray(windows.qpos)))
