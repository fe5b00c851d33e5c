"""A model's numbers written out as MJCF, with every digit.

MuJoCo's own writer rounds to six digits, which changes a contact trajectory after a few bounces.
So its canonical XML gives the structure, and every number that a parameter can change is set
again from the model, in full precision, inertias explicitly. Frames are dissolved first, since the
model holds poses relative to bodies only.
"""

import xml.etree.ElementTree as ElementTree
from typing import Any

import numpy as np

from worldmodel._mujoco import mujoco

_BAKED = (mujoco.mjtGeom.mjGEOM_MESH, mujoco.mjtGeom.mjGEOM_HFIELD, mujoco.mjtGeom.mjGEOM_SDF)


def to_mjcf(spec: mujoco.MjSpec, model: Any) -> str:
    """MJCF text of ``spec``'s structure with ``model``'s numbers.

    Args:
      spec: a compiled spec; elements are matched by their order, so names are not needed.
      model: an ``MjModel``, or an ``mjx.Model`` of the same sizes.
    """
    root = ElementTree.fromstring(spec.to_xml())
    compiler = root.find("compiler")
    if compiler is not None:  # these would override explicit inertias
        for name in ("inertiafromgeom", "settotalmass", "boundmass", "boundinertia"):
            compiler.attrib.pop(name, None)
    option = root.find("option")
    if option is None:
        option = ElementTree.SubElement(root, "option")
    _set(option, timestep=model.opt.timestep, gravity=model.opt.gravity)
    _set(option, tolerance=model.opt.tolerance, impratio=model.opt.impratio)

    world = root.find("worldbody")
    assert world is not None
    _dissolve_frames(world)
    bodies = list(world.iter("body"))
    _matched("body", len(bodies), int(np.shape(model.body_mass)[0]) - 1)
    for i, body in enumerate(bodies, start=1):
        _set_body(body, model, i)
    geoms = list(world.iter("geom"))
    _matched("geom", len(geoms), int(np.shape(model.geom_size)[0]))
    for i, geom in enumerate(geoms):
        _set_geom(geom, model, i)
    joints = [e for e in world.iter() if e.tag in ("joint", "freejoint")]
    _matched("joint", len(joints), int(np.shape(model.jnt_pos)[0]))
    for i, joint in enumerate(joints):
        _set_joint(joint, model, i)
    for i, site in enumerate(world.iter("site")):
        _set(site, pos=model.site_pos[i], quat=model.site_quat[i])
    for i, actuator in enumerate(root.findall("actuator/general")):
        _set(actuator, gainprm=model.actuator_gainprm[i], biasprm=model.actuator_biasprm[i])
        _refine(
            actuator,
            gear=model.actuator_gear[i],
            dynprm=model.actuator_dynprm[i],
            ctrlrange=model.actuator_ctrlrange[i],
            forcerange=model.actuator_forcerange[i],
            actrange=model.actuator_actrange[i],
        )
    for i, tendon in enumerate(root.findall("tendon/*")):
        _refine(
            tendon,
            range=model.tendon_range[i],
            springlength=model.tendon_lengthspring[i],
            stiffness=model.tendon_stiffness[i],
            damping=model.tendon_damping[i],
            frictionloss=model.tendon_frictionloss[i],
            armature=model.tendon_armature[i],
            solreflimit=model.tendon_solref_lim[i],
            solimplimit=model.tendon_solimp_lim[i],
            solreffriction=model.tendon_solref_fri[i],
            solimpfriction=model.tendon_solimp_fri[i],
            margin=model.tendon_margin[i],
        )
        for j, joint in enumerate(tendon.findall("joint")):
            _refine(joint, coef=model.wrap_prm[int(np.asarray(model.tendon_adr)[i]) + j])
    for i, equality in enumerate(root.findall("equality/*")):
        _refine(
            equality,
            solref=model.eq_solref[i],
            solimp=model.eq_solimp[i],
            polycoef=model.eq_data[i, :5],
            anchor=model.eq_data[i, :3],
            relpose=model.eq_data[i, 3:10],
            torquescale=model.eq_data[i, 10],
        )
    for i, key in enumerate(root.findall("keyframe/key")):
        _refine(
            key,
            time=model.key_time[i],
            qpos=model.key_qpos[i],
            qvel=model.key_qvel[i],
            act=model.key_act[i],
            ctrl=model.key_ctrl[i],
            mpos=model.key_mpos[i],
            mquat=model.key_mquat[i],
        )
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _set_body(body: ElementTree.Element, model: Any, i: int) -> None:
    _set(body, pos=model.body_pos[i], quat=model.body_quat[i])
    if float(model.body_mass[i]) == 0.0:
        return
    inertial = body.find("inertial")
    if inertial is None:
        inertial = ElementTree.Element("inertial")
        body.insert(0, inertial)
    inertial.attrib.clear()
    _set(
        inertial,
        pos=model.body_ipos[i],
        quat=model.body_iquat[i],
        mass=model.body_mass[i],
        diaginertia=model.body_inertia[i],
    )


