"""One self-contained HTML page of a fit: of ``fit.json`` and a moving view of one window."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from worldmodel.commands import figures
from worldmodel.scene.view3d import viewer
from worldmodel.trust.markup import details, head, section, table

_CURVES = (
    "Error of open-loop predictions on whole episodes that the fit never saw, at each horizon; "
    "shaded: 95 % interval over episodes (Student's t). MJCF: its own numbers. Hold last: the "
    "first frame stays."
)
_FILM = (
    "Recorded, and predicted by each model from the first frame and the commands alone. Drag to "
    "turn."
)


def page(document: Mapping[str, Any], moving: str, notes: str = "") -> str:
    """The page as HTML.

    Args:
      document: as ``commands.fit`` writes it.
      moving, notes: of ``commands.film``.
    """
    hz = document["settled"]["control_hz"]
    parts = [
        head(f"World model of {document['scene']}"),
        f"<p class=lead>{html.escape(_headline(document))}</p>",
        section(
            "Error against horizon",
            figures.error_curves(document["curves"], hz),
            _CURVES,
            _errors(document["errors"]),
        ),
        _late(document["delays"]),
        _parameters(document["parameters"], document["physics"]),
        f"<h2>One held-out window</h2>{moving}",
        f"<p class=soft>{html.escape(' '.join(filter(None, [_FILM, notes])))}</p>",
        section(
            "Its channels", figures.channels(document["traces"], hz), "Positions in rad and m."
        ),
        _settled(document),
        viewer(),
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _headline(document: Mapping[str, Any]) -> str:
    errors, shown = document["errors"], []
    best = "network" if "network" in errors else "fitted"
    for group, title in figures.TITLES.items():
        fitted, given = errors[best][group], errors["MJCF"][group]
        if fitted is not None and given is not None:
            unit, factor = figures.UNITS[group]
            shown.append(f"{title} {factor * fitted:.3g} {unit} (MJCF {factor * given:.3g} {unit})")
    windows = document["settled"]["windows"]
    seconds = windows["horizon"] / document["settled"]["control_hz"]
    held = len(document["settled"]["episodes"]["test"])
    return (
        f"Mean error over {windows['horizon']} frames ({seconds:.2f} s) on {held} held-out "
        f"episodes: {', '.join(shown)}."
    )


def _errors(errors: Mapping[str, Any]) -> str:
    rows = []
    for model, values in errors.items():
        cells = [
            "–" if values[g] is None else f"{factor * values[g]:.4g} {unit}"
            for g, (unit, factor) in figures.UNITS.items()
        ]
        rows.append([model, *cells])
    return table(["model", *figures.TITLES.values()], rows)


def _parameters(rows: Sequence[Mapping[str, Any]], physics: Mapping[str, Any]) -> str:
    free = [r for r in rows if r["free"]]
    held = [[r["name"], str(r["index"]), r["verdict"]] for r in rows if not r["free"]]
    lines = [
        [
            r["name"],
            str(r["index"]),
            r["unit"],
            _number(r["given"]),
            _number(r["value"]),
            _interval(r),
            r["verdict"],
        ]
        for r in free
    ]
    header = ["parameter", "number", "unit", "MJCF", "fitted", "95 % interval", "the data say"]
    state = "converged" if physics["converged"] else f"NOT converged: {physics['reason']}"
    out = details(
        "Windows left out of the fit", table(["window"], [[w] for w in physics["left_out"]])
    )
    return (
        f"<h2>Parameters</h2><p>{physics['iterations']} iterations, {state}. "
        f"{len(free)} numbers are free, {len(held)} stay at the MJCF's values.</p>"
        + table(header, lines)
        + details("What the data cannot say", table(["parameter", "number", "why"], held))
        + (out if physics["left_out"] else "")
    )


def _interval(row: Mapping[str, Any]) -> str:
    """Of what is identified; any other is as wide as the fit's linear model carries it."""
    if row["low"] is None or row["verdict"] != "identified":
        return "–"
    return f"[{row['low']:.4g}, {row['high']:.4g}]"


def _late(delays: Sequence[Mapping[str, Any]]) -> str:
    late = [
        f"{', '.join(d['actuators'])} by {1e3 * d['seconds']:.0f} ms "
        f"[{1e3 * d['low']:.0f}, {1e3 * d['high']:.0f}]"
        for d in delays
        if d["late"]
    ]
    if not late:
        return ""
    return (
        f"<p class=loud>Commands act later than the log says: {html.escape('; '.join(late))}. This "
        "moves gains and damping; give these commands a delay in the columns and fit again.</p>"
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.5g}"


def _settled(document: Mapping[str, Any]) -> str:
    settled, about = document["settled"], document["provenance"]
    repairs = [
        [r["rule"], r["column"], str(r["episodes"]), str(r["frames"])] for r in document["repairs"]
    ]
    episodes = [[part, ", ".join(ids)] for part, ids in settled["episodes"].items()]
    return (
        "<h2>How it was fitted</h2>"
        f"<p>{settled['control_hz']:g} frames/s, {settled['stepping']}. "
        f"Commit {about['commit']}, {about['date']}, {about['cpu']}.</p>"
        + table(["part", "episodes"], episodes)
        + details(
            "What was repaired in the log", table(["rule", "column", "episodes", "frames"], repairs)
        )
    )
