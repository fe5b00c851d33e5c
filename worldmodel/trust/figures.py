"""The figures of a measured task: the alpha axis, D_eff against m, the learning curve.

Every axis holds all finite ends of the intervals; where these lie far apart it is linear about 0
and logarithmic beyond. An arrow at the axis' end marks an unknown end. Colour and marker identify
a version, on light and dark pages.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from worldmodel.runtime.page import INK
from worldmodel.trust.report import CONTROL, Task, cells_of, order

COLOURS = ("#0072b2", "#d55e00", "#007f5f", "#b0508a", "#8f6600", "#2b83b8")  # Okabe and Ito
MARKERS = ("o", "s", "^", "D", "v", "P")
WIDTH = 4.3  # [inch] of a figure, as wide as a phone
ROW = 0.26  # [inch] of a cell's row
FONT = 11.0
BENT = 15.0  # an axis is bent if it is this many times as long as what it must show
LEVEL = 2.0  # highest level drawn, in n + m
LONGEST = 25  # characters of a version's name in a figure; tables show the whole name
ENDS = ("", "_low", "_high")
ARROWS = {(False, "LO"): "<", (False, "HI"): ">", (True, "LO"): "v", (True, "HI"): "^"}
Cell = Mapping[str, Any]  # of a task, or an entry with a value and its ends


def alpha_axis(task: Task) -> Figure:
    """α of every cell on one axis, a row each: gross filled; net open; small if reused."""
    cells = cells_of(task)
    figure = Figure(figsize=(WIDTH, 0.6 + ROW * (len(cells) + len(task["versions"]))))
    axes = figure.add_subplot()
    _hold(axes, cells, ("alpha_avg", "alpha_net", "alpha_net_reused"), (0.0, 1.0), 1.0)
    place, ticks, row = axes.get_yaxis_transform(), {}, 0
    text = {"transform": place, "va": "center", "parse_math": False}
    for name in order(task):
        style = _style(task, name)
        title = {"weight": "bold", "color": style["color"], "fontsize": FONT}
        axes.text(0.01, row, _clipped(name), **text, **title)
        for cell in task["versions"][name]["cells"]:
            row += 1
            ticks[row] = f"n {cell['n']}, m {cell['m']}"
            drawn = [("alpha_avg", True, 5.0), *([("alpha_net", False, 5.0)] * bool(cell["k"]))]
            drawn += [("alpha_net_reused", True, 2.5)] * bool(cell["verdict_reused"])
            for i, (kind, filled, size) in enumerate(drawn):
                at = row + 0.3 * (i - (len(drawn) - 1) / 2)
                _interval(axes, cell, kind, at, style | {"ms": size}, filled=filled)
            code = "" if cell["verdict"] == "OK" else cell["verdict"]
            axes.text(1.02, row, code, **text, fontsize=0.75 * FONT)
        row += 1
    axes.axvline(0, color=INK, lw=0.8)
    axes.axvline(1, color=INK, lw=0.8, ls="--")
    axes.set(ylim=(row - 0.4, -0.6), xlabel="alpha: real episodes per synthetic one")
    axes.set_yticks([*ticks], [*ticks.values()])
    return _styled(figure)


def d_eff(task: Task, n: int) -> Figure:
    """D_eff against m at n real episodes, the versions next to each other, with their levels.

    A level is the D_eff that a version tends to as m grows: n plus its cap under the oracle
    weight; pooled with weight 1, its limit at any n. One far above is not drawn.
    """
    cells = [cell for cell in cells_of(task) if cell["n"] == n]
    sizes = sorted({cell["m"] for cell in cells})
    levels: dict[str, float] = {}
    for name, version in task["versions"].items():
        level = version.get("limit") if version.get("cap") is None else n + version["cap"]
        if level is not None and level <= LEVEL * (n + sizes[-1]):
            levels[name] = level
    figure = Figure(figsize=(WIDTH, 2.9))
    axes = figure.add_subplot()
    shown = (float(n), float(n + sizes[-1]), *levels.values())
    _hold(axes, cells, ("d_eff",), shown, float(n), upright=True)
    names = [name for name in order(task) if any(cell["version"] == name for cell in cells)]
    step = min(0.12, 0.7 / len(names))
    for i, name in enumerate(names):
        style = _style(task, name)
        for cell in (cell for cell in cells if cell["version"] == name):
            at = sizes.index(cell["m"]) + step * (i - (len(names) - 1) / 2)
            _interval(axes, cell, "d_eff", at, style, upright=True)
        if name in levels:
            axes.axhline(levels[name], color=style["color"], lw=1.2, ls=":", label="_level")
        axes.plot([], [], ls="", label=_clipped(name), **style)  # for the legend
    axes.axhline(n, color=INK, lw=0.8)
    axes.plot(range(len(sizes)), [n + m for m in sizes], color=INK, lw=0.8, ls="--")
    axes.set(xlim=(-0.6, len(sizes) - 0.4), xlabel="m, synthetic episodes", ylabel="D_eff")
    axes.set_xticks(range(len(sizes)), [str(size) for size in sizes])
    place = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "ncols": min(len(names), 3)}
    legend = axes.legend(fontsize=0.85 * FONT, frameon=False, **place)
    for text in legend.get_texts():
        text.set_parse_math(False)
    return _styled(figure)


def learning(task: Task) -> Figure:
    """The error of real-only training, and below it the D_eff of every mixture."""
    names, sizes, errors = order(task), task["curve"]["n"], task["curve"]["error"]
    figure = Figure(figsize=(WIDTH, 2.4 + ROW * len(names)))
    ratios = [2.0, 0.1 + ROW * len(names)]
    top, strip = figure.subplots(2, sharex=True, height_ratios=ratios, gridspec_kw={"hspace": 0.05})
    # A logarithmic axis has no 0: an interval that reaches it ends in an arrow.
    ends = [
        {"v": e["value"], "v_low": e["low"] if (e["low"] or 0) > 0 else None, "v_high": e["high"]}
        for e in errors
    ]
    known = [value for e in ends for value in e.values() if value is not None]
    top.set(xscale="log", yscale="log", ylabel="error", xlim=(sizes[0] / 1.2, sizes[-1] * 1.2))
    top.set_ylim(min(known) / 1.2, max(known) * 1.2)
    style = {"color": INK, "marker": "o", "ms": 3.0}
    top.plot(sizes, [e["v"] for e in ends], lw=1, **style)
    for n, e in zip(sizes, ends, strict=True):
        _interval(top, e, "v", n, style, upright=True)
    for i, name in enumerate(names):
        for cell in task["versions"][name]["cells"]:
            if (at := cell["d_eff"]) is not None:  # without its bar
                cell = cell | {"d_eff_low": at, "d_eff_high": at}
            _interval(strip, cell, "d_eff", i, _style(task, name), filled=False)
    strip.set(ylim=(len(names) - 0.4, -0.6), xlabel="n, real episodes")
    strip.set_yticks(range(len(names)), [_clipped(name) for name in names], parse_math=False)
    strip.set_xticks(sizes, [str(n) for n in sizes])
    strip.minorticks_off()
    return _styled(figure)


def _style(task: Task, name: str) -> dict[str, Any]:
    """Colour and marker of a version."""
    if name == CONTROL:
        return {"color": INK, "marker": "*", "ms": 5.0}
    i = order(task).index(name)
    # Markers shift against colours after each round, so that 36 versions differ.
    return {"color": COLOURS[i % 6], "marker": MARKERS[(i + i // 6) % 6], "ms": 5.0}


def _clipped(name: str) -> str:
    """The name cut to ``LONGEST`` characters; the last of a cut name is an ellipsis."""
    return name if len(name) <= LONGEST else name[: LONGEST - 1] + "…"


def _hold(
    axes: Axes,
    cells: Sequence[Cell],
    kinds: Sequence[str],
    shown: Sequence[float],
    bend: float,
    *,
    upright: bool = False,
) -> None:
    """Fixes an axis that holds ``shown`` and every finite end, bent beyond ``bend`` if long."""
    ends = [cell.get(kind + end) for cell in cells for kind in kinds for end in ENDS]
    known = np.array([*shown, *(value for value in ends if value is not None)])
    xy = "y" if upright else "x"
    if np.ptp(known) > BENT * (shown[1] - shown[0]) or shown[1] > BENT * bend:
        getattr(axes, f"set_{xy}scale")("symlog", linthresh=bend)
    along = getattr(axes, f"{xy}axis").get_transform()
    low, high = along.transform(np.array([known.min(), known.max()]))
    room = 0.06 * (high - low)
    axes.set(**{f"{xy}lim": along.inverted().transform(np.array([low - room, high + room]))})


def _interval(
    axes: Axes,
    entry: Cell,
    kind: str,
    at: float,
    style: Mapping[str, Any],
    *,
    filled: bool = True,
    upright: bool = False,
) -> None:
    """A bar with its mark, and an arrow to the axis' end for an open side; nothing if unknown."""
    value, low, high = (entry[kind + end] for end in ENDS)
    verdict = entry.get("verdict_reused" if kind.endswith("_reused") else "verdict", "OK")
    if value is None and not verdict.startswith("CENSORED"):
        return
    edges = axes.get_ylim() if upright else axes.get_xlim()

    def draw(along: Sequence[float], **more: Any) -> None:
        across = [at] * len(along)
        axes.plot(*((across, along) if upright else (along, across)), **{**style, **more})

    known = [v for v in (low, value, high) if v is not None]
    mark = value if value is not None else known[0] if known else None
    if len(known) > 1:
        draw([known[0], known[-1]], marker="", lw=1.5, label=f"_{kind}")
    for end, edge, side in ((low, edges[0], "LO"), (high, edges[1], "HI")):
        # Without a value, an arrow on the censored side only.
        if end is None and (value is not None or verdict == f"CENSORED_{side}"):
            if mark is not None:
                draw([mark, edge], marker="", lw=1, ls=":")
            draw([edge], marker=ARROWS[upright, side], clip_on=False, label="_arrow")
    if mark is not None:
        face = style["color"] if filled else "none"
        draw([mark], ls="", mfc=face, label=f"_{kind} mark")


def _styled(figure: Figure) -> Figure:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#888888", alpha=0.3, lw=0.6)
        axes.tick_params(labelsize=0.9 * FONT)
        axes.xaxis.label.set_fontsize(FONT)
        axes.yaxis.label.set_fontsize(FONT)
    return figure
