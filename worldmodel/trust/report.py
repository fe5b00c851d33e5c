"""A document of measured tasks as text for a terminal and as one HTML page.

Both show the same tables, whose columns are the document's own fields. Every verdict is a code;
``EXPLAINED`` has a line for each. A task is one of the document's ``tasks`` (``result.to_json``);
an unknown number is None and shown as a dash.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from worldmodel.errors import InputError
from worldmodel.runtime.page import Drawing, Heading, Note, Part, Table, render, svg
from worldmodel.trust import evaluation
from worldmodel.trust.planner import Grid
from worldmodel.trust.result import CONTROL, HALF_WIDTH, covers_one

Task = Mapping[str, Any]
EXPLAINED = {
    "OK": "a value with its interval",
    "NEGATIVE": "harmful, the whole interval is below 0",
    "CENSORED_HI": "better than the largest real-only set, a lower bound at most",
    "CENSORED_LO": "worse than the smallest real-only set, an upper bound at most",
    "NOT_IDENTIFIED": "the real-only curve is too flat or too noisy there",
    "HETEROGENEOUS": "no one alpha fits the version's cells",
    "RISES": "the paired difference of net gains is above 0, with its whole interval",
    "FALLS": "the paired difference of net gains is below 0, with its whole interval",
    "NO DIFFERENCE": "the interval of the paired difference of net gains covers 0",
    "CENSORED": "one of the two has no value",
}
CONTROLS = {
    "HOLDS": f"the mean alpha of {CONTROL} covers 1 within ±{HALF_WIDTH}",
    "FAILS": f"believe no number: the mean alpha of {CONTROL} must cover 1 within ±{HALF_WIDTH}",
    "NOT MEASURED": f"believe no number: the control {CONTROL} was not measured",
}
DIGITS = {
    **{"d_eff": 1, "gain_net": 1, "gain_net_reused": 1, "b": 4, "real": 3, "mean": 3},
    **{"homogeneity_p": 3, "additivity_p": 3, "law_p": 3, "threshold": 2},
}
SIGNIFICANT = ("error",)  # shown with four significant digits
SIZES = ("version", "n", "m", "k")
CELLS = (
    *(*SIZES, "error", "d_eff", "alpha_avg", "alpha_net", "gain_net", "alpha_marg"),
    *("alpha_net_reused", "gain_net_reused", "verdict_reused", "verdict", "reason"),
)
VERSIONS = (
    *("version", "k", "alpha", "alpha_0", "cap", "limit", "kappa", "b", "homogeneity_p"),
    *("additivity_p", "law_p", "verdict", "law_reason"),
)
GAINS = ("alpha_avg", "gain_net", "verdict", "gain_net_reused", "verdict_reused")
PRICES = ("real", "correction", "first", "later", "synthetic", "break_even", "net_value")
SPENT = ("steps", "device_seconds", "energy_joules")
TOOK = ("device", "episode_seconds", "model_seconds", "energy_joules")
JUDGE = ("n", "extra", "rho", "threshold", "alpha", "real", "mean", "verdict")
ALPHA = (
    "A row per cell. Filled: alpha_avg; open: alpha_net, where there are corrections; small: with "
    "the corrections trained on too. Lines: 0 and, dashed, 1. An arrow: only a bound is known."
)
D_EFF = (
    "Real episodes that would have done as well. Solid: n; dashed: n + m, as if all were real; "
    "level lines in a version's colour: its cap, or what D_eff tends to as m grows."
)
CURVE = "Above: the error after n real episodes alone. Below: where on it the mixtures lie."
LAW = (
    "kappa, b: variance and squared bias of a synthetic episode, in units of a real one's "
    "variance; p: of cells as unlike if one alpha, an additive gain, or one law held for all."
)
COST = "Ranges [$] over what is assumed. break_even: the alpha from which on the m episodes pay."


def order(task: Task) -> list[str]:
    """The names of the versions in the document's order, the control last."""
    return sorted(task["versions"], key=lambda name: name == CONTROL)


def cells_of(task: Task) -> list[tuple[str, dict[str, Any]]]:
    """(version, cell) of all cells, versions in ``order``."""
    return [(name, cell) for name in order(task) for cell in task["versions"][name]["cells"]]


