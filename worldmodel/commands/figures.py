"""The figures of a fit's page, as inline SVG."""

import io
from collections.abc import Mapping
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

COLOURS = {"network": "#0072b2", "fitted": "#009e73", "MJCF": "#d55e00", "hold last": "#777777"}
TITLES = {"position_m": "position", "rotation_rad": "rotation", "joint_rad": "joints"}
UNITS = {"position_m": ("mm", 1e3), "rotation_rad": ("°", 57.29578), "joint_rad": ("°", 57.29578)}
MOST_CHANNELS = 8


def svg(figure: Figure) -> str:
    """A figure as an SVG element."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "worldmodel"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, bbox_inches="tight")
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def error_curves(curves: Mapping[str, Any], control_hz: float) -> str:
    """Error against the horizon, a panel per group, each model with its interval."""
    figure = Figure(figsize=(4.2 * len(curves), 3.2))
    for i, (group, models) in enumerate(curves.items(), start=1):
        axes = figure.add_subplot(1, len(curves), i)
        unit, factor = UNITS[group]
        for model, curve in models.items():
            known = [k for k, m in enumerate(curve["mean"]) if m is not None]
            time = [(k + 1) / control_hz for k in known]
            mean = [factor * curve["mean"][k] for k in known]
            axes.plot(time, mean, color=COLOURS[model], label=model)
            if known and all(curve["low"][k] is not None for k in known):
                low, high = ([factor * curve[x][k] for k in known] for x in ("low", "high"))
                axes.fill_between(time, low, high, color=COLOURS[model], alpha=0.15, lw=0)
        axes.set(
            xlabel="horizon [s]", ylabel=f"error [{unit}]", title=TITLES[group], ylim=(0, None)
        )
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(frameon=False, fontsize=8)
    return svg(figure)


def channels(traces: Mapping[str, Any], control_hz: float) -> str:
    """Recorded and predicted positions of one window, a panel per channel."""
    names = list(traces["recorded"])[:MOST_CHANNELS]
    columns = min(len(names), 4)
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(3.2 * columns, 2.0 * rows), layout="constrained")
    for i, name in enumerate(names, start=1):
        axes = figure.add_subplot(rows, columns, i)
        for model, series in traces.items():
            values = [float("nan") if x is None else x for x in series[name]]
            time = [k / control_hz for k in range(len(values))]
            style = {"color": "black", "lw": 2, "alpha": 0.5} if model == "recorded" else {}
            axes.plot(time, values, **({"color": COLOURS.get(model), "lw": 1} | style), label=model)
        axes.set_title(name, fontsize=8)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(frameon=False, fontsize=7)
    return svg(figure)


def film_strip(film: Mapping[str, Any]) -> str:
    """Outlines at some instants: recorded in grey, predicted in colour."""
    count = len(film["times"])
    figure = Figure(figsize=(2.1 * count, 2.2), layout="constrained")
    points = [p for name in ("recorded", "predicted") for i in film[name] for o in i for p in o]
    bounds = [(min(p[k] for p in points), max(p[k] for p in points)) for k in (0, 1)]
    for i, time in enumerate(film["times"]):
        axes = figure.add_subplot(1, count, i + 1)
        for name, style in (
            ("recorded", {"fc": "#bbbbbb", "ec": "#777777"}),
            ("predicted", {"fc": "none", "ec": COLOURS["fitted"]}),
        ):
            for outline in film[name][i]:
                axes.add_patch(Polygon(outline, closed=True, **style))
        axes.set(aspect="equal", xlim=_wider(bounds[0]), ylim=_wider(bounds[1]))
        axes.set_title(f"{time:.2f} s", fontsize=8)
        axes.set_xticks([])
        axes.set_yticks([])
    return svg(figure)


def _wider(bounds: tuple[float, float]) -> tuple[float, float]:
    margin = 0.05 * (bounds[1] - bounds[0]) + 1e-3
    return bounds[0] - margin, bounds[1] + margin
