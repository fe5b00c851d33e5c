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
    too small for a fit to leave, the value of ``physics.starting_values``.

    Args:
      spec: changed in place.
      model: compiled from it.

    Returns:
      Name of each such parameter → its start.
    """
    joints = {joint.name: joint for joint in spec.joints}
    starts = _drive_starts(spec, model, free)
    for f in free:
        if f.kind not in _JOINTS or f.element not in joints:
            continue
        start = starting_value(model, f.kind, f.element)
        dof = int(model.jnt_dofadr[model.joint(f.element).id])
        if start is None or getattr(model, f"dof_{f.kind}")[dof] >= start * _least(f.kind):
            continue
        value, joint = float(f"{start:.3g}"), joints[f.element]
        if f.kind == "damping":  # of a polynomial in the velocity, the linear term
            joint.damping = [value, *joint.damping[1:]]
        else:
            setattr(joint, f.kind, value)
        starts[f.name] = value
    return starts


def _drive_starts(
    spec: mujoco.MjSpec, model: mujoco.MjModel, free: tuple[FreeParameter, ...]
) -> dict[str, float]:
    """Of ``set_starts``, the numbers of drives; a stiction and the speed over which it fades bring
    each other."""
    actuators, starts = {actuator.name: actuator for actuator in spec.actuators}, {}
    pair = {"stiction": "stribeck_speed", "stribeck_speed": "stiction"}
    partners = [FreeParameter(pair[f.kind], f.element) for f in free if f.kind in pair]
    for f in (*free, *partners):
        if f.kind not in drives.COLUMNS or f.element not in actuators or f.name in starts:
            continue
        start = starting_value(model, f.kind, f.element)
        gain, column = actuators[f.element].gainprm.copy(), drives.FIRST
        column += drives.COLUMNS.index(f.kind)
        if start is None or gain[column] >= start * _least(f.kind):
            continue
        gain[column] = float(f"{start:.3g}")
        actuators[f.element].gainprm = gain
        starts[f.name] = float(gain[column])
    return starts


def _least(kind: str) -> float:
    """Of its start, what a fit can leave."""
    return math.exp(-2.0 * REACH * KINDS[kind].width[0])
