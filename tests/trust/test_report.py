"""The report: every kind of document, its numbers in figures and in tables."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from tests.helpers.html_page import whole
from tests.helpers.planted_alpha import planted_runs
from worldmodel import trust
from worldmodel.errors import InputError
from worldmodel.trust import cost
from worldmodel.trust.report import (
    ENDS,
    alpha_axis,
    cells_of,
    control,
    interval,
    learning,
    report,
    tables,
)

CURVE, N, M, SEEDS = (4, 6, 9, 14, 22, 34, 50, 75), (8, 12), (8, 16, 24), 12
VERSIONS = {"v0": (-0.15, 0), "v1": (0.6, 6), "far": (9.0, 6), "v*": (1.0, 0)}  # alpha, K
KINDS = ("alpha_avg", "alpha_net", "d_eff", "gain_net", "alpha_marg")


def simulated() -> list[trust.Row]:
    return planted_runs(VERSIONS, CURVE, N, M, SEEDS)


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    return json.loads(json.dumps(trust.to_json(trust.measure(simulated())[0]), allow_nan=False))


@pytest.fixture
def task(measured: dict[str, Any]) -> dict[str, Any]:
    return copy.deepcopy(measured)


def cells(task: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for version in task["versions"].values() for cell in version["cells"]]


def unknown(task: dict[str, Any], verdict: str) -> None:
    """Removes the numbers of all cells, as for a curve that identifies none."""
    for version in task["versions"].values():
        version |= {"alpha": None, "alpha_low": None, "alpha_high": None, "verdict": verdict}
        version["homogeneity_p"] = None
    for cell in cells(task):
        cell |= {kind + end: None for kind in KINDS for end in ENDS}
        cell |= {"verdict": verdict, "reason": "the real-only curve is flat"}


def censored(task: dict[str, Any]) -> None:
    """All cells beyond the curve, half of them without a bound."""
    unknown(task, "CENSORED_HI")
    for cell in cells(task)[::2]:
        cell |= {"d_eff_low": 75.0, "alpha_avg_low": (75 - cell["n"]) / cell["m"]}


def pilot(task: dict[str, Any]) -> None:
    task |= {"versions": {}, "differences": []}


def one_version(task: dict[str, Any]) -> None:
    task |= {"versions": {"v1": task["versions"]["v1"]}, "differences": []}


def one_cell(task: dict[str, Any]) -> None:
    one_version(task)
    task["versions"]["v1"]["cells"] = task["versions"]["v1"]["cells"][:1]


def no_control(task: dict[str, Any]) -> None:
    del task["versions"]["v*"]
    task["differences"] = [d for d in task["differences"] if "v*" not in (d["a"], d["b"])]


def many_versions(task: dict[str, Any]) -> None:
    task["versions"] |= {f"v1-{i}": copy.deepcopy(task["versions"]["v1"]) for i in range(14)}


def wide_intervals(task: dict[str, Any]) -> None:
    ends = {"alpha_avg_low": -3e5, "alpha_net_high": 4e6, "d_eff_low": -1e4, "gain_net_low": -1e4}
    task["versions"]["v1"]["cells"][0] |= ends


def flat_curve(task: dict[str, Any]) -> None:
    """An error that hardly falls, with an interval that reaches 0."""
    unknown(task, "NOT_IDENTIFIED")
    task["curve"]["error"] = [{"value": 0.2, "low": -0.1, "high": 0.5} for _ in CURVE]


DEGENERATE = [
    lambda task: unknown(task, "NOT_IDENTIFIED"),
    lambda task: unknown(task, "CENSORED_LO"),
    *(censored, pilot, one_version, one_cell, no_control, many_versions, wide_intervals),
    flat_curve,
]


@pytest.mark.parametrize("change", DEGENERATE)
def test_every_document_makes_a_whole_page(
    task: dict[str, Any], change: Callable[[dict[str, Any]], None]
) -> None:
    change(task)
    page = report({"tasks": [task]})
    whole(page)
    doubted = not task["versions"] or control(task) != "HOLDS"
    assert page.count('class="loud"') == doubted


def test_the_page_follows_from_the_document_alone(task: dict[str, Any]) -> None:
    one_cell(task)
    assert report({"tasks": [task]}) == report({"tasks": [copy.deepcopy(task)]})


def test_many_tasks_stand_on_one_page(task: dict[str, Any]) -> None:
    one_cell(task)
    other = task | {"task": "lift"}
    page = report({"tasks": [task, other, task | {"versions": {}, "differences": []}]})
    whole(page)
    assert page.count("<h2>Task") == 3
    with pytest.raises(InputError, match="no task"):
        report({"tasks": []})


def drawn(axes: Axes, name: str) -> list[np.ndarray]:
    """The places (points, 2) of the lines of that name."""
    return [np.array(line.get_xydata()) for line in axes.lines if line.get_label() == f"_{name}"]


def test_the_alpha_axis_shows_every_interval(task: dict[str, Any]) -> None:
    (axes,) = alpha_axis(task).axes
    every = [cell for cell in cells_of(task)]
    for kind, shown in (("alpha_avg", every), ("alpha_net", [c for c in every if c["k"]])):
        known = [c for c in shown if c[kind] is not None]
        bars = [c for c in known if None not in (c[f"{kind}_low"], c[f"{kind}_high"])]
        ends = [[c[f"{kind}_low"], c[f"{kind}_high"]] for c in bars]
        complete = [line[:, 0].tolist() for line in drawn(axes, kind)]
        assert [end for end in ends if end not in complete] == []
        marks = [line[0, 0] for line in drawn(axes, f"{kind} mark")]
        assert [c[kind] for c in known if c[kind] not in marks] == []
    low, high = axes.get_xlim()
    assert low < min(0, *(c["alpha_avg_low"] or 0 for c in every)) and high > 1


def test_the_curve_shows_every_number(task: dict[str, Any]) -> None:
    top, strip = learning(task).axes
    assert [line[:, 1].tolist() for line in drawn(top, "error")] == [
        [error["low"], error["high"]] for error in task["curve"]["error"]
    ]
    known = [c["d_eff"] for c in cells_of(task) if c["d_eff"] is not None]
    assert set(known) <= {line[0, 0] for line in drawn(strip, "d_eff mark")}


def test_tables_hold_the_documents_numbers(task: dict[str, Any]) -> None:
    (table,) = [table for table in tables(task) if table.title == "Cells"]
    assert len(table.rows) == len(VERSIONS) * len(N) * len(M)
    kinds = {"d_eff": 1, "alpha_avg": 2, "alpha_net": 2, "gain_net": 1, "alpha_marg": 2}
    for row, cell in zip(table.rows, cells_of(task), strict=True):
        shown = dict(zip(table.header, row, strict=True))
        assert [shown[x] for x in ("version", "n", "m", "k", "verdict")] == [
            *(str(cell[x]) for x in ("version", "n", "m", "k")),
            cell["verdict"],
        ]
        error = "{error:.4g} [{error_low:.4g}, {error_high:.4g}]".format(**cell)
        assert shown["error"] == error
        assert [shown[kind] for kind in kinds] == [interval(cell, k, d) for k, d in kinds.items()]
    assert [list(rows[0]) for rows in whole(report({"tasks": [task]})).tables] == [
        list(table.header) for table in tables(task)
    ]
    (curve,) = [table for table in tables(task) if "slope" in table.header]
    assert [row[0] for row in curve.rows] == [str(n) for n in CURVE]
    (differences,) = [table for table in tables(task) if table.title == "Differences"]
    assert len(differences.rows) == 6 * len(N) * len(M)  # each pair once


def open_sides(cell: dict[str, Any]) -> int:
    """Ends of a cell's intervals, gross and net, that are not known."""
    kinds = ("alpha_avg", "alpha_net") if cell["k"] else ("alpha_avg",)
    if cell["verdict"].startswith("CENSORED"):
        return len(kinds)
    return sum(cell[kind + end] is None for kind in kinds for end in ("_low", "_high"))


