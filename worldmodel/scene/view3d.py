"""Moving episodes of a scene in 3D, as a fragment of a self-contained HTML page.

``view`` gives one fragment; a page with any number of them has ``viewer`` once. The page loads
nothing, works from a file, and follows the reader's light or dark setting. Where a browser runs no
scripts or has no WebGL 2, a sentence stands in the view's place.

A body's pose takes 37 characters a frame, in single precision, at ``RATE`` frames a second at
most; a mesh with more triangles than its share of ``triangles.TRIANGLES`` is coarsened on a grid.
"""

import html
import json
import math
from collections.abc import Mapping
from importlib import resources
from typing import Any

import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.scene.errors import SceneError
from worldmodel.scene.triangles import SURFACES, encoded, packed, surface

RATE = 60.0  # [1/s] more frames are thinned; the last one always stays
REACH = 3.0  # of the first look, in diagonals of what the first episode shows
_HIDDEN = 3  # MuJoCo's viewers hide geoms from this group on
SIZE = (720, 440)  # [px] the widest width of a view, and the height that goes with it


def viewer() -> str:
    """The script that makes every ``view`` of a page move; once, anywhere in the page."""
    folder = resources.files("worldmodel.scene") / "viewer"
    style, *code = ((folder / n).read_text() for n in ("style.css", "painter.js", "viewer.js"))
    text = "\n".join([f"const STYLE = {json.dumps(style)};", *code])
    return f"<script>(() => {{\n'use strict';\n{text}}})();</script>"


def view(
    model: mujoco.MjModel,
    episodes: Mapping[str, np.ndarray],
    control_hz: float,
    *,
    colours: Mapping[str, str] | None = None,
    label: str = "a moving 3D view",
) -> str:
    """Episodes of one scene in one view, which needs ``viewer`` in the same page.

    Args:
      model: compiled.
      episodes: (frames, nq) positions by name, all from the same instant on. The first is drawn
        solid, the others translucent; one alone keeps the colours of its geoms.
      control_hz: rate of the frames [1/s].
      colours: of episodes by name, as CSS; others take the next colour of the view's own.
      label: what a screen reader reads.

    Returns:
      A ``<figure>`` element. Geoms that MuJoCo's viewers hide (groups from 3 on, or transparent)
      are shown only where nothing else of the scene moves.

    Raises:
      SceneError: there is no episode, or one has no frame, another number of positions, or a
        position that is not finite.
    """
    if not episodes:
        raise SceneError("a view needs at least one episode")
    if not (np.isfinite(control_hz) and control_hz > 0):
        raise SceneError(f"control_hz {control_hz}: a view needs a positive rate of frames")
    rows = {name: _checked(name, qpos, model.nq) for name, qpos in episodes.items()}
    geoms = _shown(model)
    root = model.body_weldid[model.geom_bodyid[geoms]]
    bodies = np.unique(root[root > 0])
    described, surfaces = _described(model, geoms, bodies), {}
    for entry, geom in zip(described, geoms, strict=True):
        if entry["type"] in SURFACES:
            place = entry["type"], int(model.geom_dataid[geom])
            entry["mesh"] = surfaces.setdefault(place, len(surfaces))
    low, high = _bounds(model, geoms, rows)
    shown = []
    for name, qpos in rows.items():
        kept = _thinned(len(qpos), control_hz)
        shown.append(
            {
                "name": name,
                "colour": (colours or {}).get(name),
                "times": encoded(kept / control_hz, np.float32),
                "poses": encoded(_body_poses(model, bodies, qpos[kept]), np.float32),
            }
        )
    content = {
        "label": label,
        "size": SIZE,
        "bounds": [low.round(6).tolist(), high.round(6).tolist()],
        "camera": _camera(high - low),
        "geoms": described,
        "meshes": packed([surface(model, *place) for place in surfaces]),
        "episodes": shown,
    }
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    text = text.replace("&", "&amp;").replace("'", "&#39;").replace("<", "&lt;")
    return (
        f"<figure class=view3d data-scene='{text}'><p>{html.escape(label)}: it moves where the "
        "browser runs scripts and has WebGL 2.</p></figure>"
    )


def _body_poses(model: mujoco.MjModel, bodies: np.ndarray, qpos: np.ndarray) -> np.ndarray:
    """(frames, bodies, 7) positions [m] and quaternions wxyz of bodies in the world.

    Args:
      bodies: ids.
      qpos: (frames, nq).
    """
    data = mujoco.MjData(model)
    out = np.empty((len(qpos), len(bodies), 7))
    for row, pose in zip(qpos, out, strict=True):
        data.qpos[:] = row
        mujoco.mj_kinematics(model, data)
        pose[:, :3], pose[:, 3:] = data.xpos[bodies], data.xquat[bodies]
    return out


