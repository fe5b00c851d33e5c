"""The figures of one turn of the loop, drawn from ``results.json``.

No interval is cut: every axis holds all finite ends, bent (linear about 0, logarithmic beyond)
where they lie very far apart; what is known on one side alone is an arrow. Colours are Okabe and
Ito's, and every version can be told by its marker and dashes alone. Black and white stand for the
page's ink and paper. All figures are narrow, so that their text is legible on a phone.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.ticker import FixedLocator, FuncFormatter

from worldmodel.trust.words import SELF, cell_verdict

WIDTH = 4.2  # [in]
BENT = 15.0  # an axis this many times as long as what it must show is bent
STYLES = (  # colour, marker, dashes
    ("#0072B2", "o", "-"),
    ("#D55E00", "s", (0, (5, 1.5))),
    ("#009E73", "^", (0, (1, 1))),
    ("#CC79A7", "D", (0, (5, 1.5, 1, 1.5))),
    ("#E69F00", "v", (0, (3, 1, 1, 1, 1, 1))),
    ("#56B4E9", "P", (0, (8, 3))),
)
CONTROL = ("#000000", "*", (0, (2, 2)))
RC: dict[Any, Any] = {
    "font.size": 8,
    "axes.titlesize": 8,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "axes.edgecolor": "#808080",
    "grid.color": "#808080",
    "text.parse_math": False,
}
Style = tuple[str, str, Any]


def cells_of(results: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (name, cell)
        for name in order(results)
        for cell in results["trust"]["versions"][name]["cells"]
    ]


def order(results: dict[str, Any]) -> list[str]:
    """The measured versions as they were made, the control last."""
    measured = results["trust"]["versions"]
    names = [v["name"] for v in results["versions"] if v["name"] in measured]
    names += [name for name in measured if name not in names]
    return sorted(names, key=lambda name: name == SELF)


def styles_of(results: dict[str, Any]) -> dict[str, Style]:
    """Colour, marker and dashes of every version, measured or only launched."""
    names = [*order(results), *results.get("launch", {}).get("versions", {})]
    others = [name for name in dict.fromkeys(names) if name != SELF]
    return {name: STYLES[i % len(STYLES)] for i, name in enumerate(others)} | {SELF: CONTROL}


def limits(
    cells: Sequence[dict[str, Any]],
    kinds: Iterable[str] = ("alpha_avg", "alpha_net"),
    shown: tuple[float, float] = (0.0, 1.0),
) -> tuple[float, float]:
    """An axis wide enough for what must be shown and every finite end of every interval."""
    ends = list(shown)
    for cell in cells:
        for kind in kinds:
            ends += [v for s in ("", "_low", "_high") if (v := cell[kind + s]) is not None]
    room = 0.1 * (max(ends) - min(ends))
    return min(ends) - room, max(ends) + room


def bent(ends: tuple[float, float], shown: tuple[float, float]) -> bool:
    """Whether a straight axis would press together what must be shown."""
    return ends[1] - ends[0] > BENT * (shown[1] - shown[0])


@matplotlib.rc_context(RC)
def draw_alpha(results: dict[str, Any]) -> Figure:
    """α with its intervals, gross filled and net hollow; censored ones are arrows."""
    cells, styles = [c for _, c in cells_of(results)], styles_of(results)
    rows = len(cells) + len(order(results))
    figure = Figure(figsize=(WIDTH, 0.215 * rows + 0.7), layout="constrained")
    axes = figure.subplots()
    ends, shown = limits(cells), (0.0, 1.0)
    across = axes.get_yaxis_transform()
    ticks, names, y = [], [], 0
    for name in order(results):
        version = results["trust"]["versions"][name]
        k = max(c["k"] for c in version["cells"])
        text = f"{name}: {k} corrections" if name != SELF else f"{name}: control, must be 1"
        text += ", no one α for all" if version["verdict"] == "HETEROGENEOUS" else ""
        if y:
            axes.axhline(y - 0.55, color="#808080", lw=0.5)
        axes.text(0.01, y, text, transform=across, va="center", weight="bold", fontsize=7.5)
        for cell in version["cells"]:
            y += 1
            for kind, at, fill in (("alpha_avg", y - 0.17, None), ("alpha_net", y + 0.2, "white")):
                _interval(axes, cell, kind, at, styles[name], ends, fill=fill)
            axes.text(1.04, y, cell_verdict(cell), transform=across, va="center", fontsize=7.5)
            ticks.append(y)
            names.append(f"n {cell['n']}, m {cell['m']}")
        y += 1
    for x in shown:
        axes.axvline(x, color="black", lw=1, ls="--" if x else "-", zorder=0)
    label = "α: real episodes per synthetic one"
    if bent(ends, shown):
        axes.set_xscale("symlog", linthresh=1.0)
        label += " (logarithmic beyond ±1)"
    axes.set_yticks(ticks, names)
    axes.tick_params(axis="y", length=0)
    axes.set(xlim=ends, ylim=(y - 0.4, -0.6), xlabel=label)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}".replace("-", "−")))
    axes.grid(axis="x", alpha=0.25)
    return figure


def _interval(
    axes: Axes,
    cell: dict[str, Any],
    kind: str,
    at: float,
    style: Style,
    ends: tuple[float, float],
    *,
    fill: str | None = None,
    upright: bool = False,
) -> None:
    """A bar with its marker; an arrow to the axis' end where a side is open; nothing if unknown."""
    colour, marker, _ = style
    value, low, high = (cell[kind + end] for end in ("", "_low", "_high"))

    def plot(places: list[float], *form: str, **more: Any) -> None:
        pair = ([at] * len(places), places) if upright else (places, [at] * len(places))
        axes.plot(*pair, *form, color=colour, **more)

    if value is not None:
        plot([low, high], "-", lw=1.3)
        plot([value], marker, mfc=fill or colour, ms=6 if marker == "*" else 4, mew=0.9)
    elif cell["verdict"].startswith("CENSORED"):
        up = cell["verdict"] == "CENSORED_HI"
        known, end = (low, ends[1]) if up else (high, ends[0])
        if known is not None:
            plot([known, end], ":", lw=1.3)
            plot([known], "_" if upright else "|", ms=6, mew=1.3)
        head = ("^" if up else "v") if upright else (">" if up else "<")
        plot([end], head, mfc=fill or colour, ms=5, clip_on=False, zorder=3)


