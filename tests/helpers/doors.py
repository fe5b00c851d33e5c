"""A door on a hinge that a motor pushes, and windows of it at rest."""

import numpy as np

from worldmodel.episodes.windows import HISTORY, History, Windows
from worldmodel.scene import FreeParameter, Scene, load_scene

MASS = (FreeParameter("mass", "door"),)


def door() -> Scene:
    """One hinge, one motor, no contact."""
    return load_scene(
        """<mujoco model="door"><worldbody><body name="door">
        <joint name="hinge" axis="0 1 0"/><geom size=".1" pos="0 0 .3"/></body></worldbody>
        <actuator><motor joint="hinge"/></actuator></mujoco>""",
        control_hz=100.0,
        substeps=1,
    )


def door_windows(count: int = 2, horizon: int = 3) -> Windows:
    """Windows without a past, of a door that stands at 0.3 rad and is recorded at 0.31."""
    known = np.tile(np.arange(HISTORY) == 0, (count, 1))
    past, still = np.full((count, HISTORY, 1), 0.3), np.zeros((count, HISTORY, 1))
    target = np.full((count, horizon, 1), 0.31)
    scored = np.ones((count, horizon), bool)
    ctrl = np.zeros((count, horizon, 1))
    return Windows(
        History(past, still, still, known, known), ctrl, target, scored, np.arange(count)
    )
