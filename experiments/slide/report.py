"""The report of one turn of the loop: one self-contained page, and its cells as Markdown.

Question: how many real episodes did the synthetic ones replace, and may that be believed?
Command:  python -m experiments.slide.report runs/loop/results.json --out report.html
Runtime:  one second
Expected: one page without outside resources, for a phone as for a desk, by day or night

Everything is drawn and worded from ``results.json``; no sentence is fixed where a number decides.
"""

import dataclasses
import html
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tyro

from experiments.slide.figures import launch
from experiments.slide.headline import moving, outcome, success
from worldmodel import runtime
from worldmodel.runtime.files import write_text
from worldmodel.scene.view3d import viewer
from worldmodel.tasks.slide.task import CONTROL_HZ, SlideTask
from worldmodel.trust import figures
from worldmodel.trust.figures import cells_of, order
from worldmodel.trust.markup import head, section, table
from worldmodel.trust.phrases import (
    CONTROL,
    HALF_WIDTH,
    PHRASES,
    beyond,
    change,
    doubt,
    interval,
    listed,
    number,
    sentence,
    share,
)

COLUMNS = ("version", "n", "m", "K", "miss [cm]", "D_eff", "α gross", "α net", "net gain")
COLUMNS = (*COLUMNS, "α marginal", "verdict")
VERSIONS = ("version", "what", "kind", "parent", "K", "prediction error [cm]")
ALPHA = "Filled: gross, as are the words; hollow: net. Uprights: 0 and 1. Arrows: bounds."
EFFECTIVE = "D_eff against m. Solid: n, where α is 0; dashed: n + m, where it is 1."
LEARNING = "The error [m] of real episodes alone; below, where on it the mixtures lie."
LAUNCH = "One stroke in reality (cross) and in every version. Dashed: the target, 3 cm."
SUCCESS = (
    "Strokes that end within 3 cm, of policies cloned from so many episodes. Broad: real ones "
    "alone. A version's line begins at n real ones and adds its synthetic ones: along the broad "
    "line they are as good as real, below it they are not."
)
MOVING = (
    "The same stroke everywhere: reality solid, versions translucent; the disc is the target. Drag "
    "to turn."
)
PURE = ("version", "m", "miss [cm]", "success [%]")
Results = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    results: tyro.conf.Positional[Path]  # results.json
    out: Path  # the page


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(c.replace("|", "\\|") for c in row) + " |" for row in lines)


def between(entry: Mapping[str, Any], value: str, digits: int = 3, factor: float = 1) -> str:
    """A value and its interval, known at both ends, as text."""
    shown = [number(entry[end], digits, factor) for end in (value, "low", "high")]
    return "{} [{}, {}]".format(*shown)


def markdown(results: Results) -> str:
    """The table of cells as Markdown."""
    table = markdown_table(COLUMNS, map(row_of, cells_of(results["trust"])))
    lines = [f"# Task {results['task']}, {results['reality']} {results['hidden_seed']}"]
    lines += [*(f"\n**{note}**" for note in warnings(results)), f"\n{headline(results)}\n"]
    commit = f"\nCommit {results['provenance'].get('commit', 'unknown')}."
    lines += [table, "", *(f"- {s}" for s in sentences(results)), commit]
    return "\n".join(lines) + "\n"


def warnings(results: Results) -> list[str]:
    """Why the numbers should not be believed; empty if they may be."""
    smoke = "This was a smoke run: its sizes are tiny and its numbers mean nothing."
    doubts = [smoke] * bool(results.get("smoke"))
    if text := doubt(results["trust"]):
        doubts.append(text)
    return doubts


def headline(results: Results) -> str:
    """The verdict in one sentence."""
    groups: dict[str, list[str]] = {}
    for name in (name for name in order(results["trust"]) if name != CONTROL):
        cells = results["trust"]["versions"][name]["cells"]
        part = share(beyond(cells, "alpha_avg", 1), len(cells))
        groups.setdefault(part, []).append(name)
    above = listed([f"in {part} for {listed(names)}" for part, names in groups.items()])
    last = "v2" if "v2" in results["trust"]["versions"] else "v1"
    moved = change(results["trust"], last, "v0") or f"{last} and v0 were not compared"
    control = "fails" if warnings(results | {"smoke": False}) else "holds"
    twin = results["trust"]["versions"].get(CONTROL)
    measured = f" {interval(twin, 'alpha')}" if twin else ""
    return (
        f"In the {results['reality']} of the task {results['task']}, α is above 0 {above}; "
        f"{moved}; the control {CONTROL} {control}: its mean α{measured} must cover 1 within "
        f"±{HALF_WIDTH}."
    )


