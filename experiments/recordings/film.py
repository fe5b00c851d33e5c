"""The film strip: one recorded episode and its predictions, drawn over one another.

No OpenGL: solids are drawn as the outlines of their visible faces under a fixed orthographic
camera, so any machine makes these pictures. Also what all figures share: colours, caption, files,
and the curves of errors over the horizon.
"""

import io
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.runtime.files import write_bytes

matplotlib.use("Agg")
from matplotlib import pyplot  # after the backend is chosen
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

BLACK, BLUE, ORANGE, GREY, GREEN = "#000000", "#0072B2", "#D55E00", "#777777", "#009E73"
Style = tuple[str, Any, float, str]  # colour, dashes, width, label
STYLES: dict[str, Style] = {
    "real": (BLACK, "-", 1.2, "recorded"),
    "fitted": (BLUE, "-", 1.8, "fitted physics"),
    "sources": (ORANGE, (0, (4, 2)), 1.4, "published parameters"),
    "default": (GREY, (0, (1, 1.5)), 1.4, "MuJoCo's default guess"),
}
CHANNELS = {
    "position_m": ("position error [mm]", 1e3),
    "rotation_rad": ("rotation error [°]", np.degrees(1.0)),
    "joint_rad": ("joint error [°]", np.degrees(1.0)),
}
AZIMUTH, ELEVATION = np.radians(-55.0), np.radians(22.0)  # the film's camera on a solid toss


class Face(NamedTuple):
    """A face of a box, or a capsule's axis, as the camera sees it."""

    outline: np.ndarray  # (points, 2) [m]
    seen: bool  # whether it faces the camera
    depth: float  # of its centre, towards the camera [m]


def film_figure(table: dict[str, Any], model: mujoco.MjModel) -> Figure:
    """Recorded and predicted poses over one another at a few instants."""
    film = table["film"]
    instants = len(film["seconds"])
    columns = -(-instants // 2)
    data = mujoco.MjData(model)
    flat = model.nq < 7
    swings = not (model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE).any()
    poses = {
        name: [_faces(model, data, np.array(q), flat) for q in film[name]]
        for name in ("real", "sources", "fitted")
    }
    reach = _reach(poses, follow=not swings)
    figure, axes = pyplot.subplots(2, columns, figsize=(2.5 * columns, 5.9), layout="constrained")
    for i, axis in enumerate(axes.flat):
        axis.set_axis_off()
        if i >= instants:
            continue
        centre = np.zeros(2) if swings else _centre(poses["real"][i])
        if not swings:
            _table_lines(axis, flat, np.array(film["real"][i])[: 1 if flat else 2])
        for rank, name in enumerate(("real", "sources", "fitted")):
            _draw(axis, poses[name][i], name, 10 * (rank + 1))
            if not (flat or swings):
                _drop_line(axis, np.array(film[name][i][:3]), name)
        axis.set_xlim(centre[0] - reach, centre[0] + reach)
        axis.set_ylim(centre[1] - reach, centre[1] + reach)
        axis.set_aspect("equal")
        axis.set_title(f"{film['seconds'][i]:.3f} s", fontsize=9, y=-0.06)
    handles = [
        Line2D([], [], color=c, linestyle=d, linewidth=w, label=label)
        for c, d, w, label in (STYLES[n] for n in ("real", "fitted", "sources"))
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, frameon=False, fontsize=9)
    what = "whole toss" if table["horizons"][-1]["frames"] is None else "longest window"
    view = "The view follows the recorded body" if not swings else "The shoulder stays in place"
    caption(
        figure,
        table,
        f"{table['recording']}, episode {film['episode']}: of {film['windows']} {table['split']} "
        f"{'tosses' if 'toss' in what else 'windows'} the one with the median {what} error of the "
        f"fit (mean of its frames: {_shown(film['error'])}). Predicted from the first instant "
        f"alone. {view}{'; marks on the table are 5 cm apart' if not swings else ''}"
        f"{', × is the point below the first body' if not (flat or swings) else ''}.",
    )
    return figure


def caption(figure: Figure, table: dict[str, Any], text: str) -> None:
    """Below the figure: what it shows, the command and the commit."""
    drawn = f"{table['command']}  (commit {table['provenance']['commit']})"
    width = int(figure.get_figwidth() * 17.5)
    lines = textwrap.wrap(text, width) + textwrap.wrap(drawn, width)
    figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=6.5, color="#444444")


