"""A predicted window beside the recorded one: outlines of every geom, as numbers for a figure."""

from typing import Any

import numpy as np
from scipy.spatial import ConvexHull, QhullError

from worldmodel._mujoco import mujoco

INSTANTS = 6
MOST_GEOMS = 40  # the largest; a mesh robot has hundreds of small ones
_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])


def film(
    model: mujoco.MjModel, recorded: np.ndarray, predicted: np.ndarray, control_hz: float
) -> dict[str, Any]:
    """Outlines at ``INSTANTS`` frames, in the vertical plane in which more happens.

    Args:
      model: compiled.
      recorded, predicted: (frames, nq), finite.
      control_hz: rate of the frames [1/s].

    Returns:
      ``times`` [s]; ``axes``, the names of the two; ``recorded`` and ``predicted``: per instant a
      list of polygons, each a list of points [m].
    """
    frames = np.unique(np.linspace(0, len(recorded) - 1, INSTANTS).round().astype(int))
    geoms = _moving_geoms(model)
    boxes = {
        name: np.stack([_boxes(model, geoms, row) for row in rows[frames]])
        for name, rows in (("recorded", recorded), ("predicted", predicted))
    }
    points = boxes["recorded"].reshape(-1, 3)
    spread = np.ptp(points, axis=0) if len(points) else np.ones(3)
    side = int(np.argmax(spread[:2]))
    out: dict[str, Any] = {"times": (frames / control_hz).tolist(), "axes": ["xy"[side], "z"]}
    for name, corners in boxes.items():
        out[name] = [[_outline(box[:, [side, 2]]) for box in instant] for instant in corners]
    return out


def _moving_geoms(model: mujoco.MjModel) -> np.ndarray:
    moving = np.flatnonzero(model.body_weldid[model.geom_bodyid] != 0)
    size = model.geom_aabb[moving, 3:].max(axis=1)
    return moving[np.argsort(-size)][:MOST_GEOMS]


def _boxes(model: mujoco.MjModel, geoms: np.ndarray, qpos: np.ndarray) -> np.ndarray:
    """(geoms, 8, 3) corners of the geoms' bounding boxes in the world."""
    data = mujoco.MjData(model)
    data.qpos[:] = qpos
    mujoco.mj_kinematics(model, data)
    local = model.geom_aabb[geoms, None, :3] + model.geom_aabb[geoms, None, 3:] * _CORNERS
    rotation = data.geom_xmat[geoms].reshape(-1, 3, 3)
    return data.geom_xpos[geoms, None] + np.einsum("gij,gcj->gci", rotation, local)


def _outline(points: np.ndarray) -> list[list[float]]:
    try:
        points = points[ConvexHull(points).vertices]
    except QhullError:  # flat as seen from here
        points = points[[int(np.argmin(points.sum(1))), int(np.argmax(points.sum(1)))]]
    return np.round(points, 4).tolist()
