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

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel._mujoco import mjx, mujoco
from worldmodel.errors import InputError
from worldmodel.physics.derived import with_derived_constants
from worldmodel.physics.kinds import CALIBRATIONS, KINDS, number
from worldmodel.physics.refusals import refusal
from worldmodel.scene import FreeParameter, Scene
from worldmodel.scene.mjcf import to_mjcf as write_mjcf
from worldmodel.scene.names import element_name

Parameters = dict[str, jax.Array]


class ParameterError(InputError):
    """A free parameter that the scene does not have or that cannot move from its value."""


def zeros(free: tuple[FreeParameter, ...]) -> Parameters:
    """The MJCF's own values: every number 0."""
    return {f.name: jnp.zeros(len(KINDS[f.kind].width)) for f in free}


def check(scene: Scene, free: tuple[FreeParameter, ...]) -> None:
    """Refuses parameters that cannot be fitted.

    Raises:
      ParameterError: an unknown kind, element or repeated name; a positive quantity whose value
        in the MJCF is zero; an impedance at MuJoCo's limit; a geom size of a plane or mesh; a
        place or axis that the joint's motion does not depend on; a number that the actuator does
        not have; friction, solref or solimp of a geom that touches in a <pair> alone; a scale of
        another length or not finite; a body that cannot move.
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
        reason = refusal(scene.mj_model, f, ids)
        if reason is not None:
            raise ParameterError(f"{f.name}: {reason}")


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
    after = moved(scene, model, free, parameters)
    return model if after is model else with_derived_constants(scene, after)


def moved(
    scene: Scene, model: mjx.Model, free: tuple[FreeParameter, ...], parameters: Parameters
) -> mjx.Model:
    """``apply`` without the derived constants: for what does not depend on them."""
    check_leaves(free, parameters)
    for f in free:
        if f.kind not in CALIBRATIONS:
            step = jnp.asarray(widths(scene, f)) * parameters[f.name]
            model = KINDS[f.kind].move(model, _ids(scene, f), step)
    return model


def widths(scene: Scene, f: FreeParameter) -> np.ndarray:
    """(numbers,) the standard deviations of a parameter's prior, in log or SI units."""
    kind, m = KINDS[f.kind], scene.mj_model
    width = np.array(f.scale) * np.array(kind.width)
    if kind.slide == 1.0:
        return width
    actuator = kind.element == "actuator"
    joint = m.actuator(f.element).trnid[0] if actuator else m.joint(f.element).id
    return width * kind.slide if m.jnt_type[joint] == mujoco.mjtJoint.mjJNT_SLIDE else width


def values(
    scene: Scene, free: tuple[FreeParameter, ...], parameters: Parameters
) -> dict[str, np.ndarray]:
    """The physical values, in the units of ``KINDS``; ``inertia`` are the principal moments."""
    model = apply(scene, scene.mjx_model(), free, parameters)
    return read(scene, free, model, parameters)


def read(
    scene: Scene, free: tuple[FreeParameter, ...], model: mjx.Model, parameters: Parameters
) -> dict[str, np.ndarray]:
    """The physical values in a model that ``apply`` returned, see ``values``."""
    out = {}
    for f in free:
        kind = KINDS[f.kind]
        if f.kind in CALIBRATIONS:
            step = widths(scene, f) * np.asarray(parameters[f.name])
            out[f.name] = np.exp(step) if kind.positive else step
        elif kind.field:
            out[f.name] = number(model, f.kind, _ids(scene, f))[0]
        else:
            out[f.name] = np.asarray(model.opt.gravity)
    return out


def to_mjcf(scene: Scene, free: tuple[FreeParameter, ...], parameters: Parameters) -> str:
    """The fitted scene as MJCF text; C MuJoCo compiles it to the same trajectories.

    Every number that a parameter can change is written with full precision, inertias explicitly.

    Raises:
      ParameterError: a number is NaN or infinite, or makes a value that is.
    """
    check_finite(parameters)
    model = apply(scene, scene.mjx_model(), free, parameters)
    for name, value in read(scene, free, model, parameters).items():
        if not np.isfinite(value).all():
            far = f"{np.asarray(parameters[name])} prior widths from the MJCF's value"
            raise ParameterError(f"{name} is {value} at {far}; stay within about ten")
    return write_mjcf(scene.spec, model)


def _ids(scene: Scene, f: FreeParameter) -> np.ndarray:
    """Rows of ``KINDS[f.kind].field`` that belong to the elements."""
    if not KINDS[f.kind].element:
        return np.array([0])
    return np.concatenate([_rows(scene.mj_model, f, name) for name in (f.element, *f.also)])


def _rows(model: mujoco.MjModel, f: FreeParameter, name: str) -> np.ndarray:
    element = KINDS[f.kind].element
    index = mujoco.mj_name2id(model, getattr(mujoco.mjtObj, f"mjOBJ_{element.upper()}"), name)
    if index < 0:
        count = {"body": model.nbody, "geom": model.ngeom, "joint": model.njnt}
        count |= {"actuator": model.nu}
        known = [element_name(model, element, i) for i in range(count[element])]
        raise ParameterError(
            f"the scene has no {element} '{name}' for {f.name}; it has {', '.join(known)}"
        )
    if KINDS[f.kind].field == "qpos_spring":
        return np.array([model.jnt_qposadr[index]])
    if KINDS[f.kind].field.startswith("dof_"):
        start = model.jnt_dofadr[index]
        return np.flatnonzero(model.dof_jntid == index) if start >= 0 else np.array([], int)
    return np.array([index])
