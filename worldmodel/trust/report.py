"""A document of measured tasks as text for a terminal and as one HTML page.

Both show the same tables, whose columns are the document's own fields. Every verdict is a code;
``EXPLAINED`` has a line for each. A task is one of the document's ``tasks`` (``result.to_json``);
an unknown number is None and shown as a dash.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from worldmodel.errors import InputError
from worldmodel.runtime.page import Drawing, Heading, Note, Part, Table, render, svg
from worldmodel.trust import evaluation
from worldmodel.trust.planner import Plan
from worldmodel.trust.result import CONTROL, SPENT

Task = Mapping[str, Any]
HALF_WIDTH = 0.25  # of the control's alpha, at most
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
    "NOT NEEDED": "no mixtures, m = 0 in every row",
}
# Decimals shown, 2 by default; None: four significant digits.
DIGITS = {"error": None, "d_eff": 1, "gain_net": 1, "b": 4}
DIGITS |= {"homogeneity_p": 3, "law_p": 3, "threshold": 2}
SIZES = "version n m k"
CELLS = f"{SIZES} error d_eff alpha_avg alpha_net gain_net alpha_marg verdict reason"
VERSIONS = "version k alpha alpha_0 cap limit kappa b homogeneity_p law_p verdict law_reason"
PAIRS = "versions n m alpha_avg gain_net verdict"
PRICES = f"{SIZES} real correction first later synthetic break_even net_value"
TOOK = "version device episode_seconds model_seconds energy_joules"
ASSUMED = "name low high unit source"
JUDGE = "policy n extra rho threshold alpha verdict"
ALPHA = "Filled: alpha_avg; open: alpha_net, if k > 0. An arrow: a bound alone is known there."
CURVE = "Above: the error after n real episodes alone. Below: where on it the mixtures lie."
LAW = (
    "kappa, b: variance and squared bias of a synthetic episode, in units of a real one's "
    "variance; p: of cells as unlike if one alpha, or one law, held for all."
)
COST = "Ranges [$] over what is assumed. break_even: the alpha from which on the m episodes pay."


def order(task: Task) -> list[str]:
    """The names of the versions in the document's order, the control last."""
    return sorted(task["versions"], key=lambda name: name == CONTROL)


def cells_of(task: Task) -> list[dict[str, Any]]:
    """All cells, versions in ``order``."""
    return [cell for name in order(task) for cell in task["versions"][name]["cells"]]


def control(task: Task) -> str:
    """Whether the control holds, one of ``CONTROLS``."""
    if CONTROL not in task["versions"]:
        return "NOT MEASURED" if task["versions"] else "NOT NEEDED"
    low, high = (task["versions"][CONTROL][f"alpha{end}"] for end in ("_low", "_high"))
    holds = None not in (low, high) and low <= 1 <= high and high - low <= 2 * HALF_WIDTH
    return "HOLDS" if holds else "FAILS"


def number(value: float | None, digits: int | None = 2) -> str:
    """A number as text: with a true minus, without a negative zero, without decimals from 100.

    ``digits`` are decimals; None: four significant digits.
    """
    if value is None:
        return "–"
    if digits is None:
        text = f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"
    else:
        text = f"{value:.{0 if abs(value) >= 100 else digits}f}"
    return text.replace("-", "−") if float(text) else text.lstrip("-")


def interval(row: Mapping[str, Any], kind: str, digits: int | None = 2) -> str:
    """``kind`` with its interval ``kind_low``, ``kind_high``, or the bound if one end is known."""
    value, low, high = (row.get(kind + end) for end in ("", "_low", "_high"))
    if value is not None:
        return f"{number(value, digits)} [{number(low, digits)}, {number(high, digits)}]"
    if low is not None:
        return f"≥ {number(low, digits)}"
    return "–" if high is None else f"≤ {number(high, digits)}"


def tables(task: Task) -> list[Table]:
    """Every table of a task that has rows."""
    real, names = task["curve"], order(task)
    curve = [{"n": n} | _ends("error", x) for n, x in zip(real["n"], real["error"], strict=True)]
    curve = [a | _ends("slope", b) for a, b in zip(curve, [*real["slope"], {}], strict=True)]
    versions = [
        {"version": name, "k": max(cell["k"] for cell in version["cells"])} | version
        for name, version in ((name, task["versions"][name]) for name in names)
    ]
    pairs = [
        {"versions": f"{d['a']} − {d['b']}"} | d
        for d in task["differences"]
        if names.index(d["a"]) > names.index(d["b"])
    ]
    title, spent = f"Real only: the error falls {number(real['falls'])} times", task["budgets"]
    every = [
        _table("Versions", VERSIONS, versions, LAW),
        _table("Cells", CELLS, cells_of(task)),
        _table("Differences", PAIRS, pairs, folded=True),
        _table(title, "n error slope", curve, folded=True),
        *(costs(task["cost"]) if "cost" in task else ()),
        _table("Mean budget of a training run", f"{SIZES} {' '.join(SPENT)}", spent, folded=True),
    ]
    return [table for table in every if table.rows]


