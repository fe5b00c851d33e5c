"""The person and the clock beside a robot: stop keys, taking over, judging, late and hung steps."""

import dataclasses
import os
import signal
import threading
from pathlib import Path

import jax
import numpy as np
import pytest

from tests.helpers import sled
from tests.helpers.scripted_robot import CART, HZ, Person, ScriptedRobot
from worldmodel import runtime
from worldmodel.errors import InputError
from worldmodel.reality import Keyboard, RobotError, Safety, capture, deploy, dry_run
from worldmodel.reality.dry_run import DryRun
from worldmodel.reality.safety import Nobody
from worldmodel.tasks import sensors
from worldmodel.types import Episode, Measurement, Trial

KEY = jax.random.key(0)
TRIAL = Trial(sled.rest(CART), {}, Person())


@dataclasses.dataclass
class Woman(Nobody):
    """Takes over in steps 2 and 3, stops before a step, and judges."""

    stops_at: float = np.inf
    verdict: bool | None = None
    step: int = -2  # she is asked before the reset, too
    judged: list[Episode] = dataclasses.field(default_factory=list)

    def wants_stop(self) -> bool:
        self.step += 1
        return self.step >= self.stops_at

    def command(self, measured: Measurement) -> np.ndarray | None:
        return np.array([77.0 - measured.joints[0]]) if self.step in (2, 3) else None

    def judge(self, episode: Episode) -> bool | None:
        self.judged.append(episode)
        return self.verdict


def test_her_commands_are_what_is_applied_and_recorded() -> None:
    robot, woman = ScriptedRobot(), Woman(verdict=True)
    episode = deploy(robot, CART, TRIAL, 0, KEY, operator=woman)
    # Her 75 N and 74 N are held within the range of the actuator.
    assert robot.sent == [10.0, 11.0, 50.0, 50.0, 14.0, 15.0, 16.0, 17.0, 18.0]
    assert episode.ctrl[:-1, 0].tolist() == robot.sent
    assert episode.action is not None and episode.intervention is not None
    assert episode.action[:-1, 0].tolist() == robot.sent  # the inverse of her commands
    assert np.flatnonzero(episode.intervention).tolist() == [2, 3]
    read = sensors.measurements(CART.scene, CART.sensors, episode)
    assert np.flatnonzero(read.intervention).tolist() == [3, 4]  # of the command that acted
    assert read.applied[3:5, 0].tolist() == [50.0, 50.0]
    assert episode.success is True and woman.judged[0].success is None


def test_her_nonsense_is_refused() -> None:
    class Absent(Woman):
        def command(self, measured: Measurement) -> np.ndarray | None:
            return np.array([np.nan])

    class Confused(Woman):
        def command(self, measured: Measurement) -> np.ndarray | None:
            return np.zeros(2)

    for operator, nonsense in ((Absent(), r"\[nan\]"), (Confused(), r"\[0\. 0\.\]")):
        robot = ScriptedRobot()
        with pytest.raises(InputError, match=f"the operator commands {nonsense} at step 0"):
            deploy(robot, CART, TRIAL, 0, KEY, operator=operator)
        assert robot.sent == [] and robot.calls[-1] == "stop"


def test_her_stop_keeps_the_frames_and_the_next_run_goes_on(tmp_path: Path) -> None:
    robot = ScriptedRobot()
    with pytest.raises(runtime.Interrupted, match="episode 0: stopped before control step 4"):
        capture(tmp_path, robot, CART, [TRIAL], KEY, operator=Woman(stops_at=4))
    assert robot.calls == ["connect", "reset", "stop", "stop", "close"] and len(robot.sent) == 4
    with np.load(tmp_path / "00000.failed.npz") as kept:
        assert kept["qpos"].shape == (5, 2)
    (episode,) = capture(tmp_path, robot, CART, [TRIAL], KEY, operator=Woman(verdict=False))
    assert episode.success is False and len(episode.qpos) == 10
    again = capture(tmp_path, robot, CART, [TRIAL], KEY)
    assert again[0].success is False and robot.played == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_the_robot_in_mid_episode(tmp_path: Path, number: signal.Signals) -> None:
    robot = ScriptedRobot({3: lambda: signal.raise_signal(number)})
    with runtime.Interrupt() as interrupt, pytest.raises(runtime.Interrupted, match="step 3"):
        capture(tmp_path, robot, CART, [TRIAL], KEY, stop=lambda: interrupt.requested)
    assert robot.frame == 3 and robot.calls[-2:] == ["stop", "close"]
    with np.load(tmp_path / "00000.failed.npz") as kept:
        assert kept["qpos"].shape == (4, 2)


def test_ctrl_c_without_a_handler_stops_the_robot_too(tmp_path: Path) -> None:
    robot = ScriptedRobot({3: lambda: signal.raise_signal(signal.SIGINT)})
    former = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's jobs ignore it
    try:
        with pytest.raises(KeyboardInterrupt):
            capture(tmp_path, robot, CART, [TRIAL], KEY)
    finally:
        signal.signal(signal.SIGINT, former)
    assert robot.calls == ["connect", "reset", "stop", "stop", "close"]
    with np.load(tmp_path / "00000.failed.npz") as kept:
        assert kept["qpos"].shape == (3, 2)  # the fourth frame was never measured


