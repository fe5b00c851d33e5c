"""Problems on which the plain derivative of a contact is not the useful one, for ``useful``."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.recordings.problems import CUBE
from worldmodel import physics
from worldmodel._mujoco import mujoco
from worldmodel.physics import Backward
from worldmodel.physics.oracle import trajectory
from worldmodel.rollout import Replay, rollout
from worldmodel.scene import Scene, load_scene
from worldmodel.types import State

BALL = """
<mujoco model="bounce">
  <option timestep="{dt}"/>
  <worldbody>
    <geom name="floor" type="plane" size="0 0 .1"/>
    <body name="ball" pos="0 0 .1">
      <joint name="z" type="slide" axis="0 0 1"/>
      <geom name="ball" type="sphere" size=".1" mass="1" priority="1" condim="1"
            solimp="0.99 0.99 0.001"/>
    </body>
  </worldbody>
</mujoco>"""

PUSH = """
<mujoco model="push">
  <option timestep="0.004"/>
  <worldbody>
    <body name="pusher">
      <joint name="pusher" type="slide" axis="1 0 0" damping="2"/>
      <geom name="pusher" type="sphere" size=".03" mass=".5" condim="1"/>
    </body>
    <body name="block" pos=".1 0 0">
      <joint name="block" type="slide" axis="1 0 0" frictionloss="0.2"/>
      <geom name="block" type="sphere" size=".03" mass=".3" condim="1"/>
    </body>
  </worldbody>
  <actuator><motor name="pusher" joint="pusher"/></actuator>
</mujoco>"""

DROP, AFTER = 0.3, 0.4  # [m], [s]
NEAR = 0.01  # [m] half-width of the heights over which slopes are taken
TOSS_S = 0.2
TOSS_QPOS = np.array([0.0, 0.0, 0.104, 0.9234, 0.3078, 0.2052, 0.1026])
TOSS_QVEL = np.array([1.0, 0.3, -0.8, 2.0, -3.0, 1.0])
TOSS_SPREAD = np.array([0.05] * 3 + [0.5] * 3)  # [m/s], [rad/s]
TARGET = 0.15  # [m] where the pushed block is wanted
PIECES, HOLD = 10, 15  # of the plan: constant forces, each over so many steps


def _path(scene: Scene, model: Any, start: State, ctrl: jax.Array, backward: Backward) -> State:
    step = functools.partial(physics.control_step, scene, model, backward=backward)
    keep = (physics.SOLUTION,)
    return rollout(step, Replay(ctrl), start, len(ctrl), jax.random.key(0), keep=keep)[0]


@functools.cache
def ball(dt: float) -> Scene:
    """The ball's scene at a timestep [s]."""
    return load_scene(BALL.format(dt=dt), control_hz=1.0 / dt, substeps=1)


def bounce(
    dt: float, backward: Backward, solref: jax.Array, height: jax.Array, seconds: float = AFTER
) -> jax.Array:
    """(steps,) heights [m] of a ball dropped on a floor.

    Args:
      dt: timestep [s].
      solref: (2,) the contact's time constant [s] and damping ratio.
      height: () of the start [m].
    """
    scene = ball(dt)
    model = scene.mjx_model()
    model = model.replace(geom_solref=model.geom_solref.at[:].set(solref))
    start = physics.initial_state(scene, height[None], jnp.zeros(1))
    still = jnp.zeros((round(seconds / dt), 0))
    return _path(scene, model, start, still, backward).qpos[:, 0]


def bounce_by_c(dt: float, solref: np.ndarray, heights: np.ndarray) -> np.ndarray:
    """The last heights [m] of ``bounce`` by C MuJoCo: (n,) start heights → (n,)."""
    model = mujoco.MjModel.from_xml_string(BALL.format(dt=dt))
    model.geom_solref[:] = solref
    return _end_by_c(model, heights[:, None], np.zeros((len(heights), 1)), AFTER)[0][:, 0]


def _end_by_c(
    model: mujoco.MjModel, qpos: np.ndarray, qvel: np.ndarray, seconds: float
) -> tuple[np.ndarray, np.ndarray]:
    """(n, nq) positions and (n, nv) velocities after ``seconds`` without control, of n starts."""
    steps = round(seconds / model.opt.timestep)
    still = np.zeros((1, 0))
    ends = [trajectory(model, *start, still, steps) for start in zip(qpos, qvel, strict=True)]
    return np.stack([end[0][-1] for end in ends]), np.stack([end[1][-1] for end in ends])


@functools.cache
def _cube(hz: float) -> Scene:
    return load_scene(CUBE.mjcf, control_hz=hz, substeps=1)


def toss(hz: float, backward: Backward, qvel: jax.Array) -> jax.Array:
    """(6,) final position [m] and velocity [m/s] of the tossed cube's centre."""
    scene = _cube(hz)
    start = physics.initial_state(scene, jnp.asarray(TOSS_QPOS), qvel)
    still = jnp.zeros((round(TOSS_S * hz), 0))
    states = _path(scene, scene.mjx_model(), start, still, backward)
    return jnp.concatenate([states.qpos[-1, :3], states.qvel[-1, :3]])


def toss_by_c(hz: float, qvel: np.ndarray) -> np.ndarray:
    """``toss`` by C MuJoCo: (n, 6) start velocities → (n, 6)."""
    starts = np.tile(TOSS_QPOS, (len(qvel), 1))
    position, velocity = _end_by_c(_cube(hz).mj_model, starts, qvel, TOSS_S)
    return np.concatenate([position[:, :3], velocity[:, :3]], axis=1)


@functools.cache
def _push() -> Scene:
    return load_scene(PUSH, control_hz=250.0, substeps=1)


def push(backward: Backward, plan: jax.Array) -> jax.Array:
    """() squared distance [m²] of a block from its target, after (PIECES,) forces [N] on a pusher
    that starts 4 cm away from it."""
    scene = _push()
    start = physics.initial_state(scene, jnp.zeros(2), jnp.zeros(2))
    ctrl = jnp.repeat(plan, HOLD)[:, None]
    states = _path(scene, scene.mjx_model(), start, ctrl, backward)
    return jnp.square(states.qpos[-1, 1] - TARGET)