@matplotlib.rc_context(RC)
def draw_learning(results: dict[str, Any]) -> Figure:
    """Error against real episodes, where on it the mixtures lie, and D_eff against m per n."""
    sizes = sorted({c["n"] for _, c in cells_of(results)})
    rows = (len(sizes) + 1) // 2
    strip = 0.17 * len(order(results)) + 0.1
    figure = Figure(figsize=(WIDTH, 2.9 + strip + 2.4 * rows), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=(2.6 + strip, 2.7 * rows))
    upper, lower = parts
    curve, below = upper.subplots(2, 1, sharex=True, height_ratios=(2.0, strip))
    _draw_curve(curve, results)
    _draw_strip(below, results)
    panels = lower.subplots(rows, min(2, len(sizes)), squeeze=False, sharey=True).flat
    for panel, n in zip(panels, sizes, strict=False):
        _draw_worth(panel, results, n)
    for panel in list(panels)[len(sizes) :]:
        panel.set_visible(False)
    styles = styles_of(results)
    handles = [
        panels[0].plot([], [], color=c, marker=mark, ls=dashes, ms=4, label=name)[0]
        for name in order(results)
        for c, mark, dashes in (styles[name],)
    ]
    lower.legend(handles=handles, loc="outside lower center", ncols=4, handlelength=3.2)
    return figure


