"""Pages from the one template: whole, escaped, with figures side by side."""

import pytest
from matplotlib.figure import Figure

from tests.helpers.html_page import whole
from worldmodel.runtime.page import INK, Drawing, Heading, Markup, Note, Table, render, svg

EVIL = "<script>alert('1')</script>\" & <b>"


def line(ys: list[float]) -> Figure:
    figure = Figure(figsize=(2, 1))
    figure.add_subplot().plot(ys, color=INK)
    return figure


def test_every_part_stands_on_the_page_in_its_order() -> None:
    parts = [
        Heading("first"),
        Note("second"),
        Note("third", loud=True),
        Table("fourth", ["a", "b"], [["1", "2"]], "fifth"),
        Table("sixth", ["c"], [["3"]], folded=True),
        Drawing("seventh", svg(line([1, 2])), "eighth"),
        Markup("<i>ninth</i>"),
    ]
    page = render("A page", parts)
    read = whole(page)
    names = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth")
    places = [page.index(name) for name in names]
    assert places == sorted(places)
    assert read.tables == [[["a", "b"], ["1", "2"]], [["c"], ["3"]]]
    assert page.count('class="loud"') == page.count("<details") == page.count("<svg") == 1


def test_a_table_without_rows_leaves_nothing() -> None:
    assert render("A page", [Table("nothing", ["a"], [], folded=True)]) == render("A page", [])


@pytest.mark.parametrize("part", [Heading(EVIL), Note(EVIL), Table(EVIL, [EVIL], [[EVIL]], EVIL)])
def test_text_cannot_change_the_page(part: Heading | Note | Table) -> None:
    page = render(EVIL, [part, Drawing(EVIL, svg(line([1, 2])), EVIL)])
    whole(page)
    assert "<script" not in page and "<b>" not in page


def test_equal_figures_share_no_id_and_take_the_ink_of_the_page() -> None:
    drawn = svg(line([1, 2]))
    assert drawn == svg(line([1, 2])) and INK not in drawn and "currentColor" in drawn
    page = render(
        "A page", [Drawing("a", drawn), Drawing("b", drawn), Drawing("c", drawn, wide=True)]
    )
    assert len(whole(page).ids) == len(set(whole(page).ids)) > 3
    assert page.count('<div class="drawings">') == 1  # figures in a row stand side by side
