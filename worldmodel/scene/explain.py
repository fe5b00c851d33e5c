"""What MJX refuses, said with the names of the elements and a remedy."""

import re
from collections.abc import Callable

import jax
import numpy as np

from worldmodel._mujoco import mjx, mujoco
from worldmodel.scene.collisions import POINTS, allocation, geom_pairs, margins
from worldmodel.scene.names import element_name, element_names, pair_names, type_names

_NO_MARGIN = (int(mujoco.mjtGeom.mjGEOM_MESH), int(mujoco.mjtGeom.mjGEOM_HFIELD))
_FIELDS = {  # of the enums in MJX's messages
    "Bias": ("actuator_biastype", "actuator"),
    "Dyn": ("actuator_dyntype", "actuator"),
    "Gain": ("actuator_gaintype", "actuator"),
    "Trn": ("actuator_trntype", "actuator"),
    "Eq": ("eq_type", "equality"),
    "Sensor": ("sensor_type", "sensor"),
}


def refusal(model: mujoco.MjModel, message: str) -> str:
    """``mjx.put_model``'s refusal with the names of the elements it is about."""
    if "collisions not implemented" in message:
        return _without_collision(model)
    if "margin/gap" in message:
        return _with_margin(model)
    if "condim=1" in message:
        pairs = [(a, b) for a, b, condim in geom_pairs(model) if condim == 1]
        return (
            f"MJX has no condim=1 in an elliptic cone: {pair_names(model, pairs)}; use "
            "<option cone='pyramidal'>, or condim=3 with friction near 0"
        )
    if "fluid drag" in message:
        return (
            "option density, viscosity or wind: MJX has no fluid forces under "
            "integrator='implicitfast'; use integrator='Euler' or 'RK4', or remove the medium"
        )
    if "Contact sensor" in message:
        contact = np.flatnonzero(model.sensor_type == mujoco.mjtSensor.mjSENS_CONTACT)
        return (
            f"sensor {element_names(model, 'sensor', contact)}: {message}; sense the contact of "
            "two geoms, with reduce='none', 'mindist' or 'maxforce'"
        )
    enable = re.search(r"mjENBL_(\w+)", message)
    if enable is not None:
        flag = enable.group(1).lower()
        return f'<flag {flag}="enable"/> is not in MJX; remove it from <option>'
    for kind, member, value in re.findall(r"<mjt(\w+)\.(mj\w+): (\d+)>", message):
        if kind in _FIELDS:
            field, element = _FIELDS[kind]
            names = element_names(
                model, element, np.flatnonzero(getattr(model, field) == int(value))
            )
            return f"{element} {names}: {member} is not in MJX; remove or replace it"
    return f"MJX cannot run this scene: {message}; remove or replace that feature"


def sensors_of(model: mujoco.MjModel) -> Callable[[mjx.Model, mjx.Data], mjx.Data]:
    """The sensors of a step, without the step.

    Without any constraint row MJX leaves out those of accelerations and forces.
    """
    constrained = allocation(model).rows.total > 0

    def sensed(model: mjx.Model, data: mjx.Data) -> mjx.Data:
        data = mjx.sensor_vel(model, mjx.sensor_pos(model, data))
        return mjx.sensor_acc(model, data) if constrained else data

    return sensed


def sensor_failure(model: mujoco.MjModel, error: Exception) -> str:
    """What MJX raises at its sensors, with the names of those that raise it."""
    sensors = [i for i in range(model.nsensor) if not _traces(model, i)]
    types = dict.fromkeys(model.sensor_type[sensors].tolist())
    kinds = ", ".join(mujoco.mjtSensor(kind).name for kind in types)
    return (
        f"sensor {element_names(model, 'sensor', sensors)}: MJX fails at {kinds} in its first step "
        f"({type(error).__name__}: {error}); remove or replace it"
    )


def _traces(model: mujoco.MjModel, sensor: int) -> bool:
    """Whether one sensor alone is traced."""
    kinds = np.full_like(model.sensor_type, int(mujoco.mjtSensor.mjSENS_CLOCK))
    kinds[sensor] = model.sensor_type[sensor]
    alone = mjx.put_model(model).replace(sensor_type=kinds)
    try:
        jax.eval_shape(sensors_of(model), alone, mjx.make_data(model))
    except Exception:
        return False
    return True


def _without_collision(model: mujoco.MjModel) -> str:
    """The pairs that may touch and for which MJX has no collision function."""
    kinds, pairs = model.geom_type.tolist(), [(a, b) for a, b, _ in geom_pairs(model)]
    lacking = [(a, b) for a, b in pairs if (kinds[a], kinds[b]) not in POINTS]
    shapes = [kinds[geom] for geom in lacking[0]]
    return (
        f"MJX has no collision {type_names(shapes)}: {pair_names(model, lacking)}; replace one "
        "shape (a cylinder by a capsule or mesh), or keep the pair apart with contype/conaffinity "
        "or <exclude>"
    )


def _with_margin(model: mujoco.MjModel) -> str:
    """The pairs of a mesh or height field that may touch and have a margin."""
    without = np.isin(model.geom_type, _NO_MARGIN)
    refused = {pair: own for pair, own in margins(model).items() if without[list(pair)].any()}
    sources = dict.fromkeys(element for own in refused.values() for element in own)
    names = ", ".join(f"{kind} '{element_name(model, kind, i)}'" for kind, i in sources)
    return (
        "MJX has no contact margin at meshes and height fields: "
        f"{pair_names(model, list(refused))}; set margin=0 on {names}"
    )
