"""The held-out reality of task "grasp": C MuJoCo from its own MJCF, with hidden physics."""

from pathlib import Path

import numpy as np

from worldmodel.reality import disturbances as hidden
from worldmodel.reality.plant import Disturbance
from worldmodel.reality.simulated import SimulatedRobot
from worldmodel.tasks.grasp.task import Grasp

MJCF = Path(__file__).with_name("reality.xml")
SUBSTEPS = 8  # physics steps of 2.5 ms; the task's are of 5 ms
PADS = ("thumb", "finger")
SEEDS = (0, 1, 2)  # whose results are published
PILOT_SEED = 9  # on which the expert, the prior and the configs were tried


def draw_hidden(seed: int) -> tuple[Disturbance, ...]:
    """A reality from the declared prior.

    Pads are about 0.65 times as rough as the task's MJCF has them, the box is 1.25 times as heavy,
    lognormal both: a fit may move these. No free parameter of the task can express the fingers'
    gains, lognormal around the MJCF's, their play and the limit of their force, nor what the MJCF
    has: stiction, dry friction in the drives, pads of another shape.
    """
    rng = np.random.default_rng([seed, 26])
    rough, heavy, thumb, finger = np.exp(rng.normal([-0.43, 0.22, 0, 0], [0.1, 0.08, 0.1, 0.1]))
    play, force = rng.uniform([0.001, 4.5], [0.002, 5.5])
    limits = [hidden.CurrentLimit(pad, float(force)) for pad in PADS]
    return (
        hidden.Friction(float(rough), PADS),
        hidden.Mass("box", float(heavy)),
        hidden.Gain(float(thumb), PADS[:1]),
        hidden.Gain(float(finger), PADS[1:]),
        *limits,
        *(hidden.Backlash(pad, float(play)) for pad in PADS),
    )


def robot(task: Grasp, seed: int) -> SimulatedRobot:
    """The machine of a seed."""
    return SimulatedRobot(task, draw_hidden(seed), mjcf=MJCF, substeps=SUBSTEPS)
