"""Task "grasp": its frame, its scores, Coulomb's law in its grip, and that its expert succeeds."""

import copy
import dataclasses
import functools
import itertools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldmodel import loop
from worldmodel.episodes import lerobot
from worldmodel.errors import InputError
from worldmodel.model import WorldModel, init
from worldmodel.policies import contract
from worldmodel.policies.clone import CloneConfig, clone, restore, save
from worldmodel.policies.plan import Demonstrator, SearchConfig
from worldmodel.tasks import data_set, sensors
from worldmodel.tasks.grasp.expert import EXPERT
from worldmodel.tasks.grasp.task import BOX_X, BOX_Z, FALLEN, LIFT, SUCCESS, Grasp, widths
from worldmodel.tasks.play import episodes
from worldmodel.tasks.play_c import simulate_in_c
from worldmodel.types import Array, Episode, Goal, Measurement

GOAL = {"x": jnp.array(0.1)}
GAIN, GRAVITY = 400.0, 9.81  # [N/m] of a pad's servo, [m/s²]


@functools.cache
def grasp() -> Grasp:
    return Grasp()


def carried(squeeze: float, *, friction: float = 0.8, mass: float = 0.2) -> list[Episode]:
    """Two slow carries with a squeeze [m], of a world with other pads and another box."""
    task = grasp()
    model = copy.copy(task.scene.mj_model)
    model.geom_friction[model.geom("box").id, 0] = friction
    model.body_mass[model.body("box").id] = mass
    starts, goals = loop.draw(task, jax.random.key(2), 2)
    parameters = jnp.tile(jnp.array([squeeze, 0.2, 0.0, 0.005]), (2, 1))
    policy = jax.vmap(EXPERT.policy)(parameters, goals)
    played = simulate_in_c(task, model)(policy, starts, goals, jax.random.key(0))
    return episodes(task, played, goals, source="c")


def measured(task: Grasp, joints: list[float], applied: list[float]) -> Measurement:
    blank = sensors.blank(task.sensors)
    return dataclasses.replace(blank, joints=jnp.array(joints), applied=jnp.array(applied))


def test_a_moved_world_is_observed_and_commanded_alike() -> None:
    task = grasp()
    joints, applied = [0.02, 0.1, 0.03, 0.02, -0.1, 0.01, 0.1], [0.03, 0.1, 0.025, 0.025]
    shift = np.array([0.2, 0, 0, 0, 0.2, 0, 0])
    here = measured(task, joints, applied)
    there = measured(task, [*(joints + shift)], [*(applied + shift[:4])])
    goal = {"x": GOAL["x"] + 0.2}
    np.testing.assert_allclose(task.observe(there, goal), task.observe(here, GOAL), atol=1e-12)
    action = jnp.array([0.3, -0.8, 0.5])
    moved = task.command(there, action, goal) - task.command(here, action, GOAL)
    np.testing.assert_allclose(moved, shift[:4], atol=1e-12)
    again = task.action(here, task.command(here, action, GOAL), GOAL)
    np.testing.assert_allclose(again, action, atol=1e-12)


def test_scores_are_distances_of_the_box() -> None:
    task = grasp()
    qpos = np.zeros((3, 7))
    qpos[1, BOX_Z] = LIFT
    qpos[2, BOX_X] = GOAL["x"]
    goal = {"x": np.asarray(GOAL["x"])}
    lifted = Episode.regular(0, 50.0, qpos=qpos, qvel=qpos, ctrl=qpos[:, :4], goal=goal)
    assert task.error(lifted) < 2e-6 and task.success(lifted)
    away = dataclasses.replace(lifted, qpos=qpos + np.eye(7)[BOX_X] * 0.03)
    assert task.error(away) == pytest.approx(0.03, abs=1e-6) and not task.success(away)
    # One that is pushed there was never lifted.
    pushed = dataclasses.replace(lifted, qpos=qpos * (np.arange(7) != BOX_Z))
    assert task.error(pushed) == pytest.approx(LIFT, abs=1e-5) and not task.success(pushed)
    # A frame that was not measured does not lift it.
    unseen = pushed.qpos.copy()
    unseen[1] = np.nan
    gap = dataclasses.replace(pushed, qpos=unseen)
    assert task.error(gap) == pytest.approx(LIFT, abs=1e-5) and not task.success(gap)
    assert np.isnan(task.error(dataclasses.replace(pushed, qpos=np.full((3, 7), np.nan))))
    falling = dataclasses.replace(
        measured(task, [0.0] * 7, [0.0] * 4), velocities=-np.eye(7)[BOX_Z]
    )
    assert task.failed(falling, GOAL)
    lowered = dataclasses.replace(falling, velocities=-0.5 * np.eye(7)[BOX_Z])
    assert not task.failed(lowered, GOAL)


def test_the_reward_is_for_a_box_that_is_gripped_and_carried_over_the_table() -> None:
    task, over, width = grasp(), 1.3 * LIFT, 0.03
    start = float(GOAL["x"]) - 0.18

    def total(*poses: tuple[float, float, float, float]) -> float:
        """Of poses x and z of the box, how far the pads are above its middle, and their width."""
        frames = [
            measured(task, [x, z + 0.03 + up, w / 2, w / 2, x, z, 0.0], [0.0, 0.0, w / 2, w / 2])
            for x, z, up, w in poses
        ]
        return float(
            sum(task.reward(a, jnp.zeros(3), b, GOAL) for a, b in itertools.pairwise(frames))
        )

    begun, held = (start, 0.0, 0.12, 0.08), (start, 0.0, 0.0, width)
    reached = total(begun, (start, 0.0, 0.0, 0.08))
    closed = total(begun, (start, 0.0, 0.0, 0.08), held)
    closed_above = total(begun, (start, 0.0, 0.12, width))
    assert closed_above < 0.0 < reached < closed
    there = float(GOAL["x"])
    lift, carry, lower = (start, over, 0.0, width), (there, over, 0.0, width), (there, 0, 0, width)
    assert total(held, lift) > 0.9 * over / SUCCESS
    lifted, pushed = total(held, lift, carry, lower), total(held, lower)
    assert lifted - pushed > 0.9 * 0.18 / SUCCESS
    # Forth through the air and back on the table gains nothing, however often.
    assert total(held, lift, carry, lower, held) < 0.0
    falling = dataclasses.replace(
        measured(task, [0.0] * 7, [0.0] * 4), velocities=-np.eye(7)[BOX_Z]
    )
    lying = measured(task, [0.0] * 7, [0.0] * 4)
    fallen = task.reward(lying, jnp.zeros(3), falling, GOAL)
    assert float(fallen - task.reward(lying, jnp.zeros(3), lying, GOAL)) == -FALLEN


