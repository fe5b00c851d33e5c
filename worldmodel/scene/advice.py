"""What to drop or replace in a scene that is too large or too slow in MJX, by name."""

import collections
import dataclasses

from worldmodel._mujoco import mujoco
from worldmodel.scene.collisions import POINTS, Allocation, Hull
from worldmodel.scene.cost import group_bytes, step_bytes
from worldmodel.scene.names import element_name, element_names, geom_name, pair_names, type_names

# Four points hold a rigid body, and a robot rarely touches with more than a dozen bodies at once.
# Beyond four times that, most slots are empty in every state and are computed all the same: with
# 746 slots, 64 quadrupeds stepped 100 times slower on a CPU than with the 4 of their feet.
MANY_SLOTS = 200
_HEAVY = 10e6  # [bytes] per environment: a thousand environments of this fill a common GPU
_MANY_CELLS = 100  # of a height field below one geom
CUT_HULL = Hull(vertices=32, faces=60, edges=90)  # at most, of 32 vertices: triangles alone


def advice(allocation: Allocation) -> list[str]:
    """Remedies, the one that spares the most first; empty for a scene that needs none."""
    remedies = [*filter(None, (_smaller_hulls(allocation), _coarser_field(allocation)))]
    if allocation.slots > MANY_SLOTS:
        remedies.append(fewer_slots(allocation))
        if allocation.model.opt.cone == mujoco.mjtCone.mjCONE_ELLIPTIC:
            remedies.append(
                f"an elliptic cone keeps a matrix of {allocation.rows.total} by "
                f"{allocation.rows.total} rows and compiles slot by slot: use "
                "<option cone='pyramidal'>"
            )
    for group in allocation.groups:
        if group.types not in POINTS:
            example = pair_names(allocation.model, group.pairs[:1])
            remedies.append(f"MJX has no collision {type_names(group.types)} ({example})")
    return remedies


def fewer_slots(allocation: Allocation) -> str:
    """How to do with fewer contact slots; names the bodies with the most."""
    model, slots = allocation.model, collections.Counter()
    body, root = model.geom_bodyid.tolist(), model.body_rootid.tolist()
    for group in allocation.groups:
        for first, second in group.pairs:
            bodies = sorted((body[first], body[second]))
            slots[tuple(bodies)] += POINTS.get(group.types, 0)
    total = slots.total()
    within = sum(n for (first, second), n in slots.items() if root[first] == root[second])
    pair, most = slots.most_common(1)[0]
    bodies = element_names(model, "body", pair)
    own = f"{within} of {total} slots are of one robot's links with each other; " if within else ""
    return (
        f"{own}most, {most}, are of bodies {bodies}: keep pairs that never "
        "touch apart by contype/conaffinity or <exclude>, or write a <pair> for each of the few "
        "that do (feet and floor)"
    )


def _smaller_hulls(allocation: Allocation) -> str | None:
    """Meshes of many hull vertices, by the memory of the pairs that they are part of."""
    sizes = {group: group_bytes(group, allocation) for group in allocation.groups if group.meshes}
    by_mesh = collections.Counter()
    for group, size in sizes.items():
        for mesh in set(group.meshes):
            if allocation.hulls[mesh].vertices > CUT_HULL.vertices:
                by_mesh[mesh] += size
    heavy = [mesh for mesh, size in by_mesh.most_common() if size > _HEAVY]
    if not heavy:
        return None
    worst = max(sizes, key=lambda group: sizes[group] / max(group.tested, 1))
    vertices = " and ".join(str(hull.vertices) for hull in allocation.geom_hulls(worst))
    cut = {mesh: CUT_HULL if mesh in heavy else hull for mesh, hull in allocation.hulls.items()}
    after = step_bytes(dataclasses.replace(allocation, hulls=cut))
    return (
        f"{pair_names(allocation.model, worst.pairs[:1])} alone, with hulls of {vertices} "
        f"vertices, take {describe_bytes(sizes[worst] / worst.tested)}: set "
        f"maxhullvert='{CUT_HULL.vertices}' on mesh "
        f"{element_names(allocation.model, 'mesh', heavy, most=8)} (the step then takes about "
        f"{describe_bytes(after)}), or collide primitives instead"
    )


def _coarser_field(allocation: Allocation) -> str | None:
    group = max(allocation.groups, key=lambda group: group.cells, default=None)
    if group is None or group.cells <= _MANY_CELLS:
        return None
    field = element_name(allocation.model, "hfield", group.data[0])
    return (
        f"height field '{field}' has {group.cells} cells below "
        f"{geom_name(allocation.model, group.pairs[0][1])}, and MJX collides it with two prisms "
        "in each: make the grid coarser, or the geom smaller"
    )


def describe_bytes(count: float) -> str:
    """'309 GB', to three digits."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count:.0f} B"
