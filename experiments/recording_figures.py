"""The figures of ``recording_table``: error against horizon, parameters, and a film strip.

Drawn with matplotlib alone, so that they need no OpenGL. Colours are Okabe and Ito's, and every
line also has its own style.
"""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

from experiments.problems import Problem
from worldmodel._mujoco import mujoco
from worldmodel.episodes.protocol import errors
from worldmodel.predict import Windows
from worldmodel.scene import load_scene
from worldmodel.types import Episode

matplotlib.use("Agg")
import matplotlib.pyplot as plt

STYLES = {
    "default": ("MuJoCo's default guess", "#999999", ":"),
    "sources": ("sources' parameters", "#D55E00", "--"),
    "fitted": ("fitted physics", "#0072B2", "-"),
}
UNITS = {
    "position_m": ("position error [mm]", 1e3),
    "rotation_rad": ("rotation error [°]", np.degrees(1.0)),
    "joint_rad": ("joint error [°]", np.degrees(1.0)),
}
SECONDS_SHOWN = 0.3  # of the film strip
INSTANTS = 7


def _caption(figure: Any, table: dict[str, Any]) -> None:
    commit = table["provenance"]["commit"]
    text = (
        f"{table['recording']}, {table['split']} episodes · experiments.recording_table · {commit}"
    )
    figure.text(0.995, 0.005, text, ha="right", va="bottom", fontsize=6, color="#555555")


def error_against_horizon(
    problem: Problem, predictions: dict[str, Any], out: Path, table: dict[str, Any]
) -> None:
    """``error_vs_horizon.png``: error of each frame ahead, bands over episodes."""
    label = list(predictions)[1]  # the long horizon
    windows, rows, _ = predictions[label]
    channels = problem.recording.channels
    seeds = [name for name in rows if name.startswith("fitted ")]
    curves = {
        name: [errors(rows[name], windows.target, channels)] for name in STYLES if name in rows
    }
    curves["fitted"] = [errors(rows[s], windows.target, channels) for s in seeds]
    shown = [c for c in UNITS if curves["sources"][0][c] is not None]
    figure, axes = plt.subplots(1, len(shown), figsize=(3.4 * len(shown), 3.0), squeeze=False)
    ahead = 1e3 * np.arange(1, windows.target.shape[1] + 1) / problem.recording.control_hz
    for axis, channel in zip(axes[0], shown, strict=True):
        title, factor = UNITS[channel]
        for name, (text, colour, style) in STYLES.items():
            value = np.mean([np.asarray(part[channel]) for part in curves[name]], axis=0) * factor
            episode = np.asarray(windows.episode)
            per = np.stack([value[episode == e].mean(0) for e in np.unique(episode)])
            mean, error = per.mean(0), 1.96 * per.std(0, ddof=1) / np.sqrt(len(per))
            axis.plot(ahead, mean, style, color=colour, label=text)
            axis.fill_between(ahead, mean - error, mean + error, color=colour, alpha=0.15, lw=0)
        axis.axvline(
            1e3 * problem.recording.horizon / problem.recording.control_hz, color="k", lw=0.5
        )
        axis.set(xlabel="time ahead [ms]", ylabel=title, xlim=(0, None), ylim=(0, None))
        axis.spines[["top", "right"]].set_visible(False)
    axes[0][0].legend(frameon=False, fontsize=7)
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    _caption(figure, table)
    figure.savefig(out / "error_vs_horizon.png", dpi=140)
    plt.close(figure)


def parameter_intervals(table: dict[str, Any], out: Path) -> None:
    """``parameters.png``: every free number in prior widths; seeds and their 95 % t interval."""
    from scipy.stats import t

    names, dots = [], []
    for name, row in table["parameters"].items():
        u = np.array(row["u"])  # (seeds, numbers)
        for i in range(u.shape[1]):
            suffix = f" [{i}]" if u.shape[1] > 1 else ""
            names.append(name + suffix)
            dots.append(u[:, i])
    values = np.array(dots)
    mean, seeds = values.mean(1), values.shape[1]
    half = np.zeros(len(mean))
    if seeds > 1:
        half = t.ppf(0.975, seeds - 1) * values.std(1, ddof=1) / np.sqrt(seeds)
    y = np.arange(len(names))[::-1]
    figure, axis = plt.subplots(figsize=(6.5, 1.2 + 0.16 * len(names)))
    axis.axvspan(-1, 1, color="#eeeeee", lw=0)
    axis.axvline(0, color="k", lw=0.6)
    axis.errorbar(mean, y, xerr=half, fmt="none", ecolor="#0072B2", elinewidth=1.2, capsize=2)
    for k in range(seeds):
        axis.plot(values[:, k], y, "o", ms=2.8, color="#0072B2", alpha=0.7)
    limit = 1.15 * max(2.0, np.abs(values).max())
    axis.set(xlim=(-limit, limit), ylim=(-1, len(names)), yticks=y)
    axis.set_yticklabels(names, fontsize=6)
    axis.set_xlabel(
        "u: distance from the sources' value in prior widths (grey: ±1)\n"
        f"dots: {seeds} fit seeds; bars: 95 % t interval over seeds (optimiser, not data)",
        fontsize=7,
    )
    axis.spines[["top", "right", "left"]].set_visible(False)
    figure.tight_layout(rect=(0, 0.02, 1, 1))
    _caption(figure, table)
    figure.savefig(out / "parameters.png", dpi=140)
    plt.close(figure)


