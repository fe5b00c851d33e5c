"""A policy deployed on a robot: what comes back, and what a robot or a policy may not do."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import sled
from tests.helpers.scripted_robot import CART, Person, ScriptedRobot
from worldmodel import physics
from worldmodel.errors import InputError
from worldmodel.model import WorldModel, init, make_step
from worldmodel.reality import RobotError, deploy, measurement
from worldmodel.reality.deploy import check_robot
from worldmodel.rollout import Replay
from worldmodel.tasks.play import play
from worldmodel.types import Array, Episode, Measurement, Names, Trial

KEY = jax.random.key(3)
TRIAL = Trial(sled.rest(CART), {}, Person())


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Spring:
    """Pulls back, shakes, and counts."""

    stiffness: Array
    traceable = True

    def init(self, observation: Array, key: Array) -> Array:
        return jnp.zeros(())

    def act(self, carry: Array, observation: Array, key: Array) -> tuple[Array, Array]:
        noise = 0.1 * jax.random.normal(key, (1,))
        force = 1.0 - self.stiffness * observation[:1] + 0.01 * carry + noise
        return 0.1 * force, carry + 1


def test_the_same_policy_plays_in_a_model_and_on_a_robot() -> None:
    """Where both have the same physics, one policy and one key give the same trajectory."""
    task = sled.Sled(floor=False, horizon=60)
    policy, goal = Spring(jnp.asarray(40.0)), {"x": jnp.asarray(0.5)}
    start = sled.rest(task, [0.02, -0.01])

    world = WorldModel(task.scene)
    step = make_step(world, init(world, jax.random.key(0)))
    state = physics.initial_state(task.scene, jnp.asarray(start.qpos), jnp.zeros(2))
    states, played = play(task, step, policy, state, goal, KEY)

    acting = jax.random.split(KEY)[1]  # a robot's sensors have a noise of their own
    machine = sled.robot(task)
    episode = deploy(machine, task, Trial(start, goal, policy), "robot", acting)
    np.testing.assert_allclose(episode.ctrl[:-1], played.ctrl, rtol=1e-9)
    assert episode.action is not None
    np.testing.assert_allclose(episode.action[:-1], played.action, rtol=1e-9)
    np.testing.assert_allclose(episode.qpos[1:], states.qpos, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(episode.qvel[1:, 0], played.measured.velocities[1:, 0], rtol=1e-9)
    assert np.ptp(episode.ctrl) > 0.1
    assert episode.id == "robot" and episode.source == "real" and episode.success is False


def test_a_robot_of_another_task_is_refused() -> None:
    def robot(**changes: Any) -> ScriptedRobot:
        other = ScriptedRobot()
        for name, value in changes.items():
            setattr(other, name, value)
        return other

    refusals = [
        ({"control_hz": 30.0}, r"takes 30\.0 commands per second, scene 'cart' 10"),
        ({"names": Names(("y", "x"), (), (), ("push",))}, r"joints are \['y', 'x'\], .*this order"),
        ({"names": ["x", "y"]}, "names are a list; give Names"),
        ({"names": Names(("x", "y"), (), (("a", "b"),), ("push",))}, "touch"),
        ({"max_rate": np.full(2, np.inf)}, r"max_rate is \[inf inf\]; give \(1,\) positive"),
        ({"max_rate": np.array([np.nan])}, r"max_rate is \[nan\]; give \(1,\) positive"),
    ]
    check_robot(robot(), CART)
    check_robot(robot(names=Names(["x", "y"], [], [], ["push"])), CART)  # type: ignore[arg-type]
    for changes, message in refusals:
        with pytest.raises(InputError, match=message):
            check_robot(robot(**changes), CART)


def answered(joints: Any) -> Callable[[], Measurement]:
    return lambda: measurement(CART.sensors, joints)


def failing(error: Exception) -> Callable[[], Measurement]:
    def fail() -> Measurement:
        raise error

    return fail


FAILURES = [
    (answered([np.nan, 0.0]), r"at frame 4 .*no finite position of \['x'\]; check its sensors"),
    (answered([0.0, np.inf]), r"at frame 4 .*no finite position of \['y'\]; check its sensors"),
    (answered(np.zeros(3)), r"at frame 4 .*joints of the shape \(3,\), not \(2,\)"),
    (lambda: "3.2 V", "at frame 4 the robot reports a str, which is no Measurement"),
    (failing(TimeoutError("no answer in 1 s")), r"at frame 4 \(no answer in 1 s\); check it"),
    (failing(ConnectionResetError("unplugged")), r"at frame 4 \(unplugged\); check it, then run"),
]


@pytest.mark.parametrize(("failure", "message"), FAILURES)
def test_a_robot_that_fails_is_named_and_what_was_captured_is_kept(
    failure: Callable[[], Measurement], message: str
) -> None:
    kept: list[Episode] = []
    robot = ScriptedRobot({4: failure})
    with pytest.raises(RobotError, match=f"episode 7: .*{message}"):
        deploy(robot, CART, TRIAL, 7, KEY, keep=kept.append)
    assert robot.calls == ["reset", "stop"]
    (episode,) = kept
    assert episode.qpos[:, 0].tolist() == [0, 1, 2, 3]
    assert episode.qvel[:, 1].tolist() == [0, 20, 20, 20]
    assert episode.ctrl[:, 0].tolist() == [10, 11, 12, 12]
    assert episode.action is not None
    assert len(episode.time) == len(episode.valid) == len(episode.action) == 4
    assert episode.success is None

    with pytest.raises(RobotError, match="frame 1 "):
        deploy(ScriptedRobot({1: failure}), CART, TRIAL, 7, KEY, keep=kept.append)
    start = kept[1]  # alone
    assert start.action is not None and start.intervention is not None
    assert start.ctrl.shape == start.action.shape == (1, 1) and start.intervention.shape == (1,)
    with pytest.raises(RobotError, match="frame 0 "):
        deploy(ScriptedRobot({0: failure}), CART, TRIAL, 7, KEY, keep=kept.append)
    assert len(kept) == 2


@pytest.mark.parametrize("bad", [np.array([np.nan]), np.zeros(2), 0.5])
def test_a_policy_that_commands_nonsense_is_refused_before_it_is_played(bad: object) -> None:
    robot = ScriptedRobot()
    person = Person(lambda t: jnp.asarray(bad if t == 3 else [0.0]))
    trial = dataclasses.replace(TRIAL, policy=person)
    with pytest.raises(InputError, match=r"episode a: the policy .* at step 3; task .* takes 1"):
        deploy(robot, CART, trial, "a", KEY)
    assert robot.sent == [0.0, 0.0, 0.0] and robot.calls[-1] == "stop"


@pytest.mark.parametrize("size", [2, 0])
def test_a_traced_policy_of_another_size_is_refused_before_the_robot_moves(size: int) -> None:
    robot = ScriptedRobot()
    trial = dataclasses.replace(TRIAL, policy=Replay(jnp.zeros((9, size))))
    with pytest.raises(
        InputError, match=rf"action has the shape \({size},\); task .* takes \(1,\)"
    ):
        deploy(robot, CART, trial, "a", KEY)
    assert robot.sent == []


def test_commands_are_held_within_range_and_rate_and_so_recorded() -> None:
    robot = ScriptedRobot(max_rate=np.array([200.0]))  # 20 N a step
    wanted = [30.0, 99.0, 99.0, -99.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    person = Person(lambda t: jnp.array([wanted[t]]))
    episode = deploy(robot, CART, dataclasses.replace(TRIAL, policy=person), 0, KEY)
    assert robot.sent == [20.0, 40.0, 50.0, 30.0, 10.0, 0.0, 0.0, 0.0, 0.0]
    assert episode.ctrl[:-1, 0].tolist() == robot.sent
    assert episode.action is not None
    assert episode.action[:-1, 0].tolist() == wanted  # the policy's own


def test_what_the_robot_reports_to_have_applied_is_recorded() -> None:
    def clipped() -> Measurement:
        return measurement(CART.sensors, [3.0, 6.0], applied=np.array([5.0]))

    robot = ScriptedRobot({3: clipped}, max_rate=np.array([10.0]))
    episode = deploy(robot, CART, TRIAL, 0, KEY)
    assert robot.sent[:5] == [1.0, 2.0, 3.0, 6.0, 7.0]  # at most 1 N from what acted
    assert episode.ctrl[:5, 0].tolist() == [1.0, 2.0, 5.0, 6.0, 7.0]


def test_an_episode_that_its_task_cannot_judge_is_kept() -> None:
    class Broken(type(CART)):
        def success(self, episode: Episode) -> bool | None:
            raise KeyError("target")

    kept: list[Episode] = []
    with pytest.raises(KeyError):
        deploy(ScriptedRobot(), Broken(), TRIAL, 0, KEY, keep=kept.append)
    assert len(kept[0].qpos) == 10 and kept[0].success is None


def test_an_episode_ends_where_its_task_has_failed() -> None:
    class Narrow(type(CART)):
        def failed(self, measured: Measurement, goal: Any) -> Array:
            return measured.joints[0] > 3.5

    episode = deploy(ScriptedRobot(), Narrow(), TRIAL, 0, KEY)
    assert episode.qpos[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert episode.success is False
