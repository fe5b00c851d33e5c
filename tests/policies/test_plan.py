"""The planner finds known optima, and the demonstrator interpolates and errs as it states."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from worldmodel.policies.plan import Demonstrator, PlanError, SearchConfig, knots, search
from worldmodel.rollout import Replay
from worldmodel.scene import load_scene
from worldmodel.tasks import sensors
from worldmodel.tasks.play import Played
from worldmodel.tasks.task import Task
from worldmodel.types import Array, Episode, Family, Goal, Measurement, Policy, Start

MJCF = """<mujoco model="point"><worldbody><body>
  <joint name="x" type="slide" axis="1 0 0"/><joint name="y" type="slide" axis="0 1 0"/>
  <geom size=".1"/></body></worldbody><actuator><motor name="x" joint="x" ctrlrange="-1 1"/>
  <motor name="y" joint="y" ctrlrange="-1 1"/></actuator></mujoco>"""


class Point(Task):
    """A point goes where it is commanded; it must get near a place."""

    horizon = 3
    near = 0.1

    def __init__(self) -> None:
        self.scene = load_scene(MJCF, control_hz=10.0, substeps=1)

    def failed(self, measured: Measurement, goal: Goal) -> Array:
        return measured.joints[0] > 3.0

    def reward(self, before: Measurement, action: Array, after: Measurement, goal: Goal) -> Array:
        return -jnp.sum(jnp.square(after.joints - goal["place"]))

    def error(self, episode: Episode) -> float:
        return float(np.linalg.norm(episode.qpos[-1] - episode.goal["place"]))

    def success(self, episode: Episode) -> bool:
        return self.error(episode) < self.near


class World:
    """Where the actions are the positions; it counts its episodes."""

    def __init__(self, task: Point) -> None:
        self.names, self.played = task.sensors, []
        self.failed = jax.vmap(jax.vmap(task.failed, (0, None)))

    def __call__(self, policy: Policy, start: Start, goal: Goal, key: Array) -> Played:
        action = policy.actions  # type: ignore[attr-defined]
        self.played.append(len(action))
        joints = jnp.concatenate([jnp.asarray(start.qpos)[:, None], action], axis=1)
        blank = sensors.blank(self.names)
        shape = joints.shape[:2]
        measured = jax.tree.map(lambda a: jnp.broadcast_to(a, (*shape, *a.shape)), blank)
        measured = dataclasses.replace(measured, joints=joints)
        return Played(measured, action, action, self.failed(measured, goal))


FAMILY = Family(
    lambda parameters, goal: Replay(jnp.broadcast_to(parameters, (3, 2))),
    low=np.array([-2.0, 0.5]),
    high=np.array([2.0, 4.5]),
)


def contexts(places: Any) -> tuple[Start, Goal]:
    rows = len(places)
    return Start(np.zeros((rows, 2)), np.zeros((rows, 2))), {"place": np.asarray(places, float)}


def test_every_context_gets_its_own_optimum() -> None:
    task, world = Point(), World(Point())
    places = [[1.2, 3.0], [-1.0, 1.0], [0.0, 2.0], [1.2, 3.0]]
    config = SearchConfig(samples=40, elites=5, iterations=9, floor=0.001)
    plan = search(task, FAMILY, world, *contexts(places), jax.random.key(0), config)
    np.testing.assert_allclose(plan.parameters, places, atol=0.02)
    assert world.played == [160] * 9
    assert (np.diff(plan.returns, axis=0) >= 0).all()
    np.testing.assert_array_equal(plan.parameters[0], plan.parameters[3])
    final = -3 * np.sum((plan.parameters - places) ** 2, axis=1)
    np.testing.assert_allclose(plan.returns[-1], final, atol=1e-12)


def test_an_optimum_out_of_the_bounds_is_sought_at_them() -> None:
    config = SearchConfig(64, 8, 9, floor=0.02)
    world, where = World(Point()), contexts([[5.0, 0.0]])
    plan = search(Point(), FAMILY, world, *where, jax.random.key(0), config)
    np.testing.assert_allclose(plan.parameters, [[2.0, 0.5]], atol=1e-12)


def test_knots_are_joined_by_lines() -> None:
    task = Point()
    task.horizon = 5
    family = knots(task, 3)
    parameters = jnp.array([0.0, 1.0, 1.0, 0.0, -1.0, 0.5])
    actions = family.policy(parameters, {}).actions  # type: ignore[attr-defined]
    x = [[0.0, 1.0], [0.5, 0.5], [1.0, 0.0], [0.0, 0.25], [-1.0, 0.5]]
    np.testing.assert_allclose(actions, x, atol=1e-15)
    assert family.low.tolist() == [-1.0] * 6 and family.high.tolist() == [1.0] * 6


def test_most_contexts_are_interpolated() -> None:
    rng = np.random.default_rng(0)
    places = np.column_stack([rng.uniform(-1.5, 1.5, 90), rng.uniform(1.0, 4.0, 90)])
    task = Point()
    world = World(task)
    expert = Demonstrator(task, FAMILY, SearchConfig(40, 5, 7), planned=25)
    best = expert.best(world, *contexts(places), jax.random.key(1))
    assert np.median(np.linalg.norm(best - places, axis=1)) < 0.03
    # Searched, played once more to see who succeeds, and four tries in each other context.
    assert world.played == [25 * 40] * 7 + [25, 65 * 4]


def test_a_person_errs_by_the_stated_deviations() -> None:
    family = dataclasses.replace(FAMILY, relative=np.array([0.0, 0.1]), absolute=[0.05, 0.0])
    places = np.tile([[0.3, 2.0]], (400, 1))
    expert = Demonstrator(Point(), family, SearchConfig(40, 5, 7))
    world = World(Point())
    actions = np.asarray(
        expert.plan(world, *contexts(places), jax.random.key(2)).actions  # type: ignore
    )
    assert world.played[0] == 40, "equal contexts are planned once"
    x, y = actions[:, 0].T
    assert abs(x.mean() - 0.3) < 0.02 and abs(x.std() - 0.05) < 0.006
    assert abs(np.log(y).mean() - np.log(2.0)) < 0.02 and abs(np.log(y).std() - 0.1) < 0.012


def test_a_trembling_hand_is_white_noise_on_the_policys_actions() -> None:
    expert = Demonstrator(Point(), FAMILY, SearchConfig(40, 5, 7), tremor=0.2)
    places = np.tile([[0.3, 2.0]], (2, 1))
    policy = expert.plan(World(Point()), *contexts(places), jax.random.key(2))
    first = jax.tree.map(lambda a: a[0], policy)
    keys = jax.random.split(jax.random.key(3), 2000)
    carry = first.init(jnp.zeros(2), keys[0])
    actions, carries = jax.vmap(lambda key: first.act(carry, jnp.zeros(2), key))(keys)
    np.testing.assert_allclose(actions.mean(0), [0.3, 2.0], atol=0.03)
    np.testing.assert_allclose(actions.std(0), [0.2, 0.2], atol=0.012)
    assert abs(np.corrcoef(np.asarray(actions).T)[0, 1]) < 0.08
    assert (carries == 1).all(), "the policy carries on its own"


def test_an_expert_that_finds_nothing_says_how_close_it_came() -> None:
    task = Point()
    expert = Demonstrator(task, FAMILY, SearchConfig(40, 5, 7))
    with pytest.raises(PlanError, match=r"the errors by context are 1, 0\.5; widen"):
        expert.plan(World(task), *contexts([[3.0, 1.0], [0.0, 0.0]]), jax.random.key(0))


def test_episodes_that_fail_or_are_not_finite_are_refused_by_name() -> None:
    task = Point()
    far = dataclasses.replace(FAMILY, low=np.array([3.1, 0.0]), high=np.array([5.0, 1.0]))
    config = SearchConfig(8, 2, 2)
    with pytest.raises(PlanError, match="in 2 of 2 contexts, first in context 0, every episode"):
        search(task, far, World(task), *contexts([[0, 1], [0, 1]]), jax.random.key(0), config)
    with pytest.raises(PlanError, match="in 1 of 2 contexts, first in context 1, every episode"):
        places = [[0, 1], [np.nan, 1]]
        search(task, FAMILY, World(task), *contexts(places), jax.random.key(0), config)
    with pytest.raises(PlanError, match="0 < elites"):
        SearchConfig(samples=4, elites=8)