def slow(robot: ScriptedRobot, seconds: float) -> Measurement | None:
    robot.seconds += seconds


def test_late_steps_are_counted_and_too_many_end_the_episode(
    capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    robot = ScriptedRobot()
    late, in_time = (lambda: slow(robot, 0.06)), (lambda: slow(robot, 0.04))
    robot.at = {2: late, 5: late, 7: in_time}
    (episode,) = capture(tmp_path, robot, CART, [TRIAL], KEY)
    assert episode.late == 2  # 1.4 periods are in time
    assert "episode 0: 2 of 9 control steps took more than 1.5 periods" in capsys.readouterr().err
    assert capture(tmp_path, robot, CART, [TRIAL], KEY)[0].late == 2
    deploy(robot, CART, TRIAL, 0, KEY, safety=Safety(max_late=2))
    kept: list[Episode] = []
    with pytest.raises(RobotError, match=r"2 control steps .* by frame 5, the last one 0\.16 s"):
        deploy(robot, CART, TRIAL, 0, KEY, safety=Safety(max_late=1), keep=kept.append)
    assert kept[0].late == 2


def test_the_watchdog_stops_a_robot_whose_step_hangs(capsys: pytest.CaptureFixture) -> None:
    stopped = threading.Event()
    robot = ScriptedRobot({4: lambda: None if stopped.wait(30) else pytest.fail("not stopped")})
    robot.stop = stopped.set
    with pytest.raises(RobotError, match=r"no control step for 1 s at frame 4; .*check it"):
        deploy(robot, CART, TRIAL, 0, KEY, safety=Safety(silence=1.0))
    assert robot.frame == 4 and "the robot is stopped" in capsys.readouterr().err


def test_nothing_is_sent_after_the_watchdog_has_stopped_the_robot() -> None:
    stopped, robot = threading.Event(), ScriptedRobot()
    robot.stop = stopped.set

    def thinks(t: int) -> np.ndarray:
        assert t < 3 or stopped.wait(30)
        return np.zeros(1)

    trial = dataclasses.replace(TRIAL, policy=Person(thinks))
    with pytest.raises(RobotError, match=r"no control step for 1 s at frame 4; .*check it"):
        deploy(robot, CART, trial, 0, KEY, safety=Safety(silence=1.0))
    assert len(robot.sent) == 3


def test_a_robot_that_is_to_stop_is_not_reset() -> None:
    robot = ScriptedRobot()
    with pytest.raises(runtime.Interrupted, match="before control step 0"):
        deploy(robot, CART, TRIAL, 0, KEY, stop=lambda: True)
    assert robot.calls == ["stop"]
    with pytest.raises(runtime.Interrupted, match="episode dry run: stopped"):
        dry_run(robot, CART, TRIAL, KEY, stop=lambda: robot.frame >= 2)
    assert robot.frame == 2


def test_a_dry_run_sends_nothing() -> None:
    robot = ScriptedRobot()
    episode = dry_run(robot, CART, TRIAL, KEY)
    assert robot.sent == [] and robot.calls == ["connect", "close"]
    assert episode.ctrl[:-1, 0].tolist() == [10, 11, 12, 13, 14, 15, 16, 17, 18]  # it would send
    assert len(episode.qpos) == 10 and episode.source == "dry run"


def test_a_dry_run_is_no_capture_and_needs_a_robot_that_reads(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a dry run is not captured"):
        capture(tmp_path, DryRun(ScriptedRobot()), CART, [TRIAL], KEY)

    class Mute:
        control_hz, names, max_rate = HZ, CART.sensors, np.array([np.inf])

    with pytest.raises(InputError, match=r"a Mute cannot be read .* 'measure\(\)'"):
        dry_run(Mute(), CART, TRIAL, KEY)  # pyright: ignore[reportArgumentType]


def test_the_keyboard_stops_and_judges() -> None:
    reads, writes = os.pipe()
    with os.fdopen(reads) as terminal, os.fdopen(writes, "w", buffering=1) as keys:
        keyboard = Keyboard(terminal)
        episode = Episode.regular(
            3, HZ, qpos=np.zeros((2, 2)), qvel=np.zeros((2, 2)), ctrl=np.zeros((2, 1))
        )
        assert not keyboard.wants_stop()
        keys.write("\n")
        assert keyboard.wants_stop() and not keyboard.wants_stop()
        for typed, verdict in (("Y\n", True), ("maybe\nn\n", False), ("\n", None)):
            answering = threading.Timer(0.1, keys.write, [typed])
            answering.start()
            assert keyboard.judge(episode) is verdict
            assert not keyboard.wants_stop()
        keys.write("\n")  # before the question: the robot is to stop
        threading.Timer(0.1, keys.write, ["y\n"]).start()
        assert keyboard.judge(episode) is True
        assert keyboard.wants_stop() and not keyboard.wants_stop()
