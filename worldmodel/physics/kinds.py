"""The kinds of free parameters: what each moves in a model, and how far its prior reaches."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel._mujoco import mjx
from worldmodel.scene import drives
from worldmodel.scene.namespace import namespace
from worldmodel.scene.tangent import rotated, turned


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of parameter: its element, the width of its prior, and how it is applied."""

    element: str  # "body", "geom", "joint", "actuator" or "" for the whole scene
    width: tuple[float, ...]  # prior standard deviation of each number, in log or SI units
    unit: str
    field: str  # the model's array, for reading the value out
    move: Callable[[mjx.Model, np.ndarray, jax.Array], mjx.Model]  # model, ids, width · u
    positive: bool = False  # moved in log space: its value must not be zero in the MJCF
    columns: tuple[int, int | None] = (0, None)  # first and last + 1 column of ``field``
    sign: float = 1.0  # of the value against the field's number
    slide: float = 1.0  # times the width where the joint is a slide, in m instead of rad


def _scaled(field: str, first: int = 0, last: int | None = None) -> Callable:
    columns = slice(first, last)

    def move(model: mjx.Model, ids: np.ndarray, step: jax.Array) -> mjx.Model:
        array = getattr(model, field)
        index = ids if array.ndim == 1 else (ids, columns)
        factor = jnp.exp(step[0] if array.ndim == 1 else step)
        return model.replace(**{field: array.at[index].set(array[index] * factor)})

    return move


def _shifted(field: str) -> Callable:
    def move(model: mjx.Model, ids: np.ndarray, step: jax.Array) -> mjx.Model:
        return model.replace(**{field: getattr(model, field).at[ids].add(step)})

    return move


def _turned(field: str) -> Callable:
    def move(model: mjx.Model, ids: np.ndarray, step: jax.Array) -> mjx.Model:
        array = getattr(model, field)
        return model.replace(**{field: array.at[ids].set(turned(array[ids[0]], step))})

    return move


def _move_inertia(model: mjx.Model, ids: np.ndarray, step: jax.Array) -> mjx.Model:
    inertia = model.body_inertia[ids[0]]
    second = (0.5 * jnp.sum(inertia) - inertia) * jnp.exp(step[:3])
    model = model.replace(body_inertia=model.body_inertia.at[ids].set(jnp.sum(second) - second))
    return _turned("body_iquat")(model, ids, step[3:])


def _move_axis(model: mjx.Model, ids: np.ndarray, step: jax.Array) -> mjx.Model:
    axis = model.jnt_axis[ids[0]]
    first = jnp.cross(axis, jnp.eye(3)[jnp.argmin(jnp.abs(axis))])
    axis = axis + step[0] * first + step[1] * jnp.cross(axis, first)
    return model.replace(jnt_axis=model.jnt_axis.at[ids].set(axis / jnp.linalg.norm(axis)))


def _move_solimp(model: mjx.Model, ids: np.ndarray, step: jax.Array) -> mjx.Model:
    dmin, dmax, width, mid, power = model.geom_solimp[ids[0]]

    def logit_moved(p: jax.Array, s: jax.Array) -> jax.Array:
        return jax.nn.sigmoid(jnp.log(p) - jnp.log1p(-p) + s)

    # MJX clips an impedance that falls with depth to dmax, C MuJoCo interpolates it: the same
    # numbers would be two simulators. What MJX does is dmin = dmax.
    highest = logit_moved(dmax, step[1])
    solimp = jnp.stack(
        [
            jnp.minimum(logit_moved(dmin, step[0]), highest),
            highest,
            width * jnp.exp(step[2]),
            logit_moved(mid, step[3]),
            power,
        ]
    )
    return model.replace(geom_solimp=model.geom_solimp.at[ids].set(solimp))


