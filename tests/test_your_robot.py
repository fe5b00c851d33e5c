"""``docs/your_robot.md``: every block of it runs, in order."""

import dataclasses
import re
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.lerobot_robot import FakeLeRobot, FakeTeleoperator
from worldmodel.reality import disturbances
from worldmodel.reality.plant import Disturbance

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "your_robot.md").read_text()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The names that the page's blocks leave."""

    class Follower(FakeLeRobot):
        def __init__(self, config: object) -> None:
            super().__init__({"shoulder_pan.pos": 20.0, "gripper.pos": 3.0})
            self.sent_by: list[int] = []  # each disconnection

        def send_action(self, action: dict[str, float]) -> dict[str, float]:
            self.state = action
            self.sent.append(action)
            return action

        def disconnect(self) -> None:
            self.sent_by.append(len(self.sent))
            super().disconnect()

        observation_features = action_features = property(lambda self: dict.fromkeys(self.state))  # type: ignore

    module = types.ModuleType("so101_follower")
    module.SO101Follower = Follower  # type: ignore[attr-defined]
    module.SO101FollowerConfig = dict  # type: ignore[attr-defined]

    class Leader(FakeTeleoperator):
        """Squeezed from the tenth step on."""

        action_features = property(lambda self: {"shoulder_pan.pos": float, "gripper.pos": float})  # type: ignore

        def __init__(self, config: object) -> None:
            grips = [80.0] * 10 + [20.0] * 15
            super().__init__([{"shoulder_pan.pos": 10.0, "gripper.pos": grip} for grip in grips])

    leading = types.ModuleType("so101_leader")
    leading.SO101Leader = Leader  # type: ignore[attr-defined]
    leading.SO101LeaderConfig = dict  # type: ignore[attr-defined]
    names: dict[str, Any] = {"__name__": "your_robot"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("clone"))
        for name in ("lerobot", "lerobot.robots", "lerobot.teleoperators"):
            patch.setitem(sys.modules, name, types.ModuleType(name))
        patch.setitem(sys.modules, "lerobot.robots.so101_follower", module)
        patch.setitem(sys.modules, "lerobot.teleoperators.so101_leader", leading)
        for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
            exec(compile(block, "docs/your_robot.md", "exec"), names)
    return names


def test_the_pages_robot_turns_and_is_captured(page: dict[str, Any]) -> None:
    (episode,) = page["captured"]
    assert episode.success is True and episode.qpos.shape == (26, 1)
    steps = np.diff(episode.ctrl[:, 0], prepend=0.0)
    assert steps.max() == pytest.approx(10.0 / 50.0) and episode.ctrl[-1, 0] == pytest.approx(0.6)
    assert page["rehearsed"].source == "dry run"


def test_the_pages_person_takes_over(page: dict[str, Any]) -> None:
    (episode,) = page["corrected"]
    led = episode.intervention
    np.testing.assert_allclose(episode.ctrl[led][3:], 0.5, rtol=1e-6)
    assert episode.qpos[-1, 0] == pytest.approx(0.5, abs=1e-3) and not led[0]


def test_the_pages_arm_is_read_and_sent_nothing(page: dict[str, Any]) -> None:
    assert page["arm"].sent_by[0] == 0 and not page["arm"].is_connected
    np.testing.assert_allclose(page["rehearsed"].qpos, np.radians(20.0))


def test_the_pages_leader_takes_over(page: dict[str, Any]) -> None:
    (episode,) = page["taught"]
    assert np.flatnonzero(episode.intervention[:-1]).tolist() == [*range(10, 25)]
    np.testing.assert_allclose(episode.ctrl[10:-1], np.radians(10.0), rtol=1e-6)
    np.testing.assert_allclose(episode.ctrl[:10], 0.6, rtol=1e-6)  # the policy's


def test_the_pages_simulation_departs_from_its_scene(page: dict[str, Any]) -> None:
    (episode,) = page["simulated"]
    assert 0.0 < np.abs(episode.qpos[0]).max() < 5e-3  # the sensor's noise
    assert np.abs(episode.qpos[:3] - episode.qpos[0]).max() < 5e-3 < episode.qpos[-1, 0]  # late


def test_the_page_lists_every_disturbance() -> None:
    names = {
        name
        for name, value in vars(disturbances).items()
        if dataclasses.is_dataclass(value) and issubclass(value, Disturbance)  # type: ignore
    }
    listed = PAGE[PAGE.index("| disturbance |") :].split("\n\n")[0]
    cells = [line.split("|")[1] for line in listed.splitlines()[2:]]
    assert set(re.findall(r"`(\w+)`", " ".join(cells))) == names
