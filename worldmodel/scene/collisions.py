"""Which geoms MJX collides, and the contact slots and constraint rows it allocates for them.

The arrays of MJX have one size in every state. So each pair of geoms that may ever touch keeps
the slots of its collision function, and each slot its constraint rows, whether it touches or not.
All is counted from the compiled model, in milliseconds.
"""

import collections
import dataclasses
import math

import numpy as np

from worldmodel._mujoco import mujoco

_G = mujoco.mjtGeom
_PLANE, _HFIELD, _BOX, _MESH = _G.mjGEOM_PLANE, _G.mjGEOM_HFIELD, _G.mjGEOM_BOX, _G.mjGEOM_MESH

# Contact points of MJX's collision function for each pair of geom types; no other pair has one.
_POINTS = {
    "plane": {"sphere": 1, "capsule": 2, "ellipsoid": 1, "cylinder": 3, "box": 4, "mesh": 4},
    "hfield": {"sphere": 4, "capsule": 4, "box": 4, "mesh": 4},
    "sphere": {"sphere": 1, "capsule": 1, "ellipsoid": 1, "cylinder": 1, "box": 1, "mesh": 1},
    "capsule": {"capsule": 1, "ellipsoid": 1, "cylinder": 2, "box": 2, "mesh": 2},
    "ellipsoid": {"ellipsoid": 1, "cylinder": 1},
    "cylinder": {"cylinder": 4},
    "box": {"box": 4, "mesh": 4},
    "mesh": {"mesh": 4},
}
POINTS = {
    tuple(int(getattr(_G, f"mjGEOM_{name.upper()}")) for name in (first, second)): points
    for first, others in _POINTS.items()
    for second, points in others.items()
}


@dataclasses.dataclass(frozen=True)
class Group:
    """The geom pairs that one call of a collision function handles: of equal types, meshes (the
    function's arrays have their sizes), condim and, on a height field, cells below the geom."""

    types: tuple[int, int]  # mjtGeom, ascending
    data: tuple[int, int]  # ids of the mesh or height field, or -1
    condim: int
    cells: int  # cells of the height field that a geom may touch; 0 without one
    pairs: tuple[tuple[int, int], ...]  # geom ids
    tested: int  # pairs that reach the collision function: all, or <numeric name="max_geom_pairs">

    @property
    def slots(self) -> int:
        """Contact slots, before ``max_contact_points``; 0 if MJX has no collision function."""
        return self.tested * POINTS.get(self.types, 0)

    @property
    def meshes(self) -> tuple[int, ...]:
        """Ids of the meshes on either side; of two geoms of one mesh, twice the same."""
        sides = zip(self.types, self.data, strict=True)
        return tuple(mesh for kind, mesh in sides if kind == _MESH)


@dataclasses.dataclass(frozen=True)
class Rows:
    """Constraint rows by kind."""

    equality: int
    friction: int  # of joints and tendons
    limit: int  # of joints and tendons
    contact: int

    @property
    def total(self) -> int:
        return self.equality + self.friction + self.limit + self.contact


@dataclasses.dataclass(frozen=True)
class Hull:
    """Sizes of a mesh's convex hull as MJX collides it, coplanar triangles merged."""

    vertices: int
    faces: int
    edges: int


BOX_HULL = Hull(vertices=8, faces=6, edges=12)
_FLAT = 0.5 / math.sqrt(5000)  # sine of the angle below which MJX merges two triangles


@dataclasses.dataclass(frozen=True)
class Allocation:
    """What MJX allocates for the contacts and constraints of a model."""

    model: mujoco.MjModel
    groups: tuple[Group, ...]  # the collision calls of one step
    slots_by_condim: dict[int, int]  # contact slots after <numeric name="max_contact_points">
    rows: Rows
    hulls: dict[int, Hull]  # by mesh id; of the meshes that may touch something

    @property
    def slots(self) -> int:
        return sum(self.slots_by_condim.values())

    def geom_hulls(self, group: Group) -> tuple[Hull, ...]:
        """Hulls of the boxes and meshes of a group's pairs, in their order."""
        known = {_BOX: lambda _: BOX_HULL, _MESH: lambda mesh: self.hulls[mesh]}
        sides = zip(group.types, group.data, strict=True)
        return tuple(known[kind](data) for kind, data in sides if kind in known)


def allocation(model: mujoco.MjModel) -> Allocation:
    """Counts what MJX would allocate for a compiled model, whether or not it fits in memory."""
    groups = _groups(model)
    slots = _slots_by_condim(model, groups)
    meshes = {mesh for group in groups for mesh in group.meshes}
    hulls = {mesh: _hull(model, mesh) for mesh in sorted(meshes)}
    return Allocation(model, groups, slots, _rows(model, slots), hulls)


