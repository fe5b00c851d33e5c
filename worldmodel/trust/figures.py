"""The figures of a measured task: the alpha axis, D_eff against m, the learning curve, costs.

Every axis holds all finite ends of the intervals. Where these lie far apart the axis is bent:
linear about 0, logarithmic beyond. An arrow to the axis' end marks an unknown end.
"""

import html
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from worldmodel.trust.phrases import CONTROL, Task, cell_verdict, corrections, interval
from worldmodel.trust.svg import (
    DASHES,
    SHAPES,
    SMALL,
    STAR,
    WIDTH,
    Scale,
    apart,
    arrow,
    figure,
    line,
    logarithmic,
    mark,
    plain,
    scale,
    spread,
    tag,
    text,
)

BENT = 15.0  # an axis is bent if it is this many times as long as what it must show
LEVEL = 2.0  # highest level drawn, in n + m
ROW = 23.0  # height of a cell's row
ENDS = ("", "_low", "_high")
REUSED = "_reused"  # suffix of the arm that trains on the corrections too
LONGEST = 25  # characters of a version's name in a figure; tables show the whole name


def order(task: Task) -> list[str]:
    """The names of the versions in the document's order, the control last."""
    return sorted(task["versions"], key=lambda name: name == CONTROL)


def cells_of(task: Task) -> list[tuple[str, dict[str, Any]]]:
    """(version, cell) of all cells, versions in ``order``."""
    return [(name, cell) for name in order(task) for cell in task["versions"][name]["cells"]]


