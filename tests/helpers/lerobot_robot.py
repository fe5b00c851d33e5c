"""LeRobot's ten members over a simulated arm of two joints, in its units: degrees, per cent."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from worldmodel.episodes.columns import Columns, Command, Joint
from worldmodel.scene import load_scene
from worldmodel.tasks.task import Task

MJCF = """
<mujoco model="gripper"><option gravity="0 0 0"/><worldbody>
  <body name="link"><joint name="elbow" range="-1.5 1.5" damping=".5"/><geom size=".02" mass="1"/>
    <body name="jaw"><joint name="jaw" type="slide" axis="1 0 0" range="0 .08"/>
      <geom size=".01" mass=".1"/></body></body>
  <body name="cube" pos="1 0 0"><freejoint/><geom size=".02" mass=".1"/></body>
</worldbody><actuator>
  <position name="elbow" joint="elbow" kp="50" ctrlrange="-1.5 1.5"/>
  <position name="jaw" joint="jaw" kp="300" ctrlrange="0 .08"/>
</actuator></mujoco>
"""
COLUMNS = Columns(
    joints=(
        Joint("elbow", "observation.state.elbow.pos", unit="deg", sign=-1.0, offset=0.1),
        Joint("jaw", "observation.state[1]", unit="percent"),
    ),
    commands=(
        Command("elbow", "action.elbow.pos", unit="deg", sign=-1.0, offset=0.1),
        Command("jaw", "action.jaw.pos", unit="percent"),
    ),
    bodies=(),
)
TURNED = np.radians(-1.0)  # per raw degree of the elbow


class Gripper(Task):
    horizon = 6

    def __init__(self) -> None:
        self.scene = load_scene(MJCF, control_hz=50.0, substeps=2)


@dataclasses.dataclass
class FakeLeRobot:
    """Goes wherever it is sent, within ± 60 degrees."""

    state: dict[str, float] = dataclasses.field(
        default_factory=lambda: {"elbow.pos": 20.0, "jaw.pos": 50.0}
    )
    is_connected: bool = False
    is_calibrated: bool = True
    unplugged: bool = False
    sent: list[dict[str, float]] = dataclasses.field(default_factory=list)

    @property
    def observation_features(self) -> dict[str, Any]:
        return {"elbow.pos": float, "front": (480, 640, 3), "jaw.pos": float}

    @property
    def action_features(self) -> dict[str, Any]:
        return {"elbow.pos": float, "jaw.pos": float}

    def connect(self, calibrate: bool = True) -> None:
        assert not calibrate, "calibration moves the machine"
        self.is_connected = True

    def calibrate(self) -> None:
        raise AssertionError("calibration moves the machine")

    def configure(self) -> None: ...

    def get_observation(self) -> dict[str, Any]:
        if self.unplugged or not self.is_connected:
            raise ConnectionError("no answer on /dev/ttyACM0")
        return self.state | {"front": np.zeros((480, 640, 3), np.uint8)}

    def send_action(self, action: dict[str, float]) -> dict[str, float]:
        if self.unplugged:
            raise ConnectionError("no answer on /dev/ttyACM0")
        self.state = action | {"elbow.pos": min(max(action["elbow.pos"], -60.0), 60.0)}
        self.sent.append(self.state)
        return self.state

    def disconnect(self) -> None:
        self.is_connected = False


@dataclasses.dataclass
class FakeTeleoperator:
    """Gives one action after another, or raises it."""

    actions: Sequence[Any]
    is_connected: bool = False
    is_calibrated: bool = True
    asked: int = 0

    @property
    def action_features(self) -> dict[str, Any]:
        return {"elbow.pos": float, "jaw.pos": float}

    @property
    def feedback_features(self) -> dict[str, Any]:
        return {}

    def connect(self, calibrate: bool = True) -> None:
        assert not calibrate, "calibration waits for a person"
        self.is_connected = True

    def calibrate(self) -> None:
        raise AssertionError("calibration waits for a person")

    def configure(self) -> None: ...

    def get_action(self) -> dict[str, Any]:
        assert self.is_connected
        action = self.actions[self.asked]
        self.asked += 1
        if isinstance(action, Exception):
            raise action
        return action

    def send_feedback(self, feedback: dict[str, Any]) -> None:
        raise AssertionError("nothing is fed back")

    def disconnect(self) -> None:
        self.is_connected = False
