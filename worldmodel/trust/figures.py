"""The figures of a measured task: alpha of every cell on one axis, and the learning curve.

An arrow to an axis' end marks an unknown end. Colour and marker identify a version.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from worldmodel.runtime.page import INK
from worldmodel.trust.report import CONTROL, Task, cells_of, order

COLOURS = ("#0072b2", "#d55e00", "#007f5f", "#b0508a", "#8f6600", "#2b83b8")  # Okabe and Ito
MARKERS = ("o", "s", "^", "D", "v")  # one fewer than colours, so that 30 versions differ
WIDTH = 4.3  # [inch] of a figure, as wide as a phone
ROW = 0.26  # [inch] of a cell's row
FONT = 11.0
BENT = 15.0  # an axis that reaches this far from 0 is linear up to 1 and logarithmic beyond
ENDS = ("", "_low", "_high")
Cell = Mapping[str, Any]  # of a task


def alpha_axis(task: Task) -> Figure:
    """α of every cell on one axis, a row each: gross filled; net open."""
    cells = cells_of(task)
    figure = Figure(figsize=(WIDTH, 0.6 + ROW * (len(cells) + len(task["versions"]))))
    axes = figure.add_subplot()
    text, ticks, row = {"va": "center", "parse_math": False}, {}, 0
    text["transform"] = axes.get_yaxis_transform()
    for name in order(task):
        style = _style(task, name)
        title = {"weight": "bold", "color": style["color"], "fontsize": FONT}
        axes.text(0.01, row, name, **text, **title)
        for cell in task["versions"][name]["cells"]:
            row += 1
            ticks[row] = f"n {cell['n']}, m {cell['m']}"
            paid = bool(cell["k"])
            _interval(axes, cell, "alpha_avg", row - 0.15 * paid, style)
            if paid:
                _interval(axes, cell, "alpha_net", row + 0.15, style | {"mfc": "none"})
            code = "" if cell["verdict"] == "OK" else cell["verdict"]
            axes.text(1.02, row, code, **text, fontsize=0.75 * FONT)
        row += 1
    axes.axvline(0, color=INK, lw=0.8)
    axes.axvline(1, color=INK, lw=0.8, ls="--")
    if np.abs(axes.dataLim.intervalx).max() > BENT:
        axes.set_xscale("symlog", linthresh=1)
    axes.set(ylim=(row - 0.4, -0.6), xlabel="alpha: real episodes per synthetic one")
    axes.set_yticks([*ticks], [*ticks.values()])
    return _styled(figure)


def learning(task: Task) -> Figure:
    """The error of real-only training, and below it the D_eff of every mixture."""
    names, sizes, errors = order(task), task["curve"]["n"], task["curve"]["error"]
    figure = Figure(figsize=(WIDTH, 2.4 + ROW * len(names)))
    ratios = [2.0, 0.1 + ROW * len(names)]
    top, strip = figure.subplots(2, sharex=True, height_ratios=ratios, gridspec_kw={"hspace": 0.05})
    top.set(xscale="log", yscale="log", ylabel="error", xlim=(sizes[0] / 1.2, sizes[-1] * 1.2))
    top.plot(sizes, [e["value"] for e in errors], color=INK, lw=1, marker="o", ms=3.0)
    for n, e in zip(sizes, errors, strict=True):
        # A logarithmic axis has no 0: an interval that reaches it ends at the axis' end.
        top.plot([n, n], [e["low"], e["high"]], color=INK, lw=1.5, label="_error")
    for i, name in enumerate(names):
        for cell in task["versions"][name]["cells"]:
            at = cell["d_eff"]  # without its interval
            alone = cell if at is None else cell | {"d_eff_low": at, "d_eff_high": at}
            _interval(strip, alone, "d_eff", i, _style(task, name) | {"mfc": "none"})
    strip.set(ylim=(len(names) - 0.4, -0.6), xlabel="n, real episodes")
    strip.set_yticks(range(len(names)), names, parse_math=False)
    strip.set_xticks(sizes, [str(n) for n in sizes])
    strip.minorticks_off()
    return _styled(figure)


def _style(task: Task, name: str) -> dict[str, Any]:
    """Colour and marker of a version."""
    if name == CONTROL:
        return {"color": INK, "marker": "*", "ms": 5.0}
    i = order(task).index(name)
    return {"color": COLOURS[i % 6], "marker": MARKERS[i % 5], "ms": 5.0}


def _interval(axes: Axes, cell: Cell, kind: str, at: float, style: Mapping[str, Any]) -> None:
    """A bar with its mark, and an arrow to the axis' end for an open side; nothing if unknown."""
    value, low, high = (cell[kind + end] for end in ENDS)
    known = [v for v in (low, value, high) if v is not None]
    if len(known) > 1:
        axes.plot([known[0], known[-1]], [at, at], color=style["color"], lw=1.5, label=f"_{kind}")
    mark = value if value is not None else known[0] if known else None
    if mark is not None:
        axes.plot([mark], [at], ls="", label=f"_{kind} mark", **style)
    for end, place, side in ((low, 0.0, "LO"), (high, 1.0, "HI")):
        # Without a value, an arrow on the censored side only.
        if end is None and (value is not None or cell["verdict"] == f"CENSORED_{side}"):
            begin = (0.9 * place + 0.05, "axes fraction") if mark is None else (mark, "data")
            axes.annotate(
                "",
                xy=(place, at),
                xycoords=("axes fraction", "data"),
                xytext=(begin[0], at),
                textcoords=(begin[1], "data"),
                arrowprops={"arrowstyle": "->", "color": style["color"], "ls": ":"},
            )


def _styled(figure: Figure) -> Figure:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#888888", alpha=0.3, lw=0.6)
    return figure
