"""The held-out reality of task "push".

It departs from the scene within what a fit may move (friction, mass, gain) and outside of it: a
table whose friction differs from place to place, stiction, a displaced centre of mass and 60 ms of
delay.
"""

import numpy as np

from worldmodel.reality import disturbances as hidden
from worldmodel.reality.plant import Disturbance
from worldmodel.reality.simulated import SimulatedRobot
from worldmodel.tasks.push.task import Push

FRICTION = ("tee_x", "tee_y", "tee_yaw")


def draw_hidden(seed: int) -> tuple[Disturbance, ...]:
    """How the reality of a seed departs from the scene."""
    rng = np.random.default_rng([seed, 22])
    table, turning, tip, mass, gain = np.exp(rng.normal(0.0, [0.3, 0.3, 0.2, 0.2, 0.15]))
    waves = []
    for angle, phase in rng.uniform(0.0, 2.0 * np.pi, (4, 2)).tolist():
        waves.append((40.0 * np.cos(angle), 40.0 * np.sin(angle), phase))
    side = rng.choice([-1.0, 1.0])
    return (
        hidden.DryFriction(float(table), FRICTION[:2]),
        hidden.DryFriction(float(table * turning), FRICTION[2:]),
        hidden.Friction(float(tip), ("tip",)),
        hidden.Mass("tee", float(mass)),
        hidden.Gain(float(gain)),
        hidden.NoSlip(),
        hidden.Displaced("tee", com=(0.015 * float(side), 0.0, 0.0)),
        hidden.FrictionPatches("tee", joints=FRICTION, amplitude=0.3, waves=tuple(waves)),
        hidden.Delay(seconds=0.06),
    )


def robot(task: Push, seed: int) -> SimulatedRobot:
    """The machine of a seed."""
    return SimulatedRobot(task, draw_hidden(seed))
