"""One member's predictions with its physics played by C MuJoCo: nothing of MJX is compiled.

The network and its correction are those of ``model.world``. The physics of a step is played beside
it and handed in: before the step for a correction of what the physics gives, and after it, under
the correction's force, for one that acts within.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.episodes.windows import History, Windows
from worldmodel.model.calibration import as_logged, calibrated
from worldmodel.model.linear import LinearPath
from worldmodel.model.world import Parameters, WorldModel, make_step, pose, start
from worldmodel.physics import parameters as physical
from worldmodel.scene import Scene
from worldmodel.scene.replay import Replayer
from worldmodel.types import State


@dataclasses.dataclass(frozen=True)
class _Played(LinearPath):
    """The base whose step is given: its parameters are the pose and velocity after it."""

    def step(
        self, scene: Scene, model: Any, state: State, ctrl: jax.Array, force: jax.Array | None
    ) -> State:
        after = state.time + 1.0 / scene.control_hz
        return dataclasses.replace(state, qpos=model[0], qvel=model[1], time=after)


def replayer_of(world: WorldModel, physics: physical.Parameters) -> Replayer:
    """C MuJoCo's rollouts of a model's physics, without its network."""
    text = physical.to_mjcf(world.scene, world.free, physics)
    model = mujoco.MjModel.from_xml_string(text, dict(world.scene.assets))
    return Replayer(model, world.scene.mj_model.opt.timestep)


@functools.lru_cache(maxsize=8)
def _compiled(world: WorldModel) -> tuple[Callable[..., State], Callable[..., State]]:
    """The start and the step of many windows: parameters, rows → states."""
    given = dataclasses.replace(world, base=_Played())

    def begin(network: Any, history: History) -> State:
        return start(given, {"physics": None, "network": network}, history)

    def step(network: Any, state: State, ctrl: jax.Array, qpos: Any, qvel: Any) -> State:
        return make_step(given, {"physics": (qpos, qvel), "network": network})(state, ctrl)

    return jax.jit(jax.vmap(begin, (None, 0))), jax.jit(jax.vmap(step, (None, 0, 0, 0, 0)))


def play(
    world: WorldModel, parameters: Parameters, windows: Windows
) -> tuple[np.ndarray, np.ndarray]:
    """Predicted windows of one member.

    Args:
      world: with physics.
      parameters: of one member.
      windows: as logged.

    Returns:
      (windows, horizon, nq) poses as the log has them; (windows, horizon, nv) [m², rad²] their
      variance, (windows, horizon, 0) without a network.
    """
    scene, substeps = world.scene, world.scene.substeps
    log = scene, world.free, parameters["physics"]
    replayer, seen = replayer_of(world, parameters["physics"]), calibrated(*log, windows)
    begin, step = _compiled(world)
    network, ctrl = parameters["network"], np.asarray(seen.ctrl, float)
    state = begin(network, jax.tree.map(jnp.asarray, seen.history))
    memory, warmstart = replayer.memory(len(windows), substeps, seen.past), None
    rows = replayer.states(np.asarray(state.qpos), np.asarray(state.qvel))
    poses, variance = [], []
    for frame in range(ctrl.shape[1]):
        held, force = ctrl[:, frame : frame + 1], None
        rows[:, replayer.qpos], rows[:, replayer.qvel] = state.qpos, state.qvel
        if world.correction is not None and not world.correction.sees_push:
            last = step(network, state, held[:, 0], state.qpos, state.qvel).correction
            force = np.asarray(jax.vmap(functools.partial(world.correction.force, scene))(last))
        played, memory = replayer.play(rows, held, substeps, memory, warmstart, force)
        rows = played[:, -1].copy()
        earlier = played[:, -2, replayer.qvel] if substeps > 1 else np.asarray(state.qvel)
        warmstart = (rows[:, replayer.qvel] - earlier) / replayer.model.opt.timestep
        state = step(network, state, held[:, 0], rows[:, replayer.qpos], rows[:, replayer.qvel])
        poses.append(jax.vmap(functools.partial(pose, world))(state))
        variance.append(state.variance)
    logged = as_logged(*log, jnp.stack(poses, axis=1))
    return np.asarray(logged), np.stack(variance, axis=1)
