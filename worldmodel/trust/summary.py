"""Results as plain text for a terminal."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from worldmodel.trust.phrases import (
    CHANGES,
    CONTROL,
    PHRASES,
    Task,
    between,
    corrections,
    doubt,
    earns,
    interval,
    number,
    verdict,
)
from worldmodel.trust.planner import Grid


def summary(document: Mapping[str, Any]) -> str:
    """The text of all tasks of a document (as of ``plain.document``)."""
    return "\n\n\n".join(_task(task) for task in document["tasks"]) + "\n"


def planned(grids: Sequence[Grid], half_width: float) -> str:
    """The text of a plan: the seeds to run for an interval of that half-width, or the refusal."""
    possible = [grid for grid in grids if grid.runs is not None]
    if not possible:
        return f"No plan: {grids[0].plan.reason}.\n"
    plan = possible[0].plan
    rows = [
        (str(g.cells), str(g.plan.seeds or "–"), str(g.runs or "–"), g.plan.reason) for g in grids
    ]
    head = ("cells averaged", "seeds", "training runs", "because")
    return (
        f"For alpha ± {half_width:g}: at D_eff the seed noise is cv = {plan.cv:.3f}, the slope "
        f"{plan.beta:.2f}.\n{_table(head, rows)}\n"
        "A measurement has two n and three m: row 6 is for the mean alpha, row 1 for each cell.\n"
    )


def judged(by_task: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """The text of ``supplements.evaluations_by_task``."""
    parts = [f"Task {task}\n{_judge(x)}" if task else _judge(x) for task, x in by_task.items()]
    return "\n\n".join(parts) + "\n"


def _judge(by_policy: Mapping[str, Mapping[str, Any]]) -> str:
    head = ("policy", "pairs", "more", "ρ", "needed", "α_eval", "real alone", "with it")
    rows = []
    for name, e in by_policy.items():
        rho, alpha = interval(e, "rho"), interval(e, "alpha")
        means = (interval(e, kind, 3) for kind in ("real", "mean"))
        sizes = (str(e["n"]), str(e["extra"]))
        rows.append((name, *sizes, rho, number(e["threshold"]), alpha, *means))
    reasons = [f"  {name}: {e['verdict'].lower()}: {e['reason']}" for name, e in by_policy.items()]
    title = "The simulator as a judge: real evaluation episodes that a simulated one is worth"
    return "\n".join([title, _table(head, rows), *reasons])


def _cost(card: Mapping[str, Any]) -> str:
    """The text of a cost card: prices [$], break-even, net value and assumptions."""
    kinds = {"one synthetic": "synthetic", "10 000th": "later", "break-even α": "break_even"}
    kinds |= {"net value": "net_value"}
    rows, cell = [], {}
    for name, version in card["versions"].items():
        for cell in version["cells"]:
            shown = [between(cell[f"{k}_low"], cell[f"{k}_high"]) for k in kinds.values()]
            so = earns(cell["net_value_low"], cell["net_value_high"])
            rows.append((name, f"{cell['n']} + {cell['m']}", *shown, so))
    title = "What it costs [$], as ranges over what is assumed"
    if cell:
        real, fix = (between(cell[f"{k}_low"], cell[f"{k}_high"]) for k in ("real", "correction"))
        title += f"; a usable real episode {real}, a correction {fix}"
    assumed = [
        f"  {a['name']} {between(a['low'], a['high'])} {a['unit']}: {a['source']}"
        for a in card["assumptions"]
    ]
    head = ("version", "n + m", *kinds, "so it")
    return "\n".join([title, _table(head, rows), "  Assumed (--assume NAME LOW HIGH):", *assumed])


def _task(task: Task) -> str:
    head = (
        f"Task {task['task']}: learner {task['recipe']!r}, judged on split {task['split']!r}, "
        f"{task['seeds']} seeds, {100 * task['level']:g} % intervals"
    )
    parts = ["\n".join([head, *task["notes"]]), _curve(task)]
    if task["versions"]:
        parts[1:1] = [warning] if (warning := doubt(task)) else []
        parts += [_version(name, version, task) for name, version in task["versions"].items()]
        parts += [text] if (text := _differences(task)) else []
    else:
        parts.append("No mixtures yet: m = 0 in every row. `plan` says how many seeds they need.")
    parts += [_cost(task["cost"])] if task.get("cost") else []
    parts += [_judge(task["evaluation"])] if task.get("evaluation") else []
    return "\n\n".join(parts)


def _curve(task: Task) -> str:
    curve = task["curve"]
    first, last = curve["n"][0], curve["n"][-1]
    slopes = [*(interval({f"x{e}": s[k] for e, k in _ENDS}, "x") for s in curve["slope"]), ""]
    rows = [
        (str(n), _significant(error), slope)
        for n, error, slope in zip(curve["n"], curve["error"], slopes, strict=True)
    ]
    falls = f"Real only: the error falls {curve['falls']:.1f} times from n = {first} to {last}."
    return f"{falls}\n{_table(('n', 'error', 'slope to the next n'), rows)}"


_ENDS = (("", "value"), ("_low", "low"), ("_high", "high"))


def _significant(x: Mapping[str, float | None]) -> str:
    value, low, high = ("–" if x[key] is None else f"{x[key]:.3g}" for _, key in _ENDS)
    return f"{value} [{low}, {high}]"


def _version(name: str, version: Mapping[str, Any], task: Task) -> str:
    what = "the control: reality itself" if name == CONTROL else verdict(version)
    lines = [f"{name} ({corrections(version)} corrections): {what}"]
    cells, reused = version["cells"], any(c["verdict_reused"] for c in version["cells"])
    kinds = {"D_eff": "d_eff", "α gross": "alpha_avg", "α net": "alpha_net"}
    kinds |= {"gain net": "gain_net", "α marginal": "alpha_marg"}
    kinds |= {"gain net, reused": "gain_net_reused"} if reused else {}
    digits = {"d_eff": 1, "gain_net": 1, "gain_net_reused": 1}
    rows = [
        (
            f"{cell['n']} + {cell['m']}",
            *(interval(cell, kind, digits.get(kind, 2)) for kind in kinds.values()),
            PHRASES[cell["verdict"]],
        )
        for cell in cells
    ]
    lines.append(_table(("n + m", *kinds, "verdict"), rows))
    odd = {c["reason"] for c in cells if c["verdict"] not in ("OK", "NEGATIVE")}
    lines += [f"  {reason}" for reason in sorted(odd)]
    lines.append(
        f"  mean α {interval(version, 'alpha')}; one α in all cells: "
        f"{_p(version['homogeneity_p'])}; D_eff = n + g(m): {_p(version['additivity_p'])}"
    )
    return "\n".join([*lines, f"  {_law(version, task['law'])}"])


def _law(version: Mapping[str, Any], law: str) -> str:
    if version["law_reason"]:
        return f"no law, cap or α_0: {version['law_reason']}"
    ends = interval(version, "cap" if law == "oracle" else "limit", 0)
    end = f"cap: D_eff exceeds n by {ends} at most"
    if law == "pooled":
        end = f"no cap under weight 1; D_eff tends to {ends} as m grows, whatever n"
    return (
        f"α_0 {interval(version, 'alpha_0')}; {end}; κ {interval(version, 'kappa')}, "
        f"b {interval(version, 'b', 4)} ({_p(version['law_p'])})"
    )


def _p(p: float | None) -> str:
    return "not tested" if p is None else f"p = {p:.3f}" if p >= 5e-4 else "p < 0.001"


def _differences(task: Task) -> str:
    order = [name for name in task["versions"] if name != CONTROL]
    kept = [
        d
        for d in task["differences"]
        if CONTROL not in (d["a"], d["b"]) and order.index(d["a"]) > order.index(d["b"])
    ]
    reused = any(d["verdict_reused"] for d in kept)
    rows = [
        (
            f"{d['a']} − {d['b']}",
            f"{d['n']} + {d['m']}",
            interval(d, "alpha_avg"),
            interval(d, "gain_net", 1),
            *([interval(d, "gain_net_reused", 1)] if reused else []),
            f"net gain {CHANGES[d['verdict']]}",
        )
        for d in kept
    ]
    more = ["gain net, reused"] if reused else []
    head = ("versions", "n + m", "α gross", "gain net", *more, "verdict")
    return f"Differences, paired over the seeds\n{_table(head, rows)}" if rows else ""


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    return "\n".join(
        "  " + "  ".join(x.ljust(w) for x, w in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )
