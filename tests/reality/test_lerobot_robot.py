"""A LeRobot robot behind the protocol, in its own units."""

import dataclasses
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers.lerobot_robot import COLUMNS, FakeLeRobot, Gripper
from worldmodel.episodes.columns import Body, ColumnsError, Command
from worldmodel.errors import InputError
from worldmodel.reality import RobotError, deploy, dry_run
from worldmodel.reality.deploy import check_robot
from worldmodel.reality.lerobot_robot import LeRobotRobot
from worldmodel.rollout import Replay
from worldmodel.types import Start, Trial

TASK = Gripper()
SEEN = dataclasses.replace(COLUMNS, bodies=(Body("cube"),))
POSE = np.array([1.0, 0.2, 0.0, 1.0, 0.0, 0.0, 0.0])
START = Start(np.array([0.3, 0.02, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]), np.zeros(8))


def machine(fake: FakeLeRobot, **more: Any) -> LeRobotRobot:
    views = iter([{"cube": POSE}, {"cube": None}, {}] * 1000)
    return LeRobotRobot(fake, TASK, SEEN, camera=lambda: next(views), speed=5.0, **more)


def raw(elbow: float, jaw: float) -> list[float]:
    """Of joint angles [rad] and openings [m]."""
    return [-np.degrees(elbow - 0.1), 100.0 * jaw / 0.08]


def test_an_episode_in_degrees_and_per_cent_comes_back_in_si() -> None:
    fake = FakeLeRobot()
    robot = machine(fake)
    check_robot(robot, TASK)
    robot.connect()
    elbow = np.array([0.3, 0.4, 0.5, 0.5, 1.4, 0.3])  # 1.4 rad is 74 degrees: the fake stops at 60
    actions = jnp.stack([elbow / 1.5, np.full(6, 0.5)], axis=1)
    began = time.monotonic()
    episode = deploy(robot, TASK, Trial(START, {}, Replay(actions)), 0, jax.random.key(0))
    assert time.monotonic() - began > 6 / 50.0  # it waits for its ticks
    np.testing.assert_allclose(episode.qpos[0, :2], START.qpos[:2], atol=1e-9)
    limit = 0.1 + np.radians(60.0)
    acted = np.minimum(elbow, limit)
    np.testing.assert_allclose(episode.ctrl[:-1, 0], acted, rtol=1e-6)  # what it reports it sent
    np.testing.assert_allclose(episode.qpos[1:, 0], acted, rtol=1e-6)
    np.testing.assert_allclose(episode.qpos[1:, 1], 0.06, rtol=1e-6)  # the middle is 0.04 + 0.02
    np.testing.assert_allclose(
        [[s["elbow.pos"], s["jaw.pos"]] for s in fake.sent[-7:-1]],
        [raw(angle, 0.06) for angle in acted],
        rtol=1e-6,
    )
    assert episode.measured is not None and not episode.measured[:, 2:].all()
    np.testing.assert_array_equal(episode.qpos[episode.measured[:, 2], 2:], [POSE] * 2)
    robot.close()
    assert not fake.is_connected


def test_it_moves_to_a_start_at_a_bounded_speed_and_rests_there() -> None:
    fake = FakeLeRobot(state=dict(zip(("elbow.pos", "jaw.pos"), raw(-0.7, 0.02), strict=True)))
    placed: list[Start] = []
    robot = machine(fake, place=placed.append)
    robot.connect()
    measured = robot.reset(START)
    np.testing.assert_allclose(measured.joints, START.qpos[:2], atol=1e-9)
    angles = 0.1 - np.radians([s["elbow.pos"] for s in fake.sent])
    assert np.abs(np.diff(angles)).max() <= 5.0 / 50.0 + 1e-9 and len(angles) == 10 + 25
    assert placed == [START]
    stuck = dataclasses.replace(START, qpos=np.r_[-1.4, START.qpos[1:]])  # it stops at 60 degrees
    with pytest.raises(RobotError, match=r"joint 'elbow' rests 0\.4\d+ from the start, -1\.4"):
        robot.reset(stuck)
    assert fake.state["elbow.pos"] == pytest.approx(60.0)  # it holds where it stopped


