"""Which element has a number that a kind of parameter can move, and why another has not."""

import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.physics.kinds import CALIBRATIONS, KINDS, number
from worldmodel.physics.starting_values import SCALAR, starting_value, unreachable
from worldmodel.scene import FreeParameter, drives
from worldmodel.scene.collisions import geoms_of_pairs_alone
from worldmodel.scene.names import element_name, element_names

_JOINT = mujoco.mjtJoint
_BAKED = (int(mujoco.mjtGeom.mjGEOM_MESH), int(mujoco.mjtGeom.mjGEOM_HFIELD))
_AFFINE = int(mujoco.mjtBias.mjBIAS_AFFINE)
_MUSCLE = int(mujoco.mjtGain.mjGAIN_MUSCLE)
_FILTERS = (int(mujoco.mjtDyn.mjDYN_FILTER), int(mujoco.mjtDyn.mjDYN_FILTEREXACT))
_ON_JOINTS = (int(mujoco.mjtTrn.mjTRN_JOINT), int(mujoco.mjtTrn.mjTRN_JOINTINPARENT))
_CONTACT = ("friction", "friction_torsional", "friction_rolling", "solref", "solimp")
_POSED = {  # the joint types whose motion depends on such a place, axis or spring
    "joint_pos": (_JOINT.mjJNT_HINGE, _JOINT.mjJNT_BALL),
    "joint_axis": (_JOINT.mjJNT_HINGE, _JOINT.mjJNT_SLIDE),
    "springref": (_JOINT.mjJNT_HINGE, _JOINT.mjJNT_SLIDE),
}


def position_servos(model: mujoco.MjModel) -> np.ndarray:
    """(nu,) bool: the actuators whose command is a position of their hinge or slide, times the
    gear: those with the feedback −kp·q that belongs to their gain kp."""
    gain, bias = model.actuator_gainprm[:, 0], model.actuator_biasprm[:, 1]
    plain = np.isin(model.actuator_dyntype, (int(mujoco.mjtDyn.mjDYN_NONE), *_FILTERS))
    return _on_scalar_joints(model) & plain & (gain != 0) & (bias == -gain)


def _on_scalar_joints(model: mujoco.MjModel) -> np.ndarray:
    """(nu,) bool: the actuators that act on a hinge or slide."""
    on_joint = np.isin(model.actuator_trntype, _ON_JOINTS)
    kind = model.jnt_type[np.where(on_joint, model.actuator_trnid[:, 0], 0)]
    return on_joint & np.isin(kind, SCALAR)


def refusal(model: mujoco.MjModel, f: FreeParameter, ids: np.ndarray) -> str | None:
    """Why a number cannot be fitted, and the remedy; None where it can.

    Args:
      model: of the scene.
      f: of a known kind, on an element that the scene has.
      ids: its rows of the kind's field.
    """
    element = KINDS[f.kind].element
    if element == "actuator":
        reason = _of_actuator(model, f.kind, int(ids[0]))
    elif element == "joint":
        reason = _of_joint(model, f)
    else:
        reason = _of_contact(model, f.kind, ids) or _of_shape(model, f.kind, int(ids[0]))
    return reason or _of_value(model, f, ids)


def _of_value(model: mujoco.MjModel, f: FreeParameter, ids: np.ndarray) -> str | None:
    kind = f.kind
    if kind == "solimp":
        impedance = model.geom_solimp[ids[0], [0, 1, 3]]
        if (impedance >= mujoco.mjMAXIMP).any():
            return (
                f"dmin, dmax, midpoint are {impedance} in the MJCF, which MuJoCo holds at "
                f"{mujoco.mjMAXIMP}; give them values below it there"
            )
    if not KINDS[kind].positive or kind in CALIBRATIONS:
        return None
    value = number(model, kind, ids)
    if kind == "inertia":
        value = 0.5 * value.sum(1, keepdims=True) - value
    if value.size and (np.abs(value) if kind == "gear" else value).min() > 0:
        return unreachable(model, kind, f.element, ids)
    start = starting_value(model, kind, f.element)
    near = "" if start is None else f", such as {start:.2g}"
    return (
        f"it is {value.ravel()} in the MJCF and moves in log space; give it a positive starting "
        f"value there{near}"
    )


def _of_actuator(model: mujoco.MjModel, kind: str, index: int) -> str | None:
    bias, gain = model.actuator_biasprm, model.actuator_gainprm[:, 0]
    affine = model.actuator_biastype == _AFFINE
    speed = affine & (bias[:, 1] == 0) & (bias[:, 2] == -gain)
    muscle = model.actuator_gaintype == _MUSCLE
    if kind in drives.COLUMNS:
        return drives.obstacle(model, index, kind)
    if kind == "force_limit":
        return _only(model, model.actuator_forcelimited != 0, index, "forcerange")
    if kind == "kv":
        if speed[index]:
            return "the feedback of a velocity servo is its gain; free the kind 'gain'"
        return _only(model, affine & (bias[:, 2] != 0) & ~speed, index, "velocity feedback (kv)")
    if kind == "time_constant":
        filtered = np.isin(model.actuator_dyntype, _FILTERS)
        return _only(model, filtered, index, "filter (dyntype filter or filterexact)")
    if kind == "command_zero":
        which = "command that is a position of its hinge or slide"
        return _only(model, position_servos(model), index, which)
    if muscle[index]:
        return f"a muscle has no single {kind}; leave it fixed"
    return None


def _only(model: mujoco.MjModel, has: np.ndarray, index: int, what: str) -> str | None:
    if has[index]:
        return None
    which = element_names(model, "actuator", np.flatnonzero(has)) if has.any() else "none"
    return f"this actuator has no {what} in the MJCF; in this scene {which} has"


def _of_joint(model: mujoco.MjModel, f: FreeParameter) -> str | None:
    index = model.joint(f.element).id
    kind = _JOINT(model.jnt_type[index])
    if f.kind in _POSED and kind not in _POSED[f.kind]:
        return (
            f"the motion of a {kind.name[6:].lower()} joint does not depend on it; leave it fixed"
        )
    if f.kind == "springref" and model.jnt_stiffness[index] == 0:
        return "this joint has no spring; give it a stiffness in the MJCF"
    if f.kind in CALIBRATIONS and int(kind) not in SCALAR:
        return "only hinges and slides have a zero and a scale in a log; leave it fixed"
    return None


def _of_contact(model: mujoco.MjModel, kind: str, ids: np.ndarray) -> str | None:
    if kind not in _CONTACT:
        return None
    for geom in sorted(geoms_of_pairs_alone(model) & {*ids.tolist()}):
        return (
            f"geom '{element_name(model, 'geom', geom)}' touches in a <pair> alone, which has its "
            f"own {kind.partition('_')[0]}; let contype and conaffinity choose what it touches, "
            "in place of the <pair>"
        )
    return None


def _of_shape(model: mujoco.MjModel, kind: str, index: int) -> str | None:
    element = KINDS[kind].element
    if element == "body" and model.body_dofnum[model.body_weldid[index]] == 0:
        return "this body never moves; no motion depends on its mass"
    if element == "geom" and kind.startswith("geom_"):
        shape = int(model.geom_type[index])
        if shape in _BAKED:
            return "the size and pose of meshes are baked in; use boxes"
        if kind == "geom_size" and shape == int(mujoco.mjtGeom.mjGEOM_PLANE):
            return "a plane is infinite; leave its size fixed"
    return None
