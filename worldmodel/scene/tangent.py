"""Positions and their differences: a scene's ``qpos`` moves in the space of its ``qvel``."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.scene import Scene


@functools.lru_cache(maxsize=64)
def _addresses(scene: Scene) -> tuple[np.ndarray, np.ndarray, list[tuple[int, int]], np.ndarray]:
    """qpos and qvel indices of all that simply adds; first ones of quaternions; hinges in qvel."""
    m, joint = scene.mj_model, mujoco.mjtJoint
    plain: list[tuple[int, int]] = []
    turning: list[tuple[int, int]] = []
    hinges: list[int] = []
    for kind, q, v in zip(m.jnt_type, m.jnt_qposadr, m.jnt_dofadr, strict=True):
        if kind == joint.mjJNT_FREE:
            plain += [(q + i, v + i) for i in range(3)]
            turning.append((int(q) + 3, int(v) + 3))
        elif kind == joint.mjJNT_BALL:
            turning.append((int(q), int(v)))
        else:
            plain.append((q, v))
            hinges += [int(v)] * bool(kind == joint.mjJNT_HINGE)
    q, v = np.array(plain, int).reshape(-1, 2).T
    return q, v, turning, np.array(hinges, int)


def integrate(scene: Scene, qpos: jax.Array, qvel: jax.Array, dt: float) -> jax.Array:
    """Positions moved on at a velocity for ``dt`` [s] (MuJoCo's ``mj_integratePos``)."""
    plain_q, plain_v, turning, _ = _addresses(scene)
    qpos = qpos.at[plain_q].add(dt * qvel[plain_v])
    for q, v in turning:
        there = turned(qpos[q : q + 4], qvel[v : v + 3] * dt)
        qpos = qpos.at[q : q + 4].set(there / jnp.linalg.norm(there))
    return qpos


def difference(scene: Scene, qpos: jax.Array, other: jax.Array) -> jax.Array:
    """What leads from ``qpos`` to ``other``: (nv,) [m, rad]; smooth at zero.

    A hinge's is that of the nearest turn, a quaternion's the chord 2·vec(q⁻¹ p), which is
    MuJoCo's rotation vector (``mj_differentiatePos``) to third order.
    """
    plain_q, plain_v, turning, hinges = _addresses(scene)
    moved = jnp.zeros(scene.mj_model.nv).at[plain_v].set(other[plain_q] - qpos[plain_q])
    turns = jnp.round(jax.lax.stop_gradient(moved[hinges]) / (2.0 * jnp.pi))
    moved = moved.at[hinges].add(-2.0 * jnp.pi * turns)
    for q, v in turning:
        p, r = qpos[q : q + 4], other[q : q + 4]
        vector = p[0] * r[1:] - r[0] * p[1:] - jnp.cross(p[1:], r[1:])
        nearer = jnp.where(jnp.dot(p, r) < 0.0, -2.0, 2.0)
        moved = moved.at[v : v + 3].set(nearer * vector)
    return moved


def turned(quat: jax.Array, rotvec: jax.Array) -> jax.Array:
    """quat ⊗ exp(rotvec): a turn in the local frame; smooth at zero."""
    # cos and sinc of a half angle as functions of its square: no square root at the origin.
    half = 0.25 * jnp.sum(jnp.square(rotvec))
    small = half < 1e-8
    safe = jnp.where(small, 1.0, half)
    w = jnp.where(small, 1 - half / 2, jnp.cos(jnp.sqrt(safe)))
    s = jnp.where(small, 1 - half / 6, jnp.sin(jnp.sqrt(safe)) / jnp.sqrt(safe))
    v = 0.5 * s * rotvec
    w0, v0 = quat[0], quat[1:]
    return jnp.concatenate([(w0 * w - v0 @ v)[None], w0 * v + w * v0 + jnp.cross(v0, v)])


def rotated(rotvec: jax.Array, vector: jax.Array) -> jax.Array:
    """A vector turned by a rotation vector [rad]; smooth at zero."""
    q = turned(jnp.array([1.0, 0.0, 0.0, 0.0]), rotvec)
    t = 2.0 * jnp.cross(q[1:], vector)
    return vector + q[0] * t + jnp.cross(q[1:], t)
