"""The figures of a recording's table, drawn from table.json with matplotlib alone.

Question: where do the fitted and the published parameters part, and what did the fit change?
Command:  python -m experiments.recordings.physics_figures
          --table experiments/results/recordings/elbow_toss/physics
Runtime:  ten seconds
Expected: error_vs_horizon.png, parameters.png and film_strip.png next to table.json

No OpenGL: solids are drawn as the outlines of their faces, so any machine makes these pictures.
Colours are Okabe and Ito's, and every line differs from the others by its dashes alone.
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from matplotlib.figure import Figure
from scipy.special import stdtrit

from experiments.recordings.film import (
    BLACK,
    BLUE,
    ORANGE,
    STYLES,
    caption,
    error_curves_figure,
    film_figure,
    pyplot,
    save,
)
from experiments.recordings.problems import find_problem
from worldmodel import runtime
from worldmodel._mujoco import mujoco

UNITS = {  # kind: names of its numbers, unit, factor from SI
    "mass": (("",), "kg", 1.0),
    "com": ("xyz", "mm", 1e3),
    "inertia": (("moment x", "moment y", "moment z", "turn x", "turn y", "turn z"), "", 1.0),
    "solref": (("time", "damping ratio"), "", 1.0),
    "solimp": (("dmin", "dmax", "width", "midpoint"), "", 1.0),
    "geom_size": ("xyz", "mm", 1e3),
    "geom_pos": ("xyz", "mm", 1e3),
    "geom_rotation": ("xyz", "°", np.degrees(1.0)),
    "damping": (("",), "N·m·s/rad", 1.0),
    "frictionloss": (("",), "N·m", 1.0),
    "armature": (("",), "kg·m²", 1.0),
    "joint_pos": ("xyz", "mm", 1e3),
    "joint_axis": (("1", "2"), "°", np.degrees(1.0)),
    "gravity_tilt": ("xy", "°", np.degrees(1.0)),
}
KIND_NAMES = {
    "com": "centre of mass",
    "geom_size": "half size",
    "geom_pos": "box centre",
    "joint_pos": "place",
    "joint_axis": "axis turn",
    "gravity_tilt": "gravity tilt",
    "frictionloss": "friction loss",
}


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    table: Path  # folder with the table.json of physics_table


def draw(table: dict[str, Any], mjcf: Path, out: Path) -> list[Path]:
    """Draws all figures of a table into ``out``; ``mjcf`` gives the film's shapes."""
    model = mujoco.MjModel.from_xml_path(str(mjcf))
    figures = {"parameters": parameters_figure(table), "film_strip": film_figure(table, model)}
    if table.get("curves"):
        figures["error_vs_horizon"] = curves_figure(table)
    return [save(figure, out / f"{name}.png", dpi=130) for name, figure in figures.items()]


def curves_figure(table: dict[str, Any]) -> Figure:
    """Error of each frame ahead (above), and the fits' over the sources' (below)."""
    styles = {name: STYLES[name] for name in ("default", "sources", "fitted")}
    fits = f", fitted: mean of {len(table['fits'])} seed(s)"
    ratio = ("fitted", "sources")
    figure, axes = error_curves_figure(table, styles, ratio, height=5.6, fits=fits)
    # Of the first frames both errors are the tracker's noise and their ratio is uncertain; the
    # band shows it.
    bands = [models["ratio"] for models in table["curves"].values()]
    ratios = np.concatenate([np.r_[band["low"], band["high"]] for band in bands])
    limits = (max(0.0, min(0.6, np.nanmin(ratios) - 0.05)), min(1.4, max(1.1, np.nanmax(ratios))))
    for lower in axes[1]:
        lower.set_ylim(*limits)
    axes[1, 0].set_ylabel("fitted / published")
    axes[0, 0].legend(loc="upper left", fontsize=8, frameon=False)
    return figure


def parameters_figure(table: dict[str, Any]) -> Figure:
    """Every free number by how far the fits moved it, in widths of its prior."""
    rows = sorted(table["parameters"], key=lambda r: abs(np.mean(r["u"])))
    count = len(table["fits"])
    figure, axis = pyplot.subplots(figsize=(8.4, 1.6 + 0.185 * len(rows)), layout="constrained")
    axis.axvspan(-1, 1, color="#eeeeee", zorder=0)
    axis.axvline(0, color=ORANGE, linestyle=STYLES["sources"][1], linewidth=1.2)
    spread = max(2.0, 1.2 * max(abs(u) for r in rows for u in r["u"]))
    for y, row in enumerate(rows):
        u = np.array(row["u"])
        if count > 1:
            half = float(stdtrit(count - 1, 0.975)) * u.std(ddof=1) / np.sqrt(count)
            axis.plot([u.mean() - half, u.mean() + half], [y, y], color=BLUE, linewidth=1.4)
        axis.plot(u.mean(), y, "|", color=BLUE, markersize=8, markeredgewidth=2)
        axis.plot(u, np.full(count, y), "o", color=BLACK, markersize=2.6, zorder=3)
        axis.text(
            1.015, y, _moved(row), transform=axis.get_yaxis_transform(), va="center", fontsize=6.5
        )
    axis.set_yticks(range(len(rows)), [_name(r) for r in rows], fontsize=6.5)
    axis.set(
        ylim=(-0.8, len(rows) - 0.2),
        xlim=(-spread, spread),
        xlabel="fitted − published, in widths of the prior",
    )
    where = {"transform": axis.transAxes, "fontsize": 7, "va": "bottom"}
    axis.text(1.015, 1.005, "published → fitted", **where)
    axis.grid(axis="x", alpha=0.25, linewidth=0.5)
    caption(
        figure,
        table,
        f"{table['recording']}: {len(rows)} fitted numbers, furthest moved on top. Dots: the "
        f"{count} fit seed(s); bars: 95 % t-interval of their mean, cut at the frame (how well the "
        "optimiser finds the number again, not how well the data determine it). Grey: within one "
        "width. × and °: by how much an inertia's second moment or an axis moved.",
    )
    return figure


def _name(row: dict[str, Any]) -> str:
    """Element, kind and number, in words."""
    numbers = UNITS.get(row["kind"], (("",),))[0]
    kind = KIND_NAMES.get(row["kind"], row["kind"].replace("_", " "))
    return " ".join(w for w in (row["element"], kind, numbers[row["index"]]) if w)


def _moved(row: dict[str, Any]) -> str:
    """The published value and the fits' mean, or how far it moved."""
    kind, index, mean = row["kind"], row["index"], float(np.mean(row["values"]))
    if kind == "inertia":
        return f"× {mean:.3g}" if index < 3 else f"{np.degrees(mean):+.3g}°"
    _, unit, factor = UNITS.get(kind, ((), "", 1.0))
    if kind in ("solref", "solimp") and (kind, index) in (("solref", 0), ("solimp", 2)):
        unit, factor = ("ms", 1e3) if kind == "solref" else ("mm", 1e3)
    if kind in ("joint_axis", "gravity_tilt", "geom_rotation"):
        return f"{mean * factor:+.3g}{unit}"
    return f"{row['source'] * factor:.3g} → {mean * factor:.3g} {unit}".strip()


def main(args: Args) -> int:
    """Draws the figures again; prints their paths as one JSON line."""
    table = json.loads((args.table / "table.json").read_text())
    paths = draw(table, find_problem(table["recording"]).mjcf, args.table)
    runtime.log(f"drawn from {args.table / 'table.json'}")
    print(json.dumps({"figures": [str(p) for p in paths]}))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.run(main, tyro.cli(Args, description=__doc__)))
