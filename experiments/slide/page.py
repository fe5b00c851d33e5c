"""The page of one turn: its headline, alpha, successes, one stroke in reality and in every version,
cells and costs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from experiments.alpha import CONTROL, NOTE, chart, interval, table_columns
from experiments.records import table as markdown
from worldmodel.runtime.page import INK, Drawing, Markup, Note, Table, render, svg
from worldmodel.scene.view3d import Mark, view, viewer
from worldmodel.tasks.slide.task import CONTROL_HZ, SUCCESS, SlideTask
from worldmodel.trust.report import COLOURS, HALF_WIDTH, MARKERS, costs

SUCCESSES = (
    "Black: real episodes alone. A version has a line per number of real episodes, along which "
    "synthetic ones are added. Bars: 95 % over the replicates."
)
STAGES = (
    "Core-seconds: of the processors, all processes together. A stage that an earlier run finished "
    "took what it took then."
)


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
    smoke = [Note("A smoke run: its sizes are tiny and its numbers mean nothing.", loud=True)]
    parts = [
        *(smoke if table["config"]["smoke"] else []),
        *doubt(table),
        Note(headline(table), loud=True),
        Drawing("α, gross", svg(chart(table["rows"])), "Thick: means over the cells; thin: cells."),
        Drawing("Success", svg(success_chart(table["success"])), SUCCESSES),
        Markup(f"<h3>One stroke: reality solid, versions translucent; drag to turn</h3>{moving}"),
        Table("Cells", head, rows, NOTE),
        Note(
            f"Without a policy, planned in {direct['version']} itself ({direct['episodes']} real "
            f"episodes): {miss} [{', '.join(ends)}] cm."
        ),
        stages(table["stages"]),
        *costs(table["cost"]),
        Note(f"Again: {table['command']} (commit {table['provenance']['commit'][:12]})"),
        Markup(viewer()),
    ]
    seed = table["hidden_seed"]
    return render(f"What synthetic episodes replace: task slide, held-out simulation {seed}", parts)


def success_chart(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """The share of successes against the episodes that a policy was trained on.

    Args:
      rows: version, n, m and success with its ends, one per cell; version "" is real only.
    """
    drawn = Figure(figsize=(4.6, 3.2), layout="constrained")
    axis = drawn.add_subplot()
    versions = sorted({row["version"] for row in rows} - {"", CONTROL})
    styles = {
        name: (COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)], "-")
        for i, name in enumerate(versions)
    }
    styles |= {"": (INK, ".", "-"), CONTROL: (INK, "*", ":")}
    lines: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for row in rows:
        lines.setdefault((row["version"], row["n"] if row["version"] else 0), []).append(row)
    labelled: set[str] = set()
    for (version, _), line in lines.items():
        colour, marker, dashes = styles[version]
        shares = np.array([[row[f"success{end}"] for end in ("", "_low", "_high")] for row in line])
        value, low, high = 100 * shares.T
        axis.errorbar(
            [row["n"] + row["m"] for row in line],
            value,
            [value - low, high - value],
            color=colour,
            marker=marker,
            linestyle=dashes,
            linewidth=1.2,
            elinewidth=0.7,
            label=None if version in labelled else version or "real only",
        )
        labelled.add(version)
    axis.set(xlabel="n + m: episodes that a policy was trained on", ylabel="success [%]")
    axis.legend(frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    return drawn


def stages(spent: Mapping[str, Mapping[str, Any]]) -> Table:
    """What every stage took, and each of the episodes that it played."""
    rows = [
        [
            stage,
            str(took["episodes"] or "–"),
            f"{took['seconds']:.1f}",
            f"{took['core_seconds']:.1f}",
            f"{took['core_seconds'] / took['episodes']:.2g}" if took["episodes"] else "–",
        ]
        for stage, took in spent.items()
    ]
    header = ["stage", "episodes", "seconds", "core-seconds", "core-seconds an episode"]
    return Table("Where the time went", header, rows, STAGES)


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
