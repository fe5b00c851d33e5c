"""The contact solve with its implicit derivative, and the contact channels of a state.

MuJoCo's acceleration minimises a strictly convex cost, so it is the root of

    r(a, θ) = M a − qfrc_smooth − Jᵀ f(J a − a_ref) = 0,        da/dθ = −H⁻¹ ∂r/∂θ,

with H = ∂r/∂a = M + JᵀDJ over the active rows (Todorov, ICRA 2014, "Convex and
analytically-invertible dynamics with contacts and constraints"). The solver's iterations are
not differentiated: they run on stopped inputs, Newton's method finishes what they left over, and
the derivative of one more Newton step is attached to the solver's value ("one-step
differentiation", Bolte, Pauwels & Vaiter, NeurIPS 2023). jvp, vjp, vmap and jit compose as usual,
and where no derivative is taken, none of this is computed.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.ad_checkpoint import checkpoint_name

from worldmodel._mujoco import mjx
from worldmodel.physics import _mjx
from worldmodel.physics.backward import HARD, Backward, contacts_from_distance
from worldmodel.physics.derivative import with_derivative_of
from worldmodel.scene import Scene, collisions
from worldmodel.scene.names import element_name
from worldmodel.types import Contacts

TOUCH = 1e-12  # [m] depth of a contact that has just set in
SOLUTION = "contact_solution"  # name of the values that spare a rematerialised step its solve


def solve(model: mjx.Model, data: mjx.Data, backward: Backward = HARD) -> mjx.Data:
    """``mjx.solve`` with a derivative: the solver's values bit for bit, the implicit gradient.

    Sets ``qacc``, ``qfrc_constraint`` and ``efc_force``. The derivative is that of the optimum,
    whichever solver and however few iterations gave the values: it is taken at the point where
    Newton's method has finished the solve. The warm start has no influence on it.

    Args:
      model: the model.
      data: after ``mjx.fwd_acceleration``.
      backward: with a ``contact_width``, the derivative is that of a second solve, whose
        contacts set in smoothly; the values stay those of the first. Without ``finish`` it is
        taken where the solver stopped, which is right only if the solve has converged there.
    """
    fixed_model, fixed_data = jax.lax.stop_gradient((model, data))
    solved = mjx.solve(fixed_model, fixed_data)
    qacc = checkpoint_name(solved.qacc, SOLUTION)
    problem, optimum, newton_model = data, qacc, _finishing(fixed_model)
    if backward.contact_width:
        problem = contacts_from_distance(model, data, backward.contact_width)
    fixed_problem = jax.lax.stop_gradient(problem)
    if backward.finish or backward.contact_width:
        begun = fixed_problem.replace(qacc_warmstart=qacc)
        optimum = checkpoint_name(mjx.solve(newton_model, begun).qacc, SOLUTION)

    residual, context = _residual(model, problem, optimum)
    fixed_context = jax.lax.stop_gradient(context)
    newton = _mjx.newton_direction(newton_model, fixed_problem, fixed_context, residual)
    moved = with_derivative_of(optimum, -newton)
    if backward.touch_speed and _mjx.contact_dims(data).size:
        earlier = _earlier_touch(newton_model, data, backward.touch_speed)
        qacc = with_derivative_of(qacc, moved + earlier)
    else:
        qacc = with_derivative_of(qacc, moved)
    # At the optimum qfrc_constraint = M a − qfrc_smooth. Differentiating that side avoids the
    # cancellation between stiff rows that Jᵀf would suffer in float32.
    qfrc_constraint = with_derivative_of(
        checkpoint_name(solved.qfrc_constraint, SOLUTION),
        mjx.mul_m(model, data, qacc) - data.qfrc_smooth,
    )
    force = with_derivative_of(
        checkpoint_name(_mjx.efc_force(solved), SOLUTION),
        _mjx.constraint_context(model, problem, moved).efc_force,
    )
    data = data.replace(qacc=qacc, qfrc_constraint=qfrc_constraint)
    return _mjx.with_efc_force(data, force)


def _finishing(model: mjx.Model) -> mjx.Model:
    """``model`` with Newton's method run to its end, from the warm start."""
    options = {
        "opt.iterations": 40,
        "opt.ls_iterations": 12,
        "opt.tolerance": jnp.full_like(model.opt.tolerance, 1e-13),
        "opt.disableflags": _mjx.with_warm_start(model.opt.disableflags),
    }
    return _mjx.with_newton(model).tree_replace(options)


