"""Positive starts in an MJCF for what is fitted in log space and is zero there."""

import math

from worldmodel._mujoco import mujoco
from worldmodel.physics.kinds import KINDS
from worldmodel.physics.starting_values import REACH, starting_value
from worldmodel.scene import FreeParameter, drives

_JOINTS = ("damping", "frictionloss", "armature")


def set_starts(
    spec: mujoco.MjSpec, model: mujoco.MjModel, free: tuple[FreeParameter, ...]
) -> dict[str, float]:
    """Gives a joint's damping, friction loss or armature, or a number of a drive, that is free, but
    too small for a fit to leave, the value of ``physics.starting_values``. A stiction and the
    speed over which it fades bring each other.

    Args:
      spec: changed in place.
      model: compiled from it.

    Returns:
      Name of each such parameter → its start.
    """
    joints = {joint.name: joint for joint in spec.joints}
    actuators = {actuator.name: actuator for actuator in spec.actuators}
    pair = {"stiction": "stribeck_speed", "stribeck_speed": "stiction"}
    partners = [FreeParameter(pair[f.kind], f.element) for f in free if f.kind in pair]
    starts: dict[str, float] = {}
    for f in (*free, *partners):
        if f.kind in _JOINTS and f.element in joints:
            present = getattr(model, f"dof_{f.kind}")[model.joint(f.element).dofadr[0]]
        elif f.kind in drives.COLUMNS and f.element in actuators:
            column = drives.FIRST + drives.COLUMNS.index(f.kind)
            present = model.actuator(f.element).gainprm[column]
        else:
            continue
        start = starting_value(model, f.kind, f.element)
        least = math.exp(-2.0 * REACH * KINDS[f.kind].width[0])  # of it, what a fit can leave
        if f.name in starts or start is None or present >= start * least:
            continue
        value = starts[f.name] = float(f"{start:.3g}")
        if f.kind in drives.COLUMNS:
            gain = actuators[f.element].gainprm.copy()
            gain[column] = value
            actuators[f.element].gainprm = gain
        elif f.kind == "damping":  # of a polynomial in the velocity, the linear term
            joints[f.element].damping = [value, *joints[f.element].damping[1:]]
        else:
            setattr(joints[f.element], f.kind, value)
    return starts