def test_the_first_command_acts_for_a_whole_period() -> None:
    robot = machine(FakeLeRobot())
    robot.connect()
    step, steps = robot.step, []

    def stalled(ctrl: np.ndarray) -> Any:
        measured = step(ctrl)
        steps.append(ctrl)
        time.sleep(2 / 50.0)  # two periods, the last time after the last tick of the reset
        return measured

    robot.step = stalled
    robot.reset(START)
    began = time.monotonic()
    step(START.qpos[:2])
    assert time.monotonic() - began > 0.8 / 50.0 and len(steps) > 25


def test_an_unseen_object_ages() -> None:
    fake = FakeLeRobot()
    robot = machine(fake)
    robot.connect()
    seen, hidden, absent = (robot.measure() for _ in range(3))
    np.testing.assert_array_equal(seen.objects[0], POSE)
    assert np.isnan(hidden.objects).all() and np.isnan(absent.objects).all()
    assert seen.age[2] == 0.0 < hidden.age[2] < absent.age[2]


def test_a_robot_that_is_unplugged_or_uncalibrated_is_named() -> None:
    with pytest.raises(RobotError, match="not calibrated"):
        machine(FakeLeRobot(is_calibrated=False)).connect()
    fake = FakeLeRobot()
    robot = machine(fake)
    robot.connect()
    fake.unplugged = True
    trial = Trial(START, {}, Replay(jnp.zeros((6, 2))))
    with pytest.raises(RobotError, match=r"at frame 0 \(no answer on /dev/ttyACM0\)"):
        deploy(robot, TASK, trial, 0, jax.random.key(0))


def test_stopping_holds_the_joints_where_they_are() -> None:
    fake = FakeLeRobot()
    robot = machine(fake)
    robot.stop()  # not connected: nothing to stop
    robot.connect()
    robot.stop()
    np.testing.assert_allclose([*fake.sent[-1].values()], [20.0, 50.0], rtol=1e-9)
    fake.unplugged = True
    robot.stop()  # never raises


def test_a_dry_run_reads_and_sends_nothing() -> None:
    fake = FakeLeRobot()
    trial = Trial(START, {}, Replay(jnp.zeros((6, 2))))
    episode = dry_run(machine(fake), TASK, trial, jax.random.key(0))
    assert fake.sent == [] and not fake.is_connected
    np.testing.assert_allclose(episode.qpos[:, 0], 0.1 - np.radians(20.0))


def test_columns_that_do_not_fit_the_robot_are_refused() -> None:
    elbow, jaw = SEEN.commands
    wrong = [
        (dataclasses.replace(SEEN, commands=(elbow, Command("jaw"))), r"features \['jaw.pos'\]"),
        (
            dataclasses.replace(SEEN, commands=(elbow, dataclasses.replace(jaw, column="jaw.vel"))),
            r"column 'jaw.vel' is no feature of the device; it has \['elbow.pos', 'jaw.pos'\]",
        ),
    ]
    for columns, message in wrong:
        with pytest.raises(ColumnsError, match=message):
            LeRobotRobot(FakeLeRobot(), TASK, columns)
    constant = LeRobotRobot(
        FakeLeRobot(), TASK, wrong[0][0], camera=lambda: {}, constant={"jaw.pos": 7.0}
    )
    constant.connect()
    assert constant.step(np.zeros(2)).joints[1] == pytest.approx(0.07 * 0.08)
    with pytest.raises(InputError, match=r"the robot's objects are \[\], .* needs \['cube'\]"):
        check_robot(LeRobotRobot(FakeLeRobot(), TASK, SEEN), TASK)  # no camera


def test_a_robot_of_the_package_has_the_members_that_are_used() -> None:
    reason = "the package lerobot is not here: install it (it brings torch) to run this"
    Robot = pytest.importorskip("lerobot.robots.robot", reason=reason).Robot
    members = {name for name in dir(FakeLeRobot) if not name.startswith("_")}
    members |= {field.name for field in dataclasses.fields(FakeLeRobot)}
    assert members - {"state", "unplugged", "sent"} == set(Robot.__abstractmethods__)