def _earlier_touch(model: mjx.Model, data: mjx.Data, slowest: float) -> jax.Array:
    """(nv,) acceleration that contacts would add if they had acted since their touch within this
    step; only its derivative is used.

    A slot at distance d < 0 that closes at speed ḋ < 0 touched τ = d/ḋ ago. Had it touched δτ
    sooner, the velocities would have changed by Δa δτ, with Δa the acceleration that its touch
    brings at d = 0: MuJoCo's contact is damped from the first instant, so its force jumps. This
    is the saltation matrix of the onset (Kong et al., Proc. IEEE 2024, "Saltation matrices"); a
    derivative step by step lacks it at any timestep.
    """
    member, normal = _mjx.contact_rows(model, data)
    slots, fixed_data = _mjx.contact(data), jax.lax.stop_gradient(data)
    distance = slots.dist - slots.includemargin
    speed = normal @ (_mjx.constraint_jacobian(data) @ data.qvel)
    fresh = (distance < 0) & (speed < 0) & (distance > model.opt.timestep * speed)
    since = jnp.where(fresh, distance * speed / (speed**2 + slowest**2), 0.0)

    fixed_slots = jax.lax.stop_gradient(slots)
    barely = fixed_slots.includemargin - TOUCH
    touching = fixed_slots.replace(dist=jnp.where(fresh, barely, fixed_slots.dist))
    touching = mjx.make_constraint(model, _mjx.with_contact(fixed_data, touching))
    solved = mjx.solve(model, touching)
    touched_sooner = with_derivative_of(jnp.zeros_like(since), since)
    force = _mjx.efc_force(solved) * (touched_sooner @ member)
    impulse = _mjx.constraint_jacobian(touching).T @ force
    others = _mjx.without_rows(touching, fresh @ member)
    context = _mjx.constraint_context(model, others, solved.qacc)
    return _mjx.newton_direction(model, others, context, impulse) / model.opt.timestep


def _residual(
    model: mjx.Model, data: mjx.Data, qacc: jax.Array
) -> tuple[jax.Array, "_mjx.Context"]:
    context = _mjx.constraint_context(_mjx.with_newton(model), data, qacc)
    return context.Ma - data.qfrc_smooth - context.qfrc_constraint, context


def solver_residual(model: mjx.Model, data: mjx.Data) -> jax.Array:
    """Largest remaining Newton step [m/s², rad/s²] at ``data.qacc``; about 0 when converged.

    Args:
      data: after a step or ``mjx.forward``, before its positions are integrated further.
    """
    if _mjx.constraint_rows(data) == 0:
        return jnp.zeros(())
    model = _mjx.with_newton(_mjx.with_solvable_options(model, data))
    residual, context = _residual(model, data, data.qacc)
    return jnp.max(jnp.abs(_mjx.newton_direction(model, data, context, residual)), initial=0.0)


@functools.lru_cache(maxsize=64)
def contact_pairs(scene: Scene) -> tuple[tuple[str, str], ...]:
    """The named geom pairs of the contact channels, in the order of ``Contacts``' slots.

    An unnamed geom is called ``geom<id>``.
    """
    m = scene.mj_model
    pairs = collisions.contact_pairs(m)
    return tuple((element_name(m, "geom", a), element_name(m, "geom", b)) for a, b in pairs)


def no_contacts(scene: Scene) -> Contacts:
    """The channels of a state before its first step: nothing touches, distances infinite."""
    pairs = len(contact_pairs(scene))
    zeros = jnp.zeros((pairs, 3))
    return Contacts(jnp.zeros(pairs, bool), jnp.full((pairs,), jnp.inf, zeros.dtype), zeros)


def channels(scene: Scene, model: mjx.Model, data: mjx.Data) -> Contacts:
    """Contact channels of one solved ``data``, see ``Contacts``; differentiable.

    A pair's force is the sum over its contact points, in the frame of the closest one (for a
    face on a plane all frames agree).
    """
    ids = collisions.contact_pairs(scene.mj_model)
    slots = _mjx.contact(data)
    # Constraints that are switched off altogether leave slots without rows.
    if not ids or slots.dist.shape[0] == 0 or _mjx.constraint_rows(data) == 0:
        return no_contacts(scene)
    world = jnp.einsum("ci,cij->cj", _slot_forces(model, data), slots.frame)
    geoms = jnp.sort(jnp.asarray(slots.geom), axis=1)
    member = (geoms[None] == np.sort(np.array(ids), axis=1)[:, None]).all(-1)  # (pairs, slots)
    distance = jnp.where(member, slots.dist, jnp.inf)
    closest = jnp.argmin(distance, axis=1)
    active = (member & (slots.dist < slots.includemargin)).any(axis=1)
    total = member.astype(world.dtype) @ world
    force = jnp.einsum("pij,pj->pi", slots.frame[closest], total)
    return Contacts(active, jnp.min(distance, axis=1), force)


def _slot_forces(model: mjx.Model, data: mjx.Data) -> jax.Array:
    """(ncon, 3) force of each contact slot in its own frame [N]: normal, tangent 1, tangent 2.

    Elliptic rows are those components; a pyramid's edges e± = n ± μₖ tₖ are summed (MuJoCo,
    "Computation", friction cones).
    """
    slots, rows = _mjx.contact(data), _mjx.efc_force(data)
    dims, address = _mjx.contact_dims(data), np.asarray(slots.efc_address)
    forces = []
    for i, (dim, start) in enumerate(zip(dims, address, strict=True)):
        if dim == 1:
            force = jnp.stack([rows[start], jnp.zeros(()), jnp.zeros(())])
        elif _mjx.is_elliptic(model):
            force = rows[start : start + 3]
        else:
            edges = rows[start : start + 2 * (dim - 1)].reshape(dim - 1, 2)
            tangent = slots.friction[i, :2] * (edges[:2, 0] - edges[:2, 1])
            force = jnp.concatenate([edges.sum()[None], tangent])
        forces.append(force)
    return jnp.stack(forces)


def contact_events(active: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Begin and end of contact, from consecutive states.

    Args:
      active: (steps, pairs) bool, ``Contacts.active`` along a trajectory.

    Returns:
      begin, end: (steps − 1, pairs) bool; entry k compares state k + 1 with state k.
    """
    before, after = active[:-1], active[1:]
    return after & ~before, before & ~after