def film_strip(
    problem: Problem,
    episodes: list[Episode],
    predictions: dict[str, Any],
    out: Path,
    table: dict[str, Any],
) -> None:
    """``film_strip.png``: one episode, recorded and predicted drawn over one another.

    The window is the one whose fitted error is the median at the long horizon: not the best.
    """
    windows, rows, _ = predictions[list(predictions)[1]]
    fitted = rows["fitted 0"]
    chosen = _median_window(fitted, windows, problem)
    model = load_scene(problem.mjcf, control_hz=problem.recording.control_hz, substeps=1).mj_model
    shown = min(int(SECONDS_SHOWN * problem.recording.control_hz), windows.target.shape[1]) - 1
    frames = np.linspace(0, shown, INSTANTS).astype(int)
    layers = [
        (rows["sources"][chosen], *STYLES["sources"][1:], "sources' parameters", 1.0),
        (np.asarray(windows.target[chosen]), "#000000", "-", "recorded", 1.6),
        (fitted[chosen], STYLES["fitted"][1], "-", "fitted physics", 1.0),
    ]
    drawn = {k: [_outline(model, path[k]) for path, *_ in layers] for k in frames}
    everything = np.concatenate([layer for part in drawn.values() for layer in part])
    low, high = everything.min(0), everything.max(0)
    figure, axes = plt.subplots(1, INSTANTS, figsize=(1.9 * INSTANTS, 2.5), sharey=True)
    for axis, k in zip(axes, frames, strict=True):
        for (_, colour, style, text, width), segments in zip(layers, drawn[k], strict=True):
            for n, line in enumerate(segments.reshape(-1, 2, 2)):
                axis.plot(*line.T, style, color=colour, lw=width, label=text if n == 0 else None)
        if problem.recording.channels.position:
            axis.axhline(0.0, color="#999999", lw=3, zorder=0)
        centre = np.mean([layer.mean(0) for layer in drawn[k]], axis=0)
        reach = 0.6 * max((high - low)[1], 0.16)
        axis.set(xlim=(centre[0] - reach, centre[0] + reach), aspect="equal", xticks=[], yticks=[])
        axis.set_ylim(min(low[1], 0) - 0.01, high[1] + 0.01)
        axis.set_title(f"{1e3 * (k + 1) / problem.recording.control_hz:.0f} ms", fontsize=8)
        axis.spines[["top", "right", "left", "bottom"]].set_visible(False)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=3, frameon=False, fontsize=8)
    figure.subplots_adjust(left=0.01, right=0.99, bottom=0.08, top=0.8, wspace=0.02)
    identity = episodes[int(windows.episode[chosen])].id
    figure.text(0.01, 0.005, f"episode {identity}: the median window", fontsize=6, color="#555555")
    _caption(figure, table)
    figure.savefig(out / "film_strip.png", dpi=140)
    plt.close(figure)


def _median_window(predicted: np.ndarray, windows: Windows, problem: Problem) -> int:
    error = errors(predicted, np.asarray(windows.target), problem.recording.channels)
    total = np.zeros(len(predicted))
    for value in error.values():
        if value is not None:
            total += value.mean(1) / value.mean()
    return int(np.argsort(total)[len(total) // 2])


def _outline(model: mujoco.MjModel, qpos: np.ndarray) -> np.ndarray:
    """(points, 2) ends of line segments: the edges of boxes, the axes of capsules, seen aslant."""
    data = mujoco.MjData(model)
    data.qpos[:] = qpos
    mujoco.mj_kinematics(model, data)
    segments = []
    for i in range(model.ngeom):
        size, mat, pos = model.geom_size[i], data.geom_xmat[i].reshape(3, 3), data.geom_xpos[i]
        if model.geom_type[i] == mujoco.mjtGeom.mjGEOM_BOX:
            corners = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
            pairs = [(a, b) for a in range(8) for b in range(a) if bin(a ^ b).count("1") == 1]
            local = np.array([corners[list(p)] for p in pairs]).reshape(-1, 3) * size
        elif model.geom_type[i] == mujoco.mjtGeom.mjGEOM_CAPSULE:
            local = np.array([[0, 0, -size[1]], [0, 0, size[1]]])
        else:
            continue
        segments.append(local @ mat.T + pos)
    world = np.concatenate(segments)
    # An orthographic camera in front of the x–z plane, raised and turned a little.
    turn, rise = np.radians(20), np.radians(12)
    if model.nq < 7:
        turn = rise = 0.0
    across = world[:, 0] * np.cos(turn) + world[:, 1] * np.sin(turn)
    depth = -world[:, 0] * np.sin(turn) + world[:, 1] * np.cos(turn)
    return np.stack([across, world[:, 2] * np.cos(rise) + depth * np.sin(rise)], axis=1)
