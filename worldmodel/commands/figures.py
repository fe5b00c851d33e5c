"""The figures of a fit's page, and its moving view."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from worldmodel._mujoco import mujoco
from worldmodel.runtime.page import INK
from worldmodel.scene.view3d import view

COLOURS = {"network": "#0072b2", "fitted": "#009e73", "MJCF": "#d55e00", "hold last": "#777777"}
TITLES = {"position_m": "position", "rotation_rad": "rotation", "joint_rad": "joints"}
UNITS = {"position_m": ("mm", 1e3), "rotation_rad": ("°", 57.29578), "joint_rad": ("°", 57.29578)}
MOST_CHANNELS = 8


def error_curves(curves: Mapping[str, Any], control_hz: float) -> Figure:
    """Error against the horizon, a panel per group, each model with its interval."""
    figure = Figure(figsize=(4.2 * len(curves), 3.2))
    panels = figure.subplots(1, len(curves), squeeze=False)[0]
    for axes, (group, models) in zip(panels, curves.items(), strict=True):
        unit, factor = UNITS[group]
        for model, curve in models.items():
            mean, low, high = (factor * _floats(curve[end]) for end in ("mean", "low", "high"))
            time = [(k + 1) / control_hz for k in range(len(mean))]
            axes.plot(time, mean, color=COLOURS[model], label=model)
            axes.fill_between(time, low, high, color=COLOURS[model], alpha=0.15, lw=0)
        axes.set(
            xlabel="horizon [s]", ylabel=f"error [{unit}]", title=TITLES[group], ylim=(0, None)
        )
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(frameon=False, fontsize=8)
    return figure


def channels(traces: Mapping[str, Any], control_hz: float) -> Figure:
    """Recorded and predicted positions of one window, a panel per channel."""
    names = list(traces["recorded"])[:MOST_CHANNELS]
    columns = min(len(names), 4)
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(3.2 * columns, 2.0 * rows), layout="constrained")
    for i, name in enumerate(names, start=1):
        axes = figure.add_subplot(rows, columns, i)
        for model, series in traces.items():
            values = _floats(series[name])
            time = [k / control_hz for k in range(len(values))]
            style: dict[str, Any] = {"color": COLOURS.get(model), "lw": 1}
            style = {"color": INK, "lw": 2, "alpha": 0.5} if model == "recorded" else style
            axes.plot(time, values, **style, label=model)
        axes.set_title(name, fontsize=8)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(frameon=False, fontsize=7)
    return figure


def _floats(values: list[float | None]) -> np.ndarray:
    """None as NaN, which no line and no band shows."""
    return np.array(values, float)


def film(
    model: mujoco.MjModel,
    start: np.ndarray,
    recorded: np.ndarray,
    predicted: Mapping[str, np.ndarray],
    control_hz: float,
) -> str:
    """A held-out window as it was recorded and as the models predict it: a moving 3D view.

    Args:
      model: compiled.
      start: (nq,) the frame that every prediction begins from, finite.
      recorded: (frames, nq) what follows; an unknown position, NaN, is shown at its last value.
      predicted: (frames, nq) by model; one that is not finite is not shown.
      control_hz: rate of the frames [1/s].
    """
    shown = np.concatenate([start[None], recorded])
    for before, row in itertools.pairwise(shown):
        row[:] = np.where(np.isfinite(row), row, before)
    episodes = {"recorded": shown}
    for name, rows in predicted.items():
        if np.isfinite(rows).all():
            episodes[name] = np.concatenate([start[None], rows])
    label = "one held-out window, recorded and predicted"
    return view(model, episodes, control_hz, colours=COLOURS, label=label)