def arrows(figure: Figure) -> list[float]:
    """The ends of all arrows, as parts of their axis."""
    notes = [text for axes in figure.axes for text in axes.texts if isinstance(text, Annotation)]
    return [note.xy[0] for note in notes]


def test_censored_cells_are_arrows_at_the_end(task: dict[str, Any]) -> None:
    off = [cell for cell in cells(task) if cell["verdict"].startswith("CENSORED")]
    assert off and {cell["verdict"] for cell in off} == {"CENSORED_HI"}  # "far" is off the curve
    assert len(arrows(alpha_axis(task))) == sum(map(open_sides, cells(task)))
    assert arrows(learning(task)) == [1.0] * len(off)
    one_version(task)
    assert arrows(alpha_axis(task)) == []
    task["versions"]["v1"]["cells"][0]["alpha_avg_high"] = None
    task["versions"]["v1"]["cells"][1]["alpha_net_low"] = None
    assert arrows(alpha_axis(task)) == [1.0, 0.0]
    unknown(task, "NOT_IDENTIFIED")
    figure = alpha_axis(task)
    assert not drawn(figure.axes[0], "alpha_avg") and not arrows(figure)


def test_text_of_a_table_cannot_change_the_page(task: dict[str, Any]) -> None:
    evil = "<script>alert('1')</script>\" & <b> $x^"
    task |= {"task": evil, "recipe": evil, "notes": [evil], "differences": []}
    task["versions"] = {evil + v if v == "v1" else v: x for v, x in task["versions"].items()}
    for cell in cells(task):
        cell["version"] = evil + "v1" if cell["version"] == "v1" else cell["version"]
    page = report({"tasks": [task]})
    whole(page)
    assert "<script" not in page and "<b>" not in page
    assert any(evil + "v1" in row for rows in whole(page).tables for row in rows)


