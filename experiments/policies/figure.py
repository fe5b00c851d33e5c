"""The figure of the comparison: the return as it is learned, over steps and over core-seconds."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from experiments.recordings.figures import BLUE, GREEN, GREY, ORANGE

COLOURS = {"ppo": BLUE, "gradient": ORANGE}
LEVELS = {"plan": GREY, "clone": GREEN}  # they have no curve: a line at their return


def draw(rows: Sequence[dict[str, Any]]) -> Figure:
    """A row of panels per task: return over steps, and over core-seconds.

    Args:
      rows: of ``compare``.
    """
    tasks = [*dict.fromkeys(row["task"] for row in rows)]
    figure = Figure((7.0, 2.2 * len(tasks)), layout="constrained")
    axes = figure.subplots(len(tasks), 2, squeeze=False)
    for pair, task in zip(axes, tasks, strict=True):
        for row in (r for r in rows if r["task"] == task):
            for axis, over in zip(pair, ("steps", "core_seconds"), strict=True):
                if row["method"] in LEVELS:
                    colour = LEVELS[row["method"]]
                    axis.axhline(row["return"], color=colour, lw=1, label=row["method"])
                    continue
                each = [point for point in row["curve"] if point["return"] is not None]
                at = np.array([point[over] for point in each])
                if over == "core_seconds":  # the first epoch, and one that goes on, compile
                    at = np.median(at) * np.arange(1, len(at) + 1)
                shown = [point["return"] for point in each]
                axis.plot(at, shown, color=COLOURS[row["method"]], lw=1.3, label=row["method"])
                axis.set_xscale("log")
                axis.xaxis.set_minor_formatter(NullFormatter())
        pair[0].set_ylabel(f"{task}: return")
        for axis in pair:
            lines = dict(zip(*axis.get_legend_handles_labels()[::-1], strict=True))
            axis.legend(lines.values(), lines.keys(), fontsize=7, frameon=False)
    axes[-1][0].set_xlabel("control steps of the model")
    axes[-1][1].set_xlabel("core-seconds, without compiling")
    return figure