def save(figure: Figure, path: Path, **options: Any) -> Path:
    """Writes a figure as PNG, atomically, and closes it; returns the path."""
    image = io.BytesIO()
    figure.savefig(image, format="png", **options)
    pyplot.close(figure)
    write_bytes(path, image.getvalue())
    return path


def error_curves_figure(
    table: dict[str, Any],
    styles: Mapping[str, Style],
    ratio: tuple[str, str],
    *,
    height: float,
    fits: str,
    remark: str = "",
) -> tuple[Figure, Any]:
    """Error of each frame ahead (above) and the ratio of two models' (below); one column per
    channel, 95 % bands over episodes.

    Args:
      styles: of the models that are drawn, in order.
      ratio: the model and its reference, as named in ``styles``.
      height: of the figure [in].
      fits: how the fits were averaged, for the caption; ``remark`` is one more sentence in it.

    Returns:
      The figure and its axes (2, channels).
    """
    curves = table["curves"]
    figure, axes = pyplot.subplots(
        2,
        len(curves),
        figsize=(max(6.0, 3.5 * len(curves)), height),
        squeeze=False,
        sharex=True,
        height_ratios=(2, 1),
        layout="constrained",
    )
    own = table["horizons"][0]["seconds"]
    for (upper, lower), (channel, models) in zip(axes.T, curves.items(), strict=True):
        title, factor = CHANNELS[channel]
        seconds = np.arange(1, len(models["ratio"]["mean"]) + 1) / table["control_hz"]
        for name in (n for n in styles if n in models):
            _line(upper, seconds, models[name], styles[name], factor)
        upper.set(ylabel=title, ylim=(0, None), xlim=(0, seconds[-1]))
        _line(lower, seconds, models["ratio"], styles[ratio[0]], 1.0)
        colour, dashes, *_ = styles[ratio[1]]
        lower.axhline(1.0, color=colour, linestyle=dashes, linewidth=1.2)
        lower.set(xlabel="time ahead [s]")
        for axis in (upper, lower):
            axis.axvline(own, color=GREY, linewidth=0.8, linestyle=":")
            axis.grid(alpha=0.25, linewidth=0.5)
    long = next(h for h in table["horizons"] if h["frames"] == len(seconds))
    caption(
        figure,
        table,
        f"{table['recording']}, {table['split']} split: open-loop error at each frame ahead, mean "
        f"over {long['episodes']} episodes ({long['windows']} windows){fits}. Bands: 95 % over "
        f"episodes, below paired.{remark} Dotted upright: the horizon of the table, {own:.3g} s.",
    )
    return figure, axes


def _line(axis: Axes, x: np.ndarray, band: dict[str, Any], style: Style, factor: float) -> None:
    colour, dashes, width, label = style
    mean, low, high = (factor * np.array(band[k], float) for k in ("mean", "low", "high"))
    axis.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
    axis.plot(x, mean, color=colour, linestyle=dashes, linewidth=width, label=label)


def _shown(error: dict[str, float | None]) -> str:
    parts = []
    for channel, value in error.items():
        if value is not None:
            label, factor = CHANNELS[channel]
            parts.append(f"{factor * value:.3g} {label.split('[')[1].rstrip(']')}")
    return ", ".join(parts)