def _checked(name: str, qpos: np.ndarray, nq: int) -> np.ndarray:
    qpos = np.asarray(qpos, float)
    if qpos.ndim != 2 or qpos.shape[1] != nq or not len(qpos):
        raise SceneError(f"episode '{name}' has shape {qpos.shape}; the scene's is (frames, {nq})")
    if not (finite := np.isfinite(qpos).all(axis=1)).all():
        raise SceneError(
            f"episode '{name}' has a position that is not finite in frame {int(np.argmin(finite))}"
            "; give the view frames whose positions are known"
        )
    return qpos


def _thinned(frames: int, control_hz: float) -> np.ndarray:
    """The frames that are shown, the last always."""
    return np.unique(
        np.append(np.arange(0, frames, max(1, math.ceil(control_hz / RATE))), frames - 1)
    )


def _shown(model: mujoco.MjModel) -> np.ndarray:
    """Ids of the geoms to draw."""
    moves = model.body_weldid[model.geom_bodyid] > 0
    seen = (model.geom_group < _HIDDEN) & (_colours(model)[:, 3] > 0)
    return np.flatnonzero(seen if (seen & moves).any() else np.ones_like(seen))


def _colours(model: mujoco.MjModel) -> np.ndarray:
    """(ngeom, 4) red, green, blue, opacity: the material's where the geom has one."""
    colours = model.geom_rgba.astype(float)
    own = (model.geom_matid >= 0) & (model.geom_rgba == [0.5, 0.5, 0.5, 1]).all(axis=1)
    colours[own] = model.mat_rgba[model.geom_matid[own]]
    return colours


def _described(
    model: mujoco.MjModel, geoms: np.ndarray, bodies: np.ndarray
) -> list[dict[str, Any]]:
    """Type, size, colour and pose of every geom in the moving body that carries it (-1: none)."""
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    colours, out = _colours(model), []
    origin, place = np.zeros((2, 3))
    inverse, turn, product = np.zeros((3, 4))
    for geom in geoms:
        root = int(model.body_weldid[model.geom_bodyid[geom]])
        mujoco.mju_mat2Quat(turn, data.geom_xmat[geom])
        mujoco.mju_negPose(origin, inverse, data.xpos[root], data.xquat[root])
        mujoco.mju_mulPose(place, product, origin, inverse, data.geom_xpos[geom], turn)
        out.append(
            {
                "type": int(model.geom_type[geom]),
                "body": int(np.searchsorted(bodies, root)) if root else -1,
                "size": model.geom_size[geom].round(6).tolist(),
                "position": place.round(6).tolist(),
                "turn": product.round(7).tolist(),
                "colour": colours[geom].round(3).tolist(),
            }
        )
    return out


def _bounds(
    model: mujoco.MjModel, geoms: np.ndarray, episodes: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """The box of the first look: what moves, over all frames; at most ``REACH`` diagonals of the
    first episode's, so that one that flies off does not make the rest small."""
    moving = geoms[model.body_weldid[model.geom_bodyid[geoms]] > 0]
    if not len(moving):
        moving = geoms[model.geom_rbound[geoms] > 0]
    signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    corners = model.geom_aabb[moving, None, :3] + model.geom_aabb[moving, None, 3:] * signs
    data, boxes = mujoco.MjData(model), []
    for qpos in episodes.values():
        points = [] if len(moving) else [0.5 * signs]
        for row in qpos[:: max(1, len(qpos) // 100)]:
            data.qpos[:] = row
            mujoco.mj_kinematics(model, data)
            turned = corners @ data.geom_xmat[moving].reshape(-1, 3, 3).swapaxes(1, 2)
            points.append((data.geom_xpos[moving, None] + turned).reshape(-1, 3))
        every = np.concatenate(points)
        boxes.append((every.min(axis=0), every.max(axis=0)))
    low, high = boxes[0]
    middle, reach = (low + high) / 2, REACH / 2 * np.linalg.norm(high - low)
    low = np.maximum(np.min([b[0] for b in boxes], axis=0), middle - reach)
    high = np.minimum(np.max([b[1] for b in boxes], axis=0), middle + reach)
    room = 0.02 * float(np.max(high - low)) + 1e-6
    return low - room, high + room


def _camera(spread: np.ndarray) -> list[float]:
    """Azimuth and elevation [rad] of the first look, across the longer horizontal side."""
    flat = spread[2] < 0.25 * max(spread[0], spread[1])
    turned, tilt = (15.0, 40.0) if flat else (30.0, 22.0)
    azimuth = turned - 90.0 if spread[0] >= spread[1] else -turned
    return [round(float(np.radians(angle)), 4) for angle in (azimuth, tilt)]
