"""The task's strokes against kinematics, the planner against a simulator."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest

from experiments.slide.reality import commands, final_places, simulator, slide_task
from worldmodel._mujoco import mujoco
from worldmodel.reality.disturbances import FrictionPatches
from worldmodel.tasks import sensors
from worldmodel.tasks.errors import TaskError
from worldmodel.tasks.play import Played, episodes
from worldmodel.tasks.slide import expert, task
from worldmodel.tasks.slide.expert import EXACT, Demonstrator, invert, make_table
from worldmodel.types import Episode, Goal

TASK, KEY = slide_task(), jax.random.key(0)
FINGER = 0.055  # [m] both radii


@pytest.fixture(scope="module")
def table() -> np.ndarray:
    return make_table(simulator(()))


def goals(count: int, seed: int) -> Goal:
    keys = jax.random.split(jax.random.key(seed), count)
    return jax.device_get(jax.vmap(TASK.reset)(keys)[1])


def along(direction: np.ndarray) -> np.ndarray:
    return np.stack([np.cos(direction), np.sin(direction)], axis=-1)


def tip_of(joints: np.ndarray) -> np.ndarray:
    return np.asarray(task.forward_kinematics(joints))


@dataclasses.dataclass
class Fan:
    """Strokes over the whole range that the arm plays, and the fingertip under their commands."""

    goal: Goal
    speed: np.ndarray
    direction: np.ndarray
    tip: np.ndarray  # (strokes, horizon + 1, 2), the start first
    begin: np.ndarray  # (strokes,) the frame in which the stroke begins

    @property
    def place(self) -> np.ndarray:
        return np.asarray(task.puck_place(self.goal["start"]))


@pytest.fixture(scope="module")
def fan() -> Fan:
    grid = np.meshgrid(
        [-0.15, 0.0, 0.15], np.geomspace(*task.SPEED, 4), np.linspace(*task.DIRECTION, 5)
    )
    start, speed, direction = (x.reshape(-1) for x in grid)
    goal = {"start": start, "distance": np.ones_like(start), "direction": direction}
    tip = tip_of(commands(task.action_of(speed, direction, goal), goal))
    tip = np.concatenate([np.tile(task.REST, (len(tip), 1, 1)), tip], axis=1)
    behind = np.asarray(task.puck_place(start)) - task.REACH * along(direction)
    off = np.linalg.norm(tip - behind[:, None], axis=-1)
    return Fan(goal, speed, direction, tip, np.argmin(off, axis=1))


def test_kinematics_are_the_scenes() -> None:
    rng = np.random.default_rng(0)
    bearing, radius = rng.uniform(-np.pi, np.pi, 50), rng.uniform(0.05, 0.69, 50)
    tip = radius[:, None] * along(bearing)
    joints = np.asarray(task.inverse_kinematics(tip))
    np.testing.assert_allclose(tip_of(joints), tip, atol=1e-12)
    assert (joints[:, 1] >= 0).all()  # one of the two elbows, always the same
    model = TASK.scene.mj_model
    data = mujoco.MjData(model)
    for q, place in zip(joints[:5], tip, strict=False):
        data.qpos[:2] = q
        mujoco.mj_kinematics(model, data)
        np.testing.assert_allclose(data.geom("finger").xpos[:2], place, atol=1e-12)


def test_out_of_reach_is_approached_as_far_as_the_arm_goes() -> None:
    tip = np.array([[3.0, 4.0], [0.6, -0.8]])
    reached = tip_of(np.asarray(task.inverse_kinematics(tip)))
    nearest = sum(task.LINKS) * tip / np.linalg.norm(tip, axis=1, keepdims=True)
    np.testing.assert_allclose(reached, nearest, atol=1e-12)


def test_the_run_in_stays_clear_of_the_puck_and_below_its_speed(fan: Fan) -> None:
    clear = np.linalg.norm(fan.tip - fan.place[:, None], axis=-1)
    step = np.linalg.norm(np.diff(fan.tip, axis=1), axis=-1)
    assert fan.begin.max() <= 40
    for i, begin in enumerate(fan.begin):
        assert clear[i, : begin + 1].min() > FINGER + 0.9 * (task.REACH - FINGER)
        # A straight step in angle and distance, whose radius shrinks meanwhile.
        assert step[i, :begin].max() < task.RUN_IN / task.CONTROL_HZ + 1e-9
        assert step[i, begin - 1] < 3 * task.CLOSE  # it has slowed down


def test_the_tip_goes_through_the_puck_along_the_stroke_at_its_speed(fan: Fan) -> None:
    assert task.REACH < task.RUN_UP  # the puck's place lies on the run-up
    whole = task.RUN_UP + task.RUN_OUT
    for i, first in enumerate(fan.begin):
        way = fan.tip[i, first:] - (fan.place[i] - task.REACH * along(fan.direction[i]))
        gone = way @ along(fan.direction[i])
        np.testing.assert_allclose(way, gone[:, None] * along(fan.direction[i]), atol=1e-9)
        assert abs(gone[0]) < 1e-9 and (np.diff(gone) > -1e-9).all()
        assert gone[-1] == pytest.approx(whole, abs=1e-9)  # also the slowest one has ended
        # Under even acceleration the root of the distance grows evenly: v² = 2 a s, where a is such
        # that v is the stroke's at the run-up's end; likewise backwards from the end.
        for run, distance in ((task.RUN_UP, gone), (task.RUN_OUT, whole - gone)):
            inside = (distance[1:] <= run) & (distance[:-1] <= run) & (np.diff(gone) > 1e-6)
            inside &= np.minimum(distance[1:], distance[:-1]) > 1e-6
            rate = np.abs(np.diff(np.sqrt(np.maximum(distance, 0.0)))) * task.CONTROL_HZ
            exact = fan.speed[i] / (2 * np.sqrt(run))
            np.testing.assert_allclose(rate[inside], exact, rtol=1e-5)
        assert np.diff(gone).max() * task.CONTROL_HZ < fan.speed[i] + 1e-9


def test_a_command_depends_on_the_command_that_acted_alone() -> None:
    goal = jax.tree.map(lambda x: x[0], goals(1, 1))
    one = dataclasses.replace(sensors.blank(TASK.sensors), applied=np.array([-0.9, 2.0]))
    moved = dataclasses.replace(one, joints=np.ones(6), velocities=np.ones(6))
    action = np.array([0.2, 0.1])
    np.testing.assert_array_equal(
        TASK.command(one, action, goal), TASK.command(moved, action, goal)
    )


def test_commands_have_a_finite_derivative_everywhere(fan: Fan) -> None:
    """At the stroke's start, in the puck's place and after its end, where roots have none."""
    blank = sensors.blank(TASK.sensors)
    i = 7
    goal = {name: value[i] for name, value in fan.goal.items()}

    def ctrl(applied: Any, action: Any) -> Any:
        return TASK.command(dataclasses.replace(blank, applied=applied), action, goal)

    action = task.action_of(fan.speed[i], fan.direction[i], goal)
    slope = jax.jit(jax.vmap(jax.jacfwd(ctrl, (0, 1)), (0, None)))
    slopes = slope(task.inverse_kinematics(fan.tip[i]), action)
    assert all(np.isfinite(np.asarray(s)).all() for s in slopes)


def test_the_arm_does_not_touch_the_puck_before_the_stroke(fan: Fan) -> None:
    action = task.action_of(fan.speed, fan.direction, fan.goal)
    policy = expert.Constant(action[::7])
    goal = {name: value[::7] for name, value in fan.goal.items()}
    played = simulator(())(policy, task.at_rest(goal["start"]), goal, KEY)
    touch = np.asarray(played.measured.touch)[..., 0]
    assert touch.any(axis=1).all()
    assert (np.argmax(touch, axis=1) > fan.begin[::7]).all()


def test_strokes_are_held_within_what_the_arm_can_play() -> None:
    goal = {name: np.zeros(2) for name in task.GOAL} | {"direction": np.array([1.1, -1.1])}
    speed, direction = task.stroke(np.array([[9.0, 1.0], [-9.0, -1.0]]), goal)
    np.testing.assert_allclose(speed, task.SPEED[::-1])
    np.testing.assert_allclose(direction, task.DIRECTION[::-1])


def test_actions_are_the_inverse_of_strokes() -> None:
    goal, rng = goals(20, 6), np.random.default_rng(0)
    speed = np.geomspace(*task.SPEED, 20)
    direction = np.clip(goal["direction"] + rng.uniform(-0.3, 0.3, 20), *task.DIRECTION)
    back = task.stroke(task.action_of(speed, direction, goal), goal)
    np.testing.assert_allclose(back, (speed, direction), rtol=1e-12)


def test_goals_targets_errors_and_hindsight(table: np.ndarray) -> None:
    goal = goals(500, 1)
    assert all(np.array_equal(goals(500, 1)[name], goal[name]) for name in task.GOAL)
    offset = np.asarray(task.target(goal)) - np.asarray(task.puck_place(goal["start"]))
    np.testing.assert_allclose(np.linalg.norm(offset, axis=1), goal["distance"])
    np.testing.assert_allclose(np.arctan2(offset[:, 1], offset[:, 0]), goal["direction"])
    observed = np.asarray(jax.vmap(lambda g: TASK.observe(sensors.blank(TASK.sensors), g))(goal))
    assert np.abs(observed).max() <= 1.0 and observed.std(0) == pytest.approx(0.577, rel=0.1)

    few = {name: value[:4] for name, value in goal.items()}
    played = played_by(EXACT, table, few)
    for episode in episodes(TASK, played, few, source="real"):
        target = np.asarray(task.target(episode.goal))
        stopped = dataclasses.replace(episode, qpos=episode.qpos.copy())
        stopped.qpos[-1, task.PUCK] = target + np.array([0.03, 0.04])
        assert TASK.error(stopped) == pytest.approx(0.05) and not TASK.success(stopped)
        stopped.qpos[-1, task.PUCK] = target
        hindsight = TASK.goal(dataclasses.replace(stopped, goal={}))
        for name in task.GOAL:
            assert hindsight[name] == pytest.approx(float(episode.goal[name]), abs=1e-9)
        assert TASK.success(stopped)


def test_the_reward_adds_up_to_the_distance_that_the_puck_came_nearer(table: np.ndarray) -> None:
    goal = goals(1, 3)
    measured = jax.tree.map(lambda x: np.asarray(x)[0], played_by(EXACT, table, goal).measured)
    one = {name: value[0] for name, value in goal.items()}
    before, after = (
        jax.tree.map(lambda x, s=s: x[s], measured) for s in (slice(-1), slice(1, None))
    )
    rewards = jax.vmap(lambda a, b: TASK.reward(a, np.zeros(2), b, one))(before, after)
    remaining = np.linalg.norm(measured.joints[-1, task.PUCK] - np.asarray(task.target(one)))
    assert float(rewards.sum()) == pytest.approx(float(one["distance"]) - remaining, abs=1e-3)


def test_a_stroke_is_not_read_from_a_command() -> None:
    with pytest.raises(TaskError, match="record the episode's action"):
        TASK.action(sensors.blank(TASK.sensors), np.zeros(2), goals(1, 0))


def played_by(person: Demonstrator, table: np.ndarray, goal: Goal) -> Played:
    start = task.at_rest(goal["start"])
    return simulator(())(person.act(table, goal, KEY), start, goal, KEY)


def missed(table: np.ndarray, goal: Goal) -> float:
    ends = played_by(EXACT, table, goal).measured.joints[:, -1, task.PUCK]
    return float(np.linalg.norm(ends - task.target(goal), axis=1).mean())


def test_plans_reach_their_targets_in_the_simulator_they_came_from(table: np.ndarray) -> None:
    goal = goals(40, 2)
    own = missed(table, goal)
    # The grid is coarse, and linear between its nodes: one to two centimetres.
    assert own < 0.03
    other = make_table(simulator((FrictionPatches("puck", ("puck_base",), factor=1.3),)))
    # Distance goes as 1/friction: 30 % of some 0.8 m.
    assert missed(other, goal) > max(4 * own, 0.1)


def test_where_strokes_end_is_where_their_episodes_end(table: np.ndarray) -> None:
    """Evaluation stops when the puck rests, and plays no more."""
    goal = goals(6, 4)
    action = EXACT.act(table, goal, KEY).action
    qpos = np.asarray(task.at_rest(goal["start"]).qpos)
    places = final_places(((), qpos, commands(action, goal)))
    ends = played_by(EXACT, table, goal).measured.joints[:, -1, task.PUCK]
    np.testing.assert_allclose(places, ends, atol=1e-5)


def bilinear(start: np.ndarray, speed: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """A mechanics that the table's interpolation represents exactly."""
    fast = np.log(speed) - np.log(expert.SPEEDS[0])
    return np.stack([0.1 + 0.6 * fast, 0.5 * start + 0.7 * fast * direction], axis=-1)


