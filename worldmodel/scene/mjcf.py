"""A model's numbers written out as MJCF, with every digit.

MuJoCo's own writer rounds to six digits, which changes a contact trajectory after a few bounces.
So its canonical XML gives the structure, and every number that a parameter can change is set
again from the model, in full precision, inertias explicitly. Frames lose their poses, since the
model holds poses relative to bodies only.
"""

import xml.etree.ElementTree as ElementTree
from typing import Any

import numpy as np

from worldmodel._mujoco import mujoco

_MESHES = (mujoco.mjtGeom.mjGEOM_MESH, mujoco.mjtGeom.mjGEOM_SDF)
_DONE = (  # what the compiler has done already, or explicit numbers make untrue
    "settotalmass",
    "boundmass",
    "boundinertia",
    "balanceinertia",
    "alignfree",
    "fusestatic",
)
_FIELDS = {  # by element: the prefix of the model's fields; attributes that are set; limits; those
    # that are set in full precision where the writer has them
    "asset/hfield": ("hfield", "", "", "size"),
    "worldbody//body": ("body", "pos quat", "", "gravcomp"),
    "worldbody//geom": ("geom", "friction solref solimp solmix margin gap", "", ""),
    "worldbody//site": ("site", "pos quat size", "", ""),
    "worldbody//camera": ("cam", "pos quat", "", ""),
    "worldbody//light": ("light", "pos dir", "", ""),
    "contact/pair": ("pair", "friction solref solreffriction solimp margin gap", "", ""),
    "actuator/general": (
        "actuator",
        "gear gainprm biasprm dynprm",
        "ctrlrange forcerange actrange",
        "lengthrange",
    ),
    "tendon/*": (
        "tendon",
        "stiffness damping frictionloss armature solreflimit solimplimit solreffriction "
        "solimpfriction margin springlength",
        "range actuatorfrcrange",
        "",
    ),
    "equality/*": ("eq", "solref solimp", "", ""),
    "sensor/*": ("sensor", "", "", "cutoff"),
    "keyframe/key": ("key", "", "", "time qpos qvel act ctrl mpos mquat"),
}
_RENAMED = {  # fields that are not named after their attributes
    "tendon_solreflimit": "tendon_solref_lim",
    "tendon_solimplimit": "tendon_solimp_lim",
    "tendon_solreffriction": "tendon_solref_fri",
    "tendon_solimpfriction": "tendon_solimp_fri",
    "tendon_springlength": "tendon_lengthspring",
    "tendon_actuatorfrcrange": "tendon_actfrcrange",
    "jnt_actuatorfrcrange": "jnt_actfrcrange",
}


def to_mjcf(spec: mujoco.MjSpec, model: Any, structure: str | None = None) -> str:
    """MJCF text of ``spec``'s structure with ``model``'s numbers.

    Files are referred to as in ``spec``; those of a ``Scene`` are the keys of its ``assets``.

    Args:
      spec: a compiled spec; elements are matched by their order, so names are not needed.
      model: an ``MjModel``, or an ``mjx.Model`` of the same sizes.
      structure: ``spec.to_xml()`` where it is known; with meshes it takes half of the time.
    """
    root = ElementTree.fromstring(structure or spec.to_xml())
    compiler = root.find("compiler")
    if compiler is not None:
        for name in _DONE:
            compiler.attrib.pop(name, None)
        if compiler.get("inertiafromgeom") == "true":  # would override explicit inertias
            del compiler.attrib["inertiafromgeom"]
    _set_option(root, model)
    _set_assets(root, spec, model)

    world = root.find("worldbody")
    assert world is not None
    for frame in world.iter("frame"):  # what is in one gets poses relative to its body
        for name in ("pos", "quat"):
            frame.attrib.pop(name, None)
    bodies, geoms = list(world.iter("body")), list(world.iter("geom"))
    joints = [e for e in world.iter() if e.tag in ("joint", "freejoint")]
    for tag, listed, rows in (
        ("body", bodies, model.body_mass[1:]),
        ("geom", geoms, model.geom_size),
        ("joint", joints, model.jnt_pos),
    ):
        if len(listed) != len(rows):
            raise ValueError(
                f"the MJCF lists {len(listed)} <{tag}> elements where the model has {len(rows)}; "
                "expand <replicate>, <composite> and <flexcomp> before fitting"
            )
    for path, (prefix, names, limits, rounded) in _FIELDS.items():
        first = 1 if prefix == "body" else 0  # the world is body 0
        for i, element in enumerate(root.findall(path), start=first):
            for name in names.split():
                _set(element, **{name: getattr(model, _field(prefix, name))[i]})
            for name in limits.split():
                _set_limits(element, model, prefix, name, i)
            for name in rounded.split():
                _refine(element, **{name: getattr(model, _field(prefix, name))[i]})
    for i, body in enumerate(bodies, start=1):
        _set_inertial(body, model, i)
    for i, geom in enumerate(geoms):
        _set_pose(geom, spec, model, i)
    for i, joint in enumerate(joints):
        _set_joint(joint, model, i)
    for i, tendon in enumerate(root.findall("tendon/*")):
        _set_path(tendon, model, i)
    for data, equality in zip(model.eq_data, root.findall("equality/*"), strict=True):
        _refine(equality, polycoef=data[:5], anchor=data[:3], relpose=data[3:10])
        _refine(equality, torquescale=data[10])
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _set_option(root: ElementTree.Element, model: Any) -> None:
    option = root.find("option")
    if option is None:
        option = ElementTree.SubElement(root, "option")
    for name in ("timestep", "gravity", "tolerance", "impratio"):
        _set(option, **{name: getattr(model.opt, name)})
    for name in ("density", "viscosity", "wind", "magnetic", "ls_tolerance"):
        _refine(option, **{name: getattr(model.opt, name)})
    statistic = root.find("statistic")
    if statistic is not None:
        _refine(statistic, meaninertia=model.stat.meaninertia)