def contact_pairs(model: mujoco.MjModel) -> list[tuple[int, int]]:
    """The geom pairs of the contact channels, each once, in the order of their slots
    (``types.Contacts``)."""
    pairs = {tuple(sorted(pair)): (pair[0], pair[1]) for *pair, _ in geom_pairs(model)}
    return [pairs[key] for key in sorted(pairs)]


def geom_pairs(model: mujoco.MjModel) -> list[tuple[int, int, int]]:
    """The geom pairs that MJX tests: explicit <pair>s, then those of contype and conaffinity.

    Returns:
      (geom, geom, condim) with the geom types ascending.
    """
    kind, dims, priority = (
        array.tolist() for array in (model.geom_type, model.geom_condim, model.geom_priority)
    )
    listed = []
    for pair in range(model.npair):
        first, second = int(model.pair_geom1[pair]), int(model.pair_geom2[pair])
        if kind[first] > kind[second]:
            first, second = second, first
        listed.append((first, second, int(model.pair_dim[pair])))
    explicit = {(first, second) for first, second, _ in listed}
    for first, second in np.argwhere(_dynamic_pairs(model)).tolist():
        if kind[first] > kind[second]:
            first, second = second, first
        if (first, second) not in explicit:
            one, other = (priority[first], dims[first]), (priority[second], dims[second])
            listed.append((first, second, max(one, other)[1]))  # the priority decides first
    return listed


def margins(model: mujoco.MjModel) -> dict[tuple[int, int], list[tuple[str, int]]]:
    """The geom pairs that have a contact margin, and what gives it to them: ("pair", id) or
    ("geom", id)."""
    out = {}
    for i, (first, second, _) in enumerate(geom_pairs(model)):  # the explicit ones come first
        own = [("pair", i)] if i < model.npair else [("geom", first), ("geom", second)]
        own = [(kind, e) for kind, e in own if getattr(model, f"{kind}_margin")[e]]
        if own:
            out[first, second] = own
    return out


def geoms_of_pairs_alone(model: mujoco.MjModel) -> set[int]:
    """Geoms that touch in explicit <pair>s alone. No contact has their friction, solref or solimp:
    those of a <pair> are its own."""
    if not model.npair:
        return set()
    listed = [(first, second) for first, second, _ in geom_pairs(model)]
    explicit = {geom for pair in listed[: model.npair] for geom in pair}
    return explicit - {geom for pair in listed[model.npair :] for geom in pair}


def _dynamic_pairs(model: mujoco.MjModel) -> np.ndarray:
    """(ngeom, ngeom) bool, the upper triangle: pairs that may touch without a <pair>."""
    affinity, kind, body = model.geom_conaffinity, model.geom_type, model.geom_bodyid
    mask = (model.geom_contype[:, None] & affinity[None]) != 0
    mask = np.triu(mask | mask.T, 1)
    weld = model.body_weldid[body]
    mask &= weld[:, None] != weld[None]
    if not model.opt.disableflags & int(mujoco.mjtDisableBit.mjDSBL_FILTERPARENT):
        parent = model.body_weldid[model.body_parentid[weld]]
        related = (weld[:, None] == parent[None]) | (parent[:, None] == weld[None])
        mask &= ~(related & (weld[:, None] != 0) & (weld[None] != 0))
    fixed = (kind == _PLANE) | (kind == _HFIELD)
    both = fixed[:, None] & fixed[None]
    mask &= ~(both & ((kind[:, None] == _PLANE) | (kind[None] == _PLANE)))
    excluded = (model.exclude_signature >> 16, model.exclude_signature & 0xFFFF)
    for one, other in zip(*excluded, strict=True):
        mask &= ~((body[:, None] == one) & (body[None] == other))
    return mask


def _groups(model: mujoco.MjModel) -> tuple[Group, ...]:
    """The collision calls of one step; none where the contact flag is off."""
    if model.opt.disableflags & int(mujoco.mjtDisableBit.mjDSBL_CONTACT):
        return ()
    kind, content = model.geom_type.tolist(), model.geom_dataid.tolist()
    members = collections.defaultdict(list)
    for first, second, condim in geom_pairs(model):
        types, data = (kind[first], kind[second]), (content[first], content[second])
        cells = _cells(model, data[0], second) if types[0] == _HFIELD else (0, 0)
        members[types, data, condim, cells].append((first, second))
    most = _numeric(model, "max_geom_pairs")
    groups = []
    for (types, data, condim, cells), pairs in members.items():
        tested = len(pairs)
        if most is not None and types[0] not in (_PLANE, _HFIELD):
            tested = min(most, tested)
        groups.append(Group(types, data, condim, math.prod(cells), tuple(pairs), tested))
    return tuple(groups)


