"""The only file that touches private names of MJX (tested by name, pinned with mujoco-mjx 3.17).

The implicit contact gradient needs what MJX does not export: the constraint forces as a function of
the acceleration, the Hessian of the solver's cost, and the constraint rows of each contact.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from mujoco.mjx._src import collision_driver, forward, solver, types

from worldmodel._mujoco import mjx, mujoco

Context = solver.Context
Collider = Callable[..., tuple]  # model, data, key, geom (pairs, 2) → distances, points, frames


def constraint_context(model: mjx.Model, data: mjx.Data, qacc: jax.Array) -> Context:
    """Constraint-space quantities at an acceleration: ``efc_force``, ``qfrc_constraint``, ``Ma``.

    Args:
      model: the model; differentiable.
      data: after ``mjx.fwd_acceleration``; differentiable.
      qacc: (nv,) acceleration at which to evaluate [m/s², rad/s²].
    """
    return Context.create(model, data.replace(qacc=qacc), grad=False)


def newton_direction(
    model: mjx.Model, data: mjx.Data, context: Context, residual: jax.Array
) -> jax.Array:
    """H⁻¹ · residual, with H the Hessian of the solver's cost at ``context``; linear in residual.

    H = M + JᵀDJ over the active rows plus the elliptic cones' own blocks. MJX only computes it
    for its own gradient (Ma − qfrc_smooth − qfrc_constraint), so that is set to ``residual``.
    The caller stops the gradient of ``model``, ``data`` and ``context``.
    """
    zeros = jnp.zeros_like(residual)
    context = context.replace(Ma=residual, qfrc_constraint=zeros)
    return solver._update_gradient(model, data.replace(qfrc_smooth=zeros), context).Mgrad


def with_solvable_options(model: mjx.Model, data: mjx.Data) -> mjx.Model:
    """The same model where MJX can differentiate it: equal in value, both cases.

    An elliptic cone in a scene without frictional contact slots raises an index error in MJX
    3.17; without such slots both cones are the same problem.
    """
    if model.opt.cone == types.ConeType.ELLIPTIC and not (contact_dims(data) > 1).any():
        model = model.tree_replace({"opt.cone": types.ConeType.PYRAMIDAL})
    return model


def with_newton(model: mjx.Model) -> mjx.Model:
    """The same problem with the Newton solver, whose Hessian the gradient needs."""
    return model.tree_replace({"opt.solver": types.SolverType.NEWTON})


def with_warm_start(flags: types.DisableBit) -> types.DisableBit:
    """``flags`` of a model whose solver starts from ``qacc_warmstart`` where that is better."""
    return flags & ~types.DisableBit.WARMSTART


def without_clamp(model: mjx.Model) -> mjx.Model:
    """The same model, which takes a ctrl beyond its ctrlrange as it is."""
    flags = model.opt.disableflags | types.DisableBit.CLAMPCTRL
    return model.tree_replace({"opt.disableflags": flags})


def constraint_rows(data: mjx.Data) -> int:
    """Number of constraint rows (static)."""
    return data._impl.efc_J.shape[0]


def contact_rows(model: mjx.Model, data: mjx.Data) -> tuple[np.ndarray, np.ndarray]:
    """Which constraint rows are a contact slot's. Static.

    Returns:
      member: (ncon, nefc) bool.
      normal: (ncon, nefc) weights that sum a slot's rows to its normal direction.
    """
    dims, address = contact_dims(data), data._impl.contact.efc_address
    member = np.zeros((len(dims), constraint_rows(data)), bool)
    normal = np.zeros(member.shape)
    for slot, (dim, start) in enumerate(zip(dims, address, strict=True)):
        # A pyramid's edges are n ± μt: their mean is the normal. A cone's first row is.
        pyramid = dim > 1 and not is_elliptic(model)
        rows = 2 * (dim - 1) if pyramid else dim
        normals = rows if pyramid else 1
        member[slot, start : start + rows] = True
        normal[slot, start : start + normals] = 1.0 / normals
    return member, normal


def constraint_jacobian(data: mjx.Data) -> jax.Array:
    """(nefc, nv) Jacobian of the constraint rows; 0 where inactive."""
    return data._impl.efc_J


def without_rows(data: mjx.Data, rows: jax.Array) -> mjx.Data:
    """``data`` in which the rows where the (nefc,) bool is True do not act on any joint."""
    return data.tree_replace({"_impl.efc_J": jnp.where(rows[:, None], 0.0, data._impl.efc_J)})


def efc_force(data: mjx.Data) -> jax.Array:
    """(nefc,) constraint forces of the last solve."""
    return data._impl.efc_force


def with_efc_force(data: mjx.Data, force: jax.Array) -> mjx.Data:
    """``data`` with other constraint forces."""
    return data.tree_replace({"_impl.efc_force": force})


def contact(data: mjx.Data) -> Any:
    """The contact slots: ``dist, geom, frame, friction, includemargin, dim, efc_address``."""
    return data._impl.contact


def with_contact(data: mjx.Data, slots: Any) -> mjx.Data:
    """``data`` with other contact slots."""
    return data.tree_replace({"_impl.contact": slots})


def contact_dims(data: mjx.Data) -> np.ndarray:
    """(ncon,) dimension of each contact slot, static."""
    return np.asarray(data._impl.contact.dim)


def is_elliptic(model: mjx.Model) -> bool:
    """Whether friction cones are elliptic (static)."""
    return model.opt.cone == types.ConeType.ELLIPTIC


def integrator_name(model: mjx.Model) -> str:
    """'EULER', 'RK4' or 'IMPLICITFAST' (static)."""
    return types.IntegratorType(model.opt.integrator).name


def advance(
    model: mjx.Model, data: mjx.Data, act_dot: jax.Array, qacc: jax.Array, qvel: jax.Array
) -> mjx.Data:
    """``data`` one timestep on: velocities by ``qacc``, positions by ``qvel``, activations.

    Args:
      act_dot: (na,) rates of the activations.
      qacc: (nv,) [m/s², rad/s²].
      qvel: (nv,) [m/s, rad/s].
    """
    return forward._advance(model, data, act_dot, qacc, qvel)


@contextlib.contextmanager
def colliders(wrapped: Mapping[tuple[int, int], Callable[[Collider], Collider]]) -> Iterator[None]:
    """While MJX is traced inside, its colliders of these geom types are wrapped."""
    table = collision_driver._COLLISION_FUNC
    originals = {pair: table[pair] for pair in wrapped}
    try:
        for pair, wrap in wrapped.items():
            table[pair] = wrap(originals[pair])
            table[pair].ncon = originals[pair].ncon
        yield
    finally:
        table.update(originals)


def geom_pairs(model: mujoco.MjModel) -> list[tuple[int, int]]:
    """Geom id pairs that MJX tests for contact, in its order."""
    return [(int(a), int(b)) for a, b, _ in collision_driver.geom_pairs(model)]


def tendon_jacobian(data: mjx.Data) -> jax.Array:
    """(ntendon, nv) after ``mjx.tendon``."""
    return data._impl.ten_J


def actuator_moment(data: mjx.Data) -> jax.Array:
    """(nu, nv) after ``mjx.transmission``."""
    return data._impl.actuator_moment
