"""Objects that no frame of a data set knows: refused where what is scored depends on them."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from worldmodel._mujoco import mujoco
from worldmodel.errors import InputError
from worldmodel.scene.collisions import geom_pairs
from worldmodel.scene.names import joint_names
from worldmodel.types import Episode


def resolve_unknown(
    model: mujoco.MjModel, episodes: Sequence[Episode]
) -> tuple[list[Episode], tuple[str, ...]]:
    """Puts objects that no frame knows where the MJCF has them, unless something measured depends
    on them.

    A joint is unknown where a position of it is NaN in every frame of every episode. What was
    measured depends on it if both move in one kinematic tree, or if a chain of possible contacts
    (of geoms, and of whatever moves between them), equalities and tendons connects their trees.

    Args:
      model: the compiled MJCF.
      episodes: ``qpos`` (frames, nq), NaN where unknown.

    Returns:
      The episodes, the unknown joints' positions those of the MJCF and their velocities zero, not
      measured; the names of these joints.

    Raises:
      InputError: what was measured depends on an unknown joint; the message names both.
    """
    unknown, measured = [], []
    for joint in range(model.njnt):
        where, _ = _places(model, joint)
        if episodes and all(np.isnan(e.qpos[:, where]).any(axis=1).all() for e in episodes):
            unknown.append(joint)
        elif any(e.measured is None or e.measured[:, where].any() for e in episodes):
            measured.append(joint)
    groups = _connected(model) if unknown else np.zeros(0)
    for joint in unknown:
        hit = [j for j in measured if groups[_tree(model, joint)] == groups[_tree(model, j)]]
        if hit:
            raise InputError(
                f"{_name(model, joint)} is unknown in every frame, and the motion of "
                f"{_name(model, hit[0])}, which is scored, depends on it: one kinematic tree, or "
                "bodies that can touch or are coupled; measure it, assume a value for it (assumed "
                "= … in the columns), or remove it from the MJCF"
            )
    return [_placed(model, e, unknown) for e in episodes], tuple(_name(model, j) for j in unknown)


def _placed(model: mujoco.MjModel, episode: Episode, joints: Sequence[int]) -> Episode:
    if not joints:
        return episode
    qpos, qvel = episode.qpos.copy(), episode.qvel.copy()
    measured = np.isfinite(qpos) if episode.measured is None else episode.measured.copy()
    for joint in joints:
        q, v = _places(model, joint)
        qpos[:, q], qvel[:, v], measured[:, q] = model.qpos0[q], 0.0, False
    return dataclasses.replace(episode, qpos=qpos, qvel=qvel, measured=measured)


def _places(model: mujoco.MjModel, joint: int) -> tuple[slice, slice]:
    """A joint's numbers in qpos and in qvel."""
    q = np.append(model.jnt_qposadr, model.nq)
    v = np.append(model.jnt_dofadr, model.nv)
    return slice(q[joint], q[joint + 1]), slice(v[joint], v[joint + 1])


def _name(model: mujoco.MjModel, joint: int) -> str:
    """A free joint by its body, any other by itself."""
    free = model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_FREE
    return f"{'body' if free else 'joint'} '{joint_names(model)[joint]}'"


def _tree(model: mujoco.MjModel, joint: int) -> int:
    return int(model.body_treeid[model.jnt_bodyid[joint]])


def _connected(model: mujoco.MjModel) -> np.ndarray:
    """(trees,) a number that kinematic trees share which can act on each other."""
    links = []
    for bodies in _coupled(model):
        trees = [t for b in bodies if (t := int(model.body_treeid[b])) >= 0]  # −1: does not move
        links += [(trees[0], other) for other in trees[1:]]
    rows, columns = np.array(links, int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(rows)), (rows, columns)), (model.ntree, model.ntree))
    return connected_components(graph, directed=False)[1]


def _coupled(model: mujoco.MjModel) -> Iterator[list[int]]:
    """Bodies that can act on each other: by contacts, equalities and tendons."""
    flags, bits = model.opt.disableflags, mujoco.mjtDisableBit
    if not flags & int(bits.mjDSBL_CONTACT):
        for first, second, _ in geom_pairs(model):
            yield [int(model.geom_bodyid[g]) for g in (first, second)]
    if not flags & int(bits.mjDSBL_EQUALITY):
        yield from (_equality_bodies(model, equality) for equality in range(model.neq))
    yield from (_tendon_bodies(model, tendon) for tendon in range(model.ntendon))


def _equality_bodies(model: mujoco.MjModel, equality: int) -> list[int]:
    kinds, ends = mujoco.mjtEq, (model.eq_obj1id[equality], model.eq_obj2id[equality])
    kind, ids = mujoco.mjtEq(model.eq_type[equality]), [int(i) for i in ends if i >= 0]
    if kind == kinds.mjEQ_JOINT:
        return [int(model.jnt_bodyid[j]) for j in ids]
    if kind == kinds.mjEQ_TENDON:
        return [b for t in ids for b in _tendon_bodies(model, t)]
    if model.eq_objtype[equality] == mujoco.mjtObj.mjOBJ_SITE:
        return [int(model.site_bodyid[s]) for s in ids]
    return ids


def _tendon_bodies(model: mujoco.MjModel, tendon: int) -> list[int]:
    wraps, first = mujoco.mjtWrap, int(model.tendon_adr[tendon])
    wrapped = slice(first, first + int(model.tendon_num[tendon]))
    kinds, ids = model.wrap_type[wrapped], model.wrap_objid[wrapped]
    geoms = (kinds == wraps.mjWRAP_SPHERE) | (kinds == wraps.mjWRAP_CYLINDER)
    return [
        *model.jnt_bodyid[ids[kinds == wraps.mjWRAP_JOINT]].tolist(),
        *model.site_bodyid[ids[kinds == wraps.mjWRAP_SITE]].tolist(),
        *model.geom_bodyid[ids[geoms]].tolist(),
    ]
