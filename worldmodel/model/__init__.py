"""The world model: physics plus a learned correction, and what it predicts."""

from worldmodel.model.correction import Correction, Displacement, Force, Velocity
from worldmodel.model.network import Network
from worldmodel.model.world import (
    ConstantVelocity,
    Parameters,
    Physics,
    WorldModel,
    init,
    make_step,
    start,
)

__all__ = [
    "ConstantVelocity",
    "Correction",
    "Displacement",
    "Force",
    "Network",
    "Parameters",
    "Physics",
    "Velocity",
    "WorldModel",
    "init",
    "make_step",
    "start",
]
