"""Phrases and sentences that follow from the numbers of a task's document.

A task here is one of the document's ``tasks`` (``plain.to_json``): ``versions`` by name, each with
``cells``, and ``differences``. An unknown number is None.
"""

from collections.abc import Mapping, Sequence
from typing import Any

CONTROL = "v*"  # the version that is reality itself
HALF_WIDTH = 0.25  # of the control's alpha, at most
PHRASES = {
    "OK": "measured",
    "NEGATIVE": "harmful: worse than leaving the synthetic episodes out",
    "CENSORED_HI": "better than the largest real-only set: only a lower bound",
    "CENSORED_LO": "worse than the smallest real-only set: only an upper bound",
    "NOT_IDENTIFIED": "not identified: the real-only curve is too flat or too noisy there",
    "HETEROGENEOUS": "differs between the cells",
}
CHANGES = {
    "RISES": "rises",
    "FALLS": "falls",
    "NO DIFFERENCE": "is not shown to change",
    "CENSORED": "cannot be compared",
}
Task = Mapping[str, Any]


def number(value: float | None, digits: int = 2, factor: float = 1) -> str:
    """A number as text: with a true minus, without a negative zero, without decimals from 100."""
    if value is None:
        return "–"
    text = f"{factor * value:.{0 if abs(factor * value) >= 100 else digits}f}"
    return text.replace("-", "−") if float(text) else text.lstrip("-")


def interval(row: Mapping[str, Any], kind: str, digits: int = 2) -> str:
    """A value with its interval, or the bound if only one end is known.

    Args:
      row: holds ``kind``, ``kind_low`` and ``kind_high``.
    """
    value, low, high = (row.get(kind + end) for end in ("", "_low", "_high"))
    if value is not None:
        return f"{number(value, digits)} [{number(low, digits)}, {number(high, digits)}]"
    bound = f"≥ {number(low, digits)}" if low is not None else f"≤ {number(high, digits)}"
    return "–" if low is None and high is None else bound


def between(low: float | None, high: float | None) -> str:
    """A range of costs with three digits, or the bound if only one end is known."""
    shown = [
        None if v is None else f"{v:.3g}" if abs(v) < 100 else f"{v:,.0f}" for v in (low, high)
    ]
    a, b = (None if v is None else v.replace("-", "−") for v in shown)
    return f"{a} to {b}" if a and b else f"≥ {a}" if a else f"≤ {b}" if b else "unknown"


def earns(low: float | None, high: float | None) -> str:
    """Whether a version pays, by the range of its net value."""
    if low is not None and low > 0:
        return "pays"
    return "does not pay" if high is not None and high < 0 else "may pay or not"


def share(count: int, of: int) -> str:
    """A number of cells out of all."""
    return f"{count} of {of} cells" if 0 < count < of else "every cell" if count else "no cell"


def listed(items: Sequence[str]) -> str:
    """The items as "one, two and three"."""
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def beyond(cells: Sequence[Mapping[str, Any]], kind: str, sign: int) -> int:
    """The number of cells whose whole interval is above (sign 1) or below (sign -1) 0."""
    ends = [cell[kind + ("_low" if sign > 0 else "_high")] for cell in cells]
    return sum(end is not None and sign * end > 0 for end in ends)


def corrections(version: Mapping[str, Any]) -> str:
    """The numbers K of corrections of the version's cells."""
    return listed([str(k) for k in sorted({c["k"] for c in version["cells"]})])


def verdict(version: Mapping[str, Any]) -> str:
    """The effect of a version's episodes, gross and net, as a phrase."""
    cells = [c for c in version["cells"] if c["verdict"] != "NOT_IDENTIFIED"]
    if not cells:
        return "cannot be read: the real-only curve is too flat or too noisy"
    of, k = len(cells), any(c["k"] for c in cells)
    helps, harms = (beyond(cells, "alpha_avg", sign) for sign in (1, -1))
    pays, loses = (beyond(cells, "alpha_net", sign) for sign in (1, -1))
    if helps == of:
        net = "pays for its corrections"
        if loses == of:
            net = "does not pay for its corrections"
        elif pays < of:
            net = f"pays for its corrections in {share(pays, of)}"
        return f"helps, and {net}" if k else "helps"
    if harms == of:
        return "harms"
    if not helps and not harms:
        return "neither help nor harm is shown"
    return f"helps in {share(helps, of)}, harms in {share(harms, of)}"


