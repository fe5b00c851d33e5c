"""The learned half's table as text and figures, from table.json alone.

Question: how far ahead does the learned half help, what remains, and had the fits converged?
Command:  python -m experiments.recordings.hybrid_figures
          --table experiments/results/recordings/elbow_toss/hybrid
Runtime:  ten seconds
Expected: table.md, error_vs_horizon.png, remaining.png and convergence.png next to table.json

Colours are Okabe and Ito's, and every line differs from the others by its dashes or marks alone.
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.recordings.film import (
    BLUE,
    CHANNELS,
    GREEN,
    GREY,
    ORANGE,
    caption,
    error_curves_figure,
    pyplot,
    save,
)
from experiments.recordings.hybrid_statistics import BIN, TOUCHING
from experiments.recordings.hybrid_text import label, markdown
from worldmodel import runtime
from worldmodel.runtime.files import write_text

STYLES = {  # model: colour, dashes, width, mark
    "physics": (BLUE, (0, (5, 2)), 1.6, "s"),
    "hybrid": (GREEN, "-", 1.8, "o"),
    "latent": (ORANGE, (0, (4, 2, 1, 2)), 1.4, "^"),
    "dealt": (GREY, (0, (1, 1.5)), 1.4, "x"),
}
STAGES = {"regression": "regression on single frames", "windows": "fit through windows"}


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    table: Path  # folder with the table.json of hybrid_table


def draw(table: dict[str, Any], out: Path) -> list[Path]:
    """Draws all figures of a table into ``out``; returns their paths."""
    figures = {"remaining": remaining_figure(table), "convergence": convergence_figure(table)}
    if table.get("curves"):
        figures["error_vs_horizon"] = curves_figure(table)
    return [save(figure, out / f"{name}.png", dpi=130) for name, figure in figures.items()]


def curves_figure(table: dict[str, Any]) -> Figure:
    """Error of each frame ahead (above), and the hybrid's over the physics' (below)."""
    styles = {name: (*style[:3], label(name)) for name, style in STYLES.items()}
    figure, axes = error_curves_figure(
        table,
        styles,
        ("hybrid", "physics"),
        height=5.8,
        fits=f" and {len(table['seeds'])} fit seed(s)",
        remark=" A line above twice the physics is cut at the frame.",
    )
    for (upper, lower), (channel, models) in zip(axes.T, table["curves"].items(), strict=True):
        top = max(b for n, m in models.items() if n != "ratio" for b in _numbers(m["high"]))
        top = min(top, 2.0 * max(_numbers(models["physics"]["high"])))
        upper.set(ylim=(0, 1.05 * (CHANNELS[channel][1] * top)))
        lower.set(ylim=(0, 1.5))
    axes[1, 0].set_ylabel("hybrid / physics")
    axes[0, 0].legend(loc="upper left", fontsize=7, frameon=False)
    return figure


def remaining_figure(table: dict[str, Any]) -> Figure:
    """Physics' and hybrid's errors by where in the toss a window starts and by contact there."""
    rest = table["remaining"]
    rows = [(n, rest[n]) for n in ("start", "contact") if rest[n]]
    channels = list(rows[0][1][0]["physics"])
    figure, axes = pyplot.subplots(
        len(rows),
        len(channels),
        figsize=(max(6.0, 3.6 * len(channels)), 0.8 + 2.7 * len(rows)),
        squeeze=False,
        layout="constrained",
    )
    for (name, groups), line in zip(rows, axes, strict=True):
        ticks = [f"{g['label']}\n{g['windows']}" for g in groups]
        for channel, axis in zip(channels, line, strict=True):
            title, factor = CHANNELS[channel]
            for shift, model in ((-0.1, "physics"), (0.1, "hybrid")):
                colour, _, _, mark = STYLES[model]
                mean, low, high = (
                    factor * np.array([g[model][channel][k] for g in groups], float)
                    for k in ("mean", "low", "high")
                )
                x = np.arange(len(groups)) + shift
                bars = np.nan_to_num([mean - low, high - mean])
                axis.errorbar(x, mean, bars, fmt=mark, color=colour, ms=4, label=label(model))
            what = "frame of the start" if name == "start" else "state at the start"
            axis.set_xticks(range(len(groups)), ticks, fontsize=6 if len(groups) > 5 else 8)
            axis.set(ylabel=title, ylim=(0, None), xlim=(-0.5, len(groups) - 0.5))
            axis.set_xlabel(f"{what}; number of windows")
            axis.grid(axis="y", alpha=0.25, linewidth=0.5)
    axes[0, 0].legend(fontsize=7, frameon=False)
    caption(
        figure,
        table,
        f"{table['recording']}, {table['split']} split: mean error over {rest['frames']} frames of "
        f"windows by where in the toss they start (bins of {BIN} frames) and by the height of the "
        f"lowest corner there (touching: at most {1e3 * TOUCHING:.0f} mm). Bars: 95 % over "
        "episodes, not paired; paired ratios are in table.md.",
    )
    return figure


def convergence_figure(table: dict[str, Any]) -> Figure:
    """Validation of each fit along its steps; one row per model, one column per stage."""
    models = table["convergence"]
    figure, axes = pyplot.subplots(
        len(models), 2, figsize=(8.4, 1.0 + 2.6 * len(models)), squeeze=False, layout="constrained"
    )
    for (model, by_seed), line in zip(models.items(), axes, strict=True):
        for (stage, title), axis in zip(STAGES.items(), line, strict=True):
            for i, (seed, rows) in enumerate(by_seed.items()):
                kept = [r for r in rows if r["stage"] == stage and r["validation"] is not None]
                x, y = [r["step"] for r in kept], [r["validation"] for r in kept]
                dashes = ("-", (0, (5, 2)), (0, (1, 1.2)), (0, (4, 2, 1, 2)))[i % 4]
                axis.plot(x, y, color=STYLES[model][0], linestyle=dashes, label=f"seed {seed}")
                if y:
                    axis.plot(x[int(np.argmin(y))], min(y), "o", color=STYLES[model][0], ms=4)
            axis.axhline(1.0, color=GREY, linewidth=0.8, linestyle=":")
            axis.set(title=f"{label(model)}: {title}", xlabel="step", ylabel="validation")
            axis.title.set_fontsize(9)
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
            axis.grid(alpha=0.25, linewidth=0.5)
        line[0].legend(fontsize=7, frameon=False)
    caption(
        figure,
        table,
        f"{table['recording']}: validation along each fit; dots: the lowest, kept where it is "
        "below 1. Left: the loss, relative to no correction. Right: the mean error, relative to "
        "where the fit departs from: of the hybrid its fitted physics, of the latent model a body "
        "that keeps its velocity. The figures of the two rows are in different units.",
    )
    return figure


def _numbers(values: list[float | None]) -> list[float]:
    return [v for v in values if v is not None] or [1.0]


def main(args: Args) -> int:
    """Writes text and figures again; prints their paths as one JSON line."""
    table = json.loads((args.table / "table.json").read_text())
    write_text(args.table / "table.md", markdown(table))
    paths = draw(table, args.table)
    runtime.log(f"drawn from {args.table / 'table.json'}")
    print(json.dumps({"written": [str(p) for p in (args.table / "table.md", *paths)]}))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.run(main, tyro.cli(Args, description=__doc__)))