def test_a_long_axis_is_bent(task: dict[str, Any]) -> None:
    assert alpha_axis(task).axes[0].get_xscale() == "linear"
    wide_intervals(task)
    (axes,) = alpha_axis(task).axes
    assert axes.get_xscale() == "symlog"
    assert axes.get_xlim()[0] < -3e5 and axes.get_xlim()[1] > 4e6


def test_the_cost_card_follows_alpha(task: dict[str, Any]) -> None:
    assert "What it costs" not in {table.title for table in tables(task)}
    measured = cost.Generation(
        version="v1",
        device="2 <cores>",
        dollars_per_hour_low=0.06,
        dollars_per_hour_high=0.1,
        episode_seconds=0.03,
        model_seconds=470.0,
    )
    task["cost"] = cost.price(task, [measured, replace(measured, version="far")])
    task = json.loads(json.dumps(task, allow_nan=False))
    page = {tuple(rows[0]): rows[1:] for rows in whole(report({"tasks": [task]})).tables}
    (header,) = [header for header in page if "break_even" in header]
    assert len(page[header]) == 2 * len(N) * len(M)
    priced = task["cost"]["versions"]["v1"]["cells"][0]
    shown = dict(zip(header, page[header][0], strict=True))
    for kind in ("real", "correction", "first", "later", "synthetic", "break_even"):
        ends = [float(x.replace("−", "-")) for x in shown[kind].split(" to ")]
        assert ends == pytest.approx([priced[f"{kind}_low"], priced[f"{kind}_high"]], rel=1e-3)
    (assumed,) = [rows for header, rows in page.items() if header[-1] == "source"]
    assert [row[-1] for row in assumed] == [a["source"] for a in task["cost"]["assumptions"]]
    (devices,) = [rows for header, rows in page.items() if "device" in header]
    assert devices[0] == ["v1", "2 <cores>", "0.03", "470"]  # no energy was measured


def test_what_training_took_is_shown_where_it_is_known(task: dict[str, Any]) -> None:
    assert [t for t in tables(task) if "steps" in t.header] == []
    row = {"version": "", "n": 8, "m": 0, "k": 0, "steps": 4000.0, "device_seconds": 2.5}
    row |= {"energy_joules": None}
    task["budgets"] = [row, row | {"version": "v1", "m": 16, "k": 6, "device_seconds": None}]
    (table,) = [t for t in tables(task) if "steps" in t.header]
    assert [table.header, *table.rows] == [
        ["version", "n", "m", "k", "steps", "device_seconds"],
        ["", "8", "0", "0", "4000", "2.5"],
        ["v1", "8", "16", "6", "4000", "–"],
    ]
