"""The page of one turn: its headline, alpha, one stroke in reality and in every version, cells."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from experiments.alpha import CONTROL, NOTE, chart, interval, table_columns
from experiments.records import table as markdown
from worldmodel.runtime.page import Drawing, Markup, Note, Table, render, svg
from worldmodel.scene.view3d import Mark, view, viewer
from worldmodel.tasks.slide.task import CONTROL_HZ, SUCCESS, SlideTask
from worldmodel.trust.report import HALF_WIDTH


def page(table: Mapping[str, Any]) -> str:
    """report.html as text, from the content of table.json alone."""
    launch, direct = table["launch"], table["direct"]
    moving = view(
        SlideTask().scene.mj_model,
        {name: np.array(rows) for name, rows in launch["qpos"].items()},
        CONTROL_HZ,
        size=(1040, 520),
        marks=[Mark((*launch["target"], 0.0), SUCCESS)],
        label="one stroke in reality and in every version",
    )
    lines = markdown(table["rows"], table_columns(("miss [cm]", 100.0))).splitlines()
    head, _, *rows = (line.strip("| ").split(" | ") for line in lines)
    miss, *ends = (f"{100 * direct[end]:.1f}" for end in ("error_m", "low", "high"))
    seconds = [[stage, f"{spent:.1f}"] for stage, spent in table["seconds"].items()]
    smoke = [Note("A smoke run: its sizes are tiny and its numbers mean nothing.", loud=True)]
    parts = [
        *(smoke if table["config"]["smoke"] else []),
        *doubt(table),
        Note(headline(table), loud=True),
        Drawing("α, gross", svg(chart(table["rows"])), "Thick: means over the cells; thin: cells."),
        Markup(f"<h3>One stroke: reality solid, versions translucent; drag to turn</h3>{moving}"),
        Table("Cells", head, rows, NOTE),
        Note(
            f"Without a policy, planned in {direct['version']} itself ({direct['episodes']} real "
            f"episodes): {miss} [{', '.join(ends)}] cm."
        ),
        Table("Where the time went", ["stage", "seconds"], seconds),
        Note(f"Again: {table['command']} (commit {table['provenance']['commit'][:12]})"),
        Markup(viewer()),
    ]
    seed = table["hidden_seed"]
    return render(f"What synthetic episodes replace: task slide, held-out simulation {seed}", parts)


def doubt(table: Mapping[str, Any]) -> list[Note]:
    """What must be read first where the control fails: its mean alpha must cover 1 within ±0.25."""
    (row,) = (r for r in table["rows"] if r["version"] == CONTROL and r["n"] is None)
    low, high = row["alpha_avg_low"], row["alpha_avg_high"]
    if None not in (low, high) and low <= 1.0 <= high and high - low <= 2 * HALF_WIDTH:
        return []
    now = interval(row, "alpha_avg") or "not known"
    return [
        Note(
            f"Nothing below should be believed yet: for the control {CONTROL}, whose episodes "
            f"reality itself makes, the mean α must cover 1 within ±{HALF_WIDTH}; it is {now}.",
            loud=True,
        )
    ]


def headline(table: Mapping[str, Any]) -> str:
    """Alpha before and after the first corrections, and of the control, in one sentence."""
    means = {row["version"]: row for row in table["rows"] if row["n"] is None}
    learned = [v["name"] for v in table["versions"] if v["corrections"] and v["name"] in means]
    shown = [
        f"{interval(means[name], 'alpha_avg') or 'an unknown number'} with {name} "
        f"({means[name]['k']} corrections)"
        for name in ("v0", *learned[:1], CONTROL)
        if name in means
    ]
    return f"One synthetic episode replaces {'; '.join(shown)} real ones."
