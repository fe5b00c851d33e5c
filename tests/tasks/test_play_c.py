"""Episodes in C MuJoCo are those of MJX."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldmodel import loop
from worldmodel._mujoco import mujoco
from worldmodel.model import Network, WorldModel, init
from worldmodel.scene import FreeParameter, load_scene
from worldmodel.tasks import sensors
from worldmodel.tasks.errors import TaskError
from worldmodel.tasks.play_c import simulate_in_c
from worldmodel.tasks.task import Task
from worldmodel.types import Goal, Measurement, Start, State

MJCF = """
<mujoco model="nudge">
  <option tolerance="1e-12" iterations="50" ls_iterations="30"/>
  <worldbody>
    <body name="cart">
      <joint name="cart" type="slide" axis="1 0 0" damping="0.5"/>
      <geom name="tip" type="sphere" size="0.02" mass="0.3" contype="0" conaffinity="0"/>
    </body>
    <body name="block" pos="0.06 0 0">
      <joint name="block" type="slide" axis="1 0 0" frictionloss="0.4"/>
      <geom name="block" type="sphere" size="0.03" mass="0.2" contype="0" conaffinity="0"/>
    </body>
  </worldbody>
  <contact><pair geom1="tip" geom2="block" condim="1"/></contact>
  <actuator>
    <position name="cart" joint="cart" kp="30" kv="3" ctrlrange="-0.5 0.5"/>
  </actuator>
</mujoco>
"""
EPISODES = 3


class Nudge(Task):
    """Moves the block to a place; the sensors are noisy."""

    horizon = 25

    def __init__(self) -> None:
        self.scene = load_scene(MJCF, control_hz=25.0, substeps=4)
        self.sensors = sensors.all_sensors(self.scene, (("tip", "block"),), (("tip", "block"),))
        self.free = (FreeParameter("frictionloss", "block"),)

    def reset(self, key: Any) -> tuple[Start, Goal]:
        return Start(jnp.zeros(2), jnp.zeros(2)), {"place": jax.random.uniform(key, (), float)}

    def sense(self, state: State, key: Any) -> Measurement:
        exact = super().sense(state, key)
        noise = 1e-3 * jax.random.normal(key, exact.joints.shape, exact.joints.dtype)
        return dataclasses.replace(exact, joints=exact.joints + noise)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Chasing:
    """Feels its way: it remembers, it is random, and it observes touch."""

    gain: Any
    traceable = True

    def init(self, observation: Any, key: Any) -> Any:
        return 0.1 * jax.random.normal(key, (1,), observation.dtype)

    def act(self, carry: Any, observation: Any, key: Any) -> tuple[Any, Any]:
        wanted = self.gain * (observation[-1] - observation[1]) + 0.3 * observation[4]
        carry = 0.7 * carry + 0.3 * wanted
        return carry + 0.05 * jax.random.normal(key, (1,), observation.dtype), carry


def trial(task: Task) -> tuple:
    start, goal = jax.vmap(task.reset)(jax.random.split(jax.random.key(0), EPISODES))
    return Chasing(jnp.array([0.5, 1.0, 1.5])), start, goal, jax.random.key(1)


def version(world: WorldModel) -> loop.Version:
    return loop.Version("v1", None, world, init(world, jax.random.key(0)), 0)


def test_c_and_mjx_play_the_same_episodes() -> None:
    task = Nudge()
    v = version(WorldModel(task.scene, task.free))
    v.parameters["physics"]["block.frictionloss"] = jnp.array([0.5])
    mjx, c = (loop.simulator(v, task, engine=e)(*trial(task)) for e in ("mjx", "c"))
    for name in ("ctrl", "action", "failed"):
        np.testing.assert_allclose(getattr(c, name), getattr(mjx, name), atol=1e-6)
    for name in ("joints", "velocities", "age", "applied"):
        a, b = getattr(c.measured, name), getattr(mjx.measured, name)
        np.testing.assert_allclose(a, b, atol=1e-6 if name != "velocities" else 1e-5)
    touch = np.asarray(mjx.measured.touch)
    np.testing.assert_array_equal(c.measured.touch, touch)
    assert touch.any(1).all() and not touch.all(1).any()
    np.testing.assert_allclose(c.measured.force, mjx.measured.force, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(c.measured.force > 1e-3, touch)
    assert loop.engine_difference(v, task, *trial(task)) < 1e-6
    # The version's numbers are what C MuJoCo plays.
    unmoved = simulate_in_c(task, task.scene.mj_model)(*trial(task))
    assert np.abs(unmoved.measured.joints - c.measured.joints).max() > 1e-3


def test_c_takes_the_substeps_of_the_version() -> None:
    task = Nudge()
    finer = load_scene(MJCF, control_hz=25.0, substeps=20)
    played = [
        loop.simulator(version(WorldModel(scene)), task, engine="c")(*trial(task)).measured.joints
        for scene in (task.scene, finer)
    ]
    model = mujoco.MjModel.from_xml_string(MJCF)
    exact = simulate_in_c(task, model, substeps=20)(*trial(task)).measured.joints
    np.testing.assert_allclose(played[1], exact, atol=1e-9)
    assert np.abs(played[0] - exact).max() > 1e-5


def test_what_c_cannot_play_is_refused() -> None:
    task = Nudge()
    hybrid = version(WorldModel.latent(task.scene, Network()))
    with pytest.raises(loop.LoopError, match="plays physics alone"):
        loop.simulator(hybrid, task, engine="c")
    with pytest.raises(loop.LoopError, match="none of mjx, c"):
        loop.simulator(hybrid, task, engine="warp")
    other = mujoco.MjModel.from_xml_string(
        MJCF.replace('name="tip"', "").replace("<pair", "<!--").replace('condim="1"/>', "-->")
    )
    with pytest.raises(TaskError, match="no geom 'tip'"):
        simulate_in_c(task, other)
    with pytest.raises(TaskError, match=r"\(0, 0, 0, 0\)"):
        simulate_in_c(task, mujoco.MjModel.from_xml_string("<mujoco/>"))

    class Person(Chasing):
        traceable = False

    policy, *more = trial(task)
    with pytest.raises(TaskError, match="cannot be compiled"):
        simulate_in_c(task, task.scene.mj_model)(Person(policy.gain), *more)


def test_a_state_that_is_not_finite_stays_so() -> None:
    task = Nudge()
    policy, start, goal, key = trial(task)
    start = dataclasses.replace(start, qvel=start.qvel.at[1].set(jnp.nan))
    played = simulate_in_c(task, task.scene.mj_model)(policy, start, goal, key)
    finite = np.isfinite(played.measured.joints).all((1, 2))
    assert finite.tolist() == [True, False, True]
