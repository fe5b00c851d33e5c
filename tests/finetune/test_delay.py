"""Commands that act later than the log says are noticed, and others are not."""

import dataclasses

import numpy as np
import pytest

from tests.helpers.logged_arm import FREE, HZ, Log, arm, recorded
from worldmodel.episodes.windows import Windows, cut_windows
from worldmodel.finetune.delay import Delay, delays
from worldmodel.finetune.gauss_newton import IdentifyConfig, identify
from worldmodel.model import WorldModel
from worldmodel.scene import FreeParameter

C = IdentifyConfig(engine="c")


def windows_of(log: Log, episodes: int = 6) -> Windows:
    played = recorded(log, episodes=episodes, frames=60)
    return cut_windows(played, [np.arange(1, 45, 11)] * episodes, 12)


def noticed(windows: Windows, free: tuple[FreeParameter, ...] = FREE) -> tuple[Delay, ...]:
    world = WorldModel(arm(), free)
    return delays(world, identify(world, windows, C), windows, C)


@pytest.mark.parametrize("frames", [1, 2])
def test_late_commands_are_noticed(frames: int) -> None:
    each = noticed(windows_of(Log(delay=frames)))
    assert [d.actuators for d in each] == [("shoulder",), ("elbow",), ("shoulder", "elbow")]
    for delay in each:
        assert delay.late
        assert delay.seconds == pytest.approx(frames / HZ, rel=0.25)
        assert delay.low < delay.seconds < delay.high


def test_commands_in_time_are_not_warned_of() -> None:
    each = noticed(windows_of(Log()))
    assert [d.actuators for d in each] == [("shoulder",), ("elbow",), ("shoulder", "elbow")]
    for delay in each:
        assert not delay.late
        assert abs(delay.seconds) < 0.1 / HZ


def test_a_damping_that_is_held_wrong_is_no_delay() -> None:
    assert [d.late for d in noticed(windows_of(Log()), FREE[2:])] == [False] * 3


def test_commands_that_never_change_show_no_delay() -> None:
    windows = windows_of(Log())
    still = np.array(windows.ctrl)
    still[..., 1] = 0.3
    past = np.array(windows.history.ctrl)
    past[..., 1] = 0.3
    history = dataclasses.replace(windows.history, ctrl=past)
    windows = dataclasses.replace(windows, ctrl=still, history=history)
    assert [delay.actuators for delay in noticed(windows)] == [("shoulder",)]


def test_two_episodes_give_no_interval() -> None:
    assert noticed(windows_of(Log(), episodes=2)) == ()
