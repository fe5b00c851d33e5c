"""The figures of a measured task: the alpha axis, D_eff against m, the learning curve, costs.

No interval is cut: every axis holds all finite ends, bent (linear about 0, logarithmic beyond)
where they lie very far apart. What is known on one side alone is an arrow to the axis' end.
"""

import html
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

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
    price,
    scale,
    spread,
    tag,
    text,
)
from worldmodel.trust.words import SELF, Task, cell_verdict, corrections, interval

BENT = 15.0  # an axis this many times as long as what it must show is bent
LEVEL = 2.0  # times n + m
ROW = 23.0  # per cell
ENDS = ("", "_low", "_high")
REUSED = "_reused"  # the arm whose corrections were trained on too
LONGEST = 25  # characters of a version's name in a figure; tables hold all of it


def order(task: Task) -> list[str]:
    """The versions as the document has them, the control last."""
    return sorted(task["versions"], key=lambda name: name == SELF)


def cells_of(task: Task) -> list[tuple[str, dict[str, Any]]]:
    """(version, cell) of all cells, versions in order; beside the net gain stands the gross one."""
    found = []
    for name in order(task):
        for cell in task["versions"][name]["cells"]:
            worth = {e: cell["d_eff" + e] for e in ENDS}
            gross = {
                f"gain_gross{e}": None if d is None else d - cell["n"] for e, d in worth.items()
            }
            found.append((name, cell | gross))
    return found


