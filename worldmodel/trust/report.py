"""The report of a document: one self-contained HTML page.

The page follows from the document alone. It has no script and loads nothing; it fits phones and
desks, light and dark screens.
"""

import html
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from worldmodel.errors import InputError
from worldmodel.trust import cards, figures
from worldmodel.trust.figures import cells_of, order
from worldmodel.trust.markup import details, head, section, sizes, table
from worldmodel.trust.phrases import (
    CONTROL,
    PHRASES,
    Task,
    change,
    doubt,
    interval,
    number,
    share,
    verdict,
)

INTRODUCTION = (
    "α is how many real episodes one synthetic episode is worth to a learner: 1 is as good as "
    "real, 0 is worth nothing, below 0 harms. Gross counts nothing else; net first pays for the K "
    "real corrections that the version was made from."
)
ALPHA = (
    "A line per cell: n real and m synthetic episodes. Filled: gross; hollow: net, where there are "
    "corrections. Words at the right: what the gross interval says. Uprights: 0 and, dashed, 1. An "
    "arrow: the real-only curve ends there, and only a bound is known."
)
GAINS = "Filled: D_eff − n; hollow: D_eff − n − K. Dashed: the largest m, were it all real."
D_EFF = (
    "D_eff: real episodes that would have done as well. Solid: n, the real ones alone; dashed: "
    "n + m, as if all were real."
)
LEVELS = {  # by law of the weight rule
    "oracle": " Level lines (↦) in a version's dashes: its cap, which no m exceeds.",
    "pooled": " Level lines (↦) in a version's dashes: where its D_eff tends to as m grows.",
}
REUSED = " With a dot: net, where the corrections were trained on too."
CURVE = (
    "Above: the error on held-out reality after training on n real episodes alone. Below: where on "
    "this curve the mixtures lie. Logarithmic axes."
)


CONDITIONS = {"Learner": "recipe", "Judged on split": "split", "Law of the weight rule": "law"}
LAW = {"α_0": "alpha_0", "cap": "cap", "limit": "limit", "κ": "kappa", "b": "b"}
TESTS = {  # p-value in each column
    "p one α": "homogeneity_p",
    "p additive": "additivity_p",
    "p one law": "law_p",
}
LAWS = (
    "α_0: worth of the first synthetic episodes. κ, b: noise and squared bias of a synthetic "
    "episode, in the variance of a real one. p: probability of cells as unlike if one α (one law) "
    "held for all."
)


def report(document: Mapping[str, Any]) -> str:
    """The page as HTML.

    Args:
      document: ``tasks``, a list of results as of ``to_json``, or one of them alone. A task may
        also hold ``cost``, as of ``cost.price``, and ``evaluation``, as of
        ``supplements.evaluations``.

    Raises:
      InputError: the document has no tasks.
    """
    tasks = document.get("tasks", [document] if "versions" in document else [])
    if not tasks:
        raise InputError("the document holds no task; measure a table first")
    title = "What a synthetic episode is worth"
    levels = sorted({f"{100 * task['level']:g} %" for task in tasks})
    parts = [
        head(title),
        f"<p>{INTRODUCTION}</p><p class=soft>Intervals: {', '.join(levels)}. An α belongs to one "
        "task, version, learner and (n, m).</p>",
        _contents(tasks) if len(tasks) > 1 else "",
        *(_task(task, i) for i, task in enumerate(tasks)),
        "</body></html>",
    ]
    return "\n".join(filter(None, parts)) + "\n"


def _contents(tasks: Sequence[Task]) -> str:
    """The findings of every task, with links to its section."""
    items = []
    for i, task in enumerate(tasks):
        texts = [f"{v} {_finding(task, v)}" for v in order(task) if v != CONTROL]
        texts = ["not to be believed yet"] * bool(task["versions"] and doubt(task)) + texts
        name = html.escape(task["task"])
        what = html.escape("; ".join(texts) or "real-only runs alone")
        items.append(f"<li><a href='#task{i}'>{name}</a>: {what}.</li>")
    return f"<nav aria-label=Tasks><ul>{''.join(items)}</ul></nav>"


