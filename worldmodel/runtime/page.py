"""One self-contained HTML page of headings, notes, tables and figures, from one template.

The template, ``page.html``, has the style: phones and desks, light and dark screens. It loads
nothing and has no script of its own; all text is escaped.
"""

import dataclasses
import io
import re
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import Any

import jinja2

INK = "#000000"  # this colour of a figure follows the page's ink, light or dark


@dataclasses.dataclass(frozen=True)
class Heading:
    """A title; what follows belongs to it."""

    text: str


@dataclasses.dataclass(frozen=True)
class Note:
    """A paragraph; a loud one is a warning."""

    text: str
    loud: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """A table of text, which scrolls sideways where it does not fit; nothing if it has no rows.

    Every row has a field per column. A folded one opens on demand.
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    folded: bool = False


@dataclasses.dataclass(frozen=True)
class Drawing:
    """A figure with its caption; a wide one has its own size and scrolls sideways."""

    title: str
    svg: str  # markup, as of ``svg``
    caption: str = ""
    wide: bool = False


@dataclasses.dataclass(frozen=True)
class Markup:
    """Trusted HTML, such as a moving view and its script."""

    html: str


Part = Heading | Note | Table | Drawing | Markup


def render(title: str, parts: Iterable[Part]) -> str:
    """The page as HTML."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    source = resources.files(__package__).joinpath("page.html").read_text(encoding="utf-8")
    template = environment.from_string(source)
    return template.render(title=title, parts=[_named(i, part) for i, part in enumerate(parts)])


def _named(i: int, part: Part) -> tuple[str, Part]:
    """A part with its kind. Ids of figures repeat from figure to figure, and are made unique."""
    if isinstance(part, Drawing):
        unique = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>figure{i}-", part.svg)
        part = dataclasses.replace(part, svg=unique)
    return type(part).__name__, part


def svg(figure: Any) -> str:
    """A Matplotlib figure as inline SVG, always the same; ``INK`` becomes the page's ink."""
    import matplotlib  # here, since its import takes longer than most commands

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "worldmodel"}):
        figure.savefig(
            buffer, format="svg", metadata={"Date": None}, bbox_inches="tight", transparent=True
        )
    text = buffer.getvalue().replace(INK, "currentColor")
    text = re.sub(r"<metadata>.*?</metadata>| xmlns(:xlink)?=\"[^\"]*\"", "", text, flags=re.S)
    return text[text.index("<svg") :].replace("<svg ", '<svg fill="currentColor" ', 1)
