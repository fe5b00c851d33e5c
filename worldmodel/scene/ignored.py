"""What MuJoCo acts on and MJX never reads: refused by name, or the motion would be another."""

from collections.abc import Iterator

import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.scene.errors import SceneError
from worldmodel.scene.names import element_names

_Row = tuple[str, str, np.ndarray, str]  # kind of element, feature, which have it, the remedy


def refuse_ignored(model: mujoco.MjModel) -> None:
    """Refuses elements with a feature that acts in MuJoCo and not in MJX.

    Args:
      model: after ``equivalent.simplify``.

    Raises:
      SceneError: the message names the elements and the remedy.
    """
    for kind, feature, mask, remedy in _ignored(model):
        if mask.any():
            names = element_names(model, kind, np.flatnonzero(mask))
            raise SceneError(f"{kind} {names}: {feature} is not in MJX; {remedy}")


def _ignored(model: mujoco.MjModel) -> Iterator[_Row]:
    linear = "keep the first number, the linear term"
    joints = np.zeros(model.njnt, bool)
    joints[model.dof_jntid[_rows(model.dof_dampingpoly)]] = True
    yield "joint", "a damping polynomial", joints, linear
    yield "joint", "a stiffness polynomial", _rows(model.jnt_stiffnesspoly), linear
    yield "tendon", "a damping polynomial", _rows(model.tendon_dampingpoly), linear
    yield "tendon", "a stiffness polynomial", _rows(model.tendon_stiffnesspoly), linear
    yield "actuator", "a damping polynomial", _rows(model.actuator_dampingpoly), linear
    for name in ("armature", "damping"):
        yield (
            "actuator",
            f"{name} on a transmission that is no hinge, slide or tendon",
            getattr(model, f"actuator_{name}") != 0,
            f"give the joint {name} instead",
        )
    yield (
        "actuator",
        "delay",
        model.actuator_delay != 0,
        "set delay=0, and give it the delay of a drive (gainprm[3], scene.drives)",
    )
    own = model.actuator_gaintype == int(mujoco.mjtGain.mjGAIN_DCMOTOR)  # refused by its type
    early = (model.actuator_actearly != 0) & ~own
    yield "actuator", "actearly", early, "set actearly='false'"
    several = (model.actuator_ctrlnum != 1) | (model.actuator_outnum != 1)
    yield "actuator", "more than one control or output", several, "use one actuator for each"
    group = np.clip(model.actuator_group, 0, 30)
    off = (model.opt.disableactuator >> group) & 1
    off[(model.actuator_group < 0) | (model.actuator_group > 30)] = 0
    remedy = "remove these actuators, or drop their group from the option"
    yield "actuator", "option actuatorgroupdisable", off != 0, remedy

    medium = model.opt.density > 0 or model.opt.viscosity > 0
    ellipsoid = medium & (model.geom_fluid[:, 0] != 0)
    remedy = "set fluidshape='none' on each geom of the body, for the fluid forces of its inertia"
    yield "geom", "fluidshape='ellipsoid'", ellipsoid, remedy
    remedy = "remove it, or drive a body on a joint"
    yield "geom", "surfacevel", _rows(model.geom_surfacevel), remedy
    remedy = "remove it, or hold the bodies by an <equality>"
    yield "geom", "adhesion", _rows(model.geom_adhesion), remedy
    yield "pair", "adhesion", _rows(model.pair_adhesion), remedy

    plugin = "replace what it does by MJCF's own elements"
    for kind in ("body", "geom", "actuator", "sensor"):
        yield kind, "a plugin", getattr(model, f"{kind}_plugin") >= 0, plugin
    late = (model.sensor_delay != 0) | _rows(model.sensor_interval)
    yield "sensor", "a delay or an interval", late, "remove delay, nsample and interval"


def _rows(array: np.ndarray) -> np.ndarray:
    """(n,) bool, which rows have a number that is not zero."""
    return (array != 0).any(axis=tuple(range(1, array.ndim)))
