"""Features that MJX does not read, as numbers that it reads and that act exactly alike."""

import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.scene.actuators import driven_dof

_DISABLE, _ENABLE = mujoco.mjtDisableBit, mujoco.mjtEnableBit
_SPRING, _DAMPER = int(_DISABLE.mjDSBL_SPRING), int(_DISABLE.mjDSBL_DAMPER)
_DIAGNOSTIC = int(_ENABLE.mjENBL_ENERGY) | int(_ENABLE.mjENBL_FWDINV)
_LEAST_FRICTION = 1e-5  # mjMINMU: C raises a contact's friction to it


def simplify(model: mujoco.MjModel) -> None:
    """Replaces what MJX does not read, in place; no motion of MuJoCo's changes.

    Actuators' armature and damping become their joint's or tendon's. Springs and dampers that a
    flag switches off get zero constants, and the flag goes: with one of the two, MJX drops every
    passive force, gravity compensation among them, and with the other keeps the dampers' part of
    the integration. The flags that only ask for a diagnostic (energy, fwdinv) go. Where a tendon
    with armature crosses branches the Jacobian becomes sparse: MuJoCo's mass matrix has no terms
    between branches, and MJX's has none then. Friction below MuJoCo's least becomes that: MJX
    takes 0 as it is, and divides by it in an elliptic cone.
    """
    _fold_actuators(model)
    for name in ("geom_friction", "pair_friction"):
        friction = getattr(model, name)
        np.maximum(friction, _LEAST_FRICTION, out=friction)
    if any(crosses_branches(model, int(i)) for i in np.flatnonzero(model.tendon_armature)):
        model.opt.jacobian = mujoco.mjtJacobian.mjJAC_SPARSE
    flags = model.opt.disableflags
    if flags & _SPRING:
        model.jnt_stiffness[:] = 0.0
        model.tendon_stiffness[:] = 0.0
    if flags & _DAMPER:
        model.dof_damping[:] = 0.0
        model.tendon_damping[:] = 0.0
    if not (flags & _SPRING and flags & _DAMPER):  # both: no passive force at all, as in MJX
        model.opt.disableflags = flags & ~(_SPRING | _DAMPER)
    model.opt.enableflags &= ~_DIAGNOSTIC


def crosses_branches(model: mujoco.MjModel, tendon: int) -> bool:
    """Whether a tendon acts on joints none of which carries the other, as two fingers."""
    start, count = model.ten_J_rowadr[tendon], model.ten_J_rownnz[tendon]
    dofs = {int(dof) for dof in model.ten_J_colind[start : start + count]}
    dof = max(dofs, default=-1)
    while dof >= 0:  # to the root, along the branch of the last
        dofs.discard(dof)
        dof = int(model.dof_parentid[dof])
    return bool(dofs)


def _fold_actuators(model: mujoco.MjModel) -> None:
    """Moves actuators' armature and damping into their joint's or tendon's.

    Through the gear both act on a joint or tendon as its own would, times gear², outside the
    limits of the actuator's force. Actuators of other transmissions, and of joints that turn about
    three axes, keep theirs.
    """
    for i in np.flatnonzero(model.actuator_armature + model.actuator_damping).tolist():
        owner, at = "dof", driven_dof(model, i)
        if model.actuator_trntype[i] == mujoco.mjtTrn.mjTRN_TENDON:
            owner, at = "tendon", model.actuator_trnid[i, 0]
        if at is None:
            continue
        squared = model.actuator_gear[i, 0] ** 2
        for name in ("armature", "damping"):
            own, folded = getattr(model, f"actuator_{name}"), getattr(model, f"{owner}_{name}")
            folded[at] += squared * own[i]
            own[i] = 0.0