def test_a_held_box_is_pressed_as_the_servos_press() -> None:
    """Half the squeeze times the gain, but for how far the contact gives way."""
    for e in carried(0.02):
        assert e.success and e.force is not None and e.contact is not None
        held = e.contact.all(1) & (e.qpos[:, BOX_Z] > LIFT)
        assert held.sum() > 20
        width, command = widths(e.qpos[held], e.ctrl[held])
        np.testing.assert_allclose(
            e.force[held].mean(), 0.5 * GAIN * np.mean(width - command), rtol=0.02
        )
        np.testing.assert_allclose(e.force[held].mean(), 0.5 * GAIN * 0.02, rtol=0.05)
        np.testing.assert_array_equal(e.force > 0, e.contact)


def test_coulombs_law_says_what_slips() -> None:
    """Two pads hold m g by 2 μ F; 15 % less friction slips, 30 % more carries, an acceleration of
    1 m/s² included."""
    squeeze, mass = 0.02, 0.3
    critical = mass * GRAVITY / (2.0 * 0.5 * GAIN * squeeze)
    for friction, holds in ((0.85 * critical, False), (1.3 * critical, True)):
        for e in carried(squeeze, friction=friction, mass=mass):
            assert (e.qpos[:, BOX_Z].max() > LIFT) == holds
            assert e.success == holds


def test_the_expert_succeeds_and_grips_no_more_than_it_must() -> None:
    task = grasp()
    simulate = simulate_in_c(task, task.scene.mj_model)
    starts, goals = loop.draw(task, jax.random.key(7), 4)
    expert = Demonstrator(task, EXPERT, SearchConfig(samples=24, elites=5, iterations=3))
    policy: Any = expert.plan(simulate, starts, goals, jax.random.key(0))
    played = episodes(task, simulate(policy, starts, goals, jax.random.key(1)), goals, source="c")
    assert sum(bool(e.success) for e in played) >= 3
    assert np.median(np.asarray(policy.squeeze)) < 0.6 * EXPERT.high[0]
    assert np.min(np.abs(starts.qpos[:, BOX_X] - goals["x"])) > 4 * SUCCESS


def test_an_episode_on_disk_has_the_grippers_channels(tmp_path: Path) -> None:
    task, played = grasp(), carried(0.02)
    data_set.write(tmp_path / "set", task, played, {})
    for e, again in zip(played, data_set.read(tmp_path / "set", task), strict=True):
        for name in ("qpos", "ctrl", "contact", "force", "action"):
            np.testing.assert_array_equal(getattr(again, name), getattr(e, name))
    row = lerobot.read(tmp_path / "set").episodes[0]
    first = played[0]
    assert first.force is not None and first.contact is not None
    np.testing.assert_array_equal(row["force.finger_on_box"].ravel(), first.force[:, 1])
    np.testing.assert_array_equal(row["contact.thumb_on_box"].ravel(), first.contact[:, 0])
    width, command = widths(first.qpos, first.ctrl)
    np.testing.assert_allclose(row["observation.state"][:, 2:4].sum(1), width, atol=1e-7)
    np.testing.assert_allclose(row["action"][:, 2:].sum(1), command, atol=1e-7)
    silent = dataclasses.replace(first, force=None)
    with pytest.raises(InputError, match="0 force sensors, the task 2"):
        data_set.write(tmp_path / "silent", task, [silent], {})


def test_a_policy_that_does_not_observe_the_gripper_is_refused(tmp_path: Path) -> None:
    class Blind(Grasp):
        observed = Grasp.observed[:5]

        def observe(self, measured: Measurement, goal: Goal) -> Array:
            return super().observe(measured, goal)[:5]

    blind, names = Blind(), r"lacks \['gripper.width', 'gripper.command', 'gripper.force'\]"
    with pytest.raises(InputError, match=names):
        contract.check(contract.contract(blind), grasp(), "the policy")
    policy = clone(blind, [carried(0.02)], [0], CloneConfig(width=4, steps=1))[0]
    save(tmp_path, policy, blind, {})
    with pytest.raises(InputError, match=names):
        restore(tmp_path, grasp())


@pytest.mark.slow
def test_c_may_stand_in_for_mjx() -> None:
    task = grasp()
    world = WorldModel(task.scene, task.free)
    version = loop.Version("v0", None, world, init(world, jax.random.key(0)), 0)
    starts, goals = loop.draw(task, jax.random.key(5), 8)
    unit = np.random.default_rng(3).random((8, len(EXPERT.low)))
    parameters = EXPERT.low + unit * (EXPERT.high - EXPERT.low)
    policy = jax.vmap(EXPERT.policy)(jnp.asarray(parameters), goals)
    apart = loop.engine_difference(version, task, policy, starts, goals, jax.random.key(1))
    assert apart <= loop.C_STANDS_IN
