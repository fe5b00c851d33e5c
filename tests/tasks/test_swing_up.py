"""Task "swing_up": its scores, its reward, and that it cannot be solved by a constant force."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldmodel.rollout import Constant
from worldmodel.tasks import sensors
from worldmodel.tasks.play import episodes, repeated
from worldmodel.tasks.play_c import simulate_in_c
from worldmodel.tasks.swing_up.task import RAIL, SwingUp
from worldmodel.types import Episode, Measurement

TASK = SwingUp()


def measured(joints: list[float], velocities: list[float] | None = None) -> Measurement:
    rows = jnp.array(joints), jnp.array(velocities or [0.0, 0.0])
    return dataclasses.replace(sensors.blank(TASK.sensors), joints=rows[0], velocities=rows[1])


def held(angle: float) -> Episode:
    """Four seconds of hanging, then more than one at an angle."""
    qpos = np.zeros((126, 2))
    qpos[100:, 1] = angle
    rest = np.zeros((126, 2)), np.zeros((126, 1))
    return Episode.regular(0, 25.0, qpos=qpos, qvel=rest[0], ctrl=rest[1])


def test_the_error_is_the_angle_from_upright_however_the_pole_came_there() -> None:
    for turns in (-1, 0, 3):
        episode = held(np.pi + 0.1 + 2.0 * np.pi * turns)
        assert TASK.error(episode) == pytest.approx(0.1) and TASK.success(episode)
        episode = held(np.pi - 0.3 + 2.0 * np.pi * turns)
        assert TASK.error(episode) == pytest.approx(0.3) and not TASK.success(episode)
    assert TASK.error(held(0.0)) == pytest.approx(np.pi)


def test_the_reward_is_largest_upright_at_rest_in_the_middle_without_a_force() -> None:
    def reward(joints: list[float], turning: float = 0.0, action: float = 0.0) -> float:
        after = measured(joints, [0.0, turning])
        return float(TASK.reward(measured([0.0, 0.0]), jnp.array([action]), after, {}))

    best = reward([0.0, np.pi])
    assert best == pytest.approx(1.0)
    assert reward([0.0, 0.0]) == pytest.approx(0.0)
    others = [reward([0.5, np.pi]), reward([0.0, 2.5]), reward([0.0, np.pi], 3.0)]
    assert max(*others, reward([0.0, np.pi], 0.0, 0.5)) < best
    assert reward([0.0, 1.5]) > reward([0.0, 1.0]) + 0.1  # it guides from where the pole hangs


def test_the_rail_ends_an_episode_and_velocities_are_observed() -> None:
    assert not TASK.failed(measured([RAIL - 0.01, 0.0]), {})
    assert TASK.failed(measured([-RAIL - 0.01, 0.0]), {})
    seen = TASK.observe(measured([0.75, np.pi / 2], [1.0, -4.0]), {})
    np.testing.assert_allclose(seen, [0.5, 1.0, 0.0, 0.5, -0.5], atol=1e-12)


def test_no_constant_force_swings_the_pole_up() -> None:
    starts, goals = jax.vmap(TASK.reset)(jax.random.split(jax.random.key(0), 4))
    simulate = simulate_in_c(TASK, TASK.scene.mj_model)
    for force in (0.0, 0.1, 1.0):
        policy = repeated(Constant(np.array([force])), 4)
        played = simulate(policy, starts, goals, jax.random.key(1))
        assert not any(e.success for e in episodes(TASK, played, goals, source="constant"))
