"""Parts of the report's HTML: tables, folded details, figures with their tables."""

import html
from collections.abc import Sequence

from worldmodel.trust import svg

STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:68rem;margin:auto;padding:1rem;color:var(--ink);
background:var(--paper);overflow-wrap:break-word}h1{font-size:1.5rem;line-height:1.25}h2{
font-size:1.3rem;margin:2.5rem 0 .5rem;border-top:2px solid var(--line);padding-top:1rem}h3{
font-size:1.05rem;margin:1.5rem 0 .25rem}a{color:inherit}p,ul{max-width:44rem}li{margin:.35rem 0}
.pair{display:grid;gap:0 2.5rem;grid-template-columns:repeat(auto-fit,minmax(min(100%,26rem),1fr))}
.pair>div{min-width:0}figure{margin:0;max-width:30rem}figcaption,.soft{font-size:.85rem;
color:var(--soft)}.keys{margin:.3rem 0;font-size:.85rem}.entry{display:inline-block;
margin-right:1rem}.plot.key{display:inline-block;width:26px;height:12px;vertical-align:middle}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.85rem;
font-variant-numeric:tabular-nums}th,td{padding:.25rem .6rem;text-align:left;white-space:nowrap;
border-bottom:1px solid var(--line);vertical-align:top}td.words{white-space:normal;min-width:15rem}
summary{cursor:pointer;padding:.4rem 0;font-size:.9rem}.loud{background:var(--box);
border-left:.4rem solid #d55e00;padding:.6rem 1rem;font-weight:600}code,pre{font-size:.8rem;
overflow-wrap:anywhere}pre{white-space:pre-wrap}.lead{font-size:1.15rem}"""


def head(title: str) -> str:
    """A page up to its title, with the style sheet of its figures and tables."""
    return (
        "<!doctype html><html lang=en><head><meta charset=utf-8>"
        "<meta name=viewport content='width=device-width,initial-scale=1'>"
        f"<title>{html.escape(title)}</title><style>{svg.STYLE}{STYLE}</style></head><body>"
        f"<h1>{html.escape(title)}</h1>"
    )


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table that scrolls sideways if it does not fit; long texts wrap.

    Args:
      header: text of the columns.
      rows: text of the cells, which is escaped.
    """
    lines = [f"<tr>{''.join(f'<th scope=col>{html.escape(h)}</th>' for h in header)}</tr>"]
    for row in rows:
        cells = (f"<td{' class=words' * (len(c) > 40)}>{html.escape(c)}</td>" for c in row)
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f"<div class=scroll tabindex=0><table>{''.join(lines)}</table></div>"


def section(title: str, drawn: str, caption: str, behind: str = "", keys: str = "") -> str:
    """A figure with its title, its caption and, folded, its table.

    ``title`` and ``caption`` are text and escaped; ``drawn``, ``behind`` and ``keys`` are markup.
    """
    folded = details("The numbers", behind) if behind else ""
    return (
        f"<div><h3>{html.escape(title)}</h3><figure>{keys}{drawn}<figcaption>"
        f"{html.escape(caption)}</figcaption></figure>{folded}</div>"
    )


def details(summary: str, inside: str) -> str:
    """A folded part; ``summary`` is text and escaped, ``inside`` is markup."""
    return f"<details><summary>{html.escape(summary)}</summary>{inside}</details>"
