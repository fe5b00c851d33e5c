"""Where a fit starts that the MJCF has at zero: what moves in log space cannot leave it."""

import math

import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.physics.kinds import KINDS, number
from worldmodel.scene import drives

RATE = 1.0  # [1/s], [rad/s², m/s²] at which damping, friction loss slow a joint that starts there
GEARED = 0.1  # armature as a share of the joint's inertia
RATIO = 0.5  # damping ratio of a servo's velocity feedback
SCALAR = (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE))
REACH = 4.0  # prior widths that a fit goes at most
TIMES = {"delay": 0.01, "lag": 0.01}  # [s] of a drive
PLACES = {"backlash": 0.01, "no_load_speed": 10.0, "stribeck_speed": 0.1}  # [rad], [rad/s]
ON_A_SLIDE = 0.1  # times those, in m and m/s
STARTS = ("damping", "frictionloss", "armature", "kv", *drives.COLUMNS)


def starting_value(model: mujoco.MjModel, kind: str, element: str) -> float | None:
    """A value at which a number of a joint or servo matters, of the order that a fit can correct.

    With M the joint's inertia in the MJCF's first pose: damping M · 1/s, so that the joint on its
    own slows down within a second; friction loss, and a drive's, M · 1 rad/s²; armature M / 10; kv
    half of what damps a servo critically, √(kp M) / gear; the other numbers of drives as above.

    Args:
      model: of the scene.
      kind: of ``STARTS``; of others 0 says that the robot has no such thing.
      element: a joint, or the servo of one (kv).

    Returns:
      in SI units; None for other kinds, joints that turn about several axes and servos of none.
    """
    if kind not in STARTS:
        return None
    if kind in TIMES:
        return TIMES[kind]
    if KINDS[kind].element == "joint":
        joint, kp, gear = model.joint(element).id, 0.0, 1.0
    else:
        actuator = model.actuator(element)
        if int(actuator.trntype[0]) != int(mujoco.mjtTrn.mjTRN_JOINT) or not actuator.gear[0]:
            return None
        joint, kp, gear = int(actuator.trnid[0]), float(-actuator.biasprm[1]), actuator.gear[0]
    if int(model.jnt_type[joint]) not in SCALAR:
        return None
    if kind in PLACES:
        slides = model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_SLIDE
        return PLACES[kind] * (ON_A_SLIDE if slides else 1.0)
    inertia = _inertia(model, model.jnt_dofadr[joint])
    if kind == "kv":
        return 2.0 * RATIO * math.sqrt(kp * inertia) / abs(float(gear)) if kp > 0 else None
    return inertia * (GEARED if kind == "armature" else RATE)


def unreachable(model: mujoco.MjModel, kind: str, element: str, ids: np.ndarray) -> str | None:
    """Why a fit cannot leave the MJCF's value, and a start that it can leave; None where it can.

    Args:
      ids: the element's rows of the kind's field.
    """
    start = starting_value(model, kind, element)
    value = float(number(model, kind, ids).min())
    widths = 2.0 * REACH
    if start is None or value >= start * math.exp(-widths * KINDS[kind].width[0]):
        return None
    return (
        f"it is {value:.2g} in the MJCF, more than {widths:g} prior widths below {start:.2g}, "
        "where it begins to matter; start there, or leave it fixed"
    )


def _inertia(model: mujoco.MjModel, dof: int) -> float:
    """Of a degree of freedom in the MJCF's first pose, what it carries and its armature included
    [kg·m², kg]."""
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    full = np.zeros((model.nv, model.nv))
    mujoco.mj_fullM(model, data, full)
    return float(full[dof, dof])