def _finding(task: Task, name: str) -> str:
    version = task["versions"][name]
    return verdict(version) if name != CONTROL else "is reality itself, the control"


def _task(task: Task, place: int) -> str:
    begin = f"<section aria-labelledby=task{place}><h2 id=task{place}>Task "
    begin += f"{html.escape(task['task'])}</h2>{_conditions(task)}"
    curve = section("The real-only curve", figures.learning(task), CURVE, _curve(task))
    if not task["versions"]:
        warning = "Real-only runs alone: no version was measured."
        return f"{begin}<p class=loud>{warning}</p>{curve}</section>"
    warning, dots = doubt(task), REUSED * bool(_net(task, "alpha_net")[1:])
    parts = [
        f"{begin}{f'<p class=loud>{html.escape(warning)}</p>' if warning else ''}",
        f"<ul>{''.join(_verdict(task, name) for name in order(task))}</ul>",
        _versions(task),
        "<div class=pair>",
        section("α, version by version", figures.alpha_axis(task), ALPHA + dots, _cells(task)),
        f"<div>{''.join(_effective(task, n) for n in sorted({c['n'] for _, c in cells_of(task)}))}",
        "</div>",
        section(
            "What is gained, in real episodes", figures.gains(task), GAINS + dots, _gains(task)
        ),
        f"<div>{curve}{_differences(task)}</div>",
        _costs(task),
        "</div>",
        cards.judge(task["evaluation"]) if task.get("evaluation") else "",
        "</section>",
    ]
    return "\n".join(filter(None, parts))


def _costs(task: Task) -> str:
    """The cost card and the training budgets, where the document has them."""
    card = cards.cost_card(task["cost"]) if task.get("cost") else ""
    took = cards.budgets(task.get("budgets") or ())
    return f"<div>{card}{took}</div>" if card or took else ""


def _conditions(task: Task) -> str:
    """The learner, split, law, replicates and notes, where the document has them."""
    parts = [f"{word}: {task[key]}" for word, key in CONDITIONS.items() if task.get(key)]
    if task.get("seeds"):
        parts.append(f"Replicates: {task['seeds']} {task.get('resampled', 'seeds')}, one left out")
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in task.get("notes") or ())
    return (f"<p class=soft>{html.escape('. '.join(parts))}.</p>" if parts else "") + notes


def _verdict(task: Task, name: str) -> str:
    version = task["versions"][name]
    cells = version["cells"]
    text = _finding(task, name)
    if version["verdict"] == "HETEROGENEOUS":
        text += "; no single α fits all its cells"
    elif version["alpha"] is not None:
        text += f"; mean α {interval(version, 'alpha')}"
    ranges = []
    net = dict(zip(_net(task, "alpha_net"), ("net", "net, trained on them too"), strict=False))
    for kind, word in {"alpha_avg": "gross", **net}.items():
        known = [v for cell in cells if (v := cell.get(kind)) is not None]
        ends = dict.fromkeys(number(v) for v in (min(known), max(known))) if known else ()
        ranges += [f"{word} {' to '.join(ends)}"] * bool(known)
    bounds = sum(cell["verdict"].startswith("CENSORED") for cell in cells)
    flat = [cell["reason"] for cell in cells if cell["verdict"] == "NOT_IDENTIFIED"]
    count = f"{len(cells)} cell{'s' * (len(cells) > 1)}"
    numbers = f"Over its {count}: {', '.join(ranges)}." if ranges else ""
    numbers += f" Only a bound is known in {share(bounds, len(cells))}." if bounds else ""
    numbers += f" Not readable in {share(len(flat), len(cells))}: {flat[0]}." if flat else ""
    return (
        f"<li><b>{html.escape(name)}</b> {html.escape(text)}. "
        f"<span class=soft>{html.escape(numbers)}</span></li>"
    )


def _net(task: Task, kind: str) -> list[str]:
    """The net figure ``kind``, and the one with reused corrections if they were reused."""
    reused = any(cell.get("verdict_reused") for _, cell in cells_of(task))
    return [kind, kind + figures.REUSED][: 1 + reused]