def control(task: Task) -> str:
    """Whether the control holds, one of ``CONTROLS``."""
    if CONTROL not in task["versions"]:
        return "NOT MEASURED"
    return "HOLDS" if covers_one(task["versions"][CONTROL]) else "FAILS"


def number(value: float | None, digits: int | None = 2) -> str:
    """A number as text: with a true minus, without a negative zero, without decimals from 100.

    Args:
      digits: decimals; None: four significant digits.
    """
    if value is None:
        return "–"
    if digits is None:
        text = f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"
    else:
        text = f"{value:.{0 if abs(value) >= 100 else digits}f}"
    return text.replace("-", "−") if float(text) else text.lstrip("-")


def interval(row: Mapping[str, Any], kind: str, digits: int | None = 2) -> str:
    """A value with its interval, or the bound if only one end is known.

    Args:
      row: holds ``kind``, ``kind_low`` and ``kind_high``.
    """
    value, low, high = (row.get(kind + end) for end in ("", "_low", "_high"))
    if value is not None:
        return f"{number(value, digits)} [{number(low, digits)}, {number(high, digits)}]"
    bound = f"≥ {number(low, digits)}" if low is not None else f"≤ {number(high, digits)}"
    return "–" if low is None and high is None else bound


def tables(task: Task) -> list[Table]:
    """Every table of a task that has rows."""
    real = task["curve"]
    errors = [_ends("error", error) for error in real["error"]]
    slopes = [*(_ends("slope", slope) for slope in real["slope"]), {"slope": None}]
    curve = [
        {"n": n} | error | slope for n, error, slope in zip(real["n"], errors, slopes, strict=True)
    ]
    versions = [
        {"version": name, "k": max(c["k"] for c in version["cells"])} | version
        for name, version in ((name, task["versions"][name]) for name in order(task))
    ]
    cells = [cell for _, cell in cells_of(task)]
    names = order(task)
    pairs = [
        {"versions": f"{d['a']} − {d['b']}"} | d
        for d in task["differences"]
        if names.index(d["a"]) > names.index(d["b"])
    ]
    title = f"Real only: the error falls {number(real['falls'])} times"
    every = [
        _table("Versions", VERSIONS, versions, LAW),
        _table("Cells", CELLS, cells),
        _table("Differences", ("versions", "n", "m", *GAINS), pairs, folded=True),
        _table(title, ("n", "error", "slope"), curve, folded=True),
        *(_costs(task["cost"]) if "cost" in task else ()),
        _table("Mean budget of a training run", (*SIZES, *SPENT), task["budgets"], folded=True),
        judge(task.get("evaluation", {})),
    ]
    return [table for table in every if table.rows]


def judge(by_policy: Mapping[str, Mapping[str, Any]]) -> Table:
    """The value of simulated evaluations by policy (``evaluation.evaluations``)."""
    rows = [{"policy": name} | entry for name, entry in by_policy.items()]
    return _table("The simulator as a judge", ("policy", *JUDGE), rows, lines=evaluation.VERDICTS)


def _costs(card: Mapping[str, Any]) -> list[Table]:
    """The tables of a cost card (``cost.price``)."""
    devices = [{"version": name} | version for name, version in card["versions"].items()]
    scale = {"version": "for scale", "device": card["scale"]["what"]} | card["scale"]
    priced = [entry | cell for entry in devices for cell in entry["cells"]]
    assumptions = ("name", "low", "high", "unit", "source")
    return [
        _table("What it costs", (*SIZES, *PRICES), priced, COST),
        _table("Measured", ("version", *TOOK), [*devices, scale], folded=True),
        _table("Assumed (--assume NAME LOW HIGH)", assumptions, card["assumptions"], folded=True),
    ]


def _table(
    title: str,
    columns: Sequence[str],
    entries: Sequence[Mapping[str, Any]],
    caption: str = "",
    *,
    folded: bool = False,
    lines: Mapping[str, str] = EXPLAINED,
) -> Table:
    """The entries' fields as text, without the columns that are empty throughout; below it the
    meaning of each code in it."""
    rows = [[_shown(entry, name) for name in columns] for entry in entries]
    kept = [i for i in range(len(columns)) if any(row[i] not in ("–", "") for row in rows)]
    codes = [code for code in lines if any(code in row for row in rows)]
    captions = [caption, *(f"{code}: {lines[code]}." for code in codes)]
    return Table(
        title,
        [columns[i] for i in kept],
        [[row[i] for i in kept] for row in rows],
        "\n".join(filter(None, captions)),
        folded,
    )


