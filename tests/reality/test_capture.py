"""Captured episodes are never lost, and never played again."""

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers.scripted_robot import CART, ScriptedRobot
from tests.helpers.sled import rest
from worldmodel.reality import CaptureError, RobotError, capture, measurement
from worldmodel.reality.safety import Nobody
from worldmodel.rollout import Replay
from worldmodel.runtime import Interrupted
from worldmodel.types import Measurement, Trial

KEY = jax.random.key(0)


def trials(count: int, push: float = 5.0) -> list[Trial]:
    return [
        Trial(rest(CART), {"x": np.array(0.1 * i)}, Replay(jnp.full((CART.horizon, 1), push + i)))
        for i in range(count)
    ]


def test_captured_episodes_are_not_played_again(tmp_path: Path) -> None:
    robot = ScriptedRobot()
    first = capture(tmp_path, robot, CART, trials(3), KEY)
    assert robot.played == 3 and robot.calls[0] == "connect" and robot.calls[-1] == "close"
    robot.calls.clear()
    again = capture(tmp_path, robot, CART, trials(3), KEY)
    assert robot.calls == []  # not even connected
    for i, (a, b) in enumerate(zip(first, again, strict=True)):
        assert a.id == b.id == i and a.goal == b.goal == trials(3)[i].goal
        for field in dataclasses.fields(a):
            ours, theirs = getattr(a, field.name), getattr(b, field.name)
            np.testing.assert_array_equal(ours, theirs, field.name)
            assert type(ours) is type(theirs)
    assert first[2].ctrl[0, 0] == 7.0 and first[2].qpos.shape == (10, 2)


def test_an_episode_that_takes_its_time_is_logged_as_it_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    robot = ScriptedRobot()
    robot.at = {3: lambda: time.sleep(1.1) if robot.played == 2 else None}
    capture(tmp_path, robot, CART, trials(2), KEY)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("episode 2 of 2: 10 frames, ")


def silent() -> Measurement:
    raise TimeoutError("no answer for 1 s")


@pytest.mark.parametrize("failure", [lambda: measurement(CART.sensors, [np.nan] * 2), silent])
def test_a_robot_that_fails_loses_nothing(tmp_path: Path, failure: object) -> None:
    robot = ScriptedRobot()
    robot.at = {6: lambda: failure() if robot.played == 2 else None}  # type: ignore[operator]
    with pytest.raises(RobotError, match="episode 1"):
        capture(tmp_path, robot, CART, trials(3), KEY)
    assert (tmp_path / "00000.npz").is_file() and robot.calls[-1] == "close"
    with np.load(tmp_path / "00001.failed.npz") as partial:
        assert partial["qpos"][:, 0].tolist() == [0, 1, 2, 3, 4, 5]
        assert partial["ctrl"][:, 0].tolist() == [6.0] * 6 and partial["goal.x"] == 0.1
    with pytest.raises(RobotError):  # again: the frames of both attempts are kept
        robot.at = {2: silent}
        capture(tmp_path, robot, CART, trials(3), KEY)
    attempts = sorted(tmp_path.glob("00001.failed*.npz"))
    assert [len(np.load(path)["qpos"]) for path in attempts] == [6, 2]
    robot.at = {}
    assert len(capture(tmp_path, robot, CART, trials(3), KEY)) == 3
    assert robot.played == 5  # one whole, one failed twice, the failed one again, the last


def test_another_trial_or_a_damaged_file_is_refused(tmp_path: Path) -> None:
    robot = ScriptedRobot()

    def refused(others: Sequence[Trial], message: str) -> None:
        with pytest.raises(CaptureError, match=message):
            capture(tmp_path, robot, CART, others, KEY)

    capture(tmp_path, robot, CART, trials(2), KEY)
    elsewhere = [dataclasses.replace(t, goal={"x": np.array(9.0)}) for t in trials(2)]
    moved = [dataclasses.replace(t, start=rest(CART, [0.1, 0.0])) for t in trials(2)]
    for others in (trials(2, 5.1), elsewhere, moved):
        refused(others, "captured for another start, goal or policy")
    whole = (tmp_path / "00001.npz").read_bytes()
    (tmp_path / "00001.npz").write_bytes(whole[: len(whole) // 2])
    refused(trials(2), r"00001\.npz is damaged")
    assert robot.played == 2


def test_what_was_captured_before_a_stop_is_kept(tmp_path: Path) -> None:
    robot = ScriptedRobot()
    with pytest.raises(Interrupted, match="episode 2: stopped before control step 0"):
        capture(tmp_path, robot, CART, trials(3), KEY, stop=lambda: robot.played >= 3)
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["00000.npz", "00001.npz", "00002.failed.npz"]


def test_a_robot_that_cannot_be_opened_is_closed(tmp_path: Path) -> None:
    class Locked(ScriptedRobot):
        def connect(self) -> None:
            raise PermissionError("/dev/ttyACM0")

    robot = Locked()
    with pytest.raises(RobotError, match=r"the robot cannot be connected \(/dev/ttyACM0\); check"):
        capture(tmp_path, robot, CART, trials(1), KEY)
    assert robot.calls == ["stop", "close"] and not list(tmp_path.iterdir())


def test_without_the_operator_s_device_the_robot_is_not_touched(tmp_path: Path) -> None:
    class Unplugged(Nobody):
        closed = False

        def connect(self) -> None:
            raise ConnectionError("/dev/ttyACM1")

        def close(self) -> None:
            self.closed = True

    robot, person = ScriptedRobot(), Unplugged()
    with pytest.raises(RobotError, match=r"operator's device cannot be connected \(/dev/ttyACM1\)"):
        capture(tmp_path, robot, CART, trials(1), KEY, operator=person)
    assert robot.calls == [] and person.closed


def test_a_robot_whose_stop_fails_is_closed_all_the_same(tmp_path: Path) -> None:
    class Stuck(ScriptedRobot):
        def stop(self) -> None:
            raise RuntimeError("the brake hangs")

    class Watching(Nobody):
        closed = False

        def close(self) -> None:
            self.closed = True

    robot, person = Stuck(), Watching()
    with pytest.raises(RuntimeError, match="the brake hangs"):
        capture(tmp_path, robot, CART, trials(1), KEY, operator=person)
    assert robot.calls[-1] == "close" and person.closed
    assert [p.name for p in tmp_path.iterdir()] == ["00000.failed.npz"]
