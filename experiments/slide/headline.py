"""The head of the loop's page: what came out in one sentence, success against episodes, and one
stroke moving in reality and in every version. All from ``results.json``.
"""

import html
from collections.abc import Mapping
from typing import Any

import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.scene.view3d import Mark, view
from worldmodel.trust.figures import order, style_of
from worldmodel.trust.phrases import number, verdict
from worldmodel.trust.svg import WIDTH, Scale, figure, line, logarithmic, mark, plain, tag, text

RADIUS = 0.03  # [m] within it a stroke is a success
Results = Mapping[str, Any]


def outcome(results: Results) -> str:
    """What one synthetic episode is worth, after the first corrections and before them.

    The version is the first that was made from corrections, whichever is the best.
    """
    versions = results["trust"]["versions"]
    spent = {name: max(cell["k"] for cell in versions[name]["cells"]) for name in versions}
    learned = [v["name"] for v in results["versions"] if spent.get(v["name"], 0) > 0]
    if not learned:
        return "No version was made from corrections."
    name = learned[0]
    count, parent = spent[name], _parent(results, name)
    lines = [
        f"After {count} real correction{'s' * (count != 1)} one synthetic episode of {name} is "
        f"worth {_amount(versions[name])}"
    ]
    net = [cell["alpha_net"] for cell in versions[name]["cells"]]
    known = None not in net
    lines.append(f"net of them {number(float(np.mean(net)))}" if known else "net of them unknown")
    if parent in versions:
        lines.append(f"before them, of {parent}, {_amount(versions[parent])}")
    return "; ".join(lines) + "."


def _parent(results: Results, name: str) -> str | None:
    return next(v["parent"] for v in results["versions"] if v["name"] == name)


def _amount(version: Mapping[str, Any]) -> str:
    """A version's mean α in words, or the bound where only one end is known."""
    value, low, high = (version["alpha" + end] for end in ("", "_low", "_high"))
    if value is not None:
        ends = f" [{number(low)}, {number(high)}]" if low is not None else ""
        return f"{number(value)} real ones{ends}"
    if low is not None:
        return f"at least {number(low)} real ones"
    if high is not None:
        return f"at most {number(high)} real ones"
    return f"a number of real ones that the runs do not determine ({verdict(version)})"


def success(results: Results, n: int) -> str:
    """Success of policies against the episodes that they were cloned from: real ones alone, and
    every version's synthetic ones added to ``n`` real ones."""
    learning, measured = results["learning"], results["trust"]
    real = [(float(k), 100 * s) for k, s in zip(learning["n"], learning["success"], strict=True)]
    start = [place for place in real if place[0] == n]
    paths = {}
    for name in order(measured):
        cells = [p for p in results["policies"] if (p["version"], p["n"]) == (name, n)]
        added = sorted((float(n + p["m"]), 100 * p["success"]) for p in cells)
        paths[name] = start + added
    everything = [place for path in (real, *paths.values()) for place in path]
    x0, x1, top, bottom = 40.0, WIDTH - 10.0, 10.0, 210.0
    across = logarithmic([x for x, _ in everything], x0, x1)
    up = Scale(0.0, max(1.0, 1.08 * max(y for _, y in everything)), bottom, top)
    parts = [line([(x0, up(v)), (x1, up(v))], "grid thin") for v in up.ticks(26)]
    parts += [text(x0 - 6, up(v) + 4, plain(v), "end") for v in up.ticks(26)]
    for v in across.ticks(30):
        parts.append(line([(across(v), top), (across(v), bottom)], "grid thin"))
        parts.append(text(across(v), bottom + 15, plain(v), "middle"))
    parts.append(line([(across(x), up(y)) for x, y in real], "road"))
    for name, path in paths.items():
        colour, shape, dashes = style_of(measured, name)
        places = [(across(x), up(y)) for x, y in path]
        marks = [mark(shape, *place, 3.2) for place in places[len(start) :]]
        title = tag("title", html.escape(name))
        parts.append(tag("g", title, line(places, "bar", dashes), *marks, class_=colour))
    parts.append(text((x0 + x1) / 2, bottom + 32, "episodes, real and synthetic", "middle"))
    label = f"success in % against episodes: real ones alone, and mixtures with {n} real ones"
    return figure(label, bottom + 38, *parts)


def moving(results: Results, model: mujoco.MjModel, control_hz: float) -> str:
    """One stroke in reality and in every version as a moving view; empty where ``launch`` holds
    no ``qpos`` of {name: (frames, nq)}."""
    launch, measured = results["launch"], results["trust"]
    if "qpos" not in launch:
        return ""
    colours = {
        name: f"var(--{style_of(measured, name)[0]})"
        for name in launch["qpos"]
        if name in measured["versions"]
    }
    return view(
        model,
        {name: np.array(rows) for name, rows in launch["qpos"].items()},
        control_hz,
        size=(1040, 520),
        colours=colours,
        marks=[Mark((*launch["target"], 0.0), RADIUS)],
        label="one stroke in reality and in every version",
    )