def sentences(results: Results) -> list[str]:
    """The results in words, version by version and from version to version."""
    lines = []
    labels = {v["name"]: v["label"] for v in results["versions"]}
    for name in order(results["trust"]):
        version = results["trust"]["versions"][name]
        lines.append(sentence(name, version, labels.get(name, "unnamed")))
    pairs = (("v1", "v0"), ("v2", "v1"), ("v2", "v0"))
    changes = filter(None, (change(results["trust"], *pair) for pair in pairs))
    return [*lines, *(f"{text[0].upper()}{text[1:]}." for text in changes)]


def against(results: Results) -> str:
    """How planning in the model itself compares with the best mixture on no more real episodes."""
    spent = {(c["version"], c["n"], c["m"]): c["n"] + c["k"] for _, c in cells_of(results["trust"])}
    direct = results["direct"]
    mixed = [(p, spent.get((p["version"], p["n"], p["m"]))) for p in results["policies"]]
    known = [(p["error_m"], s, p) for p, s in mixed if s is not None and p["version"] != CONTROL]
    fair = [entry for entry in known if entry[1] <= direct["episodes"]]
    if not known:
        return "There is no mixture to compare it with."
    error, real, best = min(fair or known, key=lambda entry: entry[0])
    verb = "is level, within its interval, with"
    if direct["high"] is not None and not direct["low"] <= error <= direct["high"]:
        verb = "beats" if direct["high"] < error else "is worse than"
    return (
        f"Planning in the model itself {verb} the best mixture "
        f"{'on no more real episodes' if fair else 'of all'}: {best['version']}, n = {best['n']}, "
        f"m = {best['m']}, {real} real episodes in all, misses by {number(error, 1, 100)} cm."
    )


