"""The report of a document: one self-contained HTML page.

The page follows from the document alone. It has no script and loads nothing; it fits phones and
desks, light and dark screens.
"""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from worldmodel.errors import InputError
from worldmodel.trust import figures, tables
from worldmodel.trust.figures import cells_of
from worldmodel.trust.markup import details, head, section, table
from worldmodel.trust.phrases import Task, doubt

INTRODUCTION = (
    "α is how many real episodes one synthetic episode is worth to a learner: 1 is as good as "
    "real, 0 is worth nothing, below 0 harms. Gross counts nothing else; net first pays for the K "
    "real corrections that the version was made from. An α belongs to one task, version, learner "
    "and (n, m)."
)
ALPHA = (
    "A line per cell: n real and m synthetic episodes. Filled: gross; hollow: net, where there are "
    "corrections; with a dot: net, where the corrections were trained on too. Words at the right: "
    "what the gross interval says. Uprights: 0 and, dashed, 1. An arrow: the real-only curve ends "
    "there, and only a bound is known."
)
D_EFF = (
    "D_eff: real episodes that would have done as well. Solid: n, the real ones alone; dashed: "
    "n + m, as if all were real."
)
LEVELS = {  # by law of the weight rule
    "oracle": " Level lines (↦) in a version's dashes: its cap, which no m exceeds.",
    "pooled": " Level lines (↦) in a version's dashes: where its D_eff tends to as m grows.",
}
CURVE = (
    "Above: the error on held-out reality after training on n real episodes alone. Below: where on "
    "this curve the mixtures lie. Logarithmic axes."
)
LAWS = (
    "α_0: worth of the first synthetic episodes. κ, b: noise and squared bias of a synthetic "
    "episode, in the variance of a real one. p: probability of cells as unlike if one α (one law) "
    "held for all."
)
COSTS = (
    "Ranges over what is assumed. The first episode pays for the model and its corrections. "
    "Break-even: the α from which on m synthetic episodes are cheaper than real ones. "
    "Net value: real episodes saved, less what the m cost."
)
JUDGE = (
    "α_eval: real evaluation episodes that a simulated one is worth, which says nothing about "
    "training. ρ: correlation of real and simulated outcomes, episode by episode."
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
    parts = [
        head(title),
        f"<p>{INTRODUCTION}</p>",
        _contents(tasks) if len(tasks) > 1 else "",
        *(_task(task, i) for i, task in enumerate(tasks)),
        "</body></html>",
    ]
    return "\n".join(filter(None, parts)) + "\n"


def _contents(tasks: Sequence[Task]) -> str:
    """Links to the section of every task."""
    items = (
        f"<li><a href='#task{i}'>{html.escape(task['task'])}</a></li>"
        for i, task in enumerate(tasks)
    )
    return f"<nav aria-label=Tasks><ul>{''.join(items)}</ul></nav>"


def _task(task: Task, place: int) -> str:
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in task["notes"])
    parts = [
        f"<section aria-labelledby=task{place}><h2 id=task{place}>Task "
        f"{html.escape(task['task'])}</h2><p class=soft>{html.escape(tables.conditions(task))}.</p>"
        f"{notes}"
    ]
    curve = section("The real-only curve", figures.learning(task), CURVE, _rows(tables.curve(task)))
    if not task["versions"]:
        warning = "Real-only runs alone: no version was measured."
        return f"{parts[0]}<p class=loud>{warning}</p>{curve}</section>"
    warning, alpha = doubt(task), figures.alpha_axis(task)
    parts += [
        f"<p class=loud>{html.escape(warning)}</p>" if warning else "",
        _open(tables.versions(task), LAWS),
        "<div class=pair>",
        section("α, version by version", alpha, ALPHA, _rows(tables.cells(task))),
        f"<div>{''.join(_effective(task, n) for n in sorted({c['n'] for _, c in cells_of(task)}))}",
        f"</div>{curve}</div>",
        _folded(tables.differences(task)),
    ]
    if "cost" in task:
        prices, *assumed = tables.costs(task["cost"])
        parts += [_open(prices, COSTS), *map(_folded, assumed)]
    parts.append(_folded(tables.budgets(task)))
    if "evaluation" in task:
        parts.append(_open(tables.judge(task["evaluation"]), JUDGE))
    return "\n".join(filter(None, [*parts, "</section>"]))


def _effective(task: Task, n: int) -> str:
    """The figure of D_eff against m at n real episodes."""
    levels = figures.levels(task, n)
    caption = D_EFF + LEVELS[task["law"]] * bool(levels)
    if far := [v for v, at in levels.items() if at > figures.reach(task, n)]:
        caption += f" Above the figure: {', '.join(f'{v} at {levels[v]:.0f}' for v in far)}."
    drawn = figures.d_eff(task, n)
    return section(f"Worth in real episodes, n = {n}", drawn, caption, keys=figures.key(task))


def _open(shown: tables.Table, caption: str) -> str:
    return (
        f"<h3>{html.escape(shown.title)}</h3>{_rows(shown)}<p class=soft>{html.escape(caption)}</p>"
    )


def _folded(shown: tables.Table) -> str:
    return details(shown.title, _rows(shown)) if shown.rows else ""


def _rows(shown: tables.Table) -> str:
    return table(shown.header, shown.rows)
