"""What a robot's sensors report of a scene, by name, and the positions that follow from it."""

import dataclasses
import functools
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.scene import Scene
from worldmodel.scene.actuators import driven_dof, is_position_servo
from worldmodel.scene.collisions import contact_pairs
from worldmodel.scene.names import element_name
from worldmodel.scene.namespace import namespace
from worldmodel.tasks.errors import TaskError
from worldmodel.types import Array, Episode, Measurement, Names, State

_PLAIN = (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE)


def all_sensors(
    scene: Scene,
    touch: Sequence[tuple[str, str]] = (),
    forces: Sequence[tuple[str, str]] = (),
) -> Names:
    """Every hinge, slide and free body of a scene is measured, every actuator commanded.

    Args:
      touch: pairs of geoms whose contact is reported.
      forces: pairs of geoms whose normal force is.
    """
    m = scene.mj_model
    plain = np.flatnonzero(np.isin(m.jnt_type, _PLAIN)).tolist()
    free = np.flatnonzero(m.jnt_type == mujoco.mjtJoint.mjJNT_FREE).tolist()
    return Names(
        joints=tuple(element_name(m, "joint", j) for j in plain),
        objects=tuple(element_name(m, "body", int(m.jnt_bodyid[j])) for j in free),
        touch=tuple((a, b) for a, b in touch),
        actuators=tuple(element_name(m, "actuator", a) for a in range(m.nu)),
        forces=tuple((a, b) for a, b in forces),
    )


@dataclasses.dataclass(frozen=True)
class Places:
    """Where a scene keeps what its sensors report."""

    joints: np.ndarray  # (joints,) in qpos
    objects: np.ndarray  # (objects, 7) in qpos
    touch: np.ndarray  # (touch,) of the contact channels
    forces: np.ndarray  # (forces,) of the contact channels


@functools.lru_cache(maxsize=64)
def places(scene: Scene, names: Names) -> Places:
    """Where a scene keeps what is named.

    Raises:
      TaskError: a name that the scene does not have, or names twice; actuators in another order.
    """
    m, known = scene.mj_model, all_sensors(scene)
    for kind in ("joints", "objects", "actuators"):
        wanted, there = getattr(names, kind), getattr(known, kind)
        unknown = [name for name in wanted if name not in there]
        if unknown:
            raise TaskError(
                f"scene '{scene.name}' has no {kind} {unknown} that a sensor could name; it has "
                f"{list(there)}"
            )
        if len(set(wanted)) != len(wanted):
            raise TaskError(f"the sensors name {kind} twice: {list(wanted)}")
    if names.actuators != known.actuators:
        raise TaskError(
            f"the sensors list the actuators {list(names.actuators)}; list all of the scene's, in "
            f"its order: {list(known.actuators)}"
        )
    pairs = [frozenset(element_name(m, "geom", g) for g in pair) for pair in contact_pairs(m)]
    untested = [p for p in (*names.touch, *names.forces) if frozenset(p) not in pairs]
    if untested:
        raise TaskError(
            f"scene '{scene.name}' tests no contact of {untested}; give pairs of its geoms that "
            "can touch"
        )
    joints = [m.joint(name).qposadr[0] for name in names.joints]
    bodies = [m.jnt_qposadr[m.body(name).jntadr[0]] for name in names.objects]
    return Places(
        joints=np.array(joints, int),
        objects=np.add.outer(np.array(bodies, int), np.arange(7)),
        touch=np.array([pairs.index(frozenset(pair)) for pair in names.touch], int),
        forces=np.array([pairs.index(frozenset(pair)) for pair in names.forces], int),
    )


def sense(scene: Scene, names: Names, state: State) -> Measurement:
    """What exact sensors report in a state; velocities and ages are zero, and the command is NaN,
    since they are not of one moment (``play``)."""
    at = places(scene, names)
    contacts = state.contacts
    return _measurement(
        names,
        state.qpos[at.joints],
        state.qpos[at.objects],
        contacts.active[at.touch],
        contacts.force[at.forces, 0],
    )


def touching(data: mujoco.MjData, pairs: Sequence[frozenset[int]]) -> np.ndarray:
    """(pairs,) bool: which pairs of geoms, by their numbers, are in contact in C MuJoCo's data."""
    active = data.contact.geom[data.contact.exclude == 0]
    touched = {frozenset(pair) for pair in active.tolist()}
    return np.array([pair in touched for pair in pairs], bool)


def normal_forces(
    model: mujoco.MjModel, data: mujoco.MjData, pairs: Sequence[frozenset[int]]
) -> np.ndarray:
    """(pairs,) [N] normal forces between pairs of geoms, by their numbers, as C MuJoCo's data has
    them: the sum over the contact points of each."""
    out, force = np.zeros(len(pairs)), np.zeros(6)
    for i, geoms in enumerate(data.contact.geom.tolist()):
        if frozenset(geoms) in pairs:
            mujoco.mj_contactForce(model, data, i, force)
            out[pairs.index(frozenset(geoms))] += force[0]
    return out


