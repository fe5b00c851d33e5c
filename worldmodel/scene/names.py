"""How messages name the elements of a compiled model."""

from collections.abc import Iterable, Sequence

from worldmodel._mujoco import mujoco


def element_name(model: mujoco.MjModel, kind: str, index: int) -> str:
    """An element's name, or ``<kind><id>`` where it has none.

    Args:
      kind: as in ``mjtObj``, in lower case, such as "joint" or "equality".
    """
    object_type = getattr(mujoco.mjtObj, f"mjOBJ_{kind.upper()}")
    return mujoco.mj_id2name(model, object_type, int(index)) or f"{kind}{int(index)}"


def element_names(model: mujoco.MjModel, kind: str, indices: Iterable[int], most: int = 5) -> str:
    """The first names, quoted and joined, and how many more there are."""
    names = [f"'{element_name(model, kind, i)}'" for i in indices]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def joint_names(model: mujoco.MjModel) -> tuple[str, ...]:
    """Of every joint, a free one by its body's name."""
    free = model.jnt_type == mujoco.mjtJoint.mjJNT_FREE
    return tuple(
        element_name(model, "body", model.jnt_bodyid[j])
        if free[j]
        else element_name(model, "joint", j)
        for j in range(model.njnt)
    )


def geom_name(model: mujoco.MjModel, geom: int) -> str:
    """A geom with its body: "geom 'can' (body 'mug')", "geom 'table' (world)"."""
    body = int(model.geom_bodyid[geom])
    carrier = f"body '{element_name(model, 'body', body)}'" if body else "world"
    return f"geom '{element_name(model, 'geom', geom)}' ({carrier})"


def type_names(types: Iterable[int]) -> str:
    """Geom types, as 'box–mesh'."""
    names = (mujoco.mjtGeom(kind).name.removeprefix("mjGEOM_").lower() for kind in types)
    return "–".join(names)


def pair_names(model: mujoco.MjModel, pairs: Sequence[tuple[int, int]]) -> str:
    """The first of several geom pairs, and how many more there are."""
    first, second = (geom_name(model, geom) for geom in pairs[0])
    others = len(pairs) - 1
    more = f" and {others} more such pair{'s' if others > 1 else ''}" if others else ""
    return f"{first} against {second}{more}"
