"""The tables of a task's document, a question each, as text for a terminal and for a page.

A task is one of the document's ``tasks`` (``plain.to_json``).
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from worldmodel.trust.figures import ENDS, cells_of, order
from worldmodel.trust.phrases import (
    CONTROL,
    PHRASES,
    Task,
    between,
    corrections,
    earns,
    interval,
    number,
    verdict,
)

SIZES = ("n", "m", "K")
PRICES = {  # of a cost card's cells, by column
    "a real episode [$]": "real",
    "a correction [$]": "correction",
    "the first [$]": "first",
    "one more [$]": "later",
    "each of all m [$]": "synthetic",
    "break-even α": "break_even",
    "net value [$]": "net_value",
}
TOOK = {"steps": "steps", "device [s]": "device_seconds", "energy [J]": "energy_joules"}
TESTS = {"p one α": "homogeneity_p", "p additive": "additivity_p", "p one law": "law_p"}


class Table(NamedTuple):
    """A table of text; every row has a field per column."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def conditions(task: Task) -> str:
    """What the numbers of a task are conditional on, as a line."""
    return (
        f"learner {task['recipe']!r}, split {task['split']!r}, law {task['law']!r}, "
        f"{task['seeds']} seeds, {100 * task['level']:g} % intervals"
    )


def curve(task: Task) -> Table:
    """The real-only curve."""
    real = task["curve"]
    errors = [_four(*error.values()) for error in real["error"]]
    slopes = ["{} [{}, {}]".format(*map(number, slope.values())) for slope in real["slope"]]
    rows = list(zip(map(str, real["n"]), errors, [*slopes, "–"], strict=True))
    title = f"Real only: the error falls {number(real['falls'])} times"
    return Table(title, ("n", "error", "slope to the next n"), rows)


def versions(task: Task) -> Table:
    """What holds for all cells of a version, and the law fitted to them."""
    end = "cap" if task["law"] == "oracle" else "limit"
    law = {"α_0": ("alpha_0", 2), end: (end, 2), "κ": ("kappa", 2), "b": ("b", 4)}
    rows = []
    for name in order(task):
        version = task["versions"][name]
        effect = "the control: reality itself" if name == CONTROL else verdict(version)
        rows.append(
            [name, corrections(version), interval(version, "alpha"), effect]
            + [PHRASES[version["verdict"]]]
            + [interval(version, kind, digits) for kind, digits in law.values()]
            + [_p(version[kind]) for kind in TESTS.values()]
            + [version["law_reason"] or "fits"]
        )
    header = ("version", "K", "mean α", "effect", "cells", *law, *TESTS, "law")
    return Table("Versions", header, rows)


def cells(task: Task) -> Table:
    """Every cell: its error, D_eff, α and gain; net of reused corrections if there are any."""
    net = {"α net": ("alpha_net", 2), "gain net": ("gain_net", 1)}
    if any(cell["verdict_reused"] for _, cell in cells_of(task)):
        net |= {f"{column}, reused": (f"{kind}_reused", d) for column, (kind, d) in net.items()}
    kinds = {"D_eff": ("d_eff", 1), "α gross": ("alpha_avg", 2), **net}
    kinds["α marginal"] = ("alpha_marg", 2)
    rows = [
        [name, *_sizes(cell), _four(*(cell[f"error{end}"] for end in ENDS))]
        + [interval(cell, kind, digits) for kind, digits in kinds.values()]
        + [PHRASES[cell["verdict"]].split(":")[0], _why(cell)]
        for name, cell in cells_of(task)
    ]
    return Table("Cells", ("version", *SIZES, "error", *kinds, "verdict", "why"), rows)


