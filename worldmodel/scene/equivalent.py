"""Features that MJX does not read, as others that it reads and that act exactly alike."""

import numpy as np

from worldmodel._mujoco import mujoco

_JOINTS = (int(mujoco.mjtTrn.mjTRN_JOINT), int(mujoco.mjtTrn.mjTRN_JOINTINPARENT))
_SCALAR = (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE))


def fold_actuators(model: mujoco.MjModel) -> None:
    """Moves actuators' armature and damping into their joint's or tendon's, in place.

    Through the gear both act on a joint or tendon as its own would, times gear², outside the
    limits of the actuator's force. Actuators of other transmissions, and of joints that turn about
    three axes, keep theirs.
    """
    for i in np.flatnonzero(model.actuator_armature + model.actuator_damping):
        element, squared = model.actuator_trnid[i, 0], model.actuator_gear[i, 0] ** 2
        kind = model.actuator_trntype[i]
        if kind == mujoco.mjtTrn.mjTRN_TENDON:
            owner, at = "tendon", element
        elif kind in _JOINTS and model.jnt_type[element] in _SCALAR:
            owner, at = "dof", model.jnt_dofadr[element]
        else:
            continue
        for name in ("armature", "damping"):
            own, folded = getattr(model, f"actuator_{name}"), getattr(model, f"{owner}_{name}")
            folded[at] += squared * own[i]
            own[i] = 0.0