def _shown(entry: Mapping[str, Any], name: str) -> str:
    """A field as text: an interval, a range, a number, a count or a code."""
    digits = None if name in SIGNIFICANT else DIGITS.get(name, 2)
    low, high = entry.get(f"{name}_low"), entry.get(f"{name}_high")
    if name in entry and f"{name}_low" in entry:
        return interval(entry, name, digits)
    if f"{name}_low" in entry:
        return (
            "–" if low is None and high is None else f"{number(low, None)} to {number(high, None)}"
        )
    value = entry.get(name)
    if value is None or isinstance(value, float):
        return number(value, DIGITS.get(name))
    return str(value)


def _ends(name: str, error: Mapping[str, Any]) -> dict[str, Any]:
    return {name: error["value"], f"{name}_low": error["low"], f"{name}_high": error["high"]}


def _conditions(task: Task) -> str:
    """What the numbers of a task are conditional on."""
    return (
        f"Learner {task['recipe']!r}, split {task['split']!r}, law {task['law']!r}, "
        f"{task['seeds']} seeds, {100 * task['level']:g} % intervals."
    )


def _warning(task: Task) -> str:
    if not task["versions"]:
        return "No mixtures: m = 0 in every row."
    code = control(task)
    return f"Control {code}: {CONTROLS[code]}."


def summary(document: Mapping[str, Any]) -> str:
    """The text of all tasks of a document (as of ``result.document``)."""
    texts = []
    for task in document["tasks"]:
        head = [f"Task {task['task']}", _conditions(task), *task["notes"], _warning(task)]
        texts.append("\n\n".join(["\n".join(head), *map(aligned, tables(task))]))
    return "\n\n".join(texts) + "\n"


def planned(grids: Sequence[Grid], half_width: float) -> str:
    """The text of a plan: the seeds to run for an interval of that half-width, or the refusal."""
    possible = [grid.plan for grid in grids if grid.runs is not None]
    if not possible:
        return f"No plan: {grids[0].plan.reason}.\n"
    plan = possible[0]
    title = f"Seeds for alpha ± {half_width:g}; cv {plan.cv:.3f} and slope {plan.beta:.2f} at D_eff"
    rows = [vars(grid) | dataclasses.asdict(grid.plan) for grid in grids]
    return aligned(_table(title, ("cells", "seeds", "runs", "reason"), rows)) + "\n"


def judged(by_task: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """The text of ``evaluation.evaluations_by_task``."""
    parts = [f"Task {task}\n" * bool(task) + aligned(judge(x)) for task, x in by_task.items()]
    return "\n\n".join(parts) + "\n"


def aligned(table: Table) -> str:
    """A table as text for a terminal."""
    lines = [table.header, *table.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    body = ["  " + "  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    return "\n".join([table.title, *body, *filter(None, [table.caption])])


def report(document: Mapping[str, Any]) -> str:
    """The page as HTML, which follows from the document alone.

    Args:
      document: ``tasks``, a list of results as of ``to_json``, or one of them alone. A task may
        also hold ``cost``, as of ``cost.price``, and ``evaluation``, as of
        ``evaluation.evaluations``.

    Raises:
      InputError: the document has no tasks.
    """
    tasks = document.get("tasks", [document] if "versions" in document else [])
    if not tasks:
        raise InputError("the document holds no task; measure a table first")
    parts = [part for task in tasks for part in _parts(task)]
    return render("What a synthetic episode is worth", parts)


def _parts(task: Task) -> Iterable[Part]:
    from worldmodel.trust import figures  # here, since Matplotlib takes a second

    yield Heading(f"Task {task['task']}")
    yield Note(_conditions(task))
    yield Note(_warning(task), loud=not task["versions"] or control(task) != "HOLDS")
    yield from map(Note, task["notes"])
    if task["versions"]:
        yield Drawing("alpha, version by version", svg(figures.alpha_axis(task)), ALPHA)
        for n in sorted({cell["n"] for _, cell in cells_of(task)}):
            yield Drawing(f"D_eff, n = {n}", svg(figures.d_eff(task, n)), D_EFF)
    yield Drawing("The real-only curve", svg(figures.learning(task)), CURVE)
    yield from tables(task)