def differences(task: Task) -> Table:
    """The differences of versions, paired over the seeds; each pair in one order."""
    names = order(task)
    pairs = [d for d in task["differences"] if names.index(d["a"]) > names.index(d["b"])]
    gains = {"gain net": ("gain_net", "verdict")}
    if any(d["verdict_reused"] for d in pairs):
        gains["gain net, reused"] = ("gain_net_reused", "verdict_reused")
    rows = []
    for d in pairs:
        rows.append([f"{d['a']} − {d['b']}", str(d["n"]), str(d["m"]), interval(d, "alpha_avg")])
        for kind, verdict_of in gains.values():
            rows[-1] += [interval(d, kind, 1), d[verdict_of].lower() or "–"]
    header = [column for gain in gains for column in (gain, "verdict")]
    return Table("Differences", ("versions", "n", "m", "α gross", *header), rows)


def costs(card: Mapping[str, Any]) -> list[Table]:
    """The prices of a cost card (``cost.price``), the devices and the assumptions."""
    priced, devices = [], []
    for name, version in card["versions"].items():
        taken = [version[f"{kind}_seconds"] for kind in ("episode", "model")]
        taken.append(version["energy_joules"])
        devices.append([name, version["device"], *map(_took, taken)])
        for cell in version["cells"]:
            shown = [between(cell[f"{kind}_low"], cell[f"{kind}_high"]) for kind in PRICES.values()]
            pays = earns(cell["net_value_low"], cell["net_value_high"])
            priced.append([name, *_sizes(cell), *shown, pays])
    scale = card["scale"]
    devices.append(["for scale", scale["what"], _took(scale["episode_seconds"]), "–", "–"])
    assumed = [
        [a["name"], f"{a['low']:g} to {a['high']:g} {a['unit']}", a["source"]]
        for a in card["assumptions"]
    ]
    taken = ("per episode [s]", "before the first [s]", "per episode [J]")
    return [
        Table("What it costs", ("version", *SIZES, *PRICES, "verdict"), priced),
        Table("Measured", ("version", "device", *taken), devices),
        Table("Assumed (--assume NAME LOW HIGH)", ("assumed", "range", "source"), assumed),
    ]


def budgets(task: Task) -> Table:
    """The mean budget of a training run by cell; without rows if the runs' table has none."""
    known = {c: k for c, k in TOOK.items() if any(b[k] is not None for b in task["budgets"])}
    rows = [
        [b["version"] or "real only", *_sizes(b), *(_took(b[kind]) for kind in known.values())]
        for b in task["budgets"]
    ]
    return Table("Mean budget of a training run", ("version", *SIZES, *known), rows)


def judge(by_policy: Mapping[str, Mapping[str, Any]]) -> Table:
    """The value of simulated evaluations by policy (``supplements.evaluations``)."""
    rows = [
        [name, str(e["n"]), str(e["extra"]), interval(e, "rho"), number(e["threshold"])]
        + [interval(e, kind, digits) for kind, digits in (("alpha", 2), ("real", 3), ("mean", 3))]
        + [e["verdict"].lower(), e["reason"]]
        for name, e in by_policy.items()
    ]
    sizes, means = ("pairs", "simulated"), ("real alone", "with simulated")
    header = ("policy", *sizes, "ρ", "needed", "α_eval", *means, "verdict", "why")
    return Table("The simulator as a judge", header, rows)


def of_task(task: Task) -> list[Table]:
    """Every table of a task that has rows."""
    tables = [curve(task), versions(task), cells(task), differences(task)]
    tables += costs(task["cost"]) if "cost" in task else []
    tables += [budgets(task), judge(task.get("evaluation", {}))]
    return [table for table in tables if table.rows]


def _sizes(cell: Mapping[str, Any]) -> list[str]:
    return [str(cell[key]) for key in ("n", "m", "k")]


def _four(*ends: float | None) -> str:
    """An error and its interval to four digits."""
    shown = ("–" if v is None else f"{v:.4g}".replace("-", "−") for v in ends)
    return "{} [{}, {}]".format(*shown)


def _p(p: float | None) -> str:
    return "–" if p is None else f"{p:.3f}" if p >= 5e-4 else "< 0.001"


def _took(value: float | None) -> str:
    return "–" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _why(cell: Mapping[str, Any]) -> str:
    """The reason of a verdict that is no number."""
    return "" if cell["verdict"] in ("OK", "NEGATIVE") else cell["reason"]
