"""Contact physics: MuJoCo's simulator in JAX with a gradient through every contact."""

from worldmodel.physics.backward import Backward
from worldmodel.physics.contact import (
    SOLUTION,
    channels,
    contact_events,
    contact_pairs,
    solver_residual,
)
from worldmodel.physics.step import control_step, forward, initial_state, solver_residuals, step

__all__ = [
    "SOLUTION",
    "Backward",
    "channels",
    "contact_events",
    "contact_pairs",
    "control_step",
    "forward",
    "initial_state",
    "solver_residual",
    "solver_residuals",
    "step",
]