def _cells(model: mujoco.MjModel, field: int, geom: int) -> tuple[int, int]:
    """Columns and rows of a height field that a geom may cover."""
    columns, rows = int(model.hfield_ncol[field]), int(model.hfield_nrow[field])
    tick = 2 * model.hfield_size[field, :2] / (columns - 1, rows - 1)
    covered = np.ceil(2 * model.geom_rbound[geom] / tick).astype(int) + 1
    return min(int(covered[0]), columns), min(int(covered[1]), rows)


def _numeric(model: mujoco.MjModel, name: str) -> int | None:
    """A <numeric> of the MJCF by which MJX limits contacts; None where it is not set.

    MJX reads the entry at the element's id, not at its address; so does this.
    """
    index = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_NUMERIC, name)
    value = -1 if index < 0 else int(model.numeric_data[index])
    return None if value < 0 else value


def _slots_by_condim(model: mujoco.MjModel, groups: tuple[Group, ...]) -> dict[int, int]:
    """Contact slots for each condim, after ``<numeric name="max_contact_points">``."""
    counts = collections.Counter()
    for group in groups:
        counts[group.condim] += group.slots
    most = _numeric(model, "max_contact_points")
    kept = {dim: n if most is None else min(most, n) for dim, n in sorted(counts.items())}
    return {dim: n for dim, n in kept.items() if n}


def _rows(model: mujoco.MjModel, slots_by_condim: dict[int, int]) -> Rows:
    """Constraint rows by kind, whether active or not."""
    bits, flags = mujoco.mjtDisableBit, model.opt.disableflags
    if flags & int(bits.mjDSBL_CONSTRAINT):
        return Rows(0, 0, 0, 0)
    sizes = {mujoco.mjtEq.mjEQ_CONNECT: 3, mujoco.mjtEq.mjEQ_WELD: 6}
    equality = sum(sizes.get(mujoco.mjtEq(int(kind)), 1) for kind in model.eq_type)
    friction = int((model.dof_frictionloss > 0).sum() + (model.tendon_frictionloss > 0).sum())
    limit = int(model.jnt_limited.sum() + model.tendon_limited.sum())
    pyramidal = model.opt.cone == mujoco.mjtCone.mjCONE_PYRAMIDAL
    contact = sum(
        n * (2 * (dim - 1) if pyramidal and dim > 1 else dim) for dim, n in slots_by_condim.items()
    )
    return Rows(
        equality=0 if flags & int(bits.mjDSBL_EQUALITY) else equality,
        friction=0 if flags & int(bits.mjDSBL_FRICTIONLOSS) else friction,
        limit=0 if flags & int(bits.mjDSBL_LIMIT) else limit,
        contact=contact,
    )


def _hull(model: mujoco.MjModel, mesh: int) -> Hull:
    """Hull sizes of one mesh; of a mesh that MuJoCo has given no hull, its own.

    Faces of more than 20 corners lose some in MJX; then edges are counted a few too many.
    """
    start = int(model.mesh_vertadr[mesh])
    vertices = model.mesh_vert[start : start + int(model.mesh_vertnum[mesh])].astype(float)
    if model.mesh_graphadr[mesh] < 0:
        first, count = int(model.mesh_faceadr[mesh]), int(model.mesh_facenum[mesh])
        triangles, corners = model.mesh_face[first : first + count], len(vertices)
    else:
        graph = model.mesh_graph[int(model.mesh_graphadr[mesh]) :]
        corners, count = int(graph[0]), int(graph[1])
        after = 2 + 3 * corners + 3 * count
        triangles = graph[after : after + 3 * count].reshape(-1, 3)
    normals = np.cross(*(vertices[triangles[:, i]] - vertices[triangles[:, 0]] for i in (1, 2)))
    normals /= np.maximum(np.linalg.norm(normals, axis=1), 1e-300)[:, None]
    ends = np.sort(triangles[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    order = np.lexsort(ends.T)
    ends, owner = ends[order], order // 3
    shared = np.flatnonzero((ends[1:] == ends[:-1]).all(axis=1))
    turn = np.linalg.norm(np.cross(normals[owner[shared]], normals[owner[shared + 1]]), axis=1)
    sharp = ends[shared[turn > _FLAT]]
    edges = len(sharp)
    return Hull(corners, edges - len(np.unique(sharp)) + 2, edges)  # Euler's V − E + F = 2