def style_of(task: Task, name: str) -> tuple[str, str, str]:
    """Class of the colour, shape and dashes of a version."""
    if name == SELF:
        return "ink", STAR, "1 3"
    i = order(task).index(name)
    # The shape falls out of step with the colour after each round: 36 versions differ.
    return f"c{i % 6}", SHAPES[(i + i // 6) % 6], DASHES[i % 6]


def key(task: Task) -> str:
    """The versions with their marks, as a line of HTML that wraps."""
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
    """α of every cell: 1 is as good as real, 0 is worth nothing."""
    title = "α: real episodes per synthetic one"
    return _forest(task, ("alpha_avg", "alpha_net"), (0.0, 1.0), title, "as real")


def gains(task: Task) -> str:
    """Real episodes gained by every cell, from 0 to what the largest m would be if it were real."""
    most = float(max(cell["m"] for _, cell in cells_of(task)))
    return _forest(
        task, ("gain_gross", "gain_net"), (0.0, most), "real episodes gained", f"{most:g}"
    )


def _forest(
    task: Task, kinds: tuple[str, str], shown: tuple[float, float], title: str, full: str
) -> str:
    """A row per cell on one axis: gross filled; net hollow, with a dot if K was trained on too."""
    cells = cells_of(task)
    names = [f"n {cell['n']}, m {cell['m']}" for _, cell in cells]
    left, right, top = 10 + SMALL * max(map(len, names)), WIDTH - 84.0, 18.0
    arms = (
        *kinds,
        *(x + REUSED for x in kinds[1:] if any(c.get("verdict_reused") for _, c in cells)),
    )
    across = _axis([cell for _, cell in cells], arms, shown, (left, right), shown[1])
    digits = 2 if shown[1] == 1 else 1
    parts, y = [], 8.0
    for name in order(task):
        colour, shape, _ = style_of(task, name)
        k = corrections(task["versions"][name])
        about = ": the control" if name == SELF else f": {k} corrections"
        y += ROW
        parts.append(tag("g", mark(shape, 7, y - 4), class_=colour))
        parts.append(text(17, y, clipped(name) + about, kind="bold"))
        for cell in (cell for own, cell in cells if own == name):
            y += ROW
            size = f"n {cell['n']}, m {cell['m']}"
            said = f"{name}, {size}: gross {interval(cell, kinds[0], digits)}, "
            said += f"net {interval(cell, kinds[1], digits)}"
            lines = (
                [(kinds[0], "filled"), (kinds[1], "hollow")]
                if cell["k"]
                else [(kinds[0], "filled")]
            )
            if cell.get("verdict_reused"):
                said += f", trained on them too {interval(cell, kinds[1] + REUSED, digits)}"
                lines.append((kinds[1] + REUSED, "dotted"))
            drawn = [tag("title", html.escape(f"{said}; {cell_verdict(cell)}"))]
            for i, (kind, fill) in enumerate(lines):
                at = y - 4 + 10 * (i - min(len(lines) - 1, 1) / 2)
                drawn.append(_interval(cell, kind, at, across, shape, fill))
            parts.append(tag("g", *drawn, class_=f"cell {colour}"))
            parts.append(text(left - 8, y, size, "end", "dim"))
            parts.append(text(WIDTH, y, cell_verdict(cell), "end"))
            y += 14 * (len(lines) > 2)
        y += 4
    bottom, marks = y + 6, across.ticks(34)
    frame = [line([(across(v), top), (across(v), bottom)], "grid thin") for v in marks]
    frame += [
        line([(across(v), top), (across(v), bottom)], kind)
        for v, kind in zip(shown, ("axis", "axis dash"), strict=True)
    ]
    frame.append(text(across(0) + 3, 12, "worth nothing", "end"))
    frame.append(text(across(shown[1]) - 3, 12, full))
    frame += [text(across(v), bottom + 14, plain(v), "middle") for v in marks]
    title += f" (logarithmic beyond {plain(shown[1])})" if math.isfinite(across.bend) else ""
    frame.append(text(WIDTH / 2, bottom + 30, title, "middle"))
    label = f"{title}, of {len(cells)} cells; the numbers stand in the table below"
    return figure(label, bottom + 36, *frame, *parts)


def worth(task: Task, n: int) -> str:
    """D_eff against m beside n real episodes, the versions side by side at each m, with caps."""
    every = cells_of(task)
    cells = [cell for _, cell in every if cell["n"] == n]
    sizes = sorted({cell["m"] for cell in cells})
    caps = {v: at for v, at in levels(task, n).items() if at <= reach(task, n)}
    longest = max([len(clipped(name, 10)) for name in caps] or [0])
    top, right, bottom = 12.0, WIDTH - max(56.0, 22 + SMALL * longest), 212.0
    shown = (float(n), float(n + sizes[-1]))
    up = _axis(cells, ("d_eff",), (*shown, *caps.values()), (bottom, top), float(n))
    left = 12 + SMALL * max(len(plain(v)) for v in up.ticks(20))
    # Sizes m that differ widely are spread evenly per factor.
    bend = sizes[0] if sizes[-1] > 8 * sizes[0] else None
    across = scale(sizes, left + 24, right - 24, bend)
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
            said = f"{name}, n {n}, m {cell['m']}: D_eff {interval(cell, 'd_eff', 1)}"
            x = across(cell["m"]) + shift
            bar = _interval(cell, "d_eff", x, up, shape, upright=True, r=min(4.0, step / 2.2))
            drawn.append(tag("g", tag("title", html.escape(said)), bar, class_="cell"))
        if name in caps:
            drawn.append(line([(left, up(caps[name])), (right, up(caps[name]))], "bar cap", dashes))
        parts.append(tag("g", *drawn, class_=colour))
    frame = [line([(left, y), (right, y)], "grid thin") for y in map(up, up.ticks(20))]
    frame += [text(left - 6, up(v) + 4, plain(v), "end") for v in up.ticks(20)]
    frame += [text(across(m), bottom + 15, str(m), "middle") for m in apart(sizes, across)]
    frame.append(line([(left, up(n)), (right, up(n))], "axis"))
    path = [across.low + (across.high - across.low) * i / 24 for i in range(25)]
    as_real = [(across(m), up(n + m)) for m in path if m >= 0 and up.low <= n + m <= up.high]
    frame.append(line(as_real, "axis dash"))
    ends = {"α = 0": up(n), "α = 1": as_real[-1][1]}
    ends |= {f"↦ {clipped(v, 10)}": up(cap) for v, cap in caps.items()}
    frame += [text(right + 3, y + 4, words) for words, y in spread(ends, top, bottom)]
    frame.append(text((left + right) / 2, bottom + 31, "synthetic episodes m", "middle"))
    label = f"D_eff against m beside n = {n} real episodes; the numbers are in the table below"
    return figure(label, bottom + 37, *frame, *parts)


def reach(task: Task, n: int) -> float:
    """The highest level that is drawn: one far above would press the rest together."""
    return LEVEL * (n + max(cell["m"] for _, cell in cells_of(task) if cell["n"] == n))


def levels(task: Task, n: int) -> dict[str, float]:
    """What the D_eff of each version tends to as m grows, where it is known.

    Its cap beyond n where the weight rule has one; pooled with weight 1, its limit whatever n.
    """
    found = {}
    for name, version in task["versions"].items():
        if version.get("cap") is not None:
            found[name] = n + version["cap"]
        elif version.get("limit") is not None:
            found[name] = version["limit"]
    return found


def learning(task: Task) -> str:
    """The error of real-only training, and below where on it every mixture lies."""
    curve = task["curve"]
    sizes, errors = curve["n"], curve["error"]
    names = order(task)
    left = max(48.0, 12 + SMALL * max([len(clipped(name, 10)) for name in names] or [0]))
    right, top, bottom = WIDTH - 8.0, 8.0, 168.0
    across = logarithmic(sizes, left, right)
    # An interval that reaches 0 has no place on a logarithmic axis: its end is an arrow.
    ends = [v for e in errors for v in e.values() if v is not None and v > 0]
    up = logarithmic(ends, bottom, top)
    parts = [line([(left, up(v)), (right, up(v))], "grid thin") for v in up.ticks(22)]
    parts += [text(left - 6, up(v) + 4, plain(v), "end") for v in up.ticks(22)]
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
            said = f"{name}, n {cell['n']}, m {cell['m']}: D_eff {interval(cell, 'd_eff', 1)}"
            drawn.append(tag("title", html.escape(said)))
            drawn.append(_interval(point if known else cell, "d_eff", y, across, shape, "hollow"))
        parts.append(tag("g", *drawn, class_=colour))
        parts.append(text(left - 8, y + 4, clipped(name, 10), "end"))
    parts += [text(across(n), strip + 14, str(n), "middle") for n in apart(sizes, across)]
    parts.append(
        text((left + right) / 2, strip + 30, "real episodes n; D_eff of mixtures", "middle")
    )
    label = f"Error of real-only training at {len(sizes)} sizes; the numbers are in the table below"
    return figure(label, strip + 36, *parts)


def costs(rows: Sequence[tuple[str, float, float]]) -> str:
    """Ranges of prices [$] on a logarithmic axis, a row each; free is an arrow to the left."""
    ends = [v for _, *pair in rows for v in pair if v > 0] or [1.0]
    left, right = 8.0, WIDTH - 8.0
    across = logarithmic(ends, left, right)
    parts, y = [], 4.0
    for words, low, high in rows:
        y += 34
        place = [(across(low) if low > 0 else left, y), (across(high) if high > 0 else left, y)]
        parts.append(text(left, y - 9, f"{words}: {dollars(low, high)}"))
        parts.append(line(place, "bar wide"))
        parts += [] if low > 0 else [arrow(left, y, (-1, 0))]
    parts += [text(across(v), y + 24, "$" + price(v), "middle") for v in across.ticks(48)]
    lines = [line([(across(v), 8), (across(v), y + 10)], "grid thin") for v in across.ticks(48)]
    label = "Ranges of prices; the numbers are in the table below"
    return figure(label, y + 30, *lines, *parts)


def dollars(low: float, high: float) -> str:
    """A range of prices, with two digits."""
    ends = dict.fromkeys(price(v) for v in (low, high))
    return "$" + " to ".join(ends)


def clipped(name: str, longest: int = LONGEST) -> str:
    """At most ``longest`` characters; where some are left out an ellipsis is the last."""
    return name if len(name) <= longest else name[: longest - 1] + "…"


def _axis(
    cells: Sequence[Mapping[str, Any]],
    kinds: Sequence[str],
    shown: Sequence[float],
    ends: tuple[float, float],
    bend: float,
) -> Scale:
    """An axis wide enough for what must be shown and every finite end of every interval."""
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
    """A bar with its mark, an arrow to the axis' end where a side is open; nothing if unknown."""
    value, low, high = (cell[kind + end] for end in ENDS)
    verdict = cell["verdict" + REUSED * kind.endswith(REUSED)]
    if value is None and not verdict.startswith("CENSORED"):
        return ""

    def place(v: float) -> tuple[float, float]:
        return (at, v) if upright else (v, at)

    known = [along(v) for v in (low, value, high) if v is not None]
    closed = line([place(known[0]), place(known[-1])], "bar") if len(known) > 1 else ""
    open_ends = [(low, -1, along.start), (high, 1, along.end)]
    if value is None:  # only the side that it was censored on
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
