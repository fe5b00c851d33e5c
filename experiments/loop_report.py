"""The report of one turn of the loop: one self-contained page, and the table of its cells.

Command:  python -m experiments.loop_report runs/loop/results.json --out report.html

Everything is drawn and worded from ``results.json``; no sentence is fixed where a number decides.
"""

import dataclasses
import html
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tyro

from experiments.loop_figures import (
    WORDS,
    cells_of,
    draw_alpha,
    draw_launch,
    draw_learning,
    order,
    svg,
)
from worldmodel import runtime
from worldmodel.capture import write_whole

SELF = "v*"
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
    for name, cell in cells_of(results):
        lines.append("| " + " | ".join(_row(name, cell)) + " |")
    lines += ["", *verdicts(results), "", f"Commit {results['provenance']['commit']}."]
    write_whole(path, ("\n".join(lines) + "\n").encode())


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
        found = [d for d in results["trust"]["differences"] if (d["a"], d["b"]) == (a, b)]
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
        svg(draw_alpha(results), "alpha with intervals per version and cell"),
        "<h2>Learning curves</h2>",
        svg(draw_learning(results), "error against episodes; effective data"),
        "<h2>One launch</h2>",
        svg(draw_launch(results), "one stroke seen from above"),
        "<h2>Versions</h2>",
        table(["version", "what", "parent", "corrections", "puck predicted within"], versions),
        "<h2>Cells</h2>",
        table(
            ["version", "n", "m", "K", "D_eff", "α gross", "α net", "verdict"],
            [_row(name, cell) for name, cell in cells_of(results)],
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