def cell_verdict(cell: Mapping[str, Any]) -> str:
    """The gross effect in a cell, as a phrase."""
    low, high = cell["alpha_avg_low"], cell["alpha_avg_high"]
    if cell["verdict"] == "NOT_IDENTIFIED":
        return "not readable"
    if low is not None and low > 0:
        return "helps"
    if high is not None and high < 0:
        return "harms"
    off = {"CENSORED_HI": "off the top", "CENSORED_LO": "off the bottom"}
    return off.get(cell["verdict"], "undecided")


def sentence(name: str, version: Mapping[str, Any], label: str = "") -> str:
    """Sentences on a version: the numbers of cells above and below 0, gross and net."""
    cells = version["cells"]
    counts = [beyond(cells, kind, s) for kind in ("alpha_avg", "alpha_net") for s in (1, -1)]
    above, below, paid, lost = (share(count, len(cells)) for count in counts)
    text = f"{name} ({f'{label}; ' if label else ''}{corrections(version)} corrections): "
    text += f"gross α is above 0 in {above}, below 0 in {below}; net above 0 in {paid}, below 0 in "
    text += f"{lost}."
    bounds = sum(c["verdict"].startswith("CENSORED") for c in cells)
    flat = sum(c["verdict"] == "NOT_IDENTIFIED" for c in cells)
    off = f" Off the real-only curve, so a bound at most, in {share(bounds, len(cells))}."
    text += off if bounds else ""
    text += f" Cannot be read off the curve in {share(flat, len(cells))}." if flat else ""
    if version["verdict"] == "HETEROGENEOUS":
        text += " No single α fits all its cells."
    return text


def change(task: Task, a: str, b: str) -> str:
    """The change of the net gain from version b to a, over their cells; empty if not compared."""
    verdicts = [d["verdict"] for d in task["differences"] if (d["a"], d["b"]) == (a, b)]
    kept = [verdict for verdict in CHANGES if verdict == "RISES" or verdict in verdicts]
    counts = [f"{CHANGES[v]} in {share(verdicts.count(v), len(verdicts))}" for v in kept]
    return f"from {b} to {a} the gain net of corrections {', '.join(counts)}" if verdicts else ""


def covers_one(control: Mapping[str, Any]) -> bool:
    """Whether the control's interval covers 1 with a half-width of at most ``HALF_WIDTH``."""
    low, high = control["alpha_low"], control["alpha_high"]
    return None not in (low, high) and low <= 1 <= high and (high - low) / 2 <= HALF_WIDTH


def control_alpha(control: Mapping[str, Any]) -> str:
    """The control's mean α, with a third digit if an end would round to 1."""
    ends = (control["alpha_low"], control["alpha_high"])
    near = any(end is not None and abs(end - 1) < 0.005 for end in ends)
    return interval(control, "alpha", 3 if near else 2)


def doubt(task: Task) -> str:
    """The reason not to trust a task's numbers; empty if the control covers 1."""
    control = task["versions"].get(CONTROL)
    if control is None:
        return f"Nothing below should be believed yet: the control {CONTROL} was not measured."
    if covers_one(control):
        return ""
    lost = sum(c["alpha_avg"] is None for c in control["cells"])
    why = f"; {share(lost, len(control['cells']))} have none" if lost else ""
    return (
        f"Nothing below should be believed yet: for the control {CONTROL}, where reality itself "
        "makes the synthetic episodes, the interval of its mean α over all cells must cover 1 "
        f"with a half-width of at most {HALF_WIDTH}; it is {control_alpha(control)}{why}."
    )
