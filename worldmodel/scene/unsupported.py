"""Refuses models that MJX cannot run or differentiate, with the element's name and the remedy."""

import warnings
from collections.abc import Iterator

import jax
import numpy as np

from worldmodel._mujoco import mjx, mujoco
from worldmodel.scene.collisions import allocation, margins
from worldmodel.scene.drives import refuse_drives
from worldmodel.scene.equivalent import crosses_branches
from worldmodel.scene.errors import SceneError, SceneWarning
from worldmodel.scene.explain import refusal, sensor_failure, sensors_of
from worldmodel.scene.finite import refuse_nonfinite
from worldmodel.scene.ignored import refuse_ignored
from worldmodel.scene.names import element_name, element_names, pair_names

_INTEGRATORS = (
    mujoco.mjtIntegrator.mjINT_EULER,
    mujoco.mjtIntegrator.mjINT_RK4,
    mujoco.mjtIntegrator.mjINT_IMPLICITFAST,
)
_IMPLICIT = "integrator='implicitfast' of MJX"
_DEPARTS = (
    ", and the motion departs from MuJoCo's by an error of the timestep's order; use "
    "integrator='Euler'"
)


def refuse_unsupported(model: mujoco.MjModel) -> None:
    """Refuses a compiled model with what MJX does not have or never reads.

    Args:
      model: after ``equivalent.simplify``.

    Raises:
      SceneError: the message names the element and the remedy.
    """
    refuse_nonfinite(model)
    _refuse_options(model)
    if model.nflex:
        name = element_name(model, "flex", 0)
        raise SceneError(f"flex '{name}' is not in MJX; use rigid bodies")
    if model.nv == 0:
        raise SceneError("nothing in this scene moves; give a body a <joint> or <freejoint>")
    refuse_ignored(model)
    refuse_drives(model)
    _refuse_singular(model)


def refuse_untraceable(model: mujoco.MjModel) -> None:
    """Refuses a compiled model that MJX refuses, or fails at in the sensors of its first step.

    The sensors are traced and not compiled: MJX checks them late, all else in ``put_model``. A
    trace of the whole step would take seconds.

    Raises:
      SceneError: the message names the element and the remedy.
    """
    try:
        mjx_model, data = mjx.put_model(model), mjx.make_data(model)
    except (NotImplementedError, ValueError) as error:
        raise SceneError(refusal(model, str(error))) from error
    if not model.nsensor:
        return
    try:
        jax.eval_shape(sensors_of(model), mjx_model, data)
    except Exception as error:  # whatever kind MJX fails with
        raise SceneError(sensor_failure(model, error)) from error


def _refuse_options(model: mujoco.MjModel) -> None:
    integrator = mujoco.mjtIntegrator(model.opt.integrator)
    if integrator not in _INTEGRATORS:
        name = integrator.name.removeprefix("mjINT_").lower()
        raise SceneError(
            f"option integrator='{name}' is not in MJX; use 'implicitfast', 'Euler' or 'RK4'"
        )
    if model.opt.solver == mujoco.mjtSolver.mjSOL_PGS:
        raise SceneError("option solver='PGS' is not in MJX; use solver='Newton'")
    if model.opt.enableflags & int(mujoco.mjtEnableBit.mjENBL_SLEEP):
        raise SceneError(
            '<flag sleep="enable"/>: in MJX no body falls asleep; remove it from <option>'
        )


def warn_departures(model: mujoco.MjModel) -> None:
    """Warns of what MJX leaves out where MuJoCo's motion differs a little by it."""
    for departures in (_options, _cylinders, _sensors, _margins, _implicit):
        for text in departures(model):
            warnings.warn(text, SceneWarning, stacklevel=4)


def _options(model: mujoco.MjModel) -> Iterator[str]:
    if model.opt.noslip_iterations:
        yield (
            f"option noslip_iterations={model.opt.noslip_iterations} is ignored by MJX: friction "
            "creeps a little, as MuJoCo's soft contacts do; set it to 0 for the same motion in "
            "MuJoCo, or raise impratio in an elliptic cone for less creep"
        )


