"""The values that pass between the rooms: frozen pytrees, SI units, stated once.

Conventions, everywhere in the package: the world frame has z up; quaternions are unit and
ordered wxyz; a free joint's ``qvel`` is its linear velocity in the world frame [m/s] followed
by its angular velocity in the body frame [rad/s], as in MuJoCo. Leading batch dimensions come
from the caller's ``vmap``; the shapes below are those of one robot.
"""

import dataclasses

import jax
import numpy as np

from worldmodel.errors import InputError as InputError


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Contacts:
    """Contact channels: one fixed slot per geom pair that can touch (``physics.contact_pairs``).

    A pair with several contact points (a box on a plane has four) is one slot: its distance is
    the smallest, its force the sum.
    """

    active: jax.Array  # (pairs,) bool; whether any point of the pair is inside its margin
    distance: jax.Array  # (pairs,) [m]; smallest signed distance, negative when penetrating
    force: jax.Array  # (pairs, 3) [N]; normal, tangent 1, tangent 2 of the closest point's frame


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class State:
    """What a step carries. ``mjx.Data`` is rebuilt inside the step and never carried."""

    qpos: jax.Array  # (nq,) [m, rad, quaternion]
    qvel: jax.Array  # (nv,) [m/s, rad/s]
    act: jax.Array  # (na,) actuator activations
    time: jax.Array  # () [s]
    qacc_warmstart: jax.Array  # (nv,) [m/s², rad/s²]; start of the next contact solve
    contacts: Contacts  # of the last substep taken; all inactive in an initial state
    latent: jax.Array  # (latent,) the learned half's memory; (0,) without one
    correction: jax.Array  # (nv,) what it added (``dynamics.hybrid``); (0,) without one


@dataclasses.dataclass(frozen=True)
class Episode:
    """One recorded or generated episode, sampled at a constant rate. NumPy, float64."""

    id: int | str  # the id in its source
    time: np.ndarray  # (frames,) [s], starts at 0
    qpos: np.ndarray  # (frames, nq); hinge angles unwrapped
    qvel: np.ndarray  # (frames, nv)
    ctrl: np.ndarray  # (frames, nu); row k is held from frame k to frame k + 1
    valid: np.ndarray  # (frames,) bool; False where the loader's stated rule rejects the frame
    fresh: np.ndarray  # (frames,) bool; a sample was taken since the last frame: may start here
