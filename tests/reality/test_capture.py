"""Captured episodes are never lost, and never played again."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tests.helpers import sled
from worldmodel.reality import CaptureError, HiddenPhysics, RobotError, SimulatedRobot, capture
from worldmodel.runtime import Interrupted
from worldmodel.types import Measurement, Trial

SCENE = sled.scene()


@dataclasses.dataclass
class CountingRobot:
    """A robot that counts the episodes it plays and can fail in the middle of one."""

    fails_at: tuple[int, int] | None = None  # episode, frame
    how: str = "nan"
    played: int = 0
    frame: int = 0
    control_hz: float = sled.HZ
    robot: SimulatedRobot = dataclasses.field(default_factory=lambda: sled.robot(HiddenPhysics()))

    def reset(self, qpos: np.ndarray) -> Measurement:
        self.played += 1
        self.frame = 0
        return self.robot.reset(qpos)

    def step(self, ctrl: np.ndarray) -> Measurement:
        self.frame += 1
        measured = self.robot.step(ctrl)
        if self.fails_at == (self.played - 1, self.frame):
            if self.how == "silent":
                raise TimeoutError("no answer for 1 s")
            return Measurement(np.full(3, np.nan), measured.contact)
        return measured


def trials(count: int, push: float = 5.0) -> list[Trial]:
    return [
        Trial(np.zeros(3), np.full((40, 1), push + i), {"x": np.array(0.1 * i)}, np.array([push]))
        for i in range(count)
    ]


def test_captured_episodes_are_not_played_again(tmp_path: Path) -> None:
    robot = CountingRobot()
    first = capture(tmp_path, robot, SCENE, trials(3))
    assert robot.played == 3
    again = capture(tmp_path, robot, SCENE, trials(3))
    assert robot.played == 3
    for i, (a, b) in enumerate(zip(first, again, strict=True)):
        assert a.id == b.id == i and a.goal == b.goal == trials(3)[i].goal
        for name in ("time", "qpos", "qvel", "ctrl", "valid", "fresh", "contact", "action"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    assert first[0].contact is not None and first[0].contact.any()  # the floor
    assert first[0].qpos.shape == (41, 3) and first[2].qpos[-1, 0] > first[0].qpos[-1, 0] > 0


@pytest.mark.parametrize("how", ["nan", "silent"])
def test_a_robot_that_fails_loses_nothing(tmp_path: Path, how: str) -> None:
    robot = CountingRobot(fails_at=(1, 30), how=how)
    with pytest.raises(RobotError, match="episode 1"):
        capture(tmp_path, robot, SCENE, trials(3))
    assert (tmp_path / "00000.npz").is_file()
    with np.load(tmp_path / "00001.failed.npz") as partial:
        assert partial["qpos"].shape == (30, 3) and np.isfinite(partial["qpos"]).all()
        assert partial["contact"].shape == (30, 1)
    robot.fails_at = None
    assert len(capture(tmp_path, robot, SCENE, trials(3))) == 3
    assert robot.played == 4  # one whole, one failed, the failed one again, the last


def test_another_trial_or_a_damaged_file_is_refused(tmp_path: Path) -> None:
    robot = CountingRobot()
    capture(tmp_path, robot, SCENE, trials(2))
    elsewhere = [dataclasses.replace(t, goal={"x": np.array(9.0)}) for t in trials(2)]
    unnamed = [dataclasses.replace(t, goal={}) for t in trials(2)]
    for others in (trials(2, 5.1), elsewhere, unnamed):
        with pytest.raises(CaptureError, match="captured for another goal, action"):
            capture(tmp_path, robot, SCENE, others)
    whole = (tmp_path / "00001.npz").read_bytes()
    (tmp_path / "00001.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CaptureError, match=r"00001\.npz is damaged"):
        capture(tmp_path, robot, SCENE, trials(2))
    assert robot.played == 2


def test_a_signal_stops_between_episodes(tmp_path: Path) -> None:
    robot = CountingRobot()
    with pytest.raises(Interrupted):
        capture(tmp_path, robot, SCENE, trials(3), stop=lambda: robot.played >= 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["00000.npz", "00001.npz"]


def test_other_commands_under_the_same_action_are_refused(tmp_path: Path) -> None:
    capture(tmp_path, CountingRobot(), SCENE, trials(1))
    (trial,) = trials(1)
    for ctrl in (trial.ctrl + 1.0, trial.ctrl[:20]):
        with pytest.raises(CaptureError, match="another goal, action or commands"):
            capture(tmp_path, CountingRobot(), SCENE, [dataclasses.replace(trial, ctrl=ctrl)])
