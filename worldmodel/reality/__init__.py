"""Reality, behind one protocol: a robot that plays commands, and held-out simulations of one."""

from worldmodel.reality.capture import CaptureError, capture
from worldmodel.reality.deploy import deploy
from worldmodel.reality.robot import Robot, RobotError

__all__ = [
    "CaptureError",
    "Robot",
    "RobotError",
    "capture",
    "deploy",
]
