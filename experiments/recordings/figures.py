"""The figure of a recording's table: error of each frame ahead, and the ratio of two models."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from experiments.records import GREY

Style = tuple[str, Any, str]  # colour, dashes, label
CHANNELS = {  # name, unit, factor from SI
    "position_m": ("position", "mm", 1e3),
    "rotation_rad": ("rotation", "°", float(np.degrees(1.0))),
    "joint_rad": ("joints", "°", float(np.degrees(1.0))),
}


def curves_figure(table: Mapping[str, Any], styles: Mapping[str, Style]) -> Figure:
    """Error of each frame ahead (above) and the ratio of the last model to the first (below), a
    column per channel, with 95 % bands over episodes.

    Args:
      table: the content of table.json, with ``curves``, ``control_hz`` and ``rows``.
      styles: of the models that are drawn.
    """
    curves, own = table["curves"], table["rows"][0]["seconds"]
    figure = Figure((max(6.0, 3.5 * len(curves)), 5.2), layout="constrained")
    axes = figure.subplots(2, len(curves), squeeze=False, sharex=True, height_ratios=(2, 1))
    reference, *_, model = styles
    for (upper, lower), (channel, models) in zip(axes.T, curves.items(), strict=True):
        name, unit, factor = CHANNELS[channel]
        seconds = np.arange(1, len(models["ratio"]["mean"]) + 1) / table["control_hz"]
        for shown in (s for s in styles if s in models):
            _line(upper, seconds, models[shown], styles[shown], factor)
        top = factor * 2.0 * max(models[reference]["high"])  # what diverges leaves the frame
        upper.set(ylabel=f"{name} [{unit}]", xlim=(0, seconds[-1]))
        upper.set_ylim(0, min(top, upper.get_ylim()[1]))
        _line(lower, seconds, models["ratio"], styles[model], 1.0)
        lower.axhline(1.0, color=styles[reference][0], linestyle=styles[reference][1])
        most = min(1.1 * float(np.nanmax(models["ratio"]["mean"])), 5.0)
        lower.set(xlabel="time ahead [s]", ylim=(0, max(1.5, most)))
        for axis in (upper, lower):
            axis.axvline(own, color=GREY, linewidth=0.8, linestyle=":")
            axis.grid(alpha=0.25, linewidth=0.5)
    axes[0, 0].legend(loc="upper left", fontsize=8, frameon=False)
    axes[1, 0].set_ylabel(f"{model} / {reference}")
    about = f"{table['recording']}, {table['split']} episodes, commit "
    figure.supxlabel(about + table["provenance"]["commit"][:12], fontsize=7, color="#444444")
    return figure


def _line(axis: Axes, x: np.ndarray, band: Mapping[str, Any], style: Style, factor: float) -> None:
    colour, dashes, label = style
    mean, low, high = (factor * np.array(band[end]) for end in ("mean", "low", "high"))
    axis.fill_between(x, low, high, color=colour, alpha=0.18, linewidth=0)
    axis.plot(x, mean, color=colour, linestyle=dashes, linewidth=1.6, label=label)