def _draw_curve(axes: Axes, results: dict[str, Any]) -> None:
    curve = results["learning"]
    n, error, low, high = (curve[k] for k in ("n", "error", "low", "high"))
    down = [
        100 * (b if b is not None and b > 0 else 0.5 * e) for b, e in zip(low, error, strict=True)
    ]
    up = [100 * (b if b is not None else e) for b, e in zip(high, error, strict=True)]
    axes.plot(n, [100 * e for e in error], "-", marker=".", color="black", lw=1.2)
    axes.fill_between(n, down, up, color="#808080", alpha=0.35, lw=0)
    axes.set(xscale="log", yscale="log", ylabel="miss [cm], real only")
    ends = (0.9 * min(down), 1.1 * max(up))
    steps = [a * 10.0**b for b in range(-3, 5) for a in (1, 1.5, 2, 3, 5, 7)]
    axes.set_ylim(ends)
    axes.yaxis.set_major_locator(FixedLocator([s for s in steps if ends[0] <= s <= ends[1]]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axes.minorticks_off()
    if any(b is not None and b <= 0 for b in low):
        axes.set_title("an interval that reaches 0 is drawn to half its error")
    axes.grid(alpha=0.25)


def _draw_strip(axes: Axes, results: dict[str, Any]) -> None:
    """The D_eff of every mixture on the curve's own axis, a row per version."""
    styles, n = styles_of(results), results["learning"]["n"]
    largest = max(c["n"] for _, c in cells_of(results))
    ends = (0.9 * min(n), 1.12 * max(n))
    names = order(results)
    for name, cell in cells_of(results):
        fill = None if cell["n"] == largest else "white"
        point = cell | {"d_eff_low": cell["d_eff"], "d_eff_high": cell["d_eff"]}
        point = point if cell["d_eff"] is not None else cell
        _interval(axes, point, "d_eff", names.index(name), styles[name], ends, fill=fill)
    axes.set_yticks(range(len(names)), names)
    axes.set(ylim=(len(names) - 0.4, -0.6), xlim=ends)
    axes.set_xlabel(f"real episodes n; below: D_eff of the mixtures (filled: n = {largest})")
    axes.xaxis.set_major_locator(FixedLocator(n))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    axes.minorticks_off()
    axes.grid(alpha=0.25)


def _draw_worth(axes: Axes, results: dict[str, Any], n: int) -> None:
    """D_eff against m beside n real episodes, the versions side by side at each m."""
    cells, styles = cells_of(results), styles_of(results)
    sizes = sorted({c["m"] for _, c in cells})
    shown = (float(min(c["n"] for _, c in cells)), float(max(c["n"] + c["m"] for _, c in cells)))
    ends = limits([c for _, c in cells], ("d_eff",), shown)
    names = order(results)
    gap = min([b - a for a, b in itertools.pairwise(sizes)] or [sizes[0]])
    for i, name in enumerate(names):
        shift = 0.7 * gap * ((i + 0.5) / len(names) - 0.5)
        own = [c for v, c in cells if v == name and c["n"] == n]
        known = [(c["m"] + shift, c["d_eff"]) for c in own if c["d_eff"] is not None]
        colour, _, dashes = styles[name]
        if known:
            axes.plot(*zip(*known, strict=True), ls=dashes, color=colour, lw=0.8)
        for cell in own:
            _interval(axes, cell, "d_eff", cell["m"] + shift, styles[name], ends, upright=True)
    across = (sizes[0] - 0.5 * gap, sizes[-1] + 0.5 * gap)
    axes.plot(across, [n + m for m in across], "k--", lw=1, zorder=0)
    axes.axhline(n, color="black", lw=1, zorder=0)
    if bent(ends, shown):
        axes.set_yscale("symlog", linthresh=shown[1])
    axes.set(xlim=across, ylim=ends, title=f"n = {n} real", xlabel="synthetic episodes m")
    axes.set_xticks(sizes)
    if axes.get_subplotspec().is_first_col():  # pyright: ignore[reportOptionalMemberAccess]
        axes.set_ylabel("D_eff [real episodes]")
    axes.grid(alpha=0.25)


@matplotlib.rc_context(RC)
def draw_launch(results: dict[str, Any]) -> Figure:
    """One stroke from above: the puck's path in reality and in every version; below, its ends."""
    launch, styles = results["launch"], styles_of(results)
    figure = Figure(figsize=(WIDTH, 4.6), layout="constrained")
    whole, near = figure.subplots(2, 1)
    target = launch["target"]
    for axes in (whole, near):
        x, y = zip(*launch["reality"], strict=True)
        axes.plot(x, y, color="black", lw=5, alpha=0.25, solid_capstyle="round")
        axes.plot(x[-1], y[-1], "kx", ms=8, mew=1.8, label=f"reality: {results['reality']}", ls="")
        for name, places in launch["versions"].items():
            colour, marker, dashes = styles[name]
            x, y = zip(*places, strict=True)
            axes.plot(x, y, color=colour, lw=1.2, ls=dashes)
            axes.plot(x[-1], y[-1], marker, color=colour, ms=6, mfc="none", mew=1.4, label=name)
        axes.add_patch(Circle(target, 0.03, fill=False, ls="--", ec="black"))
        axes.set_aspect("equal", adjustable="datalim" if axes is whole else "box")
        axes.set(ylabel="y [m]")
        axes.grid(alpha=0.25)
    whole.plot(*launch["start"], "k.", ms=6)
    whole.annotate("start", launch["start"], (0, 7), textcoords="offset points", ha="center")
    ends = [launch["reality"][-1], *(p[-1] for p in launch["versions"].values())]
    corners = [*ends, *([c + s * 0.04 for c in target] for s in (-1, 1))]
    for limit, values in zip(
        (near.set_xlim, near.set_ylim), zip(*corners, strict=True), strict=True
    ):
        limit(min(values) - 0.02, max(values) + 0.02)
    near.set(xlabel="x [m]", title="where the puck stops, closer")
    figure.legend(*whole.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure
