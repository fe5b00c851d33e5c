"""A document of measured tasks as text for a terminal and as one HTML page with its figures.

Both show the same tables, whose columns are the document's own fields. Every verdict is a code;
``EXPLAINED`` has a line for each. A task is one of the document's ``tasks`` (``result.to_json``);
an unknown number is None and shown as a dash.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from worldmodel.errors import InputError
from worldmodel.runtime.page import INK, Drawing, Heading, Note, Part, Table, render, svg
from worldmodel.trust import evaluation
from worldmodel.trust.planner import Plan
from worldmodel.trust.result import CONTROL, SPENT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
COLOURS = ("#0072b2", "#d55e00", "#007f5f", "#b0508a", "#8f6600", "#2b83b8")  # Okabe and Ito
MARKERS = ("o", "s", "^", "D", "v")  # one fewer than colours, so that 30 versions differ
WIDTH = 4.3  # [inch] of a figure, as wide as a phone
ROW = 0.26  # [inch] of a cell's row
FONT = 11.0
BENT = 15.0  # an axis that reaches this far from 0 is linear up to 1 and logarithmic beyond
ENDS = ("", "_low", "_high")
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
    yield from _head(task)
    if task["versions"]:
        yield Drawing("alpha, version by version", svg(alpha_axis(task)), ALPHA)
    yield Drawing("The real-only curve", svg(learning(task)), CURVE)
    yield from tables(task)


def alpha_axis(task: Task) -> "Figure":
    """α of every cell on one axis, a row each: gross filled; net open."""
    from matplotlib.figure import Figure  # here, since Matplotlib takes a second

    cells = cells_of(task)
    figure = Figure(figsize=(WIDTH, 0.6 + ROW * (len(cells) + len(task["versions"]))))
    axes = figure.add_subplot()
    text, ticks, row = {"va": "center", "parse_math": False}, {}, 0
    text["transform"] = axes.get_yaxis_transform()
    for name in order(task):
        style = _style(task, name)
        title = {"weight": "bold", "color": style["color"], "fontsize": FONT}
        axes.text(0.01, row, name, **text, **title)
        for cell in task["versions"][name]["cells"]:
            row += 1
            ticks[row] = f"n {cell['n']}, m {cell['m']}"
            paid = bool(cell["k"])
            _interval(axes, cell, "alpha_avg", row - 0.15 * paid, style)
            if paid:
                _interval(axes, cell, "alpha_net", row + 0.15, style | {"mfc": "none"})
            code = "" if cell["verdict"] == "OK" else cell["verdict"]
            axes.text(1.02, row, code, **text, fontsize=0.75 * FONT)
        row += 1
    axes.axvline(0, color=INK, lw=0.8)
    axes.axvline(1, color=INK, lw=0.8, ls="--")
    if np.abs(axes.dataLim.intervalx).max() > BENT:
        axes.set_xscale("symlog", linthresh=1)
    axes.set(ylim=(row - 0.4, -0.6), xlabel="alpha: real episodes per synthetic one")
    axes.set_yticks([*ticks], [*ticks.values()])
    return _styled(figure)


def learning(task: Task) -> "Figure":
    """The error of real-only training, and below it the D_eff of every mixture."""
    from matplotlib.figure import Figure

    names, sizes, errors = order(task), task["curve"]["n"], task["curve"]["error"]
    figure = Figure(figsize=(WIDTH, 2.4 + ROW * len(names)))
    ratios = [2.0, 0.1 + ROW * len(names)]
    top, strip = figure.subplots(2, sharex=True, height_ratios=ratios, gridspec_kw={"hspace": 0.05})
    top.set(xscale="log", yscale="log", ylabel="error", xlim=(sizes[0] / 1.2, sizes[-1] * 1.2))
    top.plot(sizes, [e["value"] for e in errors], color=INK, lw=1, marker="o", ms=3.0)
    for n, e in zip(sizes, errors, strict=True):
        # A logarithmic axis has no 0: an interval that reaches it ends at the axis' end.
        top.plot([n, n], [e["low"], e["high"]], color=INK, lw=1.5, label="_error")
    for i, name in enumerate(names):
        for cell in task["versions"][name]["cells"]:
            at = cell["d_eff"]  # without its interval
            alone = cell if at is None else cell | {"d_eff_low": at, "d_eff_high": at}
            _interval(strip, alone, "d_eff", i, _style(task, name) | {"mfc": "none"})
    strip.set(ylim=(len(names) - 0.4, -0.6), xlabel="n, real episodes")
    strip.set_yticks(range(len(names)), names, parse_math=False)
    strip.set_xticks(sizes, [str(n) for n in sizes])
    strip.minorticks_off()
    return _styled(figure)


def _style(task: Task, name: str) -> dict[str, Any]:
    """Colour and marker of a version."""
    if name == CONTROL:
        return {"color": INK, "marker": "*", "ms": 5.0}
    i = order(task).index(name)
    return {"color": COLOURS[i % 6], "marker": MARKERS[i % 5], "ms": 5.0}


def _interval(
    axes: "Axes", cell: Mapping[str, Any], kind: str, at: float, style: Mapping[str, Any]
) -> None:
    """A bar with its mark, and an arrow to the axis' end for an open side; nothing if unknown."""
    value, low, high = (cell[kind + end] for end in ENDS)
    known = [v for v in (low, value, high) if v is not None]
    if len(known) > 1:
        axes.plot([known[0], known[-1]], [at, at], color=style["color"], lw=1.5, label=f"_{kind}")
    mark = value if value is not None else known[0] if known else None
    if mark is not None:
        axes.plot([mark], [at], ls="", label=f"_{kind} mark", **style)
    for end, place, side in ((low, 0.0, "LO"), (high, 1.0, "HI")):
        # Without a value, an arrow on the censored side only.
        if end is None and (value is not None or cell["verdict"] == f"CENSORED_{side}"):
            begin = (0.9 * place + 0.05, "axes fraction") if mark is None else (mark, "data")
            axes.annotate(
                "",
                xy=(place, at),
                xycoords=("axes fraction", "data"),
                xytext=(begin[0], at),
                textcoords=(begin[1], "data"),
                arrowprops={"arrowstyle": "->", "color": style["color"], "ls": ":"},
            )


def _styled(figure: "Figure") -> "Figure":
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#888888", alpha=0.3, lw=0.6)
    return figure
