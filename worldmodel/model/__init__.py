"""The learned half, and the world model's step: physics plus a learned correction."""

from worldmodel.dynamics.hybrid import (
    CORRECTIONS,
    KINDS,
    Parameters,
    WorldModel,
    init,
    pose,
    start,
    stepper,
)
from worldmodel.dynamics.latent import HISTORY, History, Network

__all__ = [
    "CORRECTIONS",
    "HISTORY",
    "KINDS",
    "History",
    "Network",
    "Parameters",
    "WorldModel",
    "init",
    "pose",
    "start",
    "stepper",
]
