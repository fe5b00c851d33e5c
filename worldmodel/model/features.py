"""Features of a state for the network: they do not depend on a free body's place or heading.

A free body's features are in its own frame: the direction of gravity, its velocities, and the
heights of its geoms' corners above the ground, once in decimetres and once, squashed, in the
millimetres that matter for contact. Hinges enter as sine and cosine, slides as they are, and the
velocity of both a second time, squashed at what matters for dry friction. A position servo's
command enters a second time, squashed, as how far its joint is from it: where a joint comes to
rest, friction and play are a hundredth of what the command moves over.
Velocities that the network predicts are turned back to the world frame.
"""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel._mujoco import mjx, mujoco
from worldmodel.physics.refusals import position_servos
from worldmodel.scene import Scene, SceneError

COARSE, FINE = 0.1, 0.004  # [m] scales of heights
SLOW_HINGE, SLOW_SLIDE = 0.3, 0.03  # [rad/s], [m/s] of velocities at which dry friction turns round
NEAR_HINGE, NEAR_SLIDE = 0.01, 0.001  # [rad], [m] of a servo's errors at rest


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where the joints of a scene lie in ``qpos`` and ``qvel``, and the corners of free bodies."""

    free: tuple[tuple[int, int], ...]  # first qpos, first qvel of each free joint
    hinges: tuple[tuple[int, int], ...]
    slides: tuple[tuple[int, int], ...]
    geoms: tuple[int, ...]  # geoms that hang from a free joint and can touch
    corners: tuple[np.ndarray, ...]  # per geom (points, 3) in its frame [m]
    ground: float  # [m] height of the ground plane
    servos: tuple[tuple[int, int, float, float], ...]  # actuator, qpos, gear, scale [m, rad]

    @property
    def commanded(self) -> int:
        """Of position servos, the features that a command decides."""
        return len(self.servos)


@functools.lru_cache(maxsize=64)
def layout(scene: Scene) -> Layout:
    """The layout of a scene.

    Raises:
      SceneError: a ball joint.
    """
    m, joint = scene.mj_model, mujoco.mjtJoint

    def of(kind: int) -> tuple[tuple[int, int], ...]:
        joints = np.flatnonzero(m.jnt_type == kind)
        return tuple((int(m.jnt_qposadr[j]), int(m.jnt_dofadr[j])) for j in joints)

    if of(joint.mjJNT_BALL):
        raise SceneError(
            f"scene {scene.name} has a ball joint, which a network has no features for; use "
            "three hinges, or a WorldModel without a correction"
        )
    floating = {
        b
        for b in range(m.nbody)
        if m.body_jntnum[m.body_rootid[b]]
        and m.jnt_type[m.body_jntadr[m.body_rootid[b]]] == joint.mjJNT_FREE
    }
    planes = np.flatnonzero(m.geom_type == mujoco.mjtGeom.mjGEOM_PLANE)
    geoms = tuple(
        g
        for g in range(m.ngeom)
        if int(m.geom_bodyid[g]) in floating and (m.geom_contype[g] or m.geom_conaffinity[g])
    )
    return Layout(
        free=of(joint.mjJNT_FREE),
        hinges=of(joint.mjJNT_HINGE),
        slides=of(joint.mjJNT_SLIDE),
        geoms=geoms,
        corners=tuple(_corners(m, g) for g in geoms),
        ground=float(m.geom_pos[planes[0], 2]) if len(planes) else 0.0,
        servos=tuple(_servo(m, int(u)) for u in np.flatnonzero(position_servos(m))),
    )


def _servo(m: mujoco.MjModel, actuator: int) -> tuple[int, int, float, float]:
    joint = m.actuator_trnid[actuator, 0]
    hinge = m.jnt_type[joint] == mujoco.mjtJoint.mjJNT_HINGE
    gear = float(m.actuator_gear[actuator, 0])
    scale = abs(gear) * (NEAR_HINGE if hinge else NEAR_SLIDE)
    return actuator, int(m.jnt_qposadr[joint]), gear, scale


def _corners(m: mujoco.MjModel, geom: int) -> np.ndarray:
    """Eight corners of a box; of anything else its centre."""
    if m.geom_type[geom] != mujoco.mjtGeom.mjGEOM_BOX:
        return np.zeros((1, 3))
    signs = np.stack(np.meshgrid([-1, 1], [-1, 1], [-1, 1]), axis=-1).reshape(-1, 3)
    return signs * m.geom_size[geom]


def rotations(scene: Scene, qpos: jax.Array) -> jax.Array:
    """(free joints, 3, 3) orientation of each free body: body frame → world."""
    quaternions = [qpos[q + 3 : q + 7] for q, _ in layout(scene).free]
    return jnp.stack([_matrix(q) for q in quaternions]) if quaternions else jnp.zeros((0, 3, 3))


def _matrix(q: jax.Array) -> jax.Array:
    w, x, y, z = q
    return jnp.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def to_body(scene: Scene, rotation: jax.Array, qvel: jax.Array) -> jax.Array:
    """``qvel`` with the linear velocities of free bodies in their frames; (nv,) → (nv,)."""
    for (_, v), r in zip(layout(scene).free, rotation, strict=True):
        qvel = qvel.at[v : v + 3].set(r.T @ qvel[v : v + 3])
    return qvel


def to_world(scene: Scene, rotation: jax.Array, qvel: jax.Array) -> jax.Array:
    """The inverse of ``to_body``."""
    for (_, v), r in zip(layout(scene).free, rotation, strict=True):
        qvel = qvel.at[v : v + 3].set(r @ qvel[v : v + 3])
    return qvel


def heights(scene: Scene, qpos: jax.Array) -> jax.Array:
    """(points,) heights of the free bodies' corners above the ground [m], nominal geometry."""
    where = layout(scene)
    if not where.geoms:
        return jnp.zeros(0)
    model = scene.mjx_model()
    data = mjx.kinematics(model, mjx.make_data(scene.mj_model).replace(qpos=qpos))
    z = [
        data.geom_xpos[g, 2] + jnp.asarray(c) @ data.geom_xmat[g][2]
        for g, c in zip(where.geoms, where.corners, strict=True)
    ]
    return jnp.concatenate(z) - where.ground


