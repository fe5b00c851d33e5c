"""Meshes and height fields as triangles that fit a page."""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from worldmodel._mujoco import mujoco

TRIANGLES = 32_000  # of all surfaces of a view
FINEST = 65535  # cells of a surface's grid along its longest side, and vertices at most
_GEOM = mujoco.mjtGeom
SURFACES = (int(_GEOM.mjGEOM_MESH), int(_GEOM.mjGEOM_SDF), int(_GEOM.mjGEOM_HFIELD))
Surface = tuple[np.ndarray, np.ndarray]  # (vertices, 3) [m], (triangles, 3) ids of vertices


def surface(model: mujoco.MjModel, kind: int, data: int) -> Surface:
    """Vertices and triangles of a geom whose type is one of ``SURFACES``; of a height field the
    upper side.

    Args:
      kind: the geom's type.
      data: the geom's ``geom_dataid``.
    """
    if kind == _GEOM.mjGEOM_HFIELD:
        return _field(model, data)
    vertex, face = model.mesh_vertadr[data], model.mesh_faceadr[data]
    return (
        model.mesh_vert[vertex : vertex + model.mesh_vertnum[data]].astype(float),
        model.mesh_face[face : face + model.mesh_facenum[data]],
    )


def _field(model: mujoco.MjModel, field: int) -> Surface:
    rows, columns = int(model.hfield_nrow[field]), int(model.hfield_ncol[field])
    start, (x, y, top, _) = model.hfield_adr[field], model.hfield_size[field]
    heights = top * model.hfield_data[start : start + rows * columns].reshape(rows, columns)
    across, along = np.meshgrid(np.linspace(-x, x, columns), np.linspace(-y, y, rows))
    ids = np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = (i.ravel() for i in (ids[:-1, :-1], ids[:-1, 1:], ids[1:, 1:], ids[1:, :-1]))
    faces = np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])
    return np.stack([across, along, heights], axis=-1).reshape(-1, 3), faces


def packed(shapes: Sequence[Surface]) -> list[dict[str, Any]]:
    """Surfaces as the viewer reads them, ``TRIANGLES`` in all, each its share."""
    every = sum(len(faces) for _, faces in shapes)
    out = []
    for vertices, faces in shapes:
        share = max(64, int(TRIANGLES * len(faces) / every))
        low, step, cells, kept = coarsened(vertices, faces, share)
        out.append(
            {
                "low": low.round(7).tolist(),
                "step": step,
                "vertices": encoded(cells, np.uint16),
                "faces": encoded(kept, np.uint16),
            }
        )
    return out


def coarsened(
    vertices: np.ndarray, faces: np.ndarray, most: int
) -> tuple[np.ndarray, float, np.ndarray, np.ndarray]:
    """A mesh on a cubic grid, as fine as keeps at most ``most`` triangles and 65535 vertices.

    Args:
      vertices: (vertices, 3) [m].
      faces: (faces, 3) ids of vertices.

    Returns:
      The grid's corner (3,) [m] and step [m]; cells (kept, 3) of vertices, and triangles (kept, 3).
    """
    low = vertices.min(axis=0)
    longest = float(np.max(vertices.max(axis=0) - low)) or 1.0
    cells = float(FINEST)
    while True:
        step = longest / cells
        grid = np.rint((vertices - low) / step).astype(np.int64)
        kept, places = _distinct(grid)
        a, b, c = np.sort(places[faces], axis=1).T  # the viewer lights both sides
        mapped, _ = _distinct(np.stack([a, b, c], axis=1)[(a != b) & (b != c)])
        if cells <= 2 or (len(mapped) <= most and len(kept) <= FINEST):
            return low, step, kept, mapped
        cells = min(cells, 512.0) * 0.8  # finer ones hardly merge anything


def _distinct(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The distinct rows of three numbers below 2^21, and each row's place among them."""
    _, first, places = np.unique(
        rows @ (1 << np.array([42, 21, 0])), return_index=True, return_inverse=True
    )
    return rows[first], places.reshape(-1)


def encoded(array: np.ndarray, kind: type) -> str:
    """Little-endian numbers in base64, as a browser reads them."""
    numbers = np.asarray(array).astype(np.dtype(kind).newbyteorder("<"))
    return base64.b64encode(numbers.tobytes()).decode()
