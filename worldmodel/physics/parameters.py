"""Physical parameters as a pytree: named leaves ↔ unconstrained numbers with a standard prior.

A leaf is a vector u with prior N(0, 1) per number, and u = 0 is the MJCF's own value. Positive
quantities move in log space, x = x₀ exp(scale · u); lengths and angles additively, x = x₀ +
scale · u; so identification is ``grad`` and a prior is ½‖u‖². Which parameters are free is a
tuple of ``FreeParameter``, chosen per scene.

A rotational inertia is moved by its principal second moments (log, hence always positive and
within the triangle inequality) and a rotation of its axes: the parametrisation of Traversaro et
al., IROS 2016, eq. 27. It covers the same set as the log-Cholesky pseudo-inertia (Rucker &
Wensing, RA-L 2022) and is what MJCF stores, so that it is written without loss. Where
two moments are equal, the rotation about the third has no effect and no gradient.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel._mujoco import mjx, mujoco
from worldmodel.errors import InputError
from worldmodel.physics.derived import with_derived_constants
from worldmodel.scene import FreeParameter, Scene
from worldmodel.scene.mjcf import to_mjcf as write_mjcf
from worldmodel.scene.tangent import rotated, turned

Parameters = dict[str, jax.Array]


class ParameterError(InputError):
    """A free parameter that the scene does not have or that cannot move from its value."""


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


def _move_gravity(model: mjx.Model, ids: np.ndarray, step: jax.Array) -> mjx.Model:
    del ids
    turn = jnp.concatenate([step, jnp.zeros(1)])
    return model.tree_replace({"opt.gravity": rotated(turn, jnp.asarray(model.opt.gravity))})


KINDS = {
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
    "joint_pos": Kind("joint", (0.005,) * 3, "m", "jnt_pos", _shifted("jnt_pos")),
    "joint_axis": Kind("joint", (0.05,) * 2, "", "jnt_axis", _move_axis),
    "gain": Kind("actuator", (0.2,), "", "actuator_gainprm", _move_gain, True, (0, 1)),
    "gravity_tilt": Kind("", (0.02,) * 2, "m/s²", "", _move_gravity),
}
_BAKED = (int(mujoco.mjtGeom.mjGEOM_MESH), int(mujoco.mjtGeom.mjGEOM_HFIELD))
POSED = {  # the joint types whose motion depends on such a place or axis
    "joint_pos": (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_BALL),
    "joint_axis": (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE),
}


def zeros(free: tuple[FreeParameter, ...]) -> Parameters:
    """The MJCF's own values: every number 0."""
    return {f.name: jnp.zeros(len(KINDS[f.kind].width)) for f in free}


def log_prior(parameters: Parameters) -> jax.Array:
    """Log density of the standard normal prior, up to its constant."""
    return -0.5 * jnp.sum(jnp.square(jnp.concatenate(list(parameters.values()))))


def check(scene: Scene, free: tuple[FreeParameter, ...]) -> None:
    """Refuses parameters that cannot be fitted.

    Raises:
      ParameterError: an unknown kind, element or repeated name; a positive quantity whose value
        in the MJCF is zero; an impedance at MuJoCo's limit; a geom size of a plane or mesh; a
        place or axis that the joint's motion does not depend on; a scale of another length or not
        finite; a body that cannot move.
    """
    names = [f.name for f in free]
    if len(set(names)) != len(names):
        raise ParameterError(f"free parameters named twice: {sorted(names)}")
    for f in free:
        if f.kind not in KINDS:
            raise ParameterError(f"unknown kind '{f.kind}'; known: {', '.join(KINDS)}")
        kind, ids = KINDS[f.kind], _ids(scene, f)
        if np.size(f.scale) not in (1, len(kind.width)) or not np.isfinite(f.scale).all():
            raise ParameterError(f"{f.name}: scale {f.scale} is not 1 or {len(kind.width)} numbers")
        if kind.positive:
            value = np.atleast_2d(getattr(scene.mj_model, kind.field)[ids].T).T[
                :, slice(*kind.columns)
            ]
            if f.kind == "inertia":
                value = 0.5 * value.sum(1, keepdims=True) - value
            if not (value > 0).all():
                raise ParameterError(
                    f"{f.name} is {value.ravel()} in the MJCF and moves in log space; give it a "
                    "positive starting value there"
                )
        if f.kind == "solimp":
            value = scene.mj_model.geom_solimp[ids[0], [0, 1, 3]]
            if (value >= mujoco.mjMAXIMP).any():
                raise ParameterError(
                    f"{f.name}: dmin, dmax, midpoint are {value} in the MJCF, which MuJoCo holds "
                    f"at {mujoco.mjMAXIMP}; give them values below it there"
                )
        if f.kind in POSED:
            joint = mujoco.mjtJoint(scene.mj_model.jnt_type[ids[0]])
            if joint not in POSED[f.kind]:
                raise ParameterError(
                    f"{f.name}: the motion of a {joint.name[6:].lower()} joint does not depend on "
                    "it; leave it fixed"
                )
        carrier = scene.mj_model.body_weldid[ids[0]] if kind.element == "body" else None
        if carrier is not None and scene.mj_model.body_dofnum[carrier] == 0:
            raise ParameterError(f"{f.name}: this body never moves; no motion depends on its mass")
        shape = int(scene.mj_model.geom_type[ids[0]]) if kind.element == "geom" else None
        if f.kind.startswith("geom_") and shape in _BAKED:
            raise ParameterError(f"{f.name}: the size and pose of meshes are baked in; use boxes")
        if f.kind == "geom_size" and shape == int(mujoco.mjtGeom.mjGEOM_PLANE):
            raise ParameterError(f"{f.name}: a plane is infinite; leave its size fixed")


