"""Laws for the memory and the compile time that MJX will need, from counts alone.

They were fitted to MJX 3.17 and jaxlib 0.10 on a CPU, in float64. XLA fuses otherwise on a GPU;
there they were not measured.
"""

import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.scene.collisions import Allocation, Group

_WORD = 8  # bytes of a float64
_EDGE_PAIR = 35  # numbers that MJX keeps of two edges, one of each hull
_PRISM_EDGES = 9
_CAPSULE = int(mujoco.mjtGeom.mjGEOM_CAPSULE)


def group_bytes(group: Group, allocation: Allocation) -> int:
    """Temporary memory of one group's collisions in a step [bytes, float64].

    MJX separates two hulls by every pair of their edges, all at once: for each pair the edges'
    points and directions, the normals of their faces and the axis. XLA keeps these for all groups
    together. A height field is two prisms in each of its cells, each collided with the geom. All
    else is linear in the size of a hull.
    """
    edges = [hull.edges for hull in allocation.geom_hulls(group)]
    capsule = _CAPSULE in group.types
    if group.cells:
        prism = _EDGE_PAIR * _PRISM_EDGES * edges[0] if edges else 350 if capsule else 60
        numbers = 2 * group.cells * prism
    elif len(edges) == 2 and group.meshes:
        numbers = _EDGE_PAIR * edges[0] * edges[1]
    else:
        numbers = 100 + sum(edges) * (20 if capsule else 3)
    return _WORD * numbers * group.tested


def step_bytes(allocation: Allocation) -> int:
    """Temporary memory of one ``physics.step`` of one environment [bytes, float64].

    Beyond the collisions: the Jacobian of all constraint rows and the mass matrix, both dense and
    twice, and in an elliptic cone a matrix of rows by rows. The model and the state do not count.
    Of 34 scenes from 5 kB to 3 GB all were within a factor 2.4, those above 1 MB within 1.3; in
    float32 it is half.
    """
    return _WORD * _dense(allocation) + _collision_bytes(allocation)


def gradient_bytes(allocation: Allocation) -> int:
    """The same of the reverse-mode gradient of one step; within a factor 2."""
    dense = 3 * _dense(allocation) + 1000 * allocation.model.nbody
    return _WORD * dense + 6 * _collision_bytes(allocation) // 5


def compile_seconds(allocation: Allocation, *, gradient: bool) -> float:
    """Time to trace and compile one ``physics.step``, or its reverse-mode gradient with it [s].

    A rough law for one core of a 2-core cloud CPU, within a factor 1.6 of all of 34 scenes: a
    constant, so much for each level of the kinematic tree and kind of joint in it (MJX unrolls
    these), for each collision call, and for each slot in an elliptic cone.
    """
    elliptic = allocation.slots * _elliptic(allocation)
    calls = sum(_calls(group, allocation) for group in allocation.groups)
    levels = _levels(allocation.model)
    if gradient:
        return 5.4 + 1.3 * levels + 2.3 * calls + 0.17 * elliptic
    return 1.4 + 0.75 * levels + calls + 0.08 * elliptic


def _calls(group: Group, allocation: Allocation) -> float:
    """Compile time of one collision call, in that of two spheres."""
    if group.cells:
        return 3.2
    hulls = len(allocation.geom_hulls(group))
    return 2.2 if hulls == 2 else 1.9 if hulls and _CAPSULE in group.types else 1.0


def _levels(model: mujoco.MjModel) -> int:
    """Distinct pairs of a body's depth in the tree and the types of its joints."""
    depth, levels = np.zeros(model.nbody, int), set()
    for body in range(1, model.nbody):
        depth[body] = depth[model.body_parentid[body]] + 1
        first, count = int(model.body_jntadr[body]), int(model.body_jntnum[body])
        levels.add((int(depth[body]), *model.jnt_type[first : first + count].tolist()))
    return len(levels)


def _elliptic(allocation: Allocation) -> bool:
    return allocation.model.opt.cone == mujoco.mjtCone.mjCONE_ELLIPTIC


def _dense(allocation: Allocation) -> int:
    """Numbers in the temporary arrays other than the collisions'."""
    model, rows = allocation.model, allocation.rows.total
    numbers = 2 * rows * model.nv + 2 * model.nv**2 + 120 * model.nbody + 100 * allocation.slots
    return numbers + (rows**2 if _elliptic(allocation) else 0)


def _collision_bytes(allocation: Allocation) -> int:
    return sum(group_bytes(group, allocation) for group in allocation.groups)