def test_planning_inverts_the_table() -> None:
    grid = np.meshgrid(expert.STARTS, expert.SPEEDS, expert.DIRECTIONS, indexing="ij")
    table = bilinear(*grid)
    rng = np.random.default_rng(3)
    start, speed, direction = (
        rng.uniform(low, high, 100) for low, high in ((-0.15, 0.15), (0.6, 4.0), (-0.6, 0.6))
    )
    x, y = bilinear(start, speed, direction).T
    goal = {"start": start, "distance": np.hypot(x, y), "direction": np.arctan2(y, x)}
    # Newton's last step is quadratic: from 1e-4 of numerical Jacobian to far below a micrometre.
    np.testing.assert_allclose(invert(table, goal), (speed, direction), atol=1e-6)

    far = {"start": np.zeros(1), "distance": np.array([50.0]), "direction": np.zeros(1)}
    (fast,), (turned,) = invert(table, far)
    assert fast == pytest.approx(expert.SPEEDS[-1], rel=1e-9)
    assert abs(turned) < 0.2


def test_a_simulator_that_diverges_is_named_by_its_stroke() -> None:
    def diverging(policy: Any, start: Any, goal: Goal, key: Any) -> Any:
        joints = np.zeros((len(goal["start"]), 2, 6))
        joints[5, -1, task.PUCK] = np.nan
        blank = sensors.blank(TASK.sensors)
        return Played(dataclasses.replace(blank, joints=joints), joints, joints, joints)

    with pytest.raises(TaskError, match=r"diverges on the stroke of 0.40 m/s .* from -0.16 m"):
        make_table(diverging)