def page(results: Results) -> str:
    """The whole page as text."""
    cost, direct, measured = results["cost"], results["direct"], results["trust"]
    sizes = sorted({cell["n"] for _, cell in cells_of(measured)})
    keys = figures.key(measured)
    effective = [
        section(f"With n = {n} real", figures.d_eff(measured, n), EFFECTIVE, keys=keys)
        for n in sizes
    ]
    kept = ("name", "label", "kind", "parent", "corrections")
    given = [v | {"miss": number(v.get("prediction_m"), 1, 100)} for v in results["versions"]]
    versions = [[_flat(v.get(key)) for key in (*kept, "miss")] for v in given]
    planned = [direct["version"], str(direct["episodes"]), between(direct, "error_m", 1, 100)]
    low, high = (number(cost[f"operator_{end}_usd"]) for end in ("low", "high"))
    costs = [
        ["synthetic, one more", f"{number(cost['synthetic_episode_s'], 3)} s of computing"],
        ["synthetic, the first", f"{number(cost['synthetic_first_s'], 1)} s of computing"],
        ["real, the robot's time", f"{number(cost['real_episode_s'], 1)} s"],
        ["real, the operator", f"${low} to ${high}"],
    ]
    pure = [
        [p["version"], str(p["m"]), number(p["error_m"], 1, 100), number(p["success"], 0, 100)]
        for p in results.get("pure") or ()
    ]
    stages = results.get("seconds") or {}
    spent = [[k, number(s, 1)] for k, s in (stages | {"all": sum(stages.values())}).items()]
    sources = results["provenance"] | {"data sets": results.get("data_sets") or {}}
    sources = {name: _flat(value) for name, value in sources.items()}
    flags = [f" --{name}" for name in ("full", "smoke") if results.get(name)]
    again = f"--hidden-seed {results['hidden_seed']}{''.join(flags)}"
    config = html.escape(json.dumps(results.get("config") or {}, indent=1))
    title = f"What synthetic episodes are worth: task {results['task']}"
    shown = moving(results, SlideTask().scene.mj_model, CONTROL_HZ)
    parts = [
        head(title),
        *(f"<p class=loud>{html.escape(note)}</p>" for note in warnings(results)),
        f"<p class=lead>{html.escape(outcome(results))}</p>",
        "<p class=soft>α: how many real episodes one synthetic episode is worth; 1 is as good, 0 "
        "is useless, below 0 harms. Gross counts nothing else; net pays for the K corrections. "
        f"Reality here is a {html.escape(results['reality'])} (hidden seed "
        f"{results['hidden_seed']}), whose physics no version knows. Intervals: "
        f"{100 * results['trust']['level']:.0f} %.</p>",
        "<div class=pair>",
        *(
            section(f"Success [%], from n = {n} real", success(results, n), SUCCESS, keys=keys)
            for n in sizes
        ),
        "</div>",
        f"<h2>One stroke</h2>{shown}<p class=soft>{MOVING}</p>" if shown else "",
        "<h2>Version by version</h2><ul>"
        + "".join(f"<li>{html.escape(s)}</li>" for s in (headline(results), *sentences(results)))
        + "</ul>",
        "<div class=pair>",
        section("α, version by version", figures.alpha_axis(measured), ALPHA),
        f"<div>{''.join(effective)}</div>",
        section("The real-only curve", figures.learning(measured), LEARNING),
        section("One stroke from above", launch(results), LAUNCH, keys=keys),
        "</div>",
        f"<h2>What an episode costs</h2>{table(('episode', 'cost'), costs)}",
        f"<p class=soft>{html.escape(cost.get('note') or '')}</p>",
        f"<h2>Versions</h2>{table(VERSIONS, versions)}",
        f"<h2>Cells</h2>{table(COLUMNS, [row_of(cell) for cell in cells_of(results['trust'])])}",
        "<p class=soft>n real and m synthetic episodes; K corrections; D_eff: real episodes that "
        "would have done as well; ≥ and ≤: one side alone is known.</p>",
        "<h2>The strong baseline: plan in the model itself</h2>"
        + table(
            (PURE[0], "real episodes", *PURE[2:]), [[*planned, number(direct["success"], 0, 100)]]
        ),
        f"<p>{html.escape(against(results))}</p><p class=soft>{html.escape(direct['note'])}</p>",
        "<h2>Synthetic episodes alone</h2>" + table(PURE, pure) if pure else "",
        f"<h2>Where the time went</h2>{table(('stage', 'seconds'), spent)}",
        f"<h2>Provenance</h2>{table(('what', 'which'), list(sources.items()))}",
        f"<details><summary>Settings</summary><pre>{config}</pre></details>",
        f"<p>Again: <code>python -m experiments.slide.close_the_loop {again} --out DIR</code>; "
        "this page alone: <code>python -m experiments.slide.report DIR/results.json "
        "--out report.html</code></p>",
        viewer() if shown else "",
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def row_of(named: tuple[str, dict[str, Any]]) -> list[str]:
    """A version's name and cell (``cells_of``) as a row under ``COLUMNS``."""
    name, cell = named
    sizes = [str(cell[k]) for k in ("n", "m", "k")]
    miss = number(cell["error"], 1, 100)
    alphas = [interval(cell, kind) for kind in ("alpha_avg", "alpha_net")]
    gain = [interval(cell, "gain_net", 1), interval(cell, "alpha_marg")]
    verdict = PHRASES[cell["verdict"]].split(":")[0]
    return [name, *sizes, miss, interval(cell, "d_eff", 1), *alphas, *gain, verdict]


def _flat(value: Any) -> str:
    """A value on one line; a dash where there is none."""
    if isinstance(value, dict):
        return ", ".join(f"{k} {_flat(v)}" for k, v in value.items()) or "–"
    text = ", ".join(map(_flat, value)) if isinstance(value, list) else str(value)
    return "–" if value is None else text or "–"


def main(args: Args) -> int:
    """Writes the page again from its numbers."""
    write_text(args.out, page(json.loads(args.results.read_text())))
    runtime.log(f"wrote {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(runtime.run(main, tyro.cli(Args, description=__doc__)))
