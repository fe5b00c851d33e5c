"""Checks of an HTML page: it is well formed and needs no other file."""

import re
from html.parser import HTMLParser

VOID = {"meta", "link", "br", "img", "hr", "input"}


class Balanced(HTMLParser):
    """Parses a page and keeps its ids, addresses and tables; asserts that tags close in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.refers: list[str] = []
        self.tables: list[list[list[str]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")
        self._note(attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.tables[-1][-1][-1] += data

    def _note(self, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value or "" for key, value in attrs if key == "id"]
        self.refers += [value or "" for key, value in attrs if key in ("src", "xlink:href", "href")]


def whole(text: str, scripts: int = 0) -> Balanced:
    """Asserts that a page is well formed, loads nothing else, shows no NaN, None or inf, and holds
    so many scripts."""
    parser = Balanced()
    parser.feed(text)
    parser.close()
    assert parser.open == []
    assert {address[:1] for address in parser.refers} <= {"#"}
    assert {address[1:] for address in parser.refers} <= set(parser.ids)
    assert len(parser.ids) == len(set(parser.ids)), "an id twice"
    assert "http" not in text and "@import" not in text and text.count("<script") == scripts
    assert "url(" not in re.sub(r"url\(#", "", text)
    shown = re.sub(r"<style.*?</style>|<script.*?</script>|<[^>]*>", " ", text, flags=re.S)
    assert not re.search(r"\b(nan|NaN|None|inf)\b", shown)
    return parser
