"""One self-contained HTML page of a fit: of ``fit.json`` and a moving view of one window."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from worldmodel.commands import figures
from worldmodel.scene.view3d import viewer
from worldmodel.trust.markup import details, head, section, table

_CURVES = (
    "Open-loop predictions of episodes that the fit never saw: the mean error over the frames up "
    "to each horizon, of the same windows at all; shaded: 95 % interval over episodes. MJCF: its "
    "own numbers. Hold last: the first frame stays."
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
        _errors(document),
        section("Error against horizon", figures.error_curves(document["curves"], hz), _CURVES),
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


def _errors(document: Mapping[str, Any]) -> str:
    frames, settled = document["settled"]["windows"]["horizon"], document["settled"]
    held = f"{frames / settled['control_hz']:.2f} s, {len(settled['episodes']['test'])} episodes"
    units = figures.UNITS.items()
    rows = [
        [model, *("–" if values[g] is None else f"{f * values[g]:.4g} {u}" for g, (u, f) in units)]
        for model, values in document["errors"].items()
    ]
    return table([f"mean over {frames} frames ({held})", *figures.TITLES.values()], rows)


def _parameters(rows: Sequence[Mapping[str, Any]], physics: Mapping[str, Any]) -> str:
    free = [r for r in rows if r["free"]]
    held = [[r["name"], str(r["index"]), r["verdict"]] for r in rows if not r["free"]]
    lines = [[r["name"], str(r["index"]), r["unit"], *_numbers(r)] for r in free]
    header = ["parameter", "number", "unit", "MJCF", "fitted", "95 % interval"]
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


def _numbers(row: Mapping[str, Any]) -> list[str]:
    low, high = row["low"], row["high"]
    interval = row["verdict"] if low is None else f"[{low:.4g}, {high:.4g}]"
    return [f"{row['given']:.5g}", f"{row['value']:.5g}", interval]


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
