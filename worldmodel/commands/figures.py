"""The figures of a fit's page, as inline SVG."""

import io
from collections.abc import Mapping
from typing import Any

import matplotlib
from matplotlib.figure import Figure

COLOURS = {"network": "#0072b2", "fitted": "#009e73", "MJCF": "#d55e00", "hold last": "#777777"}
TITLES = {"position_m": "position", "rotation_rad": "rotation", "joint_rad": "joints"}
UNITS = {"position_m": ("mm", 1e3), "rotation_rad": ("°", 57.29578), "joint_rad": ("°", 57.29578)}
MOST_CHANNELS = 8
_TIGHT = {"bbox_inches": "tight", "transparent": True}
_WIDE = "width:min(100vw - 2rem,66rem)"  # wider than a figure of the page


def svg(figure: Figure) -> str:
    """A figure as SVG in the page's own ink; it scrolls sideways where it does not fit."""
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "worldmodel"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None}, **_TIGHT)
    text = buffer.getvalue().replace("#000000", "currentColor")
    drawn = text[text.index("<svg") :].replace("<svg ", "<svg fill='currentColor' ", 1)
    return f"<div class=scroll tabindex=0 style='{_WIDE}'>{drawn}</div>"


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
                low = [max(x, 1e-2 * m) for x, m in zip(low, mean, strict=True)]  # logarithmic
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
            style = {"color": "#000000", "lw": 2, "alpha": 0.5} if model == "recorded" else {}
            axes.plot(time, values, **({"color": COLOURS.get(model), "lw": 1} | style), label=model)
        axes.set_title(name, fontsize=8)
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(frameon=False, fontsize=7)
    return svg(figure)
