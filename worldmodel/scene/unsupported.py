"""Refuses models that MJX cannot run or differentiate, with the element's name and the remedy."""

import re

import numpy as np

from worldmodel._mujoco import mjx, mujoco
from worldmodel.errors import InputError


class SceneError(InputError):
    """A broken MJCF, or a scene that MJX cannot run or differentiate."""


class SceneWarning(UserWarning):
    """A scene that runs, but not as its author may expect."""


def refuse_unsupported(model: mujoco.MjModel) -> None:
    """Refuses a compiled model that MJX cannot run, or cannot differentiate.

    Raises:
      SceneError: the message names the element and the remedy.
    """
    if model.opt.integrator == mujoco.mjtIntegrator.mjINT_IMPLICIT:
        raise SceneError(
            "option integrator='implicit' is not in MJX; use 'implicitfast', 'Euler' or 'RK4'"
        )
    if model.opt.solver == mujoco.mjtSolver.mjSOL_PGS:
        raise SceneError("option solver='PGS' is not in MJX; use solver='Newton'")
    if model.nflex:
        raise SceneError(f"flex '{_names(model, 'FLEX')[0]}' is not in MJX; use rigid bodies")
    if model.nplugin:
        raise SceneError("plugins are not in MJX; remove <extension> and its elements")
    if model.opt.noslip_iterations:
        raise SceneError(
            "option noslip_iterations is ignored by MJX; set it to 0 (friction will creep a "
            "little, as MuJoCo's soft contacts do)"
        )
    if model.opt.disableflags & int(mujoco.mjtDisableBit.mjDSBL_CONSTRAINT):
        raise SceneError(
            "flag constraint='disable' leaves contacts without rows; disable what is meant: "
            "contact, limit, frictionloss, equality"
        )
    if model.nv == 0:
        raise SceneError("nothing in this scene moves; give a body a <joint> or <freejoint>")
    _refuse_singular(model)
    try:
        mjx.put_model(model)
        mjx.make_data(model)
    except (NotImplementedError, ValueError) as error:
        raise SceneError(_explain(model, str(error))) from error


def _refuse_singular(model: mujoco.MjModel) -> None:
    """Refuses joints that can move without moving any mass, as two on one axis do: in the MJCF's
    own pose and in every keyframe."""
    data, inertia = mujoco.MjData(model), np.empty((model.nv, model.nv))
    for key in range(-1, model.nkey):
        data.qpos[:] = model.qpos0 if key < 0 else model.key_qpos[key]
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_tendon(model, data)  # its armature
        mujoco.mj_makeM(model, data)
        mujoco.mj_fullM(model, data, inertia)
        scale = np.sqrt(np.diag(inertia))
        values, directions = np.linalg.eigh(inertia / np.outer(scale, scale))
        if values[0] > 1e-10:
            continue
        dofs = np.flatnonzero(np.abs(directions[:, 0]) > 0.1)
        joints = dict.fromkeys(_names(model, "JOINT")[model.dof_jntid[dof]] for dof in dofs)
        where = "" if key < 0 else f" in keyframe '{_names(model, 'KEY')[key]}'"
        raise SceneError(
            f"the mass matrix is singular{where}: joints {', '.join(joints)} can move together "
            "without moving any mass; remove one of them, or give them armature"
        )


def _explain(model: mujoco.MjModel, message: str) -> str:
    """MJX's refusal with the names of the elements it is about."""
    if "condim=1" in message:
        frictionless = [
            n for n, d in zip(_names(model, "GEOM"), model.geom_condim, strict=True) if d == 1
        ]
        return (
            f"MJX has no condim=1 in an elliptic cone (geoms {', '.join(frictionless)}); "
            "use <option cone='pyramidal'>, or condim=3 with friction near 0"
        )
    if "margin/gap" in message:
        margins = [n for n, m in zip(_names(model, "GEOM"), model.geom_margin, strict=True) if m]
        return f"MJX has no contact margin: {message}; set margin=0 on {', '.join(margins)}"
    geom_types = re.findall(r"mjGEOM_([A-Z]+)", message)
    if geom_types:
        wanted = {int(getattr(mujoco.mjtGeom, f"mjGEOM_{t}")) for t in geom_types}
        names = _names(model, "GEOM")
        geoms = [f"'{names[i]}'" for i in range(model.ngeom) if int(model.geom_type[i]) in wanted]
        return (
            f"MJX has no collision {'–'.join(t.lower() for t in geom_types)} "
            f"(geoms {', '.join(geoms)}: {message}); replace one shape (a cylinder by a capsule "
            "or mesh), or keep the pair apart with contype/conaffinity or <exclude>"
        )
    enums = re.findall(r"<mjt(\w+)\.(mj\w+): (\d+)>", message)
    for kind, member, value in enums:
        field, obj = {
            "Bias": ("actuator_biastype", "ACTUATOR"),
            "Dyn": ("actuator_dyntype", "ACTUATOR"),
            "Gain": ("actuator_gaintype", "ACTUATOR"),
            "Trn": ("actuator_trntype", "ACTUATOR"),
            "Eq": ("eq_type", "EQUALITY"),
            "Sensor": ("sensor_type", "SENSOR"),
        }.get(kind, (None, None))
        if field is not None and obj is not None:
            ids = np.flatnonzero(getattr(model, field) == int(value))
            names = [f"'{_names(model, obj)[i]}'" for i in ids]
            return f"{obj.lower()} {', '.join(names)}: {member} is not in MJX; remove or replace it"
    return f"MJX cannot run this scene: {message}; remove or replace that feature"


def _names(model: mujoco.MjModel, kind: str) -> list[str]:
    obj = getattr(mujoco.mjtObj, f"mjOBJ_{kind}")
    count = {"GEOM": model.ngeom, "ACTUATOR": model.nu, "EQUALITY": model.neq}
    count |= {"SENSOR": model.nsensor, "FLEX": model.nflex, "JOINT": model.njnt, "KEY": model.nkey}
    return [mujoco.mj_id2name(model, obj, i) or f"{kind.lower()}{i}" for i in range(count[kind])]
