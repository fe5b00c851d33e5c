"""The report of a measurement: one self-contained HTML page that is understood in a minute.

Every figure and sentence follows from the document alone; the same document gives the same page.
No script and nothing from outside, legible on a phone as on a desk, by day and by night.
"""

import html
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from worldmodel.trust import cards, figures
from worldmodel.trust.figures import cells_of, order
from worldmodel.trust.markup import details, section, sizes, table
from worldmodel.trust.svg import STYLE
from worldmodel.trust.words import (
    SELF,
    WORDS,
    Task,
    change,
    doubt,
    interval,
    number,
    share,
    verdict,
)
from worldmodel.types import InputError

PAGE_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:68rem;margin:auto;padding:1rem;color:var(--ink);
background:var(--paper);overflow-wrap:break-word}h1{font-size:1.5rem;line-height:1.25}h2{
font-size:1.3rem;margin:2.5rem 0 .5rem;border-top:2px solid var(--line);padding-top:1rem}h3{
font-size:1.05rem;margin:1.5rem 0 .25rem}a{color:inherit}p,ul{max-width:44rem}li{margin:.35rem 0}
.pair{display:grid;gap:0 2.5rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr))}
.pair>div{min-width:0}figure{margin:0;max-width:30rem}figcaption,.soft{font-size:.85rem;
color:var(--soft)}.keys{margin:.3rem 0;font-size:.85rem}.entry{display:inline-block;
margin-right:1rem}.plot.key{display:inline-block;width:26px;height:12px;vertical-align:middle}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.85rem;
font-variant-numeric:tabular-nums}th,td{padding:.25rem .6rem;text-align:left;white-space:nowrap;
border-bottom:1px solid var(--line);vertical-align:top}td.words{white-space:normal;min-width:15rem}
summary{cursor:pointer;padding:.4rem 0;font-size:.9rem}.loud{background:var(--box);
border-left:.4rem solid #d55e00;padding:.6rem 1rem;font-weight:600}"""
INTRODUCTION = (
    "α is how many real episodes one synthetic episode is worth to a learner: 1 is as good as "
    "real, 0 is worth nothing, below 0 harms. Gross counts nothing else; net first pays for the K "
    "real corrections that the version was made from."
)
ALPHA = (
    "A line per cell: n real and m synthetic episodes. Filled: gross; hollow: net, where there are "
    "corrections. Uprights: 0 and, dashed, 1. An arrow: the real-only curve ends there, and only a "
    "bound is known."
)
GAINS = "Filled: D_eff − n; hollow: D_eff − n − K. Dashed: the largest m, were it all real."
WORTH = (
    "D_eff: real episodes that would have done as well. Solid: n, the real ones alone; dashed: "
    "n + m, as if all were real."
)
CAP = " Level lines in a version's dashes: its cap, which no m exceeds."
CURVE = (
    "Above: the error on held-out reality after training on n real episodes alone. Below: where on "
    "this curve the mixtures lie. Logarithmic axes."
)


def report(document: Mapping[str, Any]) -> str:
    """The page.

    Args:
      document: ``tasks``, a list of measured tasks as ``to_json`` makes them, or one of them by
        itself. A task may also hold ``cost``, as ``cost.price`` gives it, and ``evaluation``: by
        policy, what ``evaluation.described`` gives.

    Raises:
      InputError: a document without tasks.
    """
    tasks = document.get("tasks", [document] if "versions" in document else [])
    if not tasks:
        raise InputError("the document holds no task; measure a table first")
    title = "What a synthetic episode is worth"
    levels = sorted({f"{100 * task['level']:g} %" for task in tasks})
    parts = [
        "<!doctype html><html lang=en><head><meta charset=utf-8>",
        "<meta name=viewport content='width=device-width,initial-scale=1'>",
        f"<title>{title}</title><style>{STYLE}{PAGE_STYLE}</style></head><body><h1>{title}</h1>",
        f"<p>{INTRODUCTION}</p><p class=soft>Intervals: {', '.join(levels)}. An α belongs to one "
        "task, version, learner and (n, m).</p>",
        _contents(tasks) if len(tasks) > 1 else "",
        *(_task(task, i) for i, task in enumerate(tasks)),
        "</body></html>",
    ]
    return "\n".join(filter(None, parts)) + "\n"


def _contents(tasks: Sequence[Task]) -> str:
    """What every task says, first thing on the page."""
    items = []
    for i, task in enumerate(tasks):
        said = [f"{v} {_finding(task, v)}" for v in order(task) if v != SELF]
        said = ["not to be believed yet"] * bool(task["versions"] and doubt(task)) + said
        name = html.escape(task["task"])
        what = html.escape("; ".join(said) or "real-only runs alone")
        items.append(f"<li><a href='#task{i}'>{name}</a>: {what}.</li>")
    return f"<nav aria-label=Tasks><ul>{''.join(items)}</ul></nav>"


def _finding(task: Task, name: str) -> str:
    version = task["versions"][name]
    return verdict(version) if name != SELF else "is reality itself, the control"


def _task(task: Task, place: int) -> str:
    head = f"<section aria-labelledby=task{place}><h2 id=task{place}>Task "
    head += f"{html.escape(task['task'])}</h2>"
    curve = section("The real-only curve", figures.learning(task), CURVE, _curve(task))
    if not task["versions"]:
        said = "Real-only runs alone: no version was measured."
        return f"{head}<p class=loud>{said}</p>{curve}</section>"
    said = doubt(task)
    parts = [
        f"{head}{f'<p class=loud>{html.escape(said)}</p>' if said else ''}",
        f"<ul>{''.join(_verdict(task, name) for name in order(task))}</ul>",
        _versions(task),
        "<div class=pair>",
        section("α, version by version", figures.alpha_axis(task), ALPHA, _cells(task)),
        f"<div>{''.join(_worth(task, n) for n in sorted({c['n'] for _, c in cells_of(task)}))}",
        "</div>",
        section("What is gained, in real episodes", figures.gains(task), GAINS, _gains(task)),
        f"<div>{curve}{_differences(task)}</div>",
        cards.cost_card(task["cost"]) if task.get("cost") else "",
        "</div>",
        cards.judge(task["evaluation"]) if task.get("evaluation") else "",
        "</section>",
    ]
    return "\n".join(filter(None, parts))


def _verdict(task: Task, name: str) -> str:
    version = task["versions"][name]
    cells = version["cells"]
    text = _finding(task, name)
    if version["verdict"] == "HETEROGENEOUS":
        text += "; no single α fits all its cells"
    elif version["alpha"] is not None:
        text += f"; mean α {interval(version, 'alpha')}"
    said = []
    for kind, word in (("alpha_avg", "gross"), ("alpha_net", "net")):
        known = [cell[kind] for cell in cells if cell[kind] is not None]
        ends = dict.fromkeys(number(v) for v in (min(known), max(known))) if known else ()
        said += [f"{word} {' to '.join(ends)}"] * bool(known)
    bounds = sum(cell["verdict"].startswith("CENSORED") for cell in cells)
    flat = [cell["reason"] for cell in cells if cell["verdict"] == "NOT_IDENTIFIED"]
    count = f"{len(cells)} cell{'s' * (len(cells) > 1)}"
    numbers = f"Over its {count}: {', '.join(said)}." if said else ""
    numbers += f" Only a bound is known in {share(bounds, len(cells))}." if bounds else ""
    numbers += f" Not readable in {share(len(flat), len(cells))}: {flat[0]}." if flat else ""
    return (
        f"<li><b>{html.escape(name)}</b> {html.escape(text)}. "
        f"<span class=soft>{html.escape(numbers)}</span></li>"
    )


def _cells(task: Task) -> str:
    header = ("version", "n", "m", "K", "α gross", "α net", "α marginal", "verdict", "why")
    rows = [
        [name, *sizes(cell)]
        + [interval(cell, kind) for kind in ("alpha_avg", "alpha_net", "alpha_marg")]
        + [WORDS[cell["verdict"]].split(":")[0], cell.get("reason") or ""]
        for name, cell in cells_of(task)
    ]
    return table(header, rows)


def _gains(task: Task) -> str:
    rows = [
        [name, *sizes(cell), *(interval(cell, f"gain_{kind}", 1) for kind in ("gross", "net"))]
        for name, cell in cells_of(task)
    ]
    return table(("version", "n", "m", "K", "gross", "net"), rows)


def _worth(task: Task, n: int) -> str:
    versions = task["versions"]
    rows = [
        [
            name,
            str(cell["m"]),
            _four(cell, "error"),
            interval(cell, "d_eff", 1),
            interval(versions[name], "cap", 1),
        ]
        for name, cell in cells_of(task)
        if cell["n"] == n
    ]
    capped = any(version.get("cap") is not None for version in versions.values())
    behind = table(("version", "m", "error", "D_eff", "cap"), rows)
    title, drawn = f"Worth in real episodes, beside n = {n}", figures.worth(task, n)
    return section(title, drawn, WORTH + CAP * capped, behind, figures.key(task))


def _curve(task: Task) -> str:
    curve = task["curve"]
    flat = [{"x" + e: d["value" if not e else e[1:]] for e in figures.ENDS} for d in curve["error"]]
    slopes = ["{} [{}, {}]".format(*map(number, s.values())) for s in curve["slope"]]
    rows = [
        [str(n), _four(error, "x"), slope]
        for n, error, slope in zip(curve["n"], flat, [*slopes, "–"], strict=True)
    ]
    falls = f"<p>The error falls {number(curve['falls'])} times over these sizes.</p>"
    return table(("n", "error", "slope to the next n"), rows) + falls


def _four(entry: Mapping[str, Any], kind: str) -> str:
    """An error with its interval, to four digits."""
    ends = ("–" if (v := entry[kind + end]) is None else f"{v:.4g}" for end in figures.ENDS)
    return "{} [{}, {}]".format(*ends).replace("-", "−")


def _versions(task: Task) -> str:
    """One row per version: what holds for all its cells, and the law fitted to them."""
    kinds = {"mean α": "alpha", "α_0": "alpha_0", "cap": "cap", "κ": "kappa", "b": "b"}
    found = task["versions"]
    kinds = {word: k for word, k in kinds.items() if any(k in v for v in found.values())}
    header = ("version", *kinds, "p that one α fits", "verdict")
    rows = [
        [
            name,
            *(interval(found[name], kind, 2 + (kind == "b")) for kind in kinds.values()),
            number(found[name]["homogeneity_p"], 3),
            WORDS[found[name]["verdict"]],
        ]
        for name in order(task)
    ]
    said = "α_0: the worth of the first synthetic episodes. κ, b: noise and squared bias of a "
    said += "synthetic episode, in the variance of a real one."
    note = f"<p class=soft>{said}</p>" if len(kinds) > 1 else ""
    return details("The versions in numbers", table(header, rows) + note)


def _differences(task: Task) -> str:
    """From version to version, in words and in numbers; each pair one way round."""
    names = order(task)
    found = [d for d in task["differences"] if names.index(d["a"]) > names.index(d["b"])]
    mine = [name for name in names if name != SELF]
    pairs = [(b, a) for a, b in itertools.pairwise(mine)]
    pairs += [(mine[-1], mine[0])] if len(mine) > 2 else []
    said = [text for a, b in pairs if (text := change(task, a, b))]
    if not said:
        return ""
    items = "".join(f"<li>{html.escape(text[0].upper() + text[1:])}.</li>" for text in said)
    rows = [
        [
            f"{d['a']} − {d['b']}",
            str(d["n"]),
            str(d["m"]),
            interval(d, "alpha_avg"),
            interval(d, "gain_net", 1),
            d["verdict"].lower(),
        ]
        for d in found
    ]
    header = ("versions", "n", "m", "α gross", "net gain", "net gain says")
    behind = details("The numbers", table(header, rows))
    return f"<h3>From version to version</h3><ul>{items}</ul>{behind}"