def _set_geom(geom: ElementTree.Element, model: Any, i: int) -> None:
    friction, solref, solimp = model.geom_friction[i], model.geom_solref[i], model.geom_solimp[i]
    _set(geom, friction=friction, solref=solref, solimp=solimp)
    kind = int(np.asarray(model.geom_type)[i])
    if kind in _BAKED:  # the compiler has moved them into the mesh's own frame
        return
    _set(geom, pos=model.geom_pos[i], quat=model.geom_quat[i])
    if kind != mujoco.mjtGeom.mjGEOM_PLANE:
        _set(geom, size=model.geom_size[i])


def _set_joint(joint: ElementTree.Element, model: Any, i: int) -> None:
    if joint.tag == "freejoint":
        return
    dof = int(np.asarray(model.jnt_dofadr)[i])
    _set(
        joint,
        damping=model.dof_damping[dof],
        frictionloss=model.dof_frictionloss[dof],
        armature=model.dof_armature[dof],
    )
    if int(np.asarray(model.jnt_type)[i]) != mujoco.mjtJoint.mjJNT_FREE:
        _set(joint, pos=model.jnt_pos[i], axis=model.jnt_axis[i])
    position = int(np.asarray(model.jnt_qposadr)[i])
    _refine(
        joint,
        stiffness=model.jnt_stiffness[i],
        range=model.jnt_range[i],
        margin=model.jnt_margin[i],
        ref=model.qpos0[position],
        springref=model.qpos_spring[position],
        solreflimit=model.jnt_solref[i],
        solimplimit=model.jnt_solimp[i],
        solreffriction=model.dof_solref[dof],
        solimpfriction=model.dof_solimp[dof],
    )


def _dissolve_frames(parent: ElementTree.Element) -> None:
    """Moves the elements of every ``<frame>`` into the frame's parent coordinates, in place."""
    for frame in parent.iter("frame"):  # outer frames first
        pos = _numbers(frame.attrib.pop("pos", "0 0 0"))
        quat = _numbers(frame.attrib.pop("quat", "1 0 0 0"))
        for child in frame:
            if child.tag in ("body", "geom", "site", "camera", "light", "frame"):
                moved = pos + _rotated(_numbers(child.get("pos", "0 0 0")), quat)
                turned = np.zeros(4)
                mujoco.mju_mulQuat(turned, quat, _numbers(child.get("quat", "1 0 0 0")))
                _set(child, pos=moved)
                if child.tag == "light":
                    _set(child, dir=_rotated(_numbers(child.get("dir", "0 0 -1")), quat))
                else:
                    _set(child, quat=turned)


def _rotated(vector: np.ndarray, quat: np.ndarray) -> np.ndarray:
    out = np.zeros(3)
    mujoco.mju_rotVecQuat(out, vector, quat)
    return out


def _numbers(text: str) -> np.ndarray:
    return np.array([float(x) for x in text.split()])


def _set(element: ElementTree.Element, **values: Any) -> None:
    for name, value in values.items():
        numbers = np.atleast_1d(np.asarray(value, float))
        element.set(name, " ".join(repr(float(x)) for x in numbers))


def _refine(element: ElementTree.Element, **values: Any) -> None:
    """Sets attributes that the writer has rounded in full precision; adds none."""
    _set(element, **{name: value for name, value in values.items() if name in element.attrib})


def _matched(tag: str, listed: int, expected: int) -> None:
    if listed != expected:
        raise ValueError(
            f"the MJCF lists {listed} <{tag}> elements where the model has {expected}; expand "
            "<replicate>, <composite> and <flexcomp> before fitting"
        )
