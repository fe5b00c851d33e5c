"""Results as plain text for a terminal: the tables of ``tables``, aligned."""

from collections.abc import Mapping, Sequence
from typing import Any

from worldmodel.trust import tables
from worldmodel.trust.phrases import Task, doubt
from worldmodel.trust.planner import Grid


def summary(document: Mapping[str, Any]) -> str:
    """The text of all tasks of a document (as of ``plain.document``)."""
    return "\n\n".join(_task(task) for task in document["tasks"]) + "\n"


def planned(grids: Sequence[Grid], half_width: float) -> str:
    """The text of a plan: the seeds to run for an interval of that half-width, or the refusal."""
    possible = [grid.plan for grid in grids if grid.runs is not None]
    if not possible:
        return f"No plan: {grids[0].plan.reason}.\n"
    plan = possible[0]
    title = f"Seeds for alpha ± {half_width:g}; cv {plan.cv:.3f} and slope {plan.beta:.2f} at D_eff"
    rows = [
        (str(g.cells), str(g.plan.seeds or "–"), str(g.runs or "–"), g.plan.reason) for g in grids
    ]
    header = ("cells averaged", "seeds", "training runs", "why")
    return _aligned(tables.Table(title, header, rows)) + "\n"


def judged(by_task: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """The text of ``supplements.evaluations_by_task``."""
    parts = [
        f"Task {task}\n" * bool(task) + _aligned(tables.judge(x)) for task, x in by_task.items()
    ]
    return "\n\n".join(parts) + "\n"


def _task(task: Task) -> str:
    warning = doubt(task) if task["versions"] else "No mixtures: m = 0 in every row."
    head = [f"Task {task['task']}: {tables.conditions(task)}", *task["notes"], warning]
    return "\n\n".join(["\n".join(filter(None, head)), *map(_aligned, tables.of_task(task))])


def _aligned(table: tables.Table) -> str:
    lines = [table.header, *table.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        [table.title] + ["  " + "  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    )
