"""One self-contained HTML page of a fit: of ``fit.json`` and a moving view of one window."""

from collections.abc import Mapping
from typing import Any

from worldmodel.commands import figures
from worldmodel.runtime.page import Drawing, Heading, Markup, Note, Part, Table, render, svg
from worldmodel.scene.view3d import viewer

_CURVES = (
    "Open-loop predictions of episodes that the fit never saw: the mean error over the frames up "
    "to each horizon, of the same windows at all; shaded: 95 % interval over episodes. MJCF: its "
    "own numbers. Hold last: the first frame stays."
)
_FILM = (
    "Recorded, and predicted by each model from the first frame and the commands alone. What was "
    "not recorded stays where it was; a prediction that is not finite is not shown."
)


def page(document: Mapping[str, Any], moving: str) -> str:
    """The page as HTML.

    Args:
      document: as ``commands.fit`` writes it.
      moving: of ``figures.film``.
    """
    settled, physics, about = (document[k] for k in ("settled", "physics", "provenance"))
    hz, horizon = settled["control_hz"], settled["windows"]["horizon"]
    units = figures.UNITS.items()
    errors = [
        [model, *("–" if values[g] is None else f"{f * values[g]:.4g} {u}" for g, (u, f) in units)]
        for model, values in document["errors"].items()
    ]
    title = f"Mean error over {horizon} frames, {len(settled['episodes']['test'])} episodes"
    rows = document["parameters"]
    free = [[r["name"], str(r["index"]), r["unit"], *_numbers(r)] for r in rows if r["free"]]
    held = [[r["name"], str(r["index"]), r["verdict"]] for r in rows if not r["free"]]
    state = "converged" if physics["converged"] else f"NOT converged: {physics['reason']}"
    repairs = [
        [r["rule"], r["column"], str(r["episodes"]), str(r["frames"])] for r in document["repairs"]
    ]
    curves = svg(figures.error_curves(document["curves"], hz))
    channels = svg(figures.channels(document["traces"], hz))
    parts: list[Part] = [
        Table(title, ["model", *figures.TITLES.values()], errors),
        Drawing("Error against horizon", curves, _CURVES, wide=True),
        *_late(document["delays"]),
        Heading("Parameters"),
        Note(f"{physics['iterations']} iterations, {state}."),
        Table("", ["parameter", "number", "unit", "MJCF", "fitted", "95 % interval"], free),
        Table("What the data cannot say", ["parameter", "number", "why"], held, folded=True),
        Table("Windows not used", ["window"], [[w] for w in physics["left_out"]], folded=True),
        Heading("One held-out window"),
        Markup(moving),
        Note(_FILM),
        Drawing("Its channels", channels, "Positions in rad and m.", wide=True),
        Heading("How it was fitted"),
        Note(
            f"{hz:g} frames/s, {settled['stepping']}. Commit {about['commit']}, {about['date']}, "
            f"{about['cpu']}."
        ),
        Table(
            "", ["part", "episodes"], [[p, ", ".join(i)] for p, i in settled["episodes"].items()]
        ),
        Table("Repairs", ["rule", "column", "episodes", "frames"], repairs, folded=True),
        Markup(viewer()),
    ]
    return render(f"World model of {document['scene']}", parts)


def _numbers(row: Mapping[str, Any]) -> list[str]:
    low, high = row["low"], row["high"]
    interval = row["verdict"] if low is None else f"[{low:.4g}, {high:.4g}]"
    return [f"{row['given']:.5g}", f"{row['value']:.5g}", interval]


def _late(delays: list[dict[str, Any]]) -> list[Part]:
    """A warning of commands that act later than the log says."""
    late = [
        [", ".join(d["actuators"]), *(f"{1e3 * d[end]:.0f}" for end in ("seconds", "low", "high"))]
        for d in delays
        if d["late"]
    ]
    if not late:
        return []
    text = (
        "Commands act later than the log says, which moves gains and damping: give them a delay in "
        "the columns and fit again."
    )
    return [Note(text, loud=True), Table("", ["commands", "late by [ms]", "from", "to"], late)]