def blank(names: Names) -> Measurement:
    """A measurement of zeros, after no command: its shapes and types are every other's."""
    joints, objects = jnp.zeros(len(names.joints)), jnp.zeros((len(names.objects), 7))
    touch, force = jnp.zeros(len(names.touch), bool), jnp.zeros(len(names.forces))
    return _measurement(names, joints, objects, touch, force)


def _measurement(
    names: Names, joints: Array, objects: Array, touch: Array, force: Array
) -> Measurement:
    batch = joints.shape[:-1]
    return Measurement(
        joints=joints,
        velocities=jnp.zeros_like(joints),
        objects=objects,
        touch=touch,
        force=force,
        age=jnp.zeros((*batch, len(names.joints) + len(names.objects)), joints.dtype),
        applied=jnp.full((*batch, len(names.actuators)), jnp.nan, joints.dtype),
        intervention=jnp.zeros(batch, bool),
        names=names,
    )


def positions(scene: Scene, names: Names, joints: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Positions of a scene from what was measured of it.

    Args:
      joints: (frames, joints); NaN was not measured.
      objects: (frames, objects, 7).

    Returns:
      (frames, nq) qpos, NaN where no sensor reports it.
    """
    at = places(scene, names)
    qpos = np.full((len(joints), scene.mj_model.nq), np.nan)
    qpos[:, at.joints], qpos[:, at.objects] = joints, objects
    return qpos


def measurements(scene: Scene, names: Names, episode: Episode) -> Measurement:
    """What a policy could observe in each frame of an episode, (frames, …); the inverse of
    ``positions``. What was not measured is NaN.

    Raises:
      TaskError: sensors of touch or force that the episode does not have.
    """
    at, frames = places(scene, names), len(episode.qpos)
    qpos = np.asarray(episode.qpos)
    if episode.measured is not None:
        qpos = np.where(episode.measured, qpos, np.nan)
    touch = np.zeros((frames, 0), bool) if episode.contact is None else episode.contact
    force = np.zeros((frames, 0)) if episode.force is None else episode.force
    for kind, has, wants in (("touch", touch, names.touch), ("force", force, names.forces)):
        if has.shape[1] != len(wants):
            raise TaskError(
                f"episode {episode.id} has {has.shape[1]} {kind} sensors, the task {len(wants)}: "
                f"{list(wants)}; record or generate it with them"
            )
    joints = qpos[:, at.joints]
    moved = np.diff(joints, axis=0, prepend=joints[:1]) * scene.control_hz
    known = np.where(np.isfinite(qpos[0]), qpos[0], scene.mj_model.qpos0)  # as ``play.begin``
    first = np.asarray(holding(scene, known))
    hers = np.zeros(frames, bool) if episode.intervention is None else episode.intervention
    return dataclasses.replace(
        _measurement(names, jnp.asarray(joints), jnp.asarray(qpos[:, at.objects]), touch, force),
        velocities=moved,
        applied=np.concatenate([first[None], episode.ctrl[:-1]]),
        intervention=np.concatenate([[False], hers[:-1]]),
    )


def holding(scene: Scene, qpos: Array) -> Array:
    """(nu,) the commands that hold a pose, (nq,): of a position servo its joint's position, of
    every other actuator zero, within the range of commands."""
    place, gear = _servos(scene)
    held = namespace(qpos).where(gear != 0.0, gear * qpos[place], 0.0).astype(qpos.dtype)
    return within_range(scene, held)


@functools.lru_cache(maxsize=64)
def _servos(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Of every actuator the place of its joint in qpos, and its gear; 0 where it is no servo."""
    m = scene.mj_model
    place, gear = np.zeros(m.nu, int), np.zeros(m.nu)
    for actuator in range(m.nu):
        dof = driven_dof(m, actuator)
        if dof is not None and is_position_servo(m, actuator):
            place[actuator] = m.jnt_qposadr[m.dof_jntid[dof]]
            gear[actuator] = m.actuator_gear[actuator, 0]
    return place, gear


def within_range(scene: Scene, ctrl: Array) -> Array:
    """Commands, (nu,), clipped to their actuators' ``ctrlrange``."""
    limited = scene.mj_model.actuator_ctrllimited.astype(bool)
    low, high = scene.mj_model.actuator_ctrlrange.T
    low, high = np.where(limited, low, -np.inf), np.where(limited, high, np.inf)
    return namespace(ctrl).clip(ctrl, low, high)
