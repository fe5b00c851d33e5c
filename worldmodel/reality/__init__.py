"""Reality, behind two protocols: a robot that plays commands, and held-out simulations of one."""

from worldmodel.reality.robot import Measurement, Operator, Robot, RobotError, run_policy
from worldmodel.reality.simulated import HiddenPhysics, SimulatedRobot

__all__ = [
    "HiddenPhysics",
    "Measurement",
    "Operator",
    "Robot",
    "RobotError",
    "SimulatedRobot",
    "run_policy",
]
