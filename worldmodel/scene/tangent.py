"""Positions and their differences, which are tangents: vectors in the space of ``qvel``."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.scene.namespace import namespace
from worldmodel.scene.scene import Scene

Array = Any  # NumPy on the host, jax.Array inside a compiled function


@functools.lru_cache(maxsize=64)
def _addresses(scene: Scene) -> tuple[np.ndarray, np.ndarray, list, np.ndarray, np.ndarray]:
    """Indices into qpos and qvel of the numbers that add, and of each quaternion's first; which of
    the former are hinges that can turn around; and qvel's order in the former before the latter."""
    m, joint = scene.mj_model, mujoco.mjtJoint
    plain: list[tuple[int, int]] = []
    turning: list[tuple[int, int]] = []
    hinges: list[bool] = []
    for j, (kind, q, v) in enumerate(zip(m.jnt_type, m.jnt_qposadr, m.jnt_dofadr, strict=True)):
        if kind == joint.mjJNT_FREE:
            plain += [(q + i, v + i) for i in range(3)]
            hinges += [False] * 3
            turning.append((int(q) + 3, int(v) + 3))
        elif kind == joint.mjJNT_BALL:
            turning.append((int(q), int(v)))
        else:
            plain.append((q, v))
            hinges.append(can_turn_around(m, j))
    q, v = np.array(plain, int).reshape(-1, 2).T
    dofs = np.concatenate([v, *(np.arange(first, first + 3) for _, first in turning)])
    return q, v, turning, np.array(hinges, bool), np.argsort(dofs)


def can_turn_around(model: mujoco.MjModel, joint: int) -> bool:
    """Whether a joint is a hinge that one pose reads as many angles, whole turns apart: it has no
    limits, or limits at least a turn apart. Between nearer ones every difference counts."""
    if model.jnt_type[joint] != mujoco.mjtJoint.mjJNT_HINGE:
        return False
    low, high = model.jnt_range[joint]
    return not (model.jnt_limited[joint] and high - low < 2.0 * np.pi)


def integrate(scene: Scene, qpos: jax.Array, qvel: jax.Array, dt: float) -> jax.Array:
    """Positions moved on at a velocity for ``dt`` [s] (MuJoCo's ``mj_integratePos``)."""
    plain_q, plain_v, turning, *_ = _addresses(scene)
    qpos = qpos.at[plain_q].add(dt * qvel[plain_v])
    for q, v in turning:
        there = turned(qpos[q : q + 4], qvel[v : v + 3] * dt)
        qpos = qpos.at[q : q + 4].set(there / jnp.linalg.norm(there))
    return qpos


def difference(scene: Scene, qpos: Array, other: Array) -> Array:
    """The tangent from ``qpos`` to ``other``, (…, nq) each: (…, nv) [m, rad]; smooth at zero.

    A hinge that ``can_turn_around`` takes the nearest turn, a quaternion the ``chord``, which is
    MuJoCo's rotation vector (``mj_differentiatePos``) to third order.
    """
    plain_q, _, turning, hinges, order = _addresses(scene)
    plain = other[..., plain_q] - qpos[..., plain_q]
    plain = plain - hinges * full_turns(plain)
    parts = [plain] + [chord(qpos[..., q : q + 4], other[..., q : q + 4]) for q, _ in turning]
    return namespace(plain).concatenate(parts, axis=-1)[..., order]


def measured_difference(scene: Scene, qpos: Array, other: Array, measured: Array | None) -> Array:
    """``difference``, 0 and without a derivative where ``qpos`` was not measured.

    Args:
      measured: (…, nq) bool, of ``qpos``, which may be NaN elsewhere; None: every position.
    """
    if measured is None:
        return difference(scene, qpos, other)
    xp = namespace(other)
    # Filled before, so that no NaN enters a derivative, and masked after: a quaternion that is
    # known in part has no rotation.
    tangent = difference(scene, xp.where(measured, qpos, other), other)
    return xp.where(measured_dofs(scene, measured), tangent, 0.0)


def measured_dofs(scene: Scene, measured: Array) -> Array:
    """Which degrees of freedom were measured: (…, nq) bool → (…, nv) bool. Those of a rotation
    are where all four numbers of its quaternion are."""
    plain_q, _, turning, _, order = _addresses(scene)
    xp = namespace(measured)
    parts = [measured[..., plain_q]]
    for q, _ in turning:
        parts.append(xp.repeat(measured[..., q : q + 4].all(axis=-1, keepdims=True), 3, axis=-1))
    return xp.concatenate(parts, axis=-1)[..., order]


def full_turns(angle: Array) -> Array:
    """The whole turns in an angle [rad]; without them it lies within ±π."""
    return 2.0 * np.pi * namespace(angle).round(angle / (2.0 * np.pi))


def chord(quat: Array, other: Array) -> Array:
    """2·vec(quat⁻¹ other) of the nearer sign, (…, 4) each: (…, 3); its length is 2 sin(θ / 2)."""
    p, r, cosine = quat, other, (quat * other).sum(axis=-1, keepdims=True)
    xp = namespace(cosine)
    vector = p[..., :1] * r[..., 1:] - r[..., :1] * p[..., 1:] - xp.cross(p[..., 1:], r[..., 1:])
    return xp.where(cosine < 0.0, -2.0, 2.0) * vector


def displacements(scene: Scene, qpos: np.ndarray, other: np.ndarray) -> np.ndarray:
    """MuJoCo's own difference of poses (``mj_differentiatePos``), on the host.

    Args:
      qpos, other: (…, nq).

    Returns:
      (…, nv) [m, rad] from the first to the second, quaternions as rotation vectors.
    """
    out = np.zeros((*qpos.shape[:-1], scene.mj_model.nv))
    for index in np.ndindex(*qpos.shape[:-1]):
        mujoco.mj_differentiatePos(scene.mj_model, out[index], 1.0, qpos[index], other[index])
    return out


def motions(scene: Scene, qpos: np.ndarray, other: np.ndarray) -> np.ndarray:
    """``difference`` on the host, (…, nv) [m, rad], its chords as rotation vectors: what
    ``displaced`` moves ``qpos`` by to ``other``, but for whole turns of a hinge."""
    tangent = difference(scene, qpos, other)
    for _, v in _addresses(scene)[2]:
        half = 0.5 * np.linalg.norm(tangent[..., v : v + 3], axis=-1, keepdims=True)
        longer = np.arcsin(np.minimum(half, 1.0)) / np.where(half > 0, half, 1.0)
        tangent[..., v : v + 3] *= np.where(half > 0, longer, 1.0)
    return tangent


def displaced(scene: Scene, qpos: np.ndarray, tangent: np.ndarray) -> np.ndarray:
    """Poses moved by tangents (``mj_integratePos``), on the host: (…, nq), (…, nv) [m, rad] →
    (…, nq)."""
    out = np.array(qpos, float)
    for index in np.ndindex(*out.shape[:-1]):
        mujoco.mj_integratePos(scene.mj_model, out[index], tangent[index], 1.0)
    return out


def backward_velocities(scene: Scene, qpos: np.ndarray) -> np.ndarray:
    """Velocities of measured poses at the control rate: differences to the frame before.

    Args:
      qpos: (frames, nq).

    Returns:
      (frames, nv) [m/s, rad/s]; zero in the first frame, which has none before it.
    """
    moved = displacements(scene, qpos[:-1], qpos[1:]) * scene.control_hz
    return np.concatenate([np.zeros((1, moved.shape[1])), moved])


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
