"""The report of one turn of the loop: one self-contained page, and its cells as Markdown.

Question: what were the synthetic episodes worth, and may that be believed?
Command:  python -m experiments.loop_report runs/loop/results.json --out report.html
Runtime:  five seconds
Expected: one page without scripts or outside resources, for a phone as for a desk, by day or night

No sentence is fixed where a number decides. What is uncertain is never cut: every axis holds every
finite interval, and what is known on one side alone is an arrow. Colours are Okabe and Ito's; the
versions can be told by their markers and dashes alone.
"""

import dataclasses
import html
import io
import json
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import tyro
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

from worldmodel import runtime
from worldmodel.capture import write_whole

SELF = "v*"  # the control: reality itself as the world model
HALF_WIDTH = 0.25  # what its interval may have at most
RADIUS = 0.03  # [m] of the target
WIDTH = 4.2  # [in] of all figures: eight points of text are legible on a phone
INK, PAPER = "#010203", "#fdfeff"  # the page's own colours are put in their place
GREY = "#808080"
STYLES = (  # colour, marker, dashes
    ("#0072B2", "o", "-"),
    ("#D55E00", "s", (0, (5, 1.5))),
    ("#009E73", "^", (0, (1, 1))),
    ("#CC79A7", "D", (0, (5, 1.5, 1, 1.5))),
    ("#E69F00", "v", (0, (3, 1, 1, 1, 1, 1))),
    ("#56B4E9", "P", (0, (8, 3))),
)
CONTROL = (INK, "*", (0, (2, 2)))
RC = {
    **dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color"), INK),
    **{"axes.edgecolor": GREY, "figure.facecolor": "none", "axes.facecolor": "none"},
    **{"font.size": 8, "axes.titlesize": 8, "legend.fontsize": 8, "legend.frameon": False},
    **{"svg.fonttype": "none", "text.parse_math": False, "grid.color": GREY, "grid.alpha": 0.3},
}
VERDICTS = {
    "OK": "measured",
    "NEGATIVE": "harms: fewer real episodes alone would do as well",
    "CENSORED_HI": "beyond the largest real-only set: a lower bound at most",
    "CENSORED_LO": "worse than the smallest real-only set: an upper bound at most",
    "NOT_IDENTIFIED": "cannot be read off: the real-only curve is too flat or too noisy there",
    "HETEROGENEOUS": "no single α fits all its cells",
}
CHANGES = {
    "RISES": "rises",
    "FALLS": "falls",
    "NO DIFFERENCE": "is not shown to change",
    "CENSORED": "cannot be compared",
}
COLUMNS = ("version", "n", "m", "K", "miss [cm]", "D_eff", "α gross", "α net", "net gain")
COLUMNS += ("α marginal", "verdict")
STYLE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1a1a1a;--line:#ccc;--soft:#595959;--box:#fff1d6}
@media(prefers-color-scheme:dark){:root{--paper:#161616;--ink:#eee;--line:#444;--soft:#aaa;
--box:#3d2b12}}body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:auto;padding:1rem;
color:var(--ink);background:var(--paper)}h1{font-size:1.5rem;line-height:1.25}h2{font-size:1.2rem;
margin:2rem 0 .5rem}figure{margin:0 auto;max-width:36rem}svg{width:100%;height:auto}figcaption,.soft{
font-size:.85rem;color:var(--soft)}table{border-collapse:collapse;font-size:.85rem}th,td{padding:
.25rem .6rem;text-align:left;border-bottom:1px solid var(--line);white-space:nowrap}td.num{
text-align:right}.scroll{overflow-x:auto}.lead{font-size:1.15rem}.loud{background:var(--box);
border-left:.4rem solid #d55e00;padding:.6rem 1rem;font-weight:600}code,pre{font-size:.8rem;
overflow-wrap:anywhere}pre{white-space:pre-wrap}li{margin:.25rem 0}"""

Results = dict[str, Any]
Style = tuple[str, str, Any]


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    results: tyro.conf.Positional[Path]  # results.json
    out: Path  # the page


def write_report(results: Results, path: Path) -> None:
    """Writes the page, whole or not at all."""
    write_whole(path, page(results).encode())


def write_markdown(results: Results, path: Path) -> None:
    """Writes the table of cells as Markdown, whole or not at all."""
    rows = [COLUMNS, ["---"] * len(COLUMNS), *map(_row, _all_cells(results))]
    table = ["| " + " | ".join(c.replace("|", "\\|") for c in row) + " |" for row in rows]
    said = [f"- {sentence}" for sentence in sentences(results)]
    title = f"# Task {results['task']}, reality: {results['reality']} {results['hidden_seed']}"
    commit = f"Commit {results['provenance'].get('commit', 'unknown')}."
    notes = [f"**{note}**\n" for note in warnings(results)]
    lines = [title, "", *notes, headline(results), "", *table, "", *said, "", commit]
    write_whole(path, ("\n".join(lines) + "\n").encode())


def order(results: Results) -> list[str]:
    """The measured versions as they were made, the control last."""
    measured = results["trust"]["versions"]
    names = [v["name"] for v in results["versions"] if v["name"] in measured]
    names += [name for name in measured if name not in names]
    return sorted(names, key=lambda name: name == SELF)


def number(value: float | None, digits: int = 2) -> str:
    """A number as text: a true minus, none before a zero, no decimals from a hundred on."""
    if value is None:
        return "–"
    text = f"{value:.{0 if abs(value) >= 100 else digits}f}"
    return text.replace("-", "−") if float(text) else text.lstrip("-")


def interval(cell: dict[str, Any], kind: str, digits: int = 2) -> str:
    """A value with its interval; a bound where one side alone is known."""
    value, low, high = (cell.get(kind + end) for end in ("", "_low", "_high"))
    if value is not None:
        return f"{number(value, digits)} [{number(low, digits)}, {number(high, digits)}]"
    if low is not None:
        return f"≥ {number(low, digits)}"
    return f"≤ {number(high, digits)}" if high is not None else "–"


def words(cell: dict[str, Any]) -> str:
    """What a cell says of its version, gross, in a word or two."""
    low, high = cell["alpha_avg_low"], cell["alpha_avg_high"]
    if cell["verdict"] == "NOT_IDENTIFIED":
        return "cannot be read"
    if low is not None and low > 0:
        return "helps"
    if high is not None and high < 0:
        return "harms"
    off = {"CENSORED_HI": "off the top", "CENSORED_LO": "off the bottom"}
    return off.get(cell["verdict"], "helps or harms")


def warnings(results: Results) -> list[str]:
    """Why the numbers should not be believed; empty if they may be."""
    found = ["This was a smoke run: its sizes are tiny and its numbers mean nothing."]
    found = found if results.get("smoke") else []
    cells = results["trust"]["versions"].get(SELF, {}).get("cells", [])
    failed = [c for c in cells if not _covers_one(c)]
    if not cells:
        found.append(f"Nothing below should be believed yet: the control {SELF} was not measured.")
    elif failed:
        where = [f"n = {c['n']}, m = {c['m']}: {interval(c, 'alpha_avg')}" for c in failed]
        more = f"; and {len(where) - 3} more" if len(where) > 3 else ""
        found.append(
            f"Nothing below should be believed yet: for the control {SELF}, where reality itself "
            f"makes the synthetic episodes, the interval of α must cover 1 with a half-width of "
            f"at most {HALF_WIDTH}; it fails in {_share(len(failed), len(cells))} "
            f"({'; '.join(where[:3])}{more})."
        )
    return found


def headline(results: Results) -> str:
    """The verdict in one sentence."""
    groups: dict[str, list[str]] = {}
    for name in order(results):
        if name != SELF:
            cells = results["trust"]["versions"][name]["cells"]
            share = _share(_beyond(cells, "alpha_avg", 1), len(cells))
            groups.setdefault(share, []).append(name)
    above = _listed([f"in {share} for {_listed(names)}" for share, names in groups.items()])
    change = _change(results, "v2", "v0") or "v2 and v0 were not compared"
    cells = results["trust"]["versions"].get(SELF, {}).get("cells", [])
    bad = sum(not _covers_one(c) for c in cells)
    if not cells:
        control = "was not measured"
    elif bad:
        control = f"does not cover 1 within ±{HALF_WIDTH} in {_share(bad, len(cells))}"
    else:
        control = f"covers 1 within ±{HALF_WIDTH} in every cell"
    return (
        f"In the {results['reality']} of the task {results['task']}, α is above 0 {above}; "
        f"{change}; the control {SELF} {control}."
    )


def sentences(results: Results) -> list[str]:
    """What the numbers say, version by version and from version to version."""
    said = []
    labels = {v["name"]: v["label"] for v in results["versions"]}
    for name in order(results):
        version = results["trust"]["versions"][name]
        cells = version["cells"]
        counts = [_beyond(cells, kind, s) for kind in ("alpha_avg", "alpha_net") for s in (1, -1)]
        values = [c["alpha_avg"] for c in cells if c["alpha_avg"] is not None]
        k = _listed(sorted({str(c["k"]) for c in cells}))
        text = f"{name} ({labels.get(name, 'unnamed')}; {k} corrections): gross α is "
        if values:
            text += f"{number(min(values))} to {number(max(values))}, "
        text += (
            f"above 0 in {_share(counts[0], len(cells))}, below 0 in "
            f"{_share(counts[1], len(cells))}; net of the corrections above 0 in "
            f"{_share(counts[2], len(cells))}, below 0 in {_share(counts[3], len(cells))}."
        )
        if open_ := sum(c["verdict"].startswith("CENSORED") for c in cells):
            text += f" Off the real-only curve, so a bound at most: {open_}."
        if flat := sum(c["verdict"] == "NOT_IDENTIFIED" for c in cells):
            text += f" Cannot be read off the curve: {flat}."
        if version["verdict"] == "HETEROGENEOUS":
            text += " No single α fits all its cells."
        said.append(text)
    pairs = (("v1", "v0"), ("v2", "v1"), ("v2", "v0"))
    changes = [change for pair in pairs if (change := _change(results, *pair))]
    return said + [f"{change[0].upper()}{change[1:]}." for change in changes]


def against(results: Results) -> str:
    """How planning in the model itself compares with the best mixture on no more real episodes."""
    spent = {(c["version"], c["n"], c["m"]): c["n"] + c["k"] for c in _all_cells(results)}
    direct = results["direct"]
    mixed = [(p, spent.get((p["version"], p["n"], p["m"]))) for p in results["policies"]]
    known = [(p["error_m"], s, p) for p, s in mixed if s is not None and p["version"] != SELF]
    fair = [entry for entry in known if entry[1] <= direct["episodes"]]
    if not known:
        return "There is no mixture to compare it with."
    error, real, best = min(fair or known, key=lambda entry: entry[0])
    verb = "is level with, within its interval,"
    if direct["high"] < error:
        verb = "beats"
    elif direct["low"] > error:
        verb = "is worse than"
    rule = "on no more real episodes" if fair else "of all"
    return (
        f"Planning in the model itself {verb} the best mixture {rule}: {best['version']}, "
        f"n = {best['n']}, m = {best['m']}, {real} real episodes in all, misses by "
        f"{number(100 * error, 1)} cm."
    )
