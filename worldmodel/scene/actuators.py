"""What an actuator drives, and what it feeds back."""

from typing import Any

import numpy as np

from worldmodel._mujoco import mujoco

_ON_JOINT = (int(mujoco.mjtTrn.mjTRN_JOINT), int(mujoco.mjtTrn.mjTRN_JOINTINPARENT))
_SCALAR = (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE))


def joints(model: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(nu,) bool, whether an actuator drives a hinge or slide; its index in qpos and in qvel, 0
    where it does not.

    Args:
      model: an ``MjModel``, or an ``mjx.Model``.
    """
    none = -1  # the place of what is appended
    joint = np.where(np.isin(model.actuator_trntype, _ON_JOINT), model.actuator_trnid[:, 0], none)
    on_joint = np.append(np.isin(model.jnt_type, _SCALAR), False)[joint]
    joint = np.where(on_joint, joint, none)
    return on_joint, np.append(model.jnt_qposadr, 0)[joint], np.append(model.jnt_dofadr, 0)[joint]


def driven_dof(model: mujoco.MjModel, actuator: int) -> int | None:
    """The degree of freedom that an actuator drives: of its hinge or slide; None of others."""
    on_joint, _, dof = joints(model)
    return int(dof[actuator]) if on_joint[actuator] else None


def is_position_servo(model: mujoco.MjModel, actuator: int) -> bool:
    """Whether its force is kp · (command − position) and nothing more than damping."""
    gain, bias = model.actuator_gainprm[actuator], model.actuator_biasprm[actuator]
    affine = model.actuator_biastype[actuator] == mujoco.mjtBias.mjBIAS_AFFINE
    return bool(affine and gain[0] > 0 and bias[1] == -gain[0])


def is_velocity_servo(model: mujoco.MjModel, actuator: int) -> bool:
    """Whether its force is kv · (command − velocity) and nothing more."""
    gain, bias = model.actuator_gainprm[actuator], model.actuator_biasprm[actuator]
    affine = model.actuator_biastype[actuator] == mujoco.mjtBias.mjBIAS_AFFINE
    return bool(affine and gain[0] > 0 and bias[1] == 0 and bias[2] == -gain[0])