def _cylinders(model: mujoco.MjModel) -> Iterator[str]:
    cylinder, plane = int(mujoco.mjtGeom.mjGEOM_CYLINDER), int(mujoco.mjtGeom.mjGEOM_PLANE)
    kinds = (g for g in allocation(model).groups if cylinder in g.types and plane not in g.types)
    if pairs := [pair for group in kinds for pair in group.pairs]:
        yield (
            f"{pair_names(model, pairs)}: MJX seeks the contact of a cylinder with a round geom by "
            "ten steps of gradient descent, which end up to a centimetre and 0.3 rad from "
            "MuJoCo's or miss it; replace the cylinder by a capsule or a mesh, or keep the pair "
            "apart with contype/conaffinity or <exclude>"
        )


def _sensors(model: mujoco.MjModel) -> Iterator[str]:
    kinds = mujoco.mjtSensor
    late = model.sensor_needstage == int(mujoco.mjtStage.mjSTAGE_ACC)
    loads = np.isin(model.sensor_type, (int(kinds.mjSENS_FORCE), int(kinds.mjSENS_TORQUE)))
    spatial = bool((model.wrap_type == int(mujoco.mjtWrap.mjWRAP_SITE)).any())
    for mask, what in (
        (
            late & (allocation(model).rows.total == 0),
            "MJX leaves it 0 in a scene without any constraint row; give a joint frictionloss or "
            "a range, or the scene a contact",
        ),
        (loads & spatial, "MJX leaves the forces of spatial tendons out of it, MuJoCo does not"),
    ):
        if mask.any():
            yield f"sensor {element_names(model, 'sensor', np.flatnonzero(mask))}: {what}"


def _margins(model: mujoco.MjModel) -> Iterator[str]:
    """Of a box MJX picks contact points among those that penetrate, within a margin at random."""
    if model.opt.disableflags & int(mujoco.mjtDisableBit.mjDSBL_CONTACT):
        return
    box = int(mujoco.mjtGeom.mjGEOM_BOX)
    others = (int(mujoco.mjtGeom.mjGEOM_PLANE), int(mujoco.mjtGeom.mjGEOM_CAPSULE), box)
    pairs, kinds = margins(model), model.geom_type.tolist()
    if held := [(a, b) for a, b in pairs if kinds[b] == box and kinds[a] in others]:
        yield (
            f"{pair_names(model, held)}: within its margin a box has wrong contact points in MJX, "
            "and the motion departs from MuJoCo's; set margin=0"
        )


def _implicit(model: mujoco.MjModel) -> Iterator[str]:
    if model.opt.integrator != mujoco.mjtIntegrator.mjINT_IMPLICITFAST:
        return
    muscles = model.actuator_gaintype == int(mujoco.mjtGain.mjGAIN_MUSCLE)
    varying = model.actuator_gaintype == int(mujoco.mjtGain.mjGAIN_AFFINE)
    clamped = varying & (model.actuator_gainprm[:, 2] != 0) & (model.actuator_ctrllimited != 0)
    for what, mask in (
        ("the damping of muscles", muscles),
        ("the limit of a control whose gain varies with velocity", clamped),
    ):
        if mask.any():
            names = element_names(model, "actuator", np.flatnonzero(mask))
            yield f"actuator {names}: {_IMPLICIT} leaves out {what}{_DEPARTS}"
    pulls = model.actuator_trntype == int(mujoco.mjtTrn.mjTRN_TENDON)
    pulls &= (model.actuator_gainprm[:, 2] != 0) | (model.actuator_biasprm[:, 2] != 0)
    damped = {*np.flatnonzero(model.tendon_damping), *model.actuator_trnid[pulls, 0]}
    if across := sorted(t for t in damped if crosses_branches(model, t)):
        names = element_names(model, "tendon", across)
        yield (f"tendon {names}: {_IMPLICIT} couples branches that MuJoCo's keeps apart{_DEPARTS}")


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
        scaled = inertia / np.outer(scale, scale)
        try:  # a factorisation tells the same in a fiftieth of the time
            np.linalg.cholesky(scaled - 1e-10 * np.eye(model.nv))
            continue
        except np.linalg.LinAlgError:
            _, directions = np.linalg.eigh(scaled)
        dofs = np.flatnonzero(np.abs(directions[:, 0]) > 0.1)
        ids = dict.fromkeys(model.dof_jntid[dof] for dof in dofs)
        joints = [element_name(model, "joint", joint) for joint in ids]
        where = "" if key < 0 else f" in keyframe '{element_name(model, 'key', key)}'"
        raise SceneError(
            f"the mass matrix is singular{where}: joints {', '.join(joints)} can move together "
            "without moving any mass; remove one of them, or give them armature"
        )