def test_demonstrations_are_plans_with_a_persons_noise(table: np.ndarray) -> None:
    goal = goals(3000, 4)
    planned = invert(table, goal)
    exact = EXACT.act(table, goal, KEY).action
    np.testing.assert_array_equal(exact, task.action_of(*planned, goal))
    person = Demonstrator()
    one, two = (person.act(table, goal, jax.random.key(5)).action for _ in range(2))
    np.testing.assert_array_equal(one, two)
    speed, direction = (np.asarray(x) for x in task.stroke(one, goal))
    errors = np.log(speed / planned[0]), direction - planned[1]
    for error, width in zip(errors, (person.speed, person.direction), strict=True):
        # 3000 samples: the standard error of a deviation is 1.3 %; hardly one is clipped.
        assert error.std() == pytest.approx(width, rel=0.05)
        assert abs(error.mean()) < 4 * width / np.sqrt(3000)
    assert abs(np.corrcoef(*errors)[0, 1]) < 0.08


def test_the_expert_plans_in_what_it_is_given(table: np.ndarray) -> None:
    goal = goals(5, 7)
    policy = EXACT.plan(simulator(()), task.at_rest(goal["start"]), goal, KEY)
    np.testing.assert_array_equal(policy.action, EXACT.act(table, goal, KEY).action)
    assert isinstance(played_by(EXACT, table, goal), Played)


def test_an_episode_keeps_its_stroke(table: np.ndarray) -> None:
    goal = goals(2, 8)
    played = played_by(Demonstrator(), table, goal)
    episode: Episode = episodes(TASK, played, goal, source="real")[1]
    assert episode.action is not None and (episode.action == episode.action[0]).all()
    assert episode.qpos.shape == (TASK.horizon + 1, 6) and episode.success is not None