def _move_gain(model: mjx.Model, ids: np.ndarray, step: jax.Array) -> mjx.Model:
    factor = jnp.exp(step[0])
    gain, bias = model.actuator_gainprm, model.actuator_biasprm
    # A position servo's bias −kp·q belongs to its gain kp, a velocity servo's −kv·q̇ to its kv.
    position = bias[ids, 1] == -gain[ids, 0]
    velocity = (bias[ids, 1] == 0) & (bias[ids, 2] == -gain[ids, 0])
    servo = jnp.stack([position, velocity], axis=1)
    return model.replace(
        actuator_gainprm=gain.at[ids, 0].set(gain[ids, 0] * factor),
        actuator_biasprm=bias.at[ids, 1:3].set(bias[ids, 1:3] * jnp.where(servo, factor, 1.0)),
    )


def _move_kv(model: mjx.Model, ids: np.ndarray, step: jax.Array) -> mjx.Model:
    bias = model.actuator_biasprm
    return model.replace(actuator_biasprm=bias.at[ids, 2].set(bias[ids, 2] * jnp.exp(step[0])))


def _move_gear(model: mjx.Model, ids: np.ndarray, step: jax.Array) -> mjx.Model:
    gear = model.actuator_gear
    column = gear_column(gear[ids[0]])
    return model.replace(
        actuator_gear=gear.at[ids, column].set(gear[ids, column] * jnp.exp(step[0]))
    )


def gear_column(gear: Any) -> Any:
    """Index of the first number of an actuator's (6,) gear that is not zero."""
    return namespace(gear).argmax(gear != 0)


def _move_time_constant(model: mjx.Model, ids: np.ndarray, step: jax.Array) -> mjx.Model:
    prm = model.actuator_dynprm
    return model.replace(actuator_dynprm=prm.at[ids, 0].set(prm[ids, 0] * jnp.exp(step[0])))


def _move_delay(model: mjx.Model, ids: np.ndarray, step: jax.Array) -> mjx.Model:
    """In the logit of its share of the longest, beyond which no memory reaches."""
    gain, column = model.actuator_gainprm, drives.FIRST + drives.COLUMNS.index("delay")
    share = gain[ids, column] / drives.DELAY_MAX
    share = jax.nn.sigmoid(jnp.log(share) - jnp.log1p(-share) + step[0])
    return model.replace(actuator_gainprm=gain.at[ids, column].set(drives.DELAY_MAX * share))


def _drive(name: str, unit: str, width: float = 1.0) -> Kind:
    """A number of a drive (``scene.drives``), an actuator's."""
    field, column = "actuator_gainprm", drives.FIRST + drives.COLUMNS.index(name)
    columns = column, column + 1
    move = _move_delay if name == "delay" else _scaled(field, *columns)
    return Kind("actuator", (width,), unit, field, move, True, columns)


def _stay(model: mjx.Model, ids: np.ndarray, step: jax.Array) -> mjx.Model:
    del ids, step
    return model


def _move_gravity(model: mjx.Model, ids: np.ndarray, step: jax.Array) -> mjx.Model:
    del ids
    turn = jnp.concatenate([step, jnp.zeros(1)])
    return model.tree_replace({"opt.gravity": rotated(turn, jnp.asarray(model.opt.gravity))})


