"""Task "hopper": its scores, its reward, when it has fallen, and that standing is not for free."""

import copy
import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldmodel._mujoco import mujoco
from worldmodel.physics import parameters
from worldmodel.rollout import Constant
from worldmodel.scene.collisions import geom_pairs
from worldmodel.tasks import sensors
from worldmodel.tasks.hopper.task import LOWEST, SHORTEST, STEEPEST, SUCCESS, Hopper
from worldmodel.tasks.play import episodes, repeated
from worldmodel.tasks.play_c import simulate_in_c
from worldmodel.types import Episode, Measurement

TASK = Hopper()


def measured(x: float = 0.0, up: float = 0.0, pitch: float = 0.0) -> Measurement:
    joints = jnp.array([x, up, pitch, 0.0, 0.0, 0.0])
    return dataclasses.replace(sensors.blank(TASK.sensors), joints=joints)


def test_it_is_scored_by_how_far_it_comes() -> None:
    qpos = np.zeros((201, 6))
    qpos[:, 0] = np.linspace(1.0, 1.0 + SUCCESS + 0.1, 201)
    episode = Episode.regular(0, 50.0, qpos=qpos, qvel=np.zeros((201, 6)), ctrl=np.zeros((201, 3)))
    assert TASK.error(episode) == pytest.approx(1.0 / (SUCCESS + 0.1)) and TASK.success(episode)
    back = dataclasses.replace(episode, qpos=-qpos)
    assert TASK.error(back) == pytest.approx(1.0 / SHORTEST) and not TASK.success(back)
    for joint, value in ((1, LOWEST - 0.01), (2, STEEPEST + 0.01), (2, -STEEPEST - 0.01)):
        fallen = qpos.copy()
        fallen[100, joint] = value  # what follows is no way forward, though it stands up again
        lean = 0.0 if joint == 1 else 1.15 * np.sin(value)  # [m] the ankle behind the torso
        way = fallen[100, 0] - fallen[0, 0] - lean
        short = dataclasses.replace(episode, qpos=fallen)
        assert TASK.error(short) == pytest.approx(1.0 / way) and not TASK.success(short)


def test_the_way_is_that_of_the_ankle() -> None:
    qpos = np.random.default_rng(0).uniform(-0.4, 0.4, (2, 6))
    qpos[1, 0] += 3.0
    data, ankle = mujoco.MjData(TASK.scene.mj_model), []
    for data.qpos[:] in qpos:
        mujoco.mj_kinematics(TASK.scene.mj_model, data)
        ankle.append(data.body("foot").xpos[0])
    episode = Episode.regular(0, 50.0, qpos=qpos, qvel=np.zeros((2, 6)), ctrl=np.zeros((2, 3)))
    assert TASK.error(episode) == pytest.approx(1.0 / (ankle[1] - ankle[0]), rel=1e-9)


def test_the_reward_is_its_speed_and_that_it_stands_upright() -> None:
    def reward(after: Measurement, action: float = 0.0) -> float:
        return float(TASK.reward(measured(), jnp.full(3, action), after, {}))

    assert reward(measured()) == pytest.approx(1.0)
    assert reward(measured(x=0.01)) == pytest.approx(2.0)  # 1 m/s
    assert reward(measured(up=0.3)) == pytest.approx(1.0)  # in the air
    lower = [reward(measured(up=-u)) for u in (0.0, 0.1, 0.2, 0.3)]
    steeper = [reward(measured(pitch=p)) for p in (0.0, 0.2, -0.4, 0.6)]
    for falling in (lower, steeper):
        assert all(b < a - 0.1 for a, b in itertools.pairwise(falling))
        assert (np.diff(falling, 2) < 0).all()  # ever steeper
    assert reward(measured(), 1.0) == pytest.approx(0.97)


def test_it_has_fallen_where_it_is_low_or_steep() -> None:
    assert not TASK.failed(measured(up=LOWEST + 0.01, pitch=STEEPEST - 0.01), {})
    assert TASK.failed(measured(up=LOWEST - 0.01), {})
    assert TASK.failed(measured(pitch=-STEEPEST - 0.01), {})


@pytest.mark.parametrize("friction", [0.5, 1.5])
def test_the_friction_of_its_contact_is_that_of_the_foot(friction: float) -> None:
    parameters.check(TASK.scene, TASK.free)
    m = copy.copy(TASK.scene.mj_model)
    assert m.geom("foot").friction[0] == 1.5
    m.geom("foot").friction[0] = friction
    data = mujoco.MjData(m)
    data.qpos[1] = -0.01
    mujoco.mj_forward(m, data)
    assert data.ncon > 0 and (data.contact.friction[:, :2] == friction).all()


def test_its_foot_alone_touches_and_it_falls_without_a_policy() -> None:
    m = TASK.scene.mj_model
    touching = [(m.geom(a).name, m.geom(b).name) for a, b, _ in geom_pairs(m)]
    assert touching == [("floor", "foot")]
    starts, goals = jax.vmap(TASK.reset)(jax.random.split(jax.random.key(0), 8))
    play = simulate_in_c(TASK, m, substeps=TASK.scene.substeps)
    played = play(repeated(Constant(np.zeros(3)), 8), starts, goals, jax.random.key(1))
    assert np.asarray(played.failed)[:, :20].sum() == 0  # it stands at first
    assert np.asarray(played.failed).any(1).all()
    recorded = episodes(TASK, played, goals, source="nothing")
    assert not any(e.success for e in recorded)
    # One that falls is no better than one that stands where it is.
    assert [TASK.error(e) for e in recorded] == [1.0 / SHORTEST] * 8
