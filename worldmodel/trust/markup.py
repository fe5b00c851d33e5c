"""Pieces of the report's HTML: tables, folded details, a figure with the table behind it."""

import html
from collections.abc import Mapping, Sequence
from typing import Any


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that scrolls sideways where it does not fit; long texts wrap."""
    lines = [f"<tr>{''.join(f'<th scope=col>{html.escape(h)}</th>' for h in header)}</tr>"]
    for row in rows:
        cells = (f"<td{' class=words' * (len(c) > 40)}>{html.escape(c)}</td>" for c in row)
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f"<div class=scroll tabindex=0><table>{''.join(lines)}</table></div>"


def section(title: str, drawn: str, caption: str, behind: str, keys: str = "") -> str:
    return (
        f"<div><h3>{html.escape(title)}</h3><figure>{keys}{drawn}<figcaption>"
        f"{html.escape(caption)}</figcaption></figure>{details('The numbers', behind)}</div>"
    )


def details(summary: str, inside: str) -> str:
    return f"<details><summary>{html.escape(summary)}</summary>{inside}</details>"


def sizes(cell: Mapping[str, Any]) -> list[str]:
    return [str(cell[key]) for key in ("n", "m", "k")]
