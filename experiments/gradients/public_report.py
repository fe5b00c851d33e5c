"""The table of the public scenes, from its rows alone."""

from typing import Any

LEAVES = ("qvel", "ctrl", "mass", "friction")
GRADIENTS = {
    "shipped": "one step, solver as shipped",
    "one": "one step, solver converged",
    "short": "eight steps, solver converged",
}
WANTED = 1e-6  # relative error of a gradient
UNSURE = 10.0  # times the differences' own disagreement, which no error below can be told from
Row = dict[str, Any]


def summary_of(rows: dict[str, Row]) -> dict[str, Any]:
    """Counts of outcomes, and the greatest errors of those that were measured."""
    outcomes = [row["outcome"] for row in rows.values()]
    summary: dict[str, Any] = {name: outcomes.count(name) for name in dict.fromkeys(outcomes)}
    valued = [row["values"]["mjx"] for row in rows.values() if "values" in row]
    for i, steps in enumerate(("1", "32")):
        if valued:
            known = [x[i] for x in valued if x[i] is not None]
            summary[f"value_{steps}"] = max(known, default=None)
    for kind in GRADIENTS:
        cells = [row["gradient"][kind][leaf] for row in _measured(rows) for leaf in LEAVES]
        known = [cell["error"] for cell in cells if decided(cell)]
        summary[f"gradient_{kind}"] = max(known, default=None)
        summary[f"gradient_{kind}_within"] = sum(error <= WANTED for error in known)
        summary[f"gradient_{kind}_compared"] = len(known)
        summary[f"gradient_{kind}_not_finite"] = sum(
            cell.get("note") == "not finite" for cell in cells
        )
    return summary


def _measured(rows: dict[str, Row]) -> list[Row]:
    return [row for row in rows.values() if "gradient" in row]


def decided(cell: Row) -> bool:
    """Whether the differences are good enough to tell the error from what is wanted."""
    return "error" in cell and (
        cell["reference"] <= WANTED or cell["error"] > UNSURE * cell["reference"]
    )


def _cell(cell: Row) -> str:
    """An error; or why there is none."""
    kinks = f", {cell['kinks']} kinks" if cell["kinks"] else ""
    if "error" not in cell:
        return cell["note"]
    if not decided(cell):
        return f"unsure, {max(cell['error'], cell['reference']):.0e}{kinks}"
    return f"{cell['error']:.0e}{kinks}"


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.0e}"


def markdown(result: dict[str, Any]) -> str:
    """table.md as text."""
    run, rows = result["provenance"], result["rows"]
    commits = ", ".join(dict.fromkeys(row["commit"] for row in rows.values() if "commit" in row))
    versions = ", ".join(f"{k} {v}" for k, v in run["versions"].items())
    outcomes = [row["outcome"] for row in rows.values()]
    counts = ", ".join(f"{outcomes.count(o)} {o}" for o in dict.fromkeys(outcomes))
    lines = [
        "# The step on scenes of other projects",
        "",
        f"`{result['command']}`",
        "",
        f"Commits {commits}; {run['date']}, {run['cpu']} ({run['cores']} cores), "
        f"{', '.join(run['devices'])}; {versions}; float64. Generated from table.json.",
        "",
        f"{len(rows)} scenes: {counts}.",
        "",
        "## Values",
        "",
        "Largest difference of `physics.step` from `mjx.step` and from C MuJoCo, in qpos and qvel "
        "[m, rad, m/s, rad/s], after 1 and 32 steps under the scene's own options.",
        "",
        "| scene | nv | slots | rows | touching | solver | `mjx.step`, 1 | 32 | C, 1 | 32 |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        if "values" in row:
            numbers = " | ".join(_number(x) for x in (*row["values"]["mjx"], *row["values"]["c"]))
            options = f"{row['solver']}, {row['cone']}, {row['integrator']}"
            sizes = f"{row['nv']} | {row['slots']} | {row['rows']} | {row['contacts']}"
            lines.append(f"| {name} | {sizes} | {options} | {numbers} |")
    lines += ["", "## Gradients", ""]
    lines += [
        "Relative error of the reverse-mode gradient of a random mix of the state, against central "
        "differences of `mjx.step` with a converged solver. *dead*: both are below 1e-12; *kink*: "
        "the one-sided differences disagree; *none*: the scene has no such number; *unsure*: the "
        "differences of two widths disagree by more than what is wanted, 1e-06, and by as much "
        "as the error. Where a cylinder touches something round, MJX's contact point is where its "
        "descent stops, and the gradient that of the point at which it would end.",
    ]
    for kind, title in GRADIENTS.items():
        lines += ["", f"### {title.capitalize()}", "", f"| scene | {' | '.join(LEAVES)} |"]
        lines += ["|---" * (len(LEAVES) + 1) + "|"]
        for name, row in rows.items():
            if "gradient" in row:
                cells = " | ".join(_cell(row["gradient"][kind][leaf]) for leaf in LEAVES)
                lines.append(f"| {name} | {cells} |")
    lines += _times(rows)
    lines += ["", "## Without a row above", "", "| scene | outcome | reason |", "|---|---|---|"]
    for name, row in rows.items():
        if row["outcome"] != "measured":
            during = f" (during: {row['during']})" if "during" in row else ""
            text = _escaped(row["reason"] + during)
            lines.append(f"| {name} | {row['outcome']} | {text} |")
    warned = [(name, text) for name, row in rows.items() for text in row.get("warned", ())]
    if warned:
        lines += ["", "## Warned of when loaded", "", "| scene | warning |", "|---|---|"]
        lines += [f"| {name} | {_escaped(text)} |" for name, text in warned]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _times(rows: dict[str, Row]) -> list[str]:
    batched = any("batch" in row for row in rows.values())
    head = "| scene | compile [s]: `mjx.step` | ours | gradient | ratio "
    head += "| step [µs]: C, one thread | `mjx.step` | ours | gradient | ratio | peak [GB] |"
    columns = 11
    if batched:
        head += " in a batch [µs]: `mjx.step` | ours | gradient | ratio |"
        columns += 4
    lines = [
        "",
        "## Times",
        "",
        "One state at once, under the scene's own options. Ratios: of the ",
    ]
    lines[-1] += "gradient to `mjx.step`."
    lines += ["", head, "|---" * columns + "|"]
    for name, row in rows.items():
        if "gradient" not in row.get("compile_s", {}):
            continue
        cells = [name, *_ratio(row["compile_s"], 1.0), f"{1e6 * row['step_s']['c']:.0f}"]
        cells += [*_ratio(row["step_s"], 1e6), f"{row['peak_gb']:.1f}"]
        if batched:
            cells += _ratio(row["batch"], 1e6) if "batch" in row else [""] * 4
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _ratio(seconds: dict[str, float], scale: float) -> list[str]:
    numbers = [f"{scale * seconds[name]:.0f}" for name in ("mjx", "ours", "gradient")]
    return [*numbers, f"{seconds['gradient'] / seconds['mjx']:.1f}"]
