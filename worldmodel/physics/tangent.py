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
        turned = _turn(qpos[q : q + 4], qvel[v : v + 3] * dt)
        qpos = qpos.at[q : q + 4].set(turned)
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


def _turn(q: jax.Array, angle: jax.Array) -> jax.Array:
    """A quaternion turned by a rotation vector [rad] in its own frame; smooth at zero."""
    square = jnp.sum(jnp.square(angle))
    tiny = square < 1e-8
    norm = jnp.sqrt(jnp.where(tiny, 1.0, square))
    sinc = jnp.where(tiny, 0.5 - square / 48.0, jnp.sin(0.5 * norm) / norm)
    w, v = jnp.where(tiny, 1.0 - square / 8.0, jnp.cos(0.5 * norm)), sinc * angle
    real = q[0] * w - jnp.dot(q[1:], v)
    imaginary = q[0] * v + w * q[1:] + jnp.cross(q[1:], v)
    turned = jnp.concatenate([real[None], imaginary])
    return turned / jnp.linalg.norm(turned)
