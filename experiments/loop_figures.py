"""The figures of one turn of the loop, drawn from ``results.json``."""

import html
import io
from collections.abc import Sequence
from typing import Any

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

WORDS = {
    "OK": "measured",
    "NEGATIVE": "harmful: worse than leaving the synthetic episodes out",
    "CENSORED_HI": "better than the largest real-only set: only a lower bound",
    "CENSORED_LO": "worse than the smallest real-only set: only an upper bound",
    "NOT_IDENTIFIED": "not identified: the real-only curve is too flat or too noisy there",
    "HETEROGENEOUS": "differs between the cells",
}
# Okabe and Ito's colours, which colour-blind readers tell apart; each with its own marker.
STYLES = [
    ("#0072B2", "o"),
    ("#D55E00", "s"),
    ("#009E73", "^"),
    ("#CC79A7", "D"),
    ("#E69F00", "v"),
    ("#555555", "P"),
]


def cells_of(results: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (name, cell)
        for name in order(results)
        for cell in results["trust"]["versions"][name]["cells"]
    ]


def order(results: dict[str, Any]) -> list[str]:
    """Versions as they were made, the control last."""
    names = [v["name"] for v in results["versions"]]
    return [n for n in names if n in results["trust"]["versions"]]


def limits(cells: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """An α axis wide enough for every finite end of every interval, 0 and 1."""
    ends = [0.0, 1.0]
    for cell in cells:
        for kind in ("alpha_avg", "alpha_net"):
            ends += [v for s in ("", "_low", "_high") if (v := cell[kind + s]) is not None]
    room = 0.08 * (max(ends) - min(ends))
    return min(ends) - room, max(ends) + room


def draw_alpha(results: dict[str, Any]) -> Figure:
    """α with its intervals, gross filled and net hollow; censored ones are arrows."""
    cells = cells_of(results)
    figure, axes = plt.subplots(figsize=(8, 0.34 * len(cells) + 1.2), layout="constrained")
    low, high = limits([c for _, c in cells])
    styles = dict(zip(order(results), STYLES, strict=False))
    for row, (name, cell) in enumerate(cells):
        colour, marker = styles[name]
        for kind, up, fill in (("alpha_avg", -0.12, colour), ("alpha_net", 0.2, "white")):
            _draw_interval(axes, cell, kind, row + up, colour, marker, fill, (low, high))
    axes.set_yticks(
        range(len(cells)), [f"{name}  n={c['n']} m={c['m']}" for name, c in cells], fontsize=8
    )
    for x in (0, 1):
        axes.axvline(x, color="black", lw=1, ls="--" if x else "-", zorder=0)
    axes.set(xlim=(low, high), ylim=(len(cells) - 0.4, -0.6))
    axes.set_xlabel("α: real episodes that one synthetic episode is worth (95 % intervals)")
    axes.set_title("filled: gross; hollow: net of the corrections it cost", fontsize=9)
    axes.grid(axis="x", alpha=0.25)
    return figure


def _draw_interval(
    axes: Axes,
    cell: dict[str, Any],
    kind: str,
    y: float,
    colour: str,
    marker: str,
    fill: str,
    ends: tuple[float, float],
) -> None:
    value, low, high = cell[kind], cell[f"{kind}_low"], cell[f"{kind}_high"]
    if low is not None and high is not None:
        axes.plot([low, high], [y, y], color=colour, lw=1.6)
        axes.plot(value, y, marker, color=colour, mfc=fill, ms=5)
    elif low is not None or high is not None:
        at, to = (low, ends[1]) if low is not None else (high, ends[0])
        assert at is not None
        axes.annotate(
            "", (to, y), (at, y), arrowprops={"arrowstyle": "->", "color": colour, "lw": 1.6}
        )
        axes.plot(at, y, "|", color=colour, ms=8)
    elif kind == "alpha_avg":
        axes.text(0.02, y, WORDS[cell["verdict"]].split(":")[0], fontsize=7, color=colour)


def draw_learning(results: dict[str, Any]) -> Figure:
    """Left: error against real episodes, and the mixtures'; right: D_eff against m."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    curve = results["learning"]
    left.plot(curve["n"], curve["error"], "-", color="black", label="real only")
    left.fill_between(curve["n"], curve["low"], curve["high"], color="black", alpha=0.15)
    styles = dict(zip(order(results), STYLES, strict=False))
    largest = max(p["m"] for p in results["policies"])
    for name, (colour, marker) in styles.items():
        mixed = [p for p in results["policies"] if p["version"] == name and p["m"] == largest]
        left.plot(
            [p["n"] for p in mixed],
            [p["error_m"] for p in mixed],
            marker,
            color=colour,
            label=f"{name}, m = {largest}",
        )
        cells = results["trust"]["versions"][name]["cells"]
        n = max(c["n"] for c in cells)
        known = [(c["m"], c["d_eff"]) for c in cells if c["n"] == n and c["d_eff"] is not None]
        right.plot(*zip(*known, strict=True), marker + "-", color=colour) if known else None
    left.set(xscale="log", yscale="log", xlabel="real demonstrations n")
    left.set_ylabel("final distance to the target [m]")
    left.legend(fontsize=7)
    sizes = sorted({c["m"] for _, c in cells_of(results)})
    n = max(c["n"] for _, c in cells_of(results))
    right.plot(sizes, [n + m for m in sizes], "k--", lw=1, label="α = 1")
    right.axhline(n, color="black", lw=1, label="α = 0")
    right.set(xlabel=f"synthetic episodes m (n = {n})", ylabel="D_eff [real episodes]")
    right.legend(fontsize=7)
    for axes in (left, right):
        axes.grid(alpha=0.25, which="both")
    return figure


def draw_launch(results: dict[str, Any]) -> Figure:
    """One stroke from above: the puck's path in reality and in every version."""
    launch = results["launch"]
    figure, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    path = list(zip(*launch["reality"], strict=True))
    axes.plot(*path, color="black", lw=5, alpha=0.25, label="held-out simulation")
    axes.plot(path[0][-1], path[1][-1], "kx", ms=9)
    styles = dict(zip(order(results), STYLES, strict=False))
    for name, places in launch["versions"].items():
        colour, marker = styles[name]
        x, y = zip(*places, strict=True)
        axes.plot(x, y, color=colour, lw=1.2)
        axes.plot(x[-1], y[-1], marker, color=colour, ms=7, label=name)
    axes.add_patch(Circle(launch["target"], 0.03, fill=False, ls="--"))
    axes.plot(*launch["start"], "k.", ms=4)
    axes.set(xlabel="x [m]", ylabel="y [m]", aspect="equal")
    axes.set_title("dashed: the target, 3 cm; markers: where the puck stops", fontsize=9)
    axes.legend(fontsize=7)
    axes.grid(alpha=0.25)
    return figure


def svg(figure: Figure, title: str) -> str:
    buffer = io.StringIO()
    with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": "worldmodel"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    plt.close(figure)
    drawn = buffer.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    return f'<figure role="img" aria-label="{html.escape(title)}">{drawn}</figure>'
