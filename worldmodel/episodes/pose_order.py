"""The order of a quaternion's columns, where the scene says it: a body is not inside a table."""

from collections.abc import Sequence

import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.episodes.columns import ColumnsError
from worldmodel.episodes.plausible import other_order
from worldmodel.episodes.rows import Rows
from worldmodel.episodes.signals import Signal

MOST = 200  # poses that are looked at
DEEP = 0.002  # [m] in the mean over poses that touch; less is noise of tracking
CLEARER = 4.0  # times as deep as the other order


def check_order(
    path: str,
    model: mujoco.MjModel,
    position: Signal,
    rotation: Signal,
    rows: Sequence[tuple[Rows | None, Rows | None]],
) -> bool:
    """Whether the scene says that a body's quaternions are in the order that the columns give.

    Args:
      path: of the log, for messages.
      position, rotation: the signals of one free body; the others rest at the MJCF's positions.
      rows: of both, per episode.

    Raises:
      ColumnsError: the body is deep in others as its order is given, and not in the other order.
    """
    poses = [
        np.concatenate([place.values, turn.values], axis=1)
        for place, turn in rows
        if place is not None and turn is not None and len(place.values) == len(turn.values)
    ]
    if not poses:
        return False
    pooled = np.concatenate(poses)
    pooled = pooled[np.isfinite(pooled).all(axis=1)]
    pooled = pooled[np.linspace(0, len(pooled) - 1, min(MOST, len(pooled))).astype(int)]
    other, shift = other_order(rotation)
    turned = np.concatenate([pooled[:, :3], np.roll(pooled[:, 3:], shift, axis=1)], axis=1)
    address = [*position.q, *rotation.q]
    given, rolled = _depth(model, address, pooled), _depth(model, address, turned)
    if given > max(DEEP, CLEARER * rolled):
        raise ColumnsError(
            f"{path}: {rotation.label} is {given:.2g} m deep in what it touches as it is read, and "
            f'{rolled:.2g} m if it is read as {other}: order = "{other}"'
        )
    return rolled > max(DEEP, CLEARER * given)


def _depth(model: mujoco.MjModel, address: list[int], poses: np.ndarray) -> float:
    """[m] how deep a body is in others, the mean over poses (n, 7)."""
    data = mujoco.MjData(model)
    depths = []
    for pose in poses:
        data.qpos[address] = pose
        mujoco.mj_fwdPosition(model, data)
        depths.append(max(0.0, -data.contact.dist.min()) if data.ncon else 0.0)
    return float(np.mean(depths)) if depths else 0.0
