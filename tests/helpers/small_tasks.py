"""Two tasks that cost nothing: a cart that goes to a place, and a gripper over a free box."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel.scene import FreeParameter, Scene, load_scene
from worldmodel.tasks.play import Played, episodes
from worldmodel.tasks.sensors import all_sensors, blank
from worldmodel.tasks.task import Task
from worldmodel.types import Episode, Measurement, Start

CART = """
<mujoco model="cart">
  <worldbody>
    <body name="cart"><joint name="x" type="slide" axis="1 0 0" damping="1"/>
      <geom name="cart" size=".1"/></body>
  </worldbody>
  <actuator><position name="x" joint="x" kp="20" ctrlrange="-1 1"/></actuator>
</mujoco>
"""
GRIPPER = """
<mujoco model="gripper">
  <worldbody>
    <body name="wrist"><joint name="lift" type="slide" axis="0 0 1" damping="1"/>
      <geom name="palm" size=".05"/>
      <body name="jaw" pos=".1 0 0"><joint name="jaw" axis="0 0 1" damping=".1"/>
        <geom name="jaw" size=".02" pos="0 0 -.1"/></body></body>
    <body name="box" pos="0 0 -.4"><freejoint/><geom name="box" size=".05"/></body>
  </worldbody>
  <actuator>
    <position name="lift" joint="lift" kp="20" ctrlrange="-1 1"/>
    <position name="jaw" joint="jaw" kp="5" ctrlrange="-.2 1.2"/>
  </actuator>
</mujoco>
"""


@functools.cache
def cart_scene() -> Scene:
    return load_scene(CART, control_hz=20.0, substeps=2)


@functools.cache
def gripper_scene() -> Scene:
    return load_scene(GRIPPER, control_hz=20.0, substeps=2)


class Reach(Task):
    """The cart goes to a place and stops there."""

    horizon = 20
    free = (FreeParameter("damping", "x"),)

    def __init__(self) -> None:
        self.scene = cart_scene()

    def reset(self, key):
        a, b = jax.random.split(key)
        goal = {"target": jax.random.uniform(b, (), float, -0.9, 0.9)}
        return Start(jax.random.uniform(a, (1,), float, -0.5, 0.5), jnp.zeros(1)), goal

    def reward(self, before, action, after, goal):
        return -jnp.square(after.joints[0] - goal["target"])

    def error(self, episode):
        return float(abs(episode.qpos[-1, 0] - episode.goal["target"]))

    def success(self, episode):
        return self.error(episode) < 0.1


class Lift(Task):
    """The box is to be lifted to a place: positions outnumber velocities."""

    horizon = 8

    def __init__(self) -> None:
        self.scene = gripper_scene()
        self.sensors = all_sensors(self.scene, touch=[("jaw", "box")])

    def reset(self, key):
        m = self.scene.mj_model
        goal = {"place": jax.random.uniform(key, (3,)), "open": jnp.asarray(True)}
        return Start(jnp.asarray(m.qpos0), jnp.zeros(m.nv)), goal

    def error(self, episode):
        return float(np.linalg.norm(episode.qpos[-1, 2:5] - episode.goal["place"]))


class Straight:
    """An expert that knows where the cart is to go: it commands that place."""

    def plan(self, simulate, starts, goals, key):
        del simulate, starts, key
        return Going(goals["target"])


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Going:
    """The policy that always commands one place."""

    place: jax.Array
    traceable = True

    def init(self, observation, key):
        return jnp.zeros(())

    def act(self, carry, observation, key):
        return jnp.reshape(self.place, (1,)), carry


def wandering(task: Task, count: int, seed: int, source: str = "real") -> list[Episode]:
    """Episodes of a task whose sensors report random numbers, as a robot's would be recorded."""
    rng, names, frames = np.random.default_rng(seed), task.sensors, task.horizon
    _, goals = jax.vmap(task.reset)(jax.random.split(jax.random.key(seed), count))
    joints = 0.3 * rng.standard_normal((count, frames + 1, len(names.joints)))
    objects = rng.standard_normal((count, frames + 1, len(names.objects), 7))
    objects[..., 3:] /= np.linalg.norm(objects[..., 3:], axis=-1, keepdims=True)
    touch = rng.uniform(size=(count, frames + 1, len(names.touch))) < 0.5
    ctrl = rng.uniform(-0.2, 1.0, (count, frames, len(names.actuators)))
    zeros = np.zeros((count, frames + 1))
    person = rng.uniform(size=zeros.shape) < 0.2
    age = np.zeros((*zeros.shape, len(names.joints) + len(names.objects)))
    applied = np.zeros((*zeros.shape, len(names.actuators)))
    force = rng.exponential(size=(count, frames + 1, len(names.forces)))
    measured = Measurement(joints, joints, objects, touch, force, age, applied, person, names)
    action = rng.uniform(-1, 1, (count, frames, task.action_size))
    played = Played(measured, ctrl, action, zeros.astype(bool))
    return episodes(task, played, goals, source=source)


class LaggingCart:
    """A robot: each control step the cart goes a third of the way to its command."""

    def __init__(self, task: Task) -> None:
        self.control_hz, self.names = task.scene.control_hz, task.sensors
        self.max_rate = np.full(1, np.inf)
        self._at = np.zeros(1)

    def connect(self) -> None: ...

    def stop(self) -> None: ...

    def close(self) -> None: ...

    def reset(self, start: Start) -> Measurement:
        self._at = np.array(start.qpos)
        return self._measure()

    def step(self, ctrl: np.ndarray) -> Measurement:
        self._at = self._at + 0.3 * (ctrl - self._at)
        return self._measure()

    def _measure(self) -> Measurement:
        return dataclasses.replace(jax.tree.map(np.asarray, blank(self.names)), joints=self._at)