def _set_assets(root: ElementTree.Element, spec: mujoco.MjSpec, model: Any) -> None:
    for element, mesh in zip(root.findall("asset/mesh"), spec.meshes, strict=True):
        _refine(element, scale=mesh.scale, refpos=mesh.refpos, refquat=mesh.refquat)
        _refine(element, vertex=mesh.uservert)
    for i, element in enumerate(root.findall("asset/hfield")):
        if "elevation" in element.attrib:  # MJCF lists the rows from the top
            hfield = spec.hfields[i]
            heights = np.reshape(hfield.userdata, (hfield.nrow, hfield.ncol))
            _set(element, elevation=heights[::-1].ravel())


def _set_inertial(body: ElementTree.Element, model: Any, i: int) -> None:
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


def _set_pose(geom: ElementTree.Element, spec: mujoco.MjSpec, model: Any, i: int) -> None:
    pos, quat = np.asarray(model.geom_pos[i], float), np.asarray(model.geom_quat[i], float)
    kind = int(np.asarray(model.geom_type)[i])
    if kind in _MESHES:
        pos, quat = _mesh_pose(spec, model, i, pos, quat)
    elif "mesh" in geom.attrib:  # a primitive that the compiler has fitted to a mesh
        del geom.attrib["mesh"]
    _set(geom, pos=pos, quat=quat)
    if kind not in (*_MESHES, mujoco.mjtGeom.mjGEOM_PLANE, mujoco.mjtGeom.mjGEOM_HFIELD):
        _set(geom, size=model.geom_size[i])


def _mesh_pose(
    spec: mujoco.MjSpec, model: Any, i: int, pos: np.ndarray, quat: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The pose of a mesh geom as MJCF has it; the compiler has moved it into the mesh's own frame.

    Returns the spec's own where that is it, so that writing and compiling again changes no digit.
    """
    mesh = int(np.asarray(model.geom_dataid)[i])
    back = np.asarray(model.mesh_quat[mesh], float) * [1.0, -1.0, -1.0, -1.0]
    turned, moved = np.zeros(4), np.zeros(3)
    mujoco.mju_mulQuat(turned, quat, back)
    mujoco.mju_rotVecQuat(moved, np.asarray(model.mesh_pos[mesh], float), turned)
    pos, geom = pos - moved, spec.geoms[i]
    same = np.allclose(geom.pos, pos, 0.0, 1e-9) and np.allclose(geom.quat, turned, 0.0, 1e-9)
    return (geom.pos, geom.quat) if same else (pos, turned)


def _set_joint(joint: ElementTree.Element, model: Any, i: int) -> None:
    joint.attrib.pop("align", None)  # the frames are aligned already
    if joint.tag == "freejoint":
        return
    dof = int(np.asarray(model.jnt_dofadr)[i])
    _set(
        joint,
        damping=model.dof_damping[dof],
        frictionloss=model.dof_frictionloss[dof],
        armature=model.dof_armature[dof],
        stiffness=model.jnt_stiffness[i],
        margin=model.jnt_margin[i],
        solreflimit=model.jnt_solref[i],
        solimplimit=model.jnt_solimp[i],
        solreffriction=model.dof_solref[dof],
        solimpfriction=model.dof_solimp[dof],
    )
    if "springdamper" in joint.attrib:  # stiffness and damping now say it
        joint.set("springdamper", "0 0")
    kind = int(np.asarray(model.jnt_type)[i])
    if kind != mujoco.mjtJoint.mjJNT_FREE:
        _set(joint, pos=model.jnt_pos[i], axis=model.jnt_axis[i])
    _set_limits(joint, model, "jnt", "range", i)
    _set_limits(joint, model, "jnt", "actuatorfrcrange", i)
    if kind in (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE):
        position = int(np.asarray(model.jnt_qposadr)[i])
        _set(joint, ref=model.qpos0[position], springref=model.qpos_spring[position])


def _set_path(tendon: ElementTree.Element, model: Any, i: int) -> None:
    start = int(np.asarray(model.tendon_adr)[i])
    for j, element in enumerate(tendon):  # a fixed tendon's joints, a spatial one's path
        if element.tag == "joint":
            _refine(element, coef=model.wrap_prm[start + j])
        elif element.tag == "pulley":
            _refine(element, divisor=model.wrap_prm[start + j])


def _field(prefix: str, name: str) -> str:
    return _RENAMED.get(f"{prefix}_{name}", f"{prefix}_{name}")


def _set_limits(element: ElementTree.Element, model: Any, prefix: str, name: str, i: int) -> None:
    """Sets limits that act: others would switch limits on where they are set automatically."""
    field = _field(prefix, name)
    limited = getattr(model, field.replace("range", "limited"))[i]
    (_set if limited else _refine)(element, **{name: getattr(model, field)[i]})


def _set(element: ElementTree.Element, **values: Any) -> None:
    for name, value in values.items():
        numbers = np.atleast_1d(np.asarray(value, float))
        element.set(name, " ".join(repr(float(x)) for x in numbers))


def _refine(element: ElementTree.Element, **values: Any) -> None:
    """Sets attributes that the writer has rounded in full precision; adds none."""
    _set(element, **{name: value for name, value in values.items() if name in element.attrib})
