"""One stroke of the loop's task from above, drawn from ``results.json``.

The figures of alpha are in ``worldmodel.trust.figures``.
"""

import html
from collections.abc import Sequence
from typing import Any

from worldmodel.trust.figures import style_of
from worldmodel.trust.svg import WIDTH, Scale, figure, line, mark, plain, tag, text

TARGET = 0.03  # [m] within it a launch is a success
MARGIN = 0.02  # [m] around what a panel must show
INDENT, TALLEST = 44.0, 190.0  # of the panels
Place = Sequence[float]  # x, y [m]


def launch(results: dict[str, Any]) -> str:
    """The puck's path in reality and in every version; below, where it stops, closer."""
    shown = results["launch"]
    paths = [shown["reality"], *shown["versions"].values()]
    x, y = shown["target"]
    target = [(x + a * TARGET, y + b * TARGET) for a in (-1, 1) for b in (-1, 1)]
    everything = [place for path in paths for place in path]
    whole, bottom = _panel(results, everything + target, 6.0)
    near, end = _panel(results, [path[-1] for path in paths] + target, bottom + 30)
    names = [text(INDENT, bottom + 25, "where it stops, closer", kind="bold")]
    names.append(text((INDENT + WIDTH) / 2, end + 32, "x [m]; upwards: y [m]", "middle"))
    label = "the puck's path in one stroke, in reality and in every version"
    return figure(label, end + 38, whole, near, *names)


def _panel(results: dict[str, Any], shown: Sequence[Place], top: float) -> tuple[str, float]:
    """All paths, cut to a box around what must be shown, and where the box ends."""
    (west, east), (low, high) = (
        (min(v) - MARGIN, max(v) + MARGIN) for v in zip(*shown, strict=True)
    )
    wide = WIDTH - INDENT
    metre = min(wide / (east - west), TALLEST / (high - low))  # the same along both axes
    tall = metre * (high - low)
    east += (wide / metre - (east - west)) / 2
    west = east - wide / metre
    x, y = Scale(west, east, 0.0, wide), Scale(low, high, tall, 0.0)

    def path(places: Sequence[Place], kind: str, dashes: str = "") -> str:
        return line([(x(a), y(b)) for a, b in places], kind, dashes)

    launch = results["launch"]
    # A version may have been launched without having been measured.
    versions = {"versions": {**results["trust"]["versions"], **launch["versions"]}}
    parts = [path([(v, low), (v, high)], "grid thin") for v in x.ticks(48)]
    parts += [path([(west, v), (east, v)], "grid thin") for v in y.ticks(24)]
    parts.append(path(launch["reality"], "road"))
    a, b = launch["target"]
    parts.append(tag("circle", cx=x(a), cy=y(b), r=metre * TARGET, class_="axis dash"))
    for name, places in launch["versions"].items():
        colour, shape, dashes = style_of(versions, name)
        end = mark(shape, x(places[-1][0]), y(places[-1][1]), hollow=True)
        title = tag("title", html.escape(name))
        parts.append(tag("g", title, path(places, "bar", dashes), end, class_=colour))
    a, b = x(launch["reality"][-1][0]), y(launch["reality"][-1][1])
    cross = [[(a - 5, b + s * 5), (a + 5, b - s * 5)] for s in (1, -1)]
    parts += [line(arm, "cross") for arm in cross]
    box = tag("svg", *parts, x=INDENT, y=top, width=wide, height=tall)  # cuts what leaves it
    marks = [text(INDENT + x(v), top + tall + 14, plain(v), "middle") for v in x.ticks(48)]
    marks += [text(INDENT - 5, top + y(v) + 4, plain(v), "end") for v in y.ticks(24)]
    return box + "".join(marks), top + tall + 14
