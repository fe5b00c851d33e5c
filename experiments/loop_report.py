"""The report of one turn of the loop: one self-contained page, and the table of its cells.

Command:  python -m experiments.loop_report runs/loop/results.json --out report.html

Everything is drawn and worded from ``results.json``; no sentence is fixed where a number decides.
"""

import dataclasses
import html
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import tyro

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from worldmodel import runtime
from worldmodel.capture import write_whole

SELF = "v*"
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
STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:auto;padding:1rem;color:#1a1a1a;
background:#fff}h1{font-size:1.5rem}h2{font-size:1.2rem;margin-top:2rem}svg{width:100%;height:auto}
table{border-collapse:collapse;font-size:.85rem}td,th{padding:.25rem .5rem;text-align:right;
border-bottom:1px solid #ccc}td:first-child,th:first-child,td.w{text-align:left}
.scroll{overflow-x:auto}.loud{background:#fff3cd;border-left:.4rem solid #d55e00;padding:.5rem 1rem}
.lead{font-size:1.1rem}small{color:#444}
"""


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    results: tyro.conf.Positional[Path]  # results.json
    out: Path  # the page


def write_report(results: dict[str, Any], path: Path) -> None:
    """Writes the page, whole or not at all."""
    write_whole(path, page(results).encode())


def write_markdown(results: dict[str, Any], path: Path) -> None:
    """Writes the table of cells as Markdown."""
    lines = [
        f"# Task {results['task']}, reality: {results['reality']} {results['hidden_seed']}",
        "",
        "| version | n | m | K | D_eff | α gross | α net | verdict |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, cell in _cells(results):
        lines.append("| " + " | ".join(_row(name, cell)) + " |")
    lines += ["", *verdicts(results), "", f"Commit {results['provenance']['commit']}."]
    write_whole(path, ("\n".join(lines) + "\n").encode())


def _cells(results: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (name, cell)
        for name in order(results)
        for cell in results["trust"]["versions"][name]["cells"]
    ]


def order(results: dict[str, Any]) -> list[str]:
    """Versions as they were made, the control last."""
    names = [v["name"] for v in results["versions"]]
    return [n for n in names if n in results["trust"]["versions"]]


def interval(cell: dict[str, Any], name: str) -> str:
    """A value with its interval; a bound where only one side is known."""
    value, low, high = cell[name], cell[f"{name}_low"], cell[f"{name}_high"]
    if low is not None and high is not None:
        return f"{value:.2f} [{low:.2f}, {high:.2f}]"
    if low is not None:
        return f"at least {low:.2f}"
    return f"at most {high:.2f}" if high is not None else "–"


def _row(name: str, cell: dict[str, Any]) -> list[str]:
    sizes = [str(cell[k]) for k in ("n", "m", "k")]
    d_eff = cell["d_eff"]
    shown = f"{d_eff:.1f}" if d_eff is not None else "–"
    alphas = [interval(cell, "alpha_avg"), interval(cell, "alpha_net")]
    return [name, *sizes, shown, *alphas, cell["verdict"]]


def verdicts(results: dict[str, Any]) -> list[str]:
    """What the numbers say, in sentences."""
    said = []
    control = results["trust"]["versions"][SELF]["cells"]
    wide = [_control(c) for c in control]
    bad = [w for w in wide if w]
    if bad:
        said.append(
            "Nothing below should be believed yet: the control, reality itself as the world "
            f"model, should give α = 1 within ±0.25, but {'; '.join(bad)}."
        )
    else:
        said.append(
            "The control holds: with reality itself as the world model every interval of α "
            "covers 1, none wider than ±0.25."
        )
    for name in order(results):
        if name == SELF:
            continue
        cells = results["trust"]["versions"][name]["cells"]
        above = sum(c["alpha_avg_low"] is not None and c["alpha_avg_low"] > 0 for c in cells)
        below = sum(c["alpha_avg_high"] is not None and c["alpha_avg_high"] < 0 for c in cells)
        paid = sum(c["alpha_net_low"] is not None and c["alpha_net_low"] > 0 for c in cells)
        said.append(
            f"{name}: α above 0 in {above} of {len(cells)} cells, below 0 in {below}; after "
            f"paying for its {cells[0]['k']} corrections above 0 in {paid}."
        )
    for a, b in (("v1", "v0"), ("v2", "v1"), ("v2", "v0")):
        found = [
            d for d in results["trust"]["differences"] if (d["a"], d["b"]) == (a, b)
        ]
        if found:
            counts = {d["verdict"]: 0 for d in found}
            for d in found:
                counts[d["verdict"]] += 1
            words = ", ".join(f"{v.lower()} in {c}" for v, c in sorted(counts.items()))
            said.append(f"Net gain, {a} against {b}: {words} of {len(found)} cells.")
    return said


def _control(cell: dict[str, Any]) -> str:
    low, high = cell["alpha_avg_low"], cell["alpha_avg_high"]
    where = f"n = {cell['n']}, m = {cell['m']}"
    if low is None or high is None:
        return f"it is {cell['verdict']} at {where}"
    if not low <= 1 <= high:
        return f"it is [{low:.2f}, {high:.2f}] at {where}"
    return f"it is ±{(high - low) / 2:.2f} at {where}" if (high - low) / 2 > 0.25 else ""


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
    cells = _cells(results)
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
    value, low, high = (cell[kind + s] for s in ("", "_low", "_high"))
    if low is not None and high is not None:
        axes.plot([low, high], [y, y], color=colour, lw=1.6)
        axes.plot(value, y, marker, color=colour, mfc=fill, ms=5)
    elif low is not None or high is not None:
        at, to = (low, ends[1]) if low is not None else (high, ends[0])
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
    sizes = sorted({c["m"] for _, c in _cells(results)})
    n = max(c["n"] for _, c in _cells(results))
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
    axes.add_patch(plt.Circle(launch["target"], 0.03, fill=False, ls="--"))
    axes.plot(*launch["start"], "k.", ms=4)
    axes.set(xlabel="x [m]", ylabel="y [m]", aspect="equal")
    axes.set_title("dashed: the target, 3 cm; markers: where the puck stops", fontsize=9)
    axes.legend(fontsize=7)
    axes.grid(alpha=0.25)
    return figure


def _svg(figure: Figure, title: str) -> str:
    buffer = io.StringIO()
    with plt.rc_context({"svg.fonttype": "none", "svg.hashsalt": "worldmodel"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    plt.close(figure)
    drawn = buffer.getvalue()
    drawn = drawn[drawn.index("<svg") :]
    return f'<figure role="img" aria-label="{html.escape(title)}">{drawn}</figure>'


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An HTML table that scrolls sideways on a narrow screen."""
    head = "".join(f"<th>{html.escape(h)}</th>" for h in header)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>" for row in rows
    )
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def page(results: dict[str, Any]) -> str:
    """The whole page as text."""
    said = verdicts(results)
    loud = "loud" if said[0].startswith("Nothing") else "lead"
    cost, direct = results["cost"], results["direct"]
    versions = [
        [
            v["name"],
            v["label"],
            v["parent"] or "–",
            str(v.get("corrections", "–")),
            f"{100 * v['prediction_m']:.1f} cm" if v.get("prediction_m") is not None else "–",
        ]
        for v in results["versions"]
    ]
    costs = [
        ["synthetic episode, one more", f"{cost['synthetic_episode_s']:.3f} s of this machine"],
        ["synthetic, the first", f"{cost['synthetic_first_s']:.0f} s (compiling, finetuning)"],
        ["real episode, the robot's time", f"{cost['real_episode_s']:.1f} s"],
        [
            "real episode, the operator",
            f"${cost['operator_low_usd']:.2f} to ${cost['operator_high_usd']:.2f}",
        ],
    ]
    smoke = "<p class=loud>A smoke run: sizes are tiny and the numbers mean nothing.</p>"
    parts = [
        "<!doctype html><html lang=en><head><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width,initial-scale=1'>",
        f"<title>What synthetic episodes are worth: {results['task']}</title>",
        f"<style>{STYLE}</style></head><body>",
        f"<h1>What synthetic episodes are worth: task {html.escape(results['task'])}</h1>",
        smoke if results["smoke"] else "",
        f"<p>Reality here is a <b>{html.escape(results['reality'])}</b> (hidden seed "
        f"{results['hidden_seed']}): another simulator, with physics that no version was told.</p>",
        f"<p class={loud}>{html.escape(said[0])}</p>",
        "<ul>" + "".join(f"<li>{html.escape(s)}</li>" for s in said[1:]) + "</ul>",
        "<h2>α, the trust coefficient</h2>",
        _svg(draw_alpha(results), "alpha with intervals per version and cell"),
        "<h2>Learning curves</h2>",
        _svg(draw_learning(results), "error against episodes; effective data"),
        "<h2>One launch</h2>",
        _svg(draw_launch(results), "one stroke seen from above"),
        "<h2>Versions</h2>",
        table(["version", "what", "parent", "corrections", "puck predicted within"], versions),
        "<h2>Cells</h2>",
        table(
            ["version", "n", "m", "K", "D_eff", "α gross", "α net", "verdict"],
            [_row(name, cell) for name, cell in _cells(results)],
        ),
        "<p><small>"
        + "; ".join(f"{k}: {v}" for k, v in WORDS.items())
        + ". K: corrections spent.</small></p>",
        "<h2>The strong baseline: plan in the model itself</h2>",
        f"<p>{html.escape(direct['version'])} with {direct['episodes']} real episodes: "
        f"{100 * direct['error_m']:.1f} cm [{100 * direct['low']:.1f}, "
        f"{100 * direct['high']:.1f}], success {100 * direct['success']:.0f} %. "
        f"{html.escape(direct['note'])}. {html.escape(_against(results))}</p>",
        "<h2>What an episode costs</h2>",
        table(["episode", "cost"], costs),
        f"<p><small>{html.escape(cost['note'])}</small></p>",
        "<h2>Where the time went</h2>",
        table(["stage", "seconds"], [[k, f"{v:.0f}"] for k, v in results["seconds"].items()]),
        "<h2>Provenance</h2>",
        f"<pre class=scroll>{html.escape(json.dumps(results['provenance'], indent=1))}</pre>",
        "<p>Again: <code>python -m experiments.close_the_loop --hidden-seed "
        f"{results['hidden_seed']}{' --smoke' if results['smoke'] else ''} --out DIR</code></p>",
        "</body></html>",
    ]
    return "\n".join(parts)


def _against(results: dict[str, Any]) -> str:
    mixed = [p for p in results["policies"] if p["version"] not in ("", SELF)]
    best = min(mixed, key=lambda p: p["error_m"])
    here = results["direct"]["error_m"]
    verb = "beats" if here < best["error_m"] else "does not beat"
    return (
        f"It {verb} the best mixture ({best['version']}, n = {best['n']}, m = {best['m']}: "
        f"{100 * best['error_m']:.1f} cm)."
    )


def main(args: Args) -> int:
    """Makes the page again from its numbers."""
    write_report(json.loads(args.results.read_text()), args.out)
    runtime.log(f"wrote {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(runtime.run(main, tyro.cli(Args, description=__doc__)))
