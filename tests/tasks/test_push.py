"""Task "push": its frame, its scores, and that its expert succeeds."""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldmodel import loop
from worldmodel.model import WorldModel, init
from worldmodel.policies.plan import Demonstrator, SearchConfig
from worldmodel.tasks import sensors
from worldmodel.tasks.play import episodes
from worldmodel.tasks.play_c import simulate_in_c
from worldmodel.tasks.push.expert import EXPERT
from worldmodel.tasks.push.task import BAR, RADIUS, REACH, SUCCESS, Push, distance, rotation
from worldmodel.types import Episode, Measurement

GOAL = {"x": jnp.array(0.05), "y": jnp.array(0.12), "yaw": jnp.array(0.2)}


def measured(task: Push, joints: list[float]) -> Measurement:
    return dataclasses.replace(sensors.blank(task.sensors), joints=jnp.array(joints))


def test_a_turned_and_moved_world_is_observed_and_commanded_alike() -> None:
    task = Push()
    joints = np.array([0.01, -0.1, 0.02, 0.03, 0.3])
    turn, shift = 0.7, np.array([0.2, -0.4])
    frame = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    there = [*(frame @ joints[:2] + shift), *(frame @ joints[2:4] + shift), joints[4] + turn]
    x, y = frame @ np.array([GOAL["x"], GOAL["y"]]) + shift
    goal = {"x": jnp.array(x), "y": jnp.array(y), "yaw": GOAL["yaw"] + turn}
    here, moved = measured(task, list(joints)), measured(task, there)
    np.testing.assert_allclose(task.observe(moved, goal), task.observe(here, GOAL), atol=1e-12)
    action = jnp.array([0.3, -0.8])
    ctrl = task.command(here, action, GOAL)
    np.testing.assert_allclose(task.command(moved, action, goal), frame @ ctrl, atol=1e-12)
    np.testing.assert_allclose(task.action(here, ctrl, GOAL), action, atol=1e-12)


def test_scores_are_distances_of_the_tees_ends() -> None:
    task = Push()
    poses = np.array([[0.0, 0.0, 0.0], [0.02, 0.16, 0.2], [0.05, 0.12, 0.2]])
    qpos = np.column_stack([np.zeros((3, 2)), poses])
    rows = np.zeros((3, 5)), np.zeros((3, 2))
    episode = Episode.regular(0, 50.0, qpos=qpos, qvel=rows[0], ctrl=rows[1], goal=GOAL)
    assert task.error(episode) < 2e-6 and task.success(episode)
    # A translation of 5 cm moves every end by as much.
    shorter = Episode.regular(0, 50.0, qpos=qpos[:2], qvel=rows[0], ctrl=rows[1], goal=GOAL)
    assert task.error(shorter) == pytest.approx(0.05, abs=1e-9) and not task.success(shorter)
    begin = Episode.regular(0, 50.0, qpos=qpos[:1], qvel=rows[0], ctrl=rows[1], goal=GOAL)
    nearer = task.error(begin) - task.error(episode)
    # The fingertip at the bar, then as far behind it as it likes.
    for behind, reached in (([0.0] * 3, 0.0), ([0.1, 0.05, 0.0], REACH * 0.1)):
        tips = [
            np.array(place) + rotation(yaw) @ np.array([0.0, BAR - RADIUS - off])
            for (*place, yaw), off in zip(poses, behind, strict=True)
        ]
        frames = [measured(task, [*tip, *pose]) for tip, pose in zip(tips, poses, strict=True)]
        steps = [task.reward(a, jnp.zeros(2), b, GOAL) for a, b in itertools.pairwise(frames)]
        assert float(sum(steps)) == pytest.approx((nearer + reached) / SUCCESS, abs=0.02)


def test_the_expert_succeeds_and_touches_with_the_fingertip() -> None:
    task = Push()
    simulate = simulate_in_c(task, task.scene.mj_model)
    starts, goals = jax.vmap(task.reset)(jax.random.split(jax.random.key(7), 10))
    expert = Demonstrator(task, EXPERT, SearchConfig(samples=40, elites=5, iterations=4))
    policy = expert.plan(simulate, starts, goals, jax.random.key(0))
    played = episodes(task, simulate(policy, starts, goals, jax.random.key(1)), goals, source="c")
    assert sum(bool(e.success) for e in played) >= 8
    before = jax.vmap(lambda q, goal: distance(q[2:], goal, jnp))(starts.qpos, goals)
    assert np.min(before) > 4 * SUCCESS
    moved = [np.ptp(e.qpos[:, 2:4], axis=0).max() for e in played]
    assert min(moved) > 0.05


@pytest.mark.slow
def test_c_may_stand_in_for_mjx() -> None:
    task = Push()
    world = WorldModel(task.scene, task.free)
    version = loop.Version("v0", None, world, init(world, jax.random.key(0)), 0)
    starts, goals = jax.vmap(task.reset)(jax.random.split(jax.random.key(5), 8))
    unit = np.random.default_rng(3).random((8, len(EXPERT.low)))
    parameters = EXPERT.low + unit * (EXPERT.high - EXPERT.low)
    policy = jax.vmap(EXPERT.policy)(jnp.asarray(parameters), goals)
    apart = loop.engine_difference(version, task, policy, starts, goals, jax.random.key(1))
    assert apart <= loop.C_STANDS_IN