def _faces(model: mujoco.MjModel, data: mujoco.MjData, qpos: np.ndarray, flat: bool) -> list[Face]:
    """The faces of all boxes and the axes of all capsules, the farthest first."""
    data.qpos[:] = qpos
    mujoco.mj_kinematics(model, data)
    towards = _camera(flat)[2]
    faces = []
    for geom in range(model.ngeom):
        size, kind = model.geom_size[geom], model.geom_type[geom]
        centre, turn = data.geom_xpos[geom], data.geom_xmat[geom].reshape(3, 3)
        if kind == mujoco.mjtGeom.mjGEOM_CAPSULE:
            ends = centre + np.array([[0, 0, -size[1]], [0, 0, size[1]]]) @ turn.T
            faces.append(Face(_project(ends, flat), True, float(centre @ towards)))
        if kind != mujoco.mjtGeom.mjGEOM_BOX:
            continue
        for axis in range(3):
            others = [a for a in range(3) if a != axis]
            for side in (-1.0, 1.0):
                corners = np.full((4, 3), side)
                corners[:, others] = [(-1, -1), (1, -1), (1, 1), (-1, 1)]
                points = centre + (corners * size) @ turn.T
                seen = side * float(turn[:, axis] @ towards) > 1e-6
                faces.append(Face(_project(points, flat), seen, float(points.mean(0) @ towards)))
    return sorted(faces, key=lambda f: f.depth)


def _draw(axis: Axes, faces: list[Face], name: str, zorder: int) -> None:
    """The recorded body is filled, so that near faces hide far ones; predictions are outlines."""
    colour, dashes, width, _ = STYLES[name]
    for face in faces:
        if face.seen and name == "real" and len(face.outline) > 2:
            axis.fill(
                *face.outline.T, facecolor="#dddddd", edgecolor=colour, lw=width, zorder=zorder
            )
        elif face.seen:
            x, y = np.r_[face.outline, face.outline[:1]].T
            axis.plot(x, y, color=colour, linestyle=dashes, linewidth=width, zorder=zorder)


def _drop_line(axis: Axes, position: np.ndarray, name: str) -> None:
    """From a body's origin down to the table: how far away it is, apart from how high."""
    line = _project(np.stack([position, position * [1, 1, 0]]), flat=False)
    axis.plot(*line.T, color=STYLES[name][0], linewidth=0.7, zorder=40)
    axis.plot(*line[1], "x", color=STYLES[name][0], markersize=4, zorder=40)


def _camera(flat: bool) -> np.ndarray:
    """Rows: right, up, towards the camera; of a scene in a plane the x–z plane itself."""
    if flat:
        return np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]])
    level = np.cos(ELEVATION)
    towards = np.array([level * np.cos(AZIMUTH), level * np.sin(AZIMUTH), np.sin(ELEVATION)])
    right = np.cross([0.0, 0.0, 1.0], towards)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(towards, right), towards])


def _project(points: np.ndarray, flat: bool) -> np.ndarray:
    """(points, 3) [m] → (points, 2), orthographic."""
    return points @ _camera(flat)[:2].T


def _table_lines(axis: Axes, flat: bool, near: np.ndarray) -> None:
    """The table: a line in a plane, a lattice of 5 cm under a solid."""
    if flat:
        marks = 0.05 * np.arange(-20, 21) + 0.05 * np.round(near[0] / 0.05)
        axis.plot([marks[0], marks[-1]], [0, 0], color=GREY, linewidth=1.0, zorder=1)
        axis.plot(marks, np.zeros_like(marks), "|", color=GREY, markersize=5, zorder=1)
        return
    cells = np.arange(-8, 9)
    middle = 0.05 * np.round(near / 0.05)
    for a in cells:
        for along in (0, 1):
            line = np.zeros((2, 3))
            line[:, along] = middle[along] + 0.05 * cells[[0, -1]]
            line[:, 1 - along] = middle[1 - along] + 0.05 * a
            axis.plot(*_project(line, flat).T, color="#c8c8c8", linewidth=0.5, zorder=1)


def _centre(faces: list[Face]) -> np.ndarray:
    points = np.concatenate([f.outline for f in faces])
    return 0.5 * (points.min(axis=0) + points.max(axis=0))


def _reach(poses: dict[str, list[list[Face]]], follow: bool) -> float:
    """Half the width of every panel, the same in all, so that everything drawn is inside."""
    reach = 0.0
    for i, real in enumerate(poses["real"]):
        centre = _centre(real) if follow else np.zeros(2)
        for name in poses:
            points = np.concatenate([f.outline for f in poses[name][i]])
            reach = max(reach, float(np.abs(points - centre).max()))
    return 1.08 * reach
