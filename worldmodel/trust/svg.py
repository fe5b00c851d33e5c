"""Marks, scales and ticks of figures as inline SVG, without script or outside resource.

The page's style sheet (``STYLE``) has the colours for light and dark screens. Shape and dashes
alone identify a version. Lengths are in units of a figure ``WIDTH`` wide, pixels on a phone.
"""

import dataclasses
import html
import math
from collections.abc import Iterable, Mapping, Sequence

WIDTH = 360
SMALL = 7.2  # width of a character of figures' text, in a wide typeface
SHAPES = ("circle", "square", "triangle", "diamond", "down", "plus")
DASHES = ("", "7 3", "2 2", "7 3 2 3", "10 2", "4 4")
STAR = "star"  # shape of the control
# Colours after Okabe and Ito, each with a contrast of 3:1 or more against the paper.
STYLE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1a1a1a;--line:#ccc;--soft:#595959;--box:#fff1d6;
--c0:#0072b2;--c1:#d55e00;--c2:#007f5f;--c3:#b0508a;--c4:#8f6600;--c5:#2b83b8}
@media(prefers-color-scheme:dark){:root{--paper:#161616;--ink:#eee;--line:#444;--soft:#aaa;
--box:#3d2b12;--c0:#4aa8e0;--c1:#ff8a3d;--c2:#2fc79a;--c3:#e59ac4;--c4:#f0b93a;--c5:#9ad4f5}}
.c0{color:var(--c0)}.c1{color:var(--c1)}.c2{color:var(--c2)}.c3{color:var(--c3)}.c4{color:var(--c4)}
.c5{color:var(--c5)}.plot{display:block;width:100%;height:auto;font:12px system-ui,sans-serif;
fill:var(--ink)}.plot .mark{fill:currentColor;stroke:currentColor;stroke-width:1.3}
.plot .mark.hollow{fill:var(--paper)}.plot .bar{fill:none;stroke:currentColor;stroke-width:1.6}
.plot .thin{fill:none;stroke:currentColor;stroke-width:1}.plot .open{stroke-dasharray:2 2}
.plot .axis{fill:none;stroke:var(--ink)}.plot .grid{stroke:var(--line)}.plot .dash{
stroke-dasharray:5 3}.plot .dim{fill:var(--soft)}.plot .wide{stroke-width:7}.plot .cap{
stroke-width:2.2}.plot .bold{font-weight:700;paint-order:stroke;stroke:var(--paper);
stroke-width:4px}.plot .road{fill:none;
stroke:var(--ink);stroke-width:5;opacity:.25}.plot .cross{stroke:var(--ink);stroke-width:2}
.ink{color:var(--ink)}"""


@dataclasses.dataclass(frozen=True)
class Scale:
    """An axis from numbers to places: linear about 0 up to ``bend``, logarithmic beyond.

    It is purely logarithmic if ``bend`` is at or below a positive ``low``.
    """

    low: float
    high: float
    start: float  # place of low
    end: float  # place of high
    bend: float = math.inf

    def __call__(self, value: float) -> float:
        low, high, bent = (self._bent(v) for v in (self.low, self.high, value))
        return self.start + (self.end - self.start) * (bent - low) / (high - low)

    def _bent(self, value: float) -> float:
        if abs(value) <= self.bend:
            return value
        return math.copysign(self.bend * (1 + math.log(abs(value) / self.bend)), value)

    def ticks(self, gap: float) -> list[float]:
        """Round numbers within the range, at least ``gap`` apart in the figure."""
        least = (self.high - self.low) * gap / abs(self.end - self.start)
        power = 10.0 ** math.floor(math.log10(least))
        step = next(s * power for s in (1, 2, 5, 10) if s * power >= least)
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        even = [float(f"{i * step:.12g}") for i in range(first, last + 1)]
        if max(abs(self.low), abs(self.high)) <= self.bend:
            return even
        top = math.ceil(math.log10(max(abs(self.low), abs(self.high))))
        bottom = math.floor(math.log10(self.bend))
        powers = [10.0**e for e in range(bottom, top + 1)]
        kept: list[float] = []
        round_ones = [[f * p for p in powers] for f in (5, 2, 3, 7, 1.5)]
        for wanted in ([0.0], powers, *round_ones, even if self.low > 0 else []):
            for value in (sign * v for v in wanted for sign in (1, -1)):
                inside = self.low <= value <= self.high
                far = abs(value) >= self.bend or self.low > 0 or not value
                if inside and far and all(abs(self(value) - self(k)) >= gap for k in kept):
                    kept.append(value)
        return sorted({v + 0.0 for v in kept})


def scale(values: Iterable[float | None], start: float, end: float, bend: float | None) -> Scale:
    """A scale that holds all values but None, with a margin; bent if ``bend`` is given."""
    known = [v for v in values if v is not None]
    unbent = Scale(min(known), max(known), 0.0, 1.0, bend or math.inf)
    low, high = (unbent._bent(v) for v in (unbent.low, unbent.high))
    size = max(abs(low), abs(high))
    room = 0.06 * (high - low) if high - low > 1e-6 * size else 0.5 * size or 1.0
    return Scale(_straight(low - room, bend), _straight(high + room, bend), start, end, unbent.bend)


def logarithmic(values: Iterable[float], start: float, end: float) -> Scale:
    """A purely logarithmic scale that holds positive values, with a margin; never down to 0."""
    known = list(values)
    # The bend lies below the margin, which is a share of the range's logarithm.
    return scale(known, start, end, min(known) * (min(known) / max(known)) ** 0.1)


def _straight(bent: float, bend: float | None) -> float:
    if bend is None or abs(bent) <= bend:
        return bent
    return math.copysign(bend * math.exp(abs(bent) / bend - 1), bent)


def tag(name: str, *inside: str, **attributes: object) -> str:
    """An element; ``inside`` is markup, attributes are escaped, and None omits one."""
    given = {k.rstrip("_").replace("_", "-"): v for k, v in attributes.items() if v is not None}
    shown = {k: f"{v:.5g}" if isinstance(v, float) else str(v) for k, v in given.items()}
    head = "".join([name, *(f' {k}="{html.escape(v)}"' for k, v in shown.items())])
    return f"<{head}>{''.join(inside)}</{name}>"


def text(x: float, y: float, label: str, anchor: str = "start", kind: str | None = None) -> str:
    """A label, escaped, on the baseline y; ``kind`` is a class of ``STYLE``."""
    return tag("text", html.escape(label), x=x, y=y, text_anchor=anchor, class_=kind)


def line(places: Sequence[tuple[float, float]], kind: str, dashes: str = "") -> str:
    """An open polyline through (x, y) places; ``kind`` is a class of ``STYLE``."""
    points = " ".join(f"{x:.5g},{y:.5g}" for x, y in places)
    return tag("polyline", points=points, class_=kind, stroke_dasharray=dashes or None)


def mark(shape: str, x: float, y: float, r: float = 4.0, *, hollow: bool = False) -> str:
    """A version's mark of radius r at (x, y); ``shape`` is one of ``SHAPES`` or ``STAR``."""
    turns = {"square": (4, 0.25, 1.1), "triangle": (3, 0, 1.25), "down": (3, 1, 1.25)}
    kind = "mark hollow" if hollow else "mark"
    if shape == "circle":
        return tag("circle", cx=x, cy=y, r=r, class_=kind)
    if shape == "plus":
        a, b = r * 1.15, r * 0.42
        corners = [(b, a), (b, b), (a, b), (a, -b), (b, -b), (b, -a)]
        corners += [(-u, -v) for u, v in corners]
    elif shape == STAR:
        corners = _turned(10, 0, [1.6 * r, 0.7 * r])
    else:
        count, turn, size = turns.get(shape, (4, 0, 1.3))  # a diamond
        corners = _turned(count, turn, [size * r])
    points = " ".join(f"{x + u:.5g},{y + v:.5g}" for u, v in corners)
    return tag("polygon", points=points, class_=kind)


def arrow(x: float, y: float, way: tuple[int, int], *, hollow: bool = False) -> str:
    """An arrowhead with its tip at (x, y) that points along ``way``, a unit vector."""
    u, v = way
    corners = [(0, 0), (-7 * u - 4 * v, -7 * v - 4 * u), (-7 * u + 4 * v, -7 * v + 4 * u)]
    points = " ".join(f"{x + a:.5g},{y + b:.5g}" for a, b in corners)
    return tag("polygon", points=points, class_="mark arrow hollow" if hollow else "mark arrow")


def figure(label: str, height: float, *inside: str) -> str:
    """The whole figure; a screen reader reads ``label``."""
    box = f"0 0 {WIDTH} {height:.5g}"
    return tag("svg", *inside, class_="plot", role="img", aria_label=label, viewBox=box)


def spread(labels: Mapping[str, float], top: float, bottom: float) -> list[tuple[str, float]]:
    """Labels with their heights, moved apart where they would overlap."""
    out: list[tuple[str, float]] = []
    for label, y in sorted(labels.items(), key=lambda pair: pair[1]):
        out.append((label, max(y, out[-1][1] + 12 if out else top)))
    over = max(0.0, out[-1][1] - bottom)
    return [(label, y - over) for label, y in out]


def apart(sizes: Sequence[int], across: Scale) -> list[int]:
    """The sizes whose labels fit below an axis without overlap; the largest always."""
    kept: list[int] = []
    for size in reversed(sizes):
        if not kept or across(kept[-1]) - across(size) > SMALL * len(str(kept[-1])) + 6:
            kept.append(size)
    return kept[::-1]


def plain(value: float) -> str:
    """A tick's number with a true minus."""
    return f"{value:g}".replace("-", "−")


def _turned(count: int, turn: float, sizes: Sequence[float]) -> list[tuple[float, float]]:
    """Corners about 0; the first points up, turned by ``turn`` half turns."""
    pairs = [(sizes[i % len(sizes)], math.pi * (2 * i / count + turn)) for i in range(count)]
    return [(s * math.sin(a), -s * math.cos(a)) for s, a in pairs]