def check_leaves(free: tuple[FreeParameter, ...], parameters: Parameters) -> None:
    """Refuses leaves that are absent or of another shape.

    Raises:
      ParameterError: the message names the leaf and the shape.
    """
    for f in free:
        wanted = (len(KINDS[f.kind].width),)
        if f.name not in parameters or np.shape(parameters[f.name]) != wanted:
            given = np.shape(parameters[f.name]) if f.name in parameters else "absent"
            raise ParameterError(f"{f.name} is {given} and must have the shape {wanted}")


def check_finite(parameters: Parameters) -> None:
    """Refuses numbers that are not finite.

    Raises:
      ParameterError: one is NaN or infinite.
    """
    for name, value in parameters.items():
        if not np.isfinite(np.asarray(value)).all():
            raise ParameterError(
                f"{name} is {np.asarray(value)}; every number must be finite: 0 is the MJCF's value"
            )


def apply(
    scene: Scene, model: mjx.Model, free: tuple[FreeParameter, ...], parameters: Parameters
) -> mjx.Model:
    """The model with its parameters moved and its derived constants recomputed.

    Args:
      scene: static.
      model: ``scene.mjx_model()``, the MJCF's own values.
      free: which parameters ``parameters`` holds (static).
      parameters: unconstrained numbers; differentiable.

    Raises:
      ParameterError: a leaf that is absent or of another shape.
    """
    if not free:
        return model
    check_leaves(free, parameters)
    for f in free:
        kind = KINDS[f.kind]
        width = np.array(f.scale) * np.array(kind.width)
        model = kind.move(model, _ids(scene, f), jnp.asarray(width) * parameters[f.name])
    return with_derived_constants(scene, model)


def values(
    scene: Scene, free: tuple[FreeParameter, ...], parameters: Parameters
) -> dict[str, np.ndarray]:
    """The physical values, in the units of ``KINDS``; ``inertia`` are the principal moments."""
    return read(scene, free, apply(scene, scene.mjx_model(), free, parameters))


def read(scene: Scene, free: tuple[FreeParameter, ...], model: mjx.Model) -> dict[str, np.ndarray]:
    """The physical values in a model that ``apply`` returned, see ``values``."""
    out = {}
    for f in free:
        kind, ids = KINDS[f.kind], _ids(scene, f)
        if not kind.field:
            out[f.name] = np.asarray(model.opt.gravity)
            continue
        array = np.asarray(getattr(model, kind.field))[ids[0]]
        out[f.name] = np.atleast_1d(array)[slice(*kind.columns)]
    return out


def to_mjcf(scene: Scene, free: tuple[FreeParameter, ...], parameters: Parameters) -> str:
    """The fitted scene as MJCF text; C MuJoCo compiles it to the same trajectories.

    Every number that a parameter can change is written with full precision, inertias explicitly.

    Raises:
      ParameterError: a number is NaN or infinite, or makes a value that is.
    """
    check_finite(parameters)
    model = apply(scene, scene.mjx_model(), free, parameters)
    for name, value in read(scene, free, model).items():
        if not np.isfinite(value).all():
            far = f"{np.asarray(parameters[name])} prior widths from the MJCF's value"
            raise ParameterError(f"{name} is {value} at {far}; stay within about ten")
    return write_mjcf(scene.spec, model)


def _ids(scene: Scene, f: FreeParameter) -> np.ndarray:
    """Rows of ``KINDS[f.kind].field`` that belong to the element."""
    model, element = scene.mj_model, KINDS[f.kind].element
    if not element:
        return np.array([0])
    index = mujoco.mj_name2id(model, getattr(mujoco.mjtObj, f"mjOBJ_{element.upper()}"), f.element)
    if index < 0:
        count = {"body": model.nbody, "geom": model.ngeom, "joint": model.njnt}
        count |= {"actuator": model.nu}
        known = [_name(model, element, i) for i in range(count[element])]
        raise ParameterError(
            f"the scene has no {element} '{f.element}' for {f.name}; it has {', '.join(known)}"
        )
    if KINDS[f.kind].field.startswith("dof_"):
        start = model.jnt_dofadr[index]
        return np.flatnonzero(model.dof_jntid == index) if start >= 0 else np.array([], int)
    return np.array([index])


def _name(model: mujoco.MjModel, element: str, index: int) -> str:
    obj = getattr(mujoco.mjtObj, f"mjOBJ_{element.upper()}")
    return mujoco.mj_id2name(model, obj, index) or f"(unnamed {element} {index})"
