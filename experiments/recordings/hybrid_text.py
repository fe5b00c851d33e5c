"""The learned half's table for people: Markdown, from table.json's content alone."""

from typing import Any

from experiments.recordings.physics_statistics import (
    FEW,
    TITLES,
    channels_of,
    counts_and_head,
    error_text,
    heading,
    horizon_heading,
    ratio_text,
    table_head,
)

LABELS = {
    "physics": "fitted physics",
    "hybrid": "hybrid",
    "latent": "latent (network alone)",
    "dealt": "corrections dealt to other windows",
    "start_only": "correction of the initial velocity alone",
    "network_off": "the hybrid's physics, no corrections",
}
PUBLISHED = {  # recording: source, position [m], rotation [rad]; stretches of 80 steps
    "cube_toss": (
        ("NeRD (CoRL 2025, arXiv 2508.15755)", 0.018, 0.266),
        ("ContactNets (CoRL 2020; as NeRD reports it)", 0.017, 0.242),
    )
}


def markdown(table: dict[str, Any]) -> str:
    """The table for people."""
    fits = table["fits"]
    best = next(f for f in fits["hybrid"] if f["seed"] == table["best_seed"])
    ids = f"; ids of the {table['split']} episodes: sha256 {table['split_ids_sha256'][:16]}…"
    lines = [
        *heading(table, "the learned half", ids),
        "Open-loop predictions, averaged over frames, then windows, then episodes, then fit "
        f"seeds ({', '.join(map(str, table['seeds']))}). Ratios are of mean errors, against the "
        "fits of the same seeds, with 95 % intervals paired over episodes, and the seeds' least "
        "and greatest. *Dealt*: the hybrid's own physics with its corrections of another window "
        "of the same length; where a correction fits its window and no other, the gain vanishes.",
        "",
        "*Validation* episodes chose the step at which each fit's weights were kept and the one at "
        f"which it stopped, and which checkpoint is kept here: seed {best['seed']}, with the least "
        f"product ({best['validation']:.4f}) of its validation error relative to its physics "
        f"({best['result']['validation']:.4f}) and that of its physics relative to the published "
        "parameters. " + ("*Test* episodes chose nothing." if table["split"] == "test" else ""),
    ]
    for horizon in table["horizons"]:
        lines += horizon_heading(horizon) + _errors(horizon, table)
        lines += _ratios(horizon, "physics") + _ratios(horizon, "hybrid")
    lines += [f"## What is left at {table['remaining']['frames']} frames", ""]
    for name, head in (("start", "start [frame]"), ("contact", "at the start")):
        if table["remaining"][name]:
            lines += _remaining(table["remaining"][name], head)
    lines += [
        "## Validation of each fit",
        "",
        "| fit | seed | steps | validation |",
        "|---|---|---|---|",
    ]
    for name, group in fits.items():
        for f in group:
            steps, own = f["result"].get("steps", "–"), f["result"]["validation"]
            lines.append(f"| {label(name)} | {f['seed']} | {steps} | {own:.4f} |")
    lines += [
        "",
        "Relative to where the fit departs from: of the physics the published parameters, of "
        "what has a network that physics, of the latent model a body that keeps its velocity.",
    ]
    return "\n".join(lines) + "\n"


def label(model: str) -> str:
    """A model's name in words."""
    return LABELS.get(model, model.replace("_", " "))


def _errors(horizon: dict[str, Any], table: dict[str, Any]) -> list[str]:
    has, lines = channels_of(horizon), counts_and_head(horizon)
    for row in horizon["rows"]:
        seeds = ", ".join(map(str, row["seeds"]))
        fewer = "" if row["seeds"] == table["seeds"] else f" (seeds {seeds})"
        if row["reason"]:
            cells = [f"– ({row['reason']})", *["–"] * (len(has) - 1)]
        else:
            cells = [error_text(c, row[c]) for c in has]
        lines.append(f"| {label(row['model'])}{fewer} | " + " | ".join(cells) + " |")
    if horizon["frames"] in (80, None):
        for source, position, rotation in PUBLISHED.get(table["recording"], ()):
            cells = {"position_m": position, "rotation_rad": rotation}
            shown = " | ".join(error_text(c, cells[c]) for c in has)
            lines.append(f"| *published, 80 steps:* {source} | {shown} |")
        if table["recording"] in PUBLISHED:
            lines += ["", "The published figures are of stretches of 80 steps and other splits."]
    return [*lines, ""]


def _ratios(horizon: dict[str, Any], reference: str) -> list[str]:
    compared = {m: r[reference] for m, r in horizon["comparisons"].items() if reference in r}
    if not compared:
        return []
    has, few = channels_of(horizon), horizon["episodes"] < FEW
    kind = "t-intervals: few episodes" if few else "bootstrap"
    lines = table_head(f"over {label(reference)} ({kind})", has)
    for model, ratios in compared.items():
        shown = " | ".join(ratio_text(ratios[c], few) for c in has)
        lines.append(f"| {label(model)} | {shown} |")
    return [*lines, ""]


def _remaining(groups: list[dict[str, Any]], head: str) -> list[str]:
    has = list(groups[0]["physics"])
    titles = " | ".join(f"{TITLES[c]}: physics → hybrid" for c in has)
    lines = [f"| {head} | windows | episodes | {titles} |", "|---|---|---|" + "---|" * len(has)]
    for g in groups:
        cells = []
        for c in has:
            cell = " → ".join(error_text(c, g[m][c]["mean"]) for m in ("physics", "hybrid"))
            if g["ratio"]:
                cell += f"; {ratio_text(g['ratio'][c], g['episodes'] < FEW, seeds=False)}"
            cells.append(cell)
        counts = f"{g['windows']} | {g['episodes']}"
        lines.append(f"| {g['label']} | {counts} | " + " | ".join(cells) + " |")
    return [*lines, ""]
