"""A person who takes over through a LeRobot teleoperator: her commands act and are recorded."""

import dataclasses
import enum
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import lerobot_robot
from tests.helpers.lerobot_robot import FakeLeRobot, FakeTeleoperator, Gripper
from worldmodel.episodes.columns import Body, ColumnsError, Command
from worldmodel.reality import Keyboard, RobotError, capture
from worldmodel.reality.lerobot_robot import LeRobotRobot, LeRobotTeleoperator
from worldmodel.rollout import Replay
from worldmodel.types import Episode, Start, Trial


class Bare(Gripper):
    """The gripper alone is measured."""

    def __init__(self) -> None:
        super().__init__()
        self.sensors = dataclasses.replace(self.sensors, objects=())


TASK = Bare()
COLUMNS = dataclasses.replace(lerobot_robot.COLUMNS, bodies=(Body("cube"),))
START = Start(np.array([0.3, 0.02, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]), np.zeros(8))
TRIAL = Trial(START, {}, Replay(jnp.full((6, 2), 0.2)))  # 0.3 rad and 0.048 m
DEGREES = [10.0, 20.0, 30.0, 40.0, 50.0, 55.0]  # of the leader's elbow, one a step


def squeezed(action: Mapping[str, Any]) -> bool:
    return action["jaw.pos"] < 50.0


class Event(enum.Enum):
    SUCCESS = "success"
    INTERVENTION = "is_intervention"


class Evented(FakeTeleoperator):
    """A teleoperator that knows from step 3 on that she intervenes."""

    def get_teleop_events(self) -> dict[Event, bool]:
        return {Event.SUCCESS: True, Event.INTERVENTION: self.asked > 3}


def led(folder: Path, leader: LeRobotTeleoperator, **more: Any) -> tuple[Episode, FakeLeRobot]:
    """An episode in which she may lead, and the robot."""
    fake = FakeLeRobot()
    robot = LeRobotRobot(fake, TASK, COLUMNS, speed=5.0, **more)
    (episode,) = capture(folder, robot, TASK, [TRIAL], jax.random.key(0), operator=leader)
    return episode, fake


@pytest.mark.parametrize("way", ["trigger", "event", "always"])
def test_her_commands_act_and_are_recorded(tmp_path: Path, way: str) -> None:
    jaws = [80.0, 80.0, 80.0, 20.0, 20.0, 20.0]
    actions = [{"elbow.pos": e, "jaw.pos": j} for e, j in zip(DEGREES, jaws, strict=True)]
    device = (Evented if way == "event" else FakeTeleoperator)(actions)
    takes_over = squeezed if way == "trigger" else None
    episode, fake = led(tmp_path, LeRobotTeleoperator(device, TASK, COLUMNS, takes_over=takes_over))
    hers = np.arange(6) >= (0 if way == "always" else 3)
    assert episode.intervention is not None and episode.action is not None
    np.testing.assert_array_equal(episode.intervention[:-1], hers)
    elbow, jaw = 0.1 - np.radians(DEGREES), 0.08 * np.array(jaws) / 100.0
    wanted = np.where(hers[:, None], np.stack([elbow, jaw], 1), [0.3, 0.048])
    np.testing.assert_allclose(episode.ctrl[:-1], wanted, rtol=1e-6)
    np.testing.assert_allclose(episode.action[:-1][hers, 0], elbow[hers] / 1.5, rtol=1e-6)
    assert [s["elbow.pos"] for s in fake.sent[-8:-2]][3:] == pytest.approx(DEGREES[3:], rel=1e-6)
    assert device.asked == 6 and not device.is_connected


def test_her_command_is_held_within_the_rate(tmp_path: Path) -> None:
    device = FakeTeleoperator([{"elbow.pos": 55.0, "jaw.pos": 50.0}] * 6)
    slow = np.array([1.0, np.inf])
    episode, _ = led(tmp_path, LeRobotTeleoperator(device, TASK, COLUMNS), max_rate=slow)
    steps = np.diff(episode.ctrl[:-1, 0], prepend=0.3)
    np.testing.assert_allclose(steps, -1.0 / 50.0, rtol=1e-5)


def test_an_actuator_that_she_does_not_command_holds(tmp_path: Path) -> None:
    elbow, jaw = COLUMNS.commands
    columns = dataclasses.replace(COLUMNS, commands=(elbow, Command("jaw")))
    device = FakeTeleoperator([{"elbow.pos": 10.0, "jaw.pos": 99.0}] * 6)
    episode, _ = led(tmp_path, LeRobotTeleoperator(device, TASK, columns))
    np.testing.assert_allclose(episode.ctrl[:, 1], 0.02, rtol=1e-6)  # of the start
    strange = (elbow, dataclasses.replace(jaw, column="jaw.vel"))
    with pytest.raises(ColumnsError, match=r"column 'jaw.vel' is no feature of the device"):
        LeRobotTeleoperator(device, TASK, dataclasses.replace(COLUMNS, commands=strange))


@pytest.mark.parametrize(
    ("last", "cause"),
    [
        (
            ConnectionError("no answer on /dev/ttyACM1"),
            "device stopped answering at frame 3",
        ),
        ({"jaw.pos": 1.0}, r"the teleoperator gives \['jaw.pos'\], without 'elbow.pos'"),
    ],
)
def test_a_teleoperator_that_falls_silent_stops_the_robot(
    tmp_path: Path, last: Any, cause: str
) -> None:
    device = FakeTeleoperator([{"elbow.pos": 10.0, "jaw.pos": 50.0}] * 2 + [last] * 4)
    with pytest.raises(RobotError, match=cause):
        led(tmp_path, LeRobotTeleoperator(device, TASK, COLUMNS))
    assert not device.is_connected
    with np.load(tmp_path / "00000.failed.npz") as kept:
        assert len(kept["qpos"]) == 3 and kept["intervention"].all()


def test_one_that_is_not_calibrated_is_refused_before_the_robot_moves(tmp_path: Path) -> None:
    device = FakeTeleoperator([], is_calibrated=False)
    fake = FakeLeRobot()
    robot, leader = LeRobotRobot(fake, TASK, COLUMNS), LeRobotTeleoperator(device, TASK, COLUMNS)
    with pytest.raises(RobotError, match="the teleoperator is not calibrated"):
        capture(tmp_path, robot, TASK, [TRIAL], jax.random.key(0), operator=leader)
    assert fake.sent == [] and not fake.is_connected and not device.is_connected


def test_the_keyboard_watches_while_she_leads(tmp_path: Path) -> None:
    device = FakeTeleoperator([{"elbow.pos": 10.0, "jaw.pos": 50.0}] * 6)
    with (tmp_path / "keys").open("w+") as keys:  # she types nothing
        watched = Keyboard(keys, LeRobotTeleoperator(device, TASK, COLUMNS))
        episode, _ = led(tmp_path / "out", watched)  # pyright: ignore[reportArgumentType]
    assert episode.intervention is not None and episode.intervention.all()
    assert episode.success is None and not device.is_connected


def test_a_teleoperator_of_the_package_has_the_members_that_are_used() -> None:
    reason = "the package lerobot is not here: install it (it brings torch) to run this"
    module = pytest.importorskip("lerobot.teleoperators.teleoperator", reason=reason)
    members = {name for name in dir(FakeTeleoperator) if not name.startswith("_")}
    members |= {field.name for field in dataclasses.fields(FakeTeleoperator)}
    assert members - {"actions", "asked"} == set(module.Teleoperator.__abstractmethods__)