def costs(card: Mapping[str, Any]) -> list[Table]:
    """The tables of a cost card (``cost.price``)."""
    devices = [{"version": name} | version for name, version in card["versions"].items()]
    priced = [entry | cell for entry in devices for cell in entry["cells"]]
    return [
        _table("What it costs", PRICES, priced, COST),
        _table("Measured", TOOK, devices, folded=True),
        _table("Assumed (--assume NAME LOW HIGH)", ASSUMED, card["assumptions"], folded=True),
    ]


def _table(
    title: str,
    columns: str,
    entries: Sequence[Mapping[str, Any]],
    caption: str = "",
    *,
    folded: bool = False,
    lines: Mapping[str, str] = EXPLAINED,
) -> Table:
    """The entries' fields as text, without the columns that are empty throughout; below it the
    meaning of each code in it."""
    names = columns.split()
    rows = [[_shown(entry, name) for name in names] for entry in entries]
    kept = [i for i in range(len(names)) if any(row[i] not in ("–", "") for row in rows)]
    codes = [f"{code}: {line}." for code, line in lines.items() if any(code in row for row in rows)]
    rows = [[row[i] for i in kept] for row in rows]
    caption = "\n".join(filter(None, [caption, *codes]))
    return Table(title, [names[i] for i in kept], rows, caption, folded)


def _shown(entry: Mapping[str, Any], name: str) -> str:
    """A field as text: an interval, a range, a number, a count or a code."""
    if f"{name}_low" in entry:
        if name in entry:
            return interval(entry, name, DIGITS.get(name, 2))
        low, high = (number(entry[name + end], None) for end in ("_low", "_high"))
        return "–" if low == high == "–" else f"{low} to {high}"
    value = entry.get(name)
    return number(value, DIGITS.get(name)) if isinstance(value, float | None) else str(value)


def _ends(name: str, x: Mapping[str, Any]) -> dict[str, Any]:
    return {name: x.get("value"), f"{name}_low": x.get("low"), f"{name}_high": x.get("high")}


def _head(task: Task) -> list[Heading | Note]:
    """The title, the conditions of the numbers, and whether the control holds."""
    code = control(task)
    conditions = (
        f"Learner {task['recipe']!r}, split {task['split']!r}, law {task['law']!r}, "
        f"{task['seeds']} seeds, {100 * task['level']:g} % intervals."
    )
    warning = Note(f"Control {code}: {CONTROLS[code]}.", loud=code != "HOLDS")
    return [Heading(f"Task {task['task']}"), *map(Note, [conditions, *task["notes"]]), warning]


def summary(document: Mapping[str, Any]) -> str:
    """The text of all tasks of a document (as of ``result.document``)."""
    texts = []
    for task in document["tasks"]:
        head = "\n".join(part.text for part in _head(task))
        texts.append("\n\n".join([head, *map(aligned, tables(task))]))
    return "\n\n".join(texts) + "\n"


def planned(plans: Sequence[Plan], half_width: float) -> str:
    """The text of plans: the seeds to run for an interval of that half-width, or the refusal."""
    possible = [plan for plan in plans if plan.runs is not None]
    if not possible:
        return f"No plan: {plans[0].reason}.\n"
    plan = possible[0]
    title = f"Seeds for alpha ± {half_width:g}; cv {plan.cv:.3f} and slope {plan.beta:.2f} at D_eff"
    return aligned(_table(title, "cells seeds runs reason", [*map(vars, plans)])) + "\n"


def judged(by_policy: Mapping[str, Mapping[str, Any]]) -> str:
    """The text of ``evaluation.evaluations``."""
    rows = [{"policy": name, **entry} for name, entry in by_policy.items()]
    table = _table("The simulator as a judge", JUDGE, rows, lines=evaluation.VERDICTS)
    return aligned(table) + "\n"


def aligned(table: Table) -> str:
    """A table as text for a terminal."""
    lines = [table.header, *table.rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    body = ["  " + "  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    return "\n".join([table.title, *body, *filter(None, [table.caption])])


def report(document: Mapping[str, Any]) -> str:
    """The page as HTML, which follows from the document alone.

    A task of the document may also hold ``cost``, as of ``cost.price``.

    Raises:
      InputError: the document has no tasks.
    """
    if not document["tasks"]:
        raise InputError("the document holds no task; measure a table first")
    parts = [part for task in document["tasks"] for part in _parts(task)]
    return render("What a synthetic episode is worth", parts)


def _parts(task: Task) -> Iterable[Part]:
    from worldmodel.trust import figures  # here, since Matplotlib takes a second

    yield from _head(task)
    if task["versions"]:
        yield Drawing("alpha, version by version", svg(figures.alpha_axis(task)), ALPHA)
    yield Drawing("The real-only curve", svg(figures.learning(task)), CURVE)
    yield from tables(task)
