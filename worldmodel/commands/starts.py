"""Positive starts in an MJCF for what is fitted in log space and is zero there."""

import math

from worldmodel._mujoco import mujoco
from worldmodel.physics.kinds import KINDS
from worldmodel.physics.starting_values import REACH, starting_value
from worldmodel.scene import FreeParameter

_JOINTS = ("damping", "frictionloss", "armature")


def set_starts(
    spec: mujoco.MjSpec, model: mujoco.MjModel, free: tuple[FreeParameter, ...]
) -> dict[str, float]:
    """Gives a joint's damping, friction loss or armature that is free, but too small for a fit to
    leave, the value of ``physics.starting_values``.

    Args:
      spec: changed in place.
      model: compiled from it.

    Returns:
      Name of each such parameter → its start.
    """
    joints, starts = {joint.name: joint for joint in spec.joints}, {}
    for f in free:
        if f.kind not in _JOINTS or f.element not in joints:
            continue
        start = starting_value(model, f.kind, f.element)
        dof = int(model.jnt_dofadr[model.joint(f.element).id])
        least = math.exp(-2.0 * REACH * KINDS[f.kind].width[0])
        if start is None or getattr(model, f"dof_{f.kind}")[dof] >= start * least:
            continue
        value, joint = float(f"{start:.3g}"), joints[f.element]
        if f.kind == "damping":  # of a polynomial in the velocity, the linear term
            joint.damping = [value, *joint.damping[1:]]
        else:
            setattr(joint, f.kind, value)
        starts[f.name] = value
    return starts