def _cells(task: Task) -> str:
    kinds = ["alpha_avg", *_net(task, "alpha_net"), "alpha_marg"]
    columns = ("α gross", *("α net", "α net, reused")[: len(kinds) - 2], "α marginal")
    rows = []
    for name, cell in cells_of(task):
        rows.append([name, *sizes(cell), *(interval(cell, kind) for kind in kinds)])
        rows[-1] += [PHRASES[cell["verdict"]].split(":")[0], cell.get("reason") or ""]
    return table(("version", "n", "m", "K", *columns, "verdict", "why"), rows)


def _gains(task: Task) -> str:
    kinds = ["gain_gross", *_net(task, "gain_net")]
    rows = [
        [name, *sizes(cell), *(interval(cell, kind, 1) for kind in kinds)]
        for name, cell in cells_of(task)
    ]
    columns = ("gross", "net", "net, reused")[: len(kinds)]
    return table(("version", "n", "m", "K", *columns), rows)


def _effective(task: Task, n: int) -> str:
    rows = [
        [name, str(cell["m"]), _four(cell, "error"), interval(cell, "d_eff", 1)]
        for name, cell in cells_of(task)
        if cell["n"] == n
    ]
    levels = figures.levels(task, n)
    caption = D_EFF + LEVELS[task.get("law", "oracle")] * bool(levels)
    if far := [v for v, at in levels.items() if at > figures.reach(task, n)]:
        caption += f" Above the figure: {', '.join(f'{v} at {levels[v]:.0f}' for v in far)}."
    title, behind = f"Worth in real episodes, beside n = {n}", ("version", "m", "error", "D_eff")
    return section(title, figures.d_eff(task, n), caption, table(behind, rows), figures.key(task))


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
    """The table of versions: what holds for all cells of one, and the law fitted to them."""
    versions = task["versions"]
    kinds = {
        word: k
        for word, k in LAW.items()
        if any(any(v.get(k + end) is not None for end in figures.ENDS) for v in versions.values())
    }
    tests = {word: p for word, p in TESTS.items() if any(p in v for v in versions.values())}
    header = ("version", "mean α", *kinds, *tests, "verdict", "law")
    rows = [
        [name, interval(version, "alpha")]
        + [interval(version, kind, 3 if kind == "b" else 2) for kind in kinds.values()]
        + [number(version.get(p), 3) for p in tests.values()]
        + [PHRASES[version["verdict"]], version.get("law_reason") or "fits" * bool(kinds) or "–"]
        for name, version in ((name, versions[name]) for name in order(task))
    ]
    note = f"<p class=soft>{LAWS}</p>" if kinds else ""
    return details("The versions in numbers", table(header, rows) + note)


def _differences(task: Task) -> str:
    """Sentences and the table on the differences of versions, each pair in one order."""
    names = order(task)
    differences = [d for d in task["differences"] if names.index(d["a"]) > names.index(d["b"])]
    mine = [name for name in names if name != CONTROL]
    pairs = [(b, a) for a, b in itertools.pairwise(mine)]
    pairs += [(mine[-1], mine[0])] if len(mine) > 2 else []
    sentences = [text for a, b in pairs if (text := change(task, a, b))]
    if not sentences:
        return ""
    items = "".join(f"<li>{html.escape(text[0].upper() + text[1:])}.</li>" for text in sentences)
    gains = [("net gain", "gain_net", "verdict")]
    if any(d.get("verdict_reused") for d in differences):
        gains.append(("net gain, reused", "gain_net_reused", "verdict_reused"))
    rows = []
    for d in differences:
        rows.append([f"{d['a']} − {d['b']}", str(d["n"]), str(d["m"]), interval(d, "alpha_avg")])
        for _, kind, verdict_of in gains:
            rows[-1] += [interval(d, kind, 1), d[verdict_of].lower() or "–"]
    header = ["versions", "n", "m", "α gross"]
    header += [column for word, *_ in gains for column in (word, "which")]
    behind = details("The numbers", table(header, rows))
    return f"<h3>From version to version</h3><ul>{items}</ul>{behind}"