def features(scene: Scene, qpos: jax.Array, qvel: jax.Array, ctrl: jax.Array | None) -> jax.Array:
    """(features,) of one frame; the network standardises them.

    Args:
      qpos: (nq,); qvel: (nv,); ctrl: (nu,), None where no command is known yet. Its features, the
        last ``layout(scene).commanded`` + nu, are 0 then.
    """
    where, rotation = layout(scene), rotations(scene, qpos)
    z = heights(scene, qpos)
    parts = [z / COARSE, jnp.tanh(z / FINE), rotation[:, 2, :].reshape(-1)]
    for q, _ in where.hinges:
        parts.append(jnp.array([jnp.sin(qpos[q]), jnp.cos(qpos[q])]))
    parts += [qpos[q][None] for q, _ in where.slides]
    parts += [jnp.tanh(qvel[v] / SLOW_HINGE)[None] for _, v in where.hinges]
    parts += [jnp.tanh(qvel[v] / SLOW_SLIDE)[None] for _, v in where.slides]
    parts.append(to_body(scene, rotation, qvel))
    if ctrl is None:
        return jnp.concatenate([*parts, jnp.zeros(where.commanded + scene.mj_model.nu)])
    near = [jnp.tanh((ctrl[u] - gear * qpos[q]) / s)[None] for u, q, gear, s in where.servos]
    return jnp.concatenate([*parts, *near, ctrl])


def change(scene: Scene, since: jax.Array, qpos: tuple, qvel: tuple) -> jax.Array:
    """(changes,) from a later frame to an earlier one, in the later one's frame.

    Args:
      since: (free joints, 3, 3) the later frame's ``rotations``.
      qpos, qvel: pairs (later, earlier).
    """
    velocity = to_body(scene, since, qvel[1]) - to_body(scene, since, qvel[0])
    z = heights(scene, qpos[1]) - heights(scene, qpos[0])
    return jnp.concatenate([velocity, z / COARSE])
