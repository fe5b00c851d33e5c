"""Options of the backward pass that change derivatives and no value.

The exact derivative of a discretised contact is not always the useful one: it is zero before the
touch, and of stiff contact it may have the wrong size or sign. ``experiments/gradients/bounce.py``
says when each option helps.
"""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from worldmodel._mujoco import mjx
from worldmodel.physics import _mjx
from worldmodel.types import State

REACH = 8.0  # widths; beyond, a contact has no effect


@dataclasses.dataclass(frozen=True)
class Backward:
    """How the derivative of a step differs from that of its value; static."""

    contact_width: float = 0.0  # [m] over which a contact's onset is smoothed; 0: not at all
    touch_speed: float = 0.0  # [m/s] above which the time of a touch is differentiated; 0: not
    jacobian_limit: float = math.inf  # growth beyond which a step passes no gradient on
    finish: bool = True  # finish a broken-off solve first; False: cheaper where all converge

    def __post_init__(self) -> None:
        if not (math.isfinite(self.contact_width) and self.contact_width >= 0.0):
            raise ValueError(f"contact_width {self.contact_width} is not a length ≥ 0")
        if not (math.isfinite(self.touch_speed) and self.touch_speed >= 0.0):
            raise ValueError(f"touch_speed {self.touch_speed} is not a speed ≥ 0")
        if not self.jacobian_limit > 0.0:
            raise ValueError(f"jacobian_limit {self.jacobian_limit} is not > 0")


HARD = Backward()


def contacts_from_distance(model: mjx.Model, data: mjx.Data, width: float) -> mjx.Data:
    """``data`` with constraint rows of contacts that set in smoothly, before they touch.

    With d the distance of a slot less its margin, the penetration becomes w·log(1 + exp(−d/w))
    and the impedance is multiplied by 1/(1 + exp(d/w)): deep contacts stay as they are, those
    within a few widths pull a little ("contacts from distance", Paulus et al., ICLR 2026,
    arXiv 2506.14186, who smooth the same two quantities by other functions). No slot is added:
    contacts that the collider does not report have no effect.

    Args:
      model: the model.
      data: after ``mjx.fwd_position``.
      width: w [m].
    """
    slots = _mjx.contact(data)
    if _mjx.contact_dims(data).size == 0:
        return data
    distance = slots.dist - slots.includemargin
    near = distance < REACH * width
    # Both sides of a where are differentiated: a sentinel distance must not overflow.
    here = jnp.where(near, distance, 0.0) / width
    onset = jax.nn.sigmoid(-here)
    soft = slots.replace(
        dist=jnp.where(near, slots.includemargin - width * jax.nn.softplus(-here), slots.dist),
        solimp=jnp.where(
            near[:, None], slots.solimp.at[:, :2].multiply(onset[:, None]), slots.solimp
        ),
    )
    return mjx.make_constraint(model, _mjx.with_contact(data, soft))


def growth(advance: Callable[[State], State], state: State, dt: float) -> jax.Array:
    """() how much a control step amplifies a small change of its state, root mean square.

    The Frobenius norm of ∂(q′/dt, v′)/∂(q/dt, v) over the root of its size: without a contact
    about 1, in any units.

    Args:
      advance: one control step.
      state: before it.
      dt: its duration [s].
    """
    nq = state.qpos.shape[0]

    def moved(x: jax.Array) -> jax.Array:
        after = advance(dataclasses.replace(state, qpos=x[:nq] * dt, qvel=x[nq:]))
        return jnp.concatenate([after.qpos / dt, after.qvel])

    here = jnp.concatenate([state.qpos / dt, state.qvel])
    return jnp.linalg.norm(jax.jacfwd(moved)(here)) / math.sqrt(len(here))


def cut(state: State, passes: jax.Array) -> State:
    """``state``; a gradient that is carried through it stops here unless ``passes``, a () bool."""
    return jax.tree.map(lambda x: jnp.where(passes, x, jax.lax.stop_gradient(x)), state)
