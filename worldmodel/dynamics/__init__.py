"""The learned half, and the world model's step: physics plus a learned correction."""

from worldmodel.dynamics.hybrid import KINDS, Parameters, WorldModel, init, start, stepper
from worldmodel.dynamics.latent import HISTORY, History, Network

__all__ = [
    "HISTORY",
    "KINDS",
    "History",
    "Network",
    "Parameters",
    "WorldModel",
    "init",
    "start",
    "stepper",
]
