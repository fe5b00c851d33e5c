"""Reality, behind one protocol: a robot that plays commands, and held-out simulations of one."""

from worldmodel.reality.capture import CaptureError, capture
from worldmodel.reality.deploy import deploy
from worldmodel.reality.dry_run import dry_run
from worldmodel.reality.robot import Robot, RobotError, measurement
from worldmodel.reality.safety import Keyboard, Operator, Safety
from worldmodel.reality.simulated import SimulatedRobot, simulate

__all__ = [
    "CaptureError",
    "Keyboard",
    "Operator",
    "Robot",
    "RobotError",
    "Safety",
    "SimulatedRobot",
    "capture",
    "deploy",
    "dry_run",
    "measurement",
    "simulate",
]