MOVING = {
    "mass": Kind("body", (0.2,), "kg", "body_mass", _scaled("body_mass"), True),
    "com": Kind("body", (0.01,) * 3, "m", "body_ipos", _shifted("body_ipos")),
    "inertia": Kind("body", (0.3,) * 3 + (0.2,) * 3, "kg·m²", "body_inertia", _move_inertia, True),
    "friction": Kind(
        "geom", (0.5,), "", "geom_friction", _scaled("geom_friction", 0, 1), True, (0, 1)
    ),
    "friction_torsional": Kind(
        "geom", (0.7,), "m", "geom_friction", _scaled("geom_friction", 1, 2), True, (1, 2)
    ),
    "friction_rolling": Kind(
        "geom", (0.7,), "m", "geom_friction", _scaled("geom_friction", 2, 3), True, (2, 3)
    ),
    "solref": Kind("geom", (0.7, 0.5), "s, 1", "geom_solref", _scaled("geom_solref"), True),
    "solimp": Kind("geom", (1.0, 1.0, 0.7, 0.7), "", "geom_solimp", _move_solimp, True, (0, 4)),
    "geom_size": Kind("geom", (0.03,) * 3, "m", "geom_size", _scaled("geom_size")),
    "geom_pos": Kind("geom", (0.005,) * 3, "m", "geom_pos", _shifted("geom_pos")),
    "geom_rotation": Kind("geom", (0.05,) * 3, "quat", "geom_quat", _turned("geom_quat")),
    "damping": Kind("joint", (1.0,), "N·m·s/rad", "dof_damping", _scaled("dof_damping"), True),
    "frictionloss": Kind(
        "joint", (1.0,), "N·m", "dof_frictionloss", _scaled("dof_frictionloss"), True
    ),
    "armature": Kind("joint", (1.0,), "kg·m²", "dof_armature", _scaled("dof_armature"), True),
    "stiffness": Kind("joint", (1.0,), "N·m/rad", "jnt_stiffness", _scaled("jnt_stiffness"), True),
    "springref": Kind("joint", (0.2,), "rad", "qpos_spring", _shifted("qpos_spring"), slide=0.1),
    "joint_pos": Kind("joint", (0.005,) * 3, "m", "jnt_pos", _shifted("jnt_pos")),
    "joint_axis": Kind("joint", (0.05,) * 2, "", "jnt_axis", _move_axis),
    # A width of 0.7 reaches a factor of 16 at the bound of four widths: a servo that nobody has
    # calibrated may have another firmware's gain.
    "gain": Kind("actuator", (0.7,), "", "actuator_gainprm", _move_gain, True, (0, 1)),
    "kv": Kind("actuator", (0.7,), "", "actuator_biasprm", _move_kv, True, (2, 3), -1.0),
    "gear": Kind("actuator", (0.5,), "", "actuator_gear", _move_gear, True),
    "time_constant": Kind(
        "actuator", (0.7,), "s", "actuator_dynprm", _move_time_constant, True, (0, 1)
    ),
    "force_limit": Kind(  # both ends; its value is the upper one
        *("actuator", (0.5,), "N·m", "actuator_forcerange", _scaled("actuator_forcerange"), True),
        columns=(1, 2),
    ),
    "delay": _drive("delay", "s"),
    "lag": _drive("lag", "s"),
    "backlash": _drive("backlash", "rad"),
    "no_load_speed": _drive("no_load_speed", "rad/s", 0.5),
    "coulomb": _drive("coulomb", "N·m"),
    "stiction": _drive("stiction", "N·m"),
    "stribeck_speed": _drive("stribeck_speed", "rad/s"),
    "gravity_tilt": Kind("", (0.02,) * 2, "m/s²", "", _move_gravity),
}
DRIVES = ("force_limit", *drives.COLUMNS)
# Of a log against the robot, not of the robot: they move no model (``model.calibration``).
CALIBRATIONS = {
    "joint_zero": Kind("joint", (0.1,), "rad", "", _stay, slide=0.1),
    "joint_scale": Kind("joint", (0.1,), "", "", _stay, True),
    "command_zero": Kind("actuator", (0.1,), "rad", "", _stay, slide=0.1),
}
KINDS = {**MOVING, **CALIBRATIONS}


def number(model: Any, kind: str, ids: np.ndarray) -> np.ndarray:
    """(rows, columns) the numbers of an element in an ``MjModel`` or ``mjx.Model``."""
    rows = np.asarray(getattr(model, KINDS[kind].field))[ids]
    if kind == "gear":
        return rows[:, gear_column(rows[0])][:, None]
    return KINDS[kind].sign * np.atleast_2d(rows.T).T[:, slice(*KINDS[kind].columns)]