def style_of(task: Task, name: str) -> tuple[str, str, str]:
    """Colour class, shape and dashes of a version."""
    if name == CONTROL:
        return "ink", STAR, "1 3"
    i = order(task).index(name)
    # Shapes shift against colours after each round, so that 36 versions differ.
    return f"c{i % 6}", SHAPES[(i + i // 6) % 6], DASHES[i % 6]


def key(task: Task) -> str:
    """The legend: the versions with their marks, as a line of HTML that wraps."""
    entries = []
    for name in order(task):
        colour, shape, dashes = style_of(task, name)
        drawn = line([(0, 6), (26, 6)], "thin", dashes) + mark(shape, 13, 6)
        box = tag(
            "svg", drawn, class_=f"plot key {colour}", viewBox="0 0 26 12", aria_hidden="true"
        )
        entries.append(tag("span", box, " ", html.escape(name), class_="entry"))
    return tag("p", *entries, class_="keys")


def alpha_axis(task: Task) -> str:
    """α of every cell on one axis, with lines at 0 and at 1.

    A row per cell: gross filled; net hollow, with a dot if the corrections were reused.
    """
    cells = cells_of(task)
    names = [f"n {cell['n']}, m {cell['m']}" for _, cell in cells]
    x0, x1, top = 10 + SMALL * max(map(len, names)), WIDTH - 84.0, 18.0
    reused = any(c.get("verdict_reused") for _, c in cells)
    kinds = ("alpha_avg", "alpha_net", *(["alpha_net" + REUSED] * reused))
    across = _axis([cell for _, cell in cells], kinds, (0.0, 1.0), (x0, x1), 1.0)
    parts, y = [], 8.0
    for name in order(task):
        colour, shape, _ = style_of(task, name)
        k = corrections(task["versions"][name])
        label = ": the control" if name == CONTROL else f": {k} corrections"
        y += ROW
        parts.append(tag("g", mark(shape, 7, y - 4), class_=colour))
        parts.append(text(17, y, clipped(name) + label, kind="bold"))
        for cell in task["versions"][name]["cells"]:
            y += ROW
            size = f"n {cell['n']}, m {cell['m']}"
            title = f"{name}, {size}: gross {interval(cell, 'alpha_avg')}, "
            title += f"net {interval(cell, 'alpha_net')}"
            lines = [("alpha_avg", "filled")]
            if cell["k"]:
                lines.append(("alpha_net", "hollow"))
            if cell.get("verdict_reused"):
                title += f", trained on them too {interval(cell, 'alpha_net' + REUSED)}"
                lines.append(("alpha_net" + REUSED, "dotted"))
            drawn = [tag("title", html.escape(f"{title}; {cell_verdict(cell)}"))]
            for i, (kind, fill) in enumerate(lines):
                at = y - 4 + 10 * (i - min(len(lines) - 1, 1) / 2)
                drawn.append(_interval(cell, kind, at, across, shape, fill))
            parts.append(tag("g", *drawn, class_=f"cell {colour}"))
            parts.append(text(x0 - 8, y, size, "end", "dim"))
            parts.append(text(WIDTH, y, cell_verdict(cell), "end"))
            y += 14 * (len(lines) > 2)
        y += 4
    bottom, marks = y + 6, across.ticks(34)
    frame = [line([(across(v), top), (across(v), bottom)], "grid thin") for v in marks]
    frame.append(line([(across(0), top), (across(0), bottom)], "axis"))
    frame.append(line([(across(1), top), (across(1), bottom)], "axis dash"))
    frame.append(text(across(0) + 3, 12, "worth nothing", "end"))
    frame.append(text(across(1) - 3, 12, "as real"))
    frame += [text(across(v), bottom + 14, plain(v), "middle") for v in marks]
    title = "α: real episodes per synthetic one"
    title += " (logarithmic beyond 1)" if math.isfinite(across.bend) else ""
    frame.append(text(WIDTH / 2, bottom + 30, title, "middle"))
    label = f"{title}, of {len(cells)} cells; the numbers stand in the table below"
    return figure(label, bottom + 36, *frame, *parts)


def d_eff(task: Task, n: int) -> str:
    """D_eff against m at n real episodes, with the versions next to each other and their caps."""
    every = cells_of(task)
    cells = [cell for _, cell in every if cell["n"] == n]
    sizes = sorted({cell["m"] for cell in cells})
    caps = {v: at for v, at in levels(task, n).items() if at <= reach(task, n)}
    longest = max([len(clipped(name, 10)) for name in caps] or [0])
    top, x1, bottom = 12.0, WIDTH - max(56.0, 22 + SMALL * longest), 212.0
    shown = (float(n), float(n + sizes[-1]))
    up = _axis(cells, ("d_eff",), (*shown, *caps.values()), (bottom, top), float(n))
    x0 = 12 + SMALL * max(len(plain(v)) for v in up.ticks(20))
    # Sizes m that differ widely stand on a logarithmic axis.
    bend = sizes[0] if sizes[-1] > 8 * sizes[0] else None
    across = scale(sizes, x0 + 24, x1 - 24, bend)
    names = [name for name in order(task) if any(v == name for v, _ in every)]
    gap = min([across(b) - across(a) for a, b in itertools.pairwise(sizes)] or [80.0])
    step = min(9.0, 0.75 * gap / len(names))
    parts = []
    for i, name in enumerate(names):
        colour, shape, dashes = style_of(task, name)
        shift = step * (i - (len(names) - 1) / 2)
        own = [c for v, c in every if v == name and c["n"] == n]
        known = [(across(c["m"]) + shift, up(c["d_eff"])) for c in own if c["d_eff"] is not None]
        drawn = [line(known, "thin", dashes)] if len(known) > 1 else []
        for cell in own:
            title = f"{name}, n {n}, m {cell['m']}: D_eff {interval(cell, 'd_eff', 1)}"
            x = across(cell["m"]) + shift
            bar = _interval(cell, "d_eff", x, up, shape, upright=True, r=min(4.0, step / 2.2))
            drawn.append(tag("g", tag("title", html.escape(title)), bar, class_="cell"))
        if name in caps:
            drawn.append(line([(x0, up(caps[name])), (x1, up(caps[name]))], "bar cap", dashes))
        parts.append(tag("g", *drawn, class_=colour))
    frame = [line([(x0, y), (x1, y)], "grid thin") for y in map(up, up.ticks(20))]
    frame += [text(x0 - 6, up(v) + 4, plain(v), "end") for v in up.ticks(20)]
    frame += [text(across(m), bottom + 15, str(m), "middle") for m in apart(sizes, across)]
    frame.append(line([(x0, up(n)), (x1, up(n))], "axis"))
    path = [across.low + (across.high - across.low) * i / 24 for i in range(25)]
    as_real = [(across(m), up(n + m)) for m in path if m >= 0 and up.low <= n + m <= up.high]
    frame.append(line(as_real, "axis dash"))
    ends = {"α = 0": up(n), "α = 1": as_real[-1][1]}
    ends |= {f"↦ {clipped(v, 10)}": up(cap) for v, cap in caps.items()}
    frame += [text(x1 + 3, y + 4, label) for label, y in spread(ends, top, bottom)]
    frame.append(text((x0 + x1) / 2, bottom + 31, "synthetic episodes m", "middle"))
    label = f"D_eff against m beside n = {n} real episodes; the numbers are in the table below"
    return figure(label, bottom + 37, *frame, *parts)


def reach(task: Task, n: int) -> float:
    """The highest level drawn; a level far above would leave the rest no space."""
    return LEVEL * (n + max(cell["m"] for _, cell in cells_of(task) if cell["n"] == n))


def levels(task: Task, n: int) -> dict[str, float]:
    """The D_eff that each version tends to as m grows, where known.

    Under the oracle weight it is n plus the cap; pooled with weight 1, the limit at any n.
    """
    limits = {}
    for name, version in task["versions"].items():
        if version.get("cap") is not None:
            limits[name] = n + version["cap"]
        elif version.get("limit") is not None:
            limits[name] = version["limit"]
    return limits


def learning(task: Task) -> str:
    """The error of real-only training, and below it the D_eff of every mixture."""
    curve = task["curve"]
    sizes, errors = curve["n"], curve["error"]
    names = order(task)
    x0 = max(48.0, 12 + SMALL * max([len(clipped(name, 10)) for name in names] or [0]))
    x1, top, bottom = WIDTH - 8.0, 8.0, 168.0
    across = logarithmic(sizes, x0, x1)
    # A logarithmic axis has no 0: an interval that reaches it ends in an arrow.
    ends = [v for e in errors for v in e.values() if v is not None and v > 0]
    up = logarithmic(ends, bottom, top)
    parts = [line([(x0, up(v)), (x1, up(v))], "grid thin") for v in up.ticks(22)]
    parts += [text(x0 - 6, up(v) + 4, plain(v), "end") for v in up.ticks(22)]
    strip = bottom + 18 * len(names) + 6
    wanted = [across(n) for n in sizes]
    parts += [line([(x, top), (x, strip)], "grid thin") for x in wanted]
    places = [(x, up(e["value"])) for x, e in zip(wanted, errors, strict=True)]
    parts.append(line(places, "bar"))
    for (x, y), e in zip(places, errors, strict=True):
        if e["high"] is not None:
            low = up(e["low"]) if e["low"] > 0 else bottom
            parts.append(line([(x, low), (x, up(e["high"]))], "bar"))
            parts += [arrow(x, bottom, (0, 1))] if e["low"] <= 0 else []
        parts.append(mark("circle", x, y, 2.5))
    for i, name in enumerate(names):
        colour, shape, _ = style_of(task, name)
        y, drawn = bottom + 18 * i + 14, []
        for cell in task["versions"][name]["cells"]:
            point = cell | {"d_eff_low": cell["d_eff"], "d_eff_high": cell["d_eff"]}
            known = cell["d_eff"] is not None
            title = f"{name}, n {cell['n']}, m {cell['m']}: D_eff {interval(cell, 'd_eff', 1)}"
            drawn.append(tag("title", html.escape(title)))
            drawn.append(_interval(point if known else cell, "d_eff", y, across, shape, "hollow"))
        parts.append(tag("g", *drawn, class_=colour))
        parts.append(text(x0 - 8, y + 4, clipped(name, 10), "end"))
    parts += [text(across(n), strip + 14, str(n), "middle") for n in apart(sizes, across)]
    parts.append(text((x0 + x1) / 2, strip + 30, "real episodes n; D_eff of mixtures", "middle"))
    label = f"Error of real-only training at {len(sizes)} sizes; the numbers are in the table below"
    return figure(label, strip + 36, *parts)


def clipped(name: str, longest: int = LONGEST) -> str:
    """The name cut to ``longest`` characters; the last of a cut name is an ellipsis."""
    return name if len(name) <= longest else name[: longest - 1] + "…"


def _axis(
    cells: Sequence[Mapping[str, Any]],
    kinds: Sequence[str],
    shown: Sequence[float],
    ends: tuple[float, float],
    bend: float,
) -> Scale:
    """An axis that holds ``shown`` and every finite end of every interval."""
    values = [c.get(kind + end) for c in cells for kind in kinds for end in ENDS]
    known = [*shown, *(v for v in values if v is not None)]
    long = max(known) - min(known) > BENT * (shown[1] - shown[0])
    return scale(known, *ends, bend if long or shown[1] > BENT * bend else None)


def _interval(
    cell: Mapping[str, Any],
    kind: str,
    at: float,
    along: Scale,
    shape: str,
    fill: str = "filled",
    *,
    upright: bool = False,
    r: float = 4.0,
) -> str:
    """A bar with its mark, and an arrow to the axis' end for an open side; empty if unknown."""
    value, low, high = (cell[kind + end] for end in ENDS)
    verdict = cell["verdict" + REUSED * kind.endswith(REUSED)]
    if value is None and not verdict.startswith("CENSORED"):
        return ""

    def place(v: float) -> tuple[float, float]:
        return (at, v) if upright else (v, at)

    known = [along(v) for v in (low, value, high) if v is not None]
    closed = line([place(known[0]), place(known[-1])], "bar") if len(known) > 1 else ""
    open_ends = [(low, -1, along.start), (high, 1, along.end)]
    if value is None:  # an arrow on the censored side only
        open_ends = [end for end in open_ends if (end[1] > 0) == (verdict == "CENSORED_HI")]
    drawn = ""
    for end, sign, edge in open_ends:
        if end is None:
            way = (0, -sign) if upright else (sign, 0)
            inward = math.copysign(16, along.end - along.start) * -sign
            tail = along(value) if value is not None else known[0] if known else edge + inward
            drawn += line([place(tail), place(edge)], "bar open")
            drawn += arrow(*place(edge), way, hollow=fill != "filled")
    if known:
        x, y = place(along(value)) if value is not None else place(known[0])
        size = r if value is not None else 0.75 * r
        drawn += closed + mark(shape, x, y, size, hollow=fill != "filled")
        drawn += mark("circle", x, y, 1) if fill == "dotted" else ""
    return drawn
