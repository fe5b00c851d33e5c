"""The HTML report: every kind of document, its numbers in figures and in tables."""

import copy
import json
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.html_page import whole
from worldmodel import trust
from worldmodel.errors import InputError
from worldmodel.trust import cost, evaluation, figures
from worldmodel.trust.phrases import between, interval
from worldmodel.trust.report import report
from worldmodel.trust.svg import logarithmic, scale

CURVE, N, M, SEEDS = (4, 6, 9, 14, 22, 34, 50, 75), (8, 12), (8, 16, 24), 12
VERSIONS = {"v0": (-0.15, 0), "v1": (0.6, 6), "far": (9.0, 6), "v*": (1.0, 0)}  # alpha, K
KINDS = ("alpha_avg", "alpha_net", "d_eff", "gain_net", "alpha_marg")


def simulated() -> list[trust.Row]:
    """A learner whose error falls as the root of its episodes; versions of known alpha."""
    rng = np.random.default_rng(1)

    def row(version: str, n: int, m: int, k: int, seed: int, d_eff: float) -> trust.Row:
        error = 0.3 * d_eff**-0.5 * float(np.exp(0.05 * rng.standard_normal()))
        return trust.Row("slide", version, "weight 1", n, m, k, seed, "test", error)

    rows = []
    for seed in range(SEEDS):
        rows += [row("", n, 0, 0, seed, n) for n in CURVE]
        for version, (alpha, k) in VERSIONS.items():
            rows += [row(version, n, m, k, seed, n + alpha * m) for n in N for m in M]
    return rows


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
        cell |= {kind + end: None for kind in KINDS for end in figures.ENDS}
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
    assert page.count("class=loud") == ("v*" not in task["versions"] or "half-width" in page)
    assert report({"tasks": [task]}) == page == report(task)


def test_many_tasks_have_their_own_sections(task: dict[str, Any]) -> None:
    other = task | {"task": "lift"}
    read = whole(report({"tasks": [task, other, task | {"versions": {}, "differences": []}]}))
    assert read.refers == ["#task0", "#task1", "#task2"]
    with pytest.raises(InputError, match="no task"):
        report({"tasks": []})


def test_every_cell_stands_in_every_figure_with_its_numbers(task: dict[str, Any]) -> None:
    every = figures.cells_of(task)
    for drawn, kinds, digits in (
        (figures.alpha_axis(task), ("alpha_avg", "alpha_net"), 2),
        ("".join(figures.d_eff(task, n) for n in N), ("d_eff",), 1),
        (figures.learning(task), ("d_eff",), 1),
    ):
        titles = re.findall(r"<title>(.*?)</title>", drawn)
        assert len(titles) == len(every) == len(VERSIONS) * len(N) * len(M)
        for name, cell in every:
            (title,) = [t for t in titles if t.startswith(f"{name}, n {cell['n']}, m {cell['m']}:")]
            assert [interval(cell, kind, digits) in title for kind in kinds] == [True] * len(kinds)


def test_marks_stand_where_their_numbers_are(task: dict[str, Any]) -> None:
    """A bar's ends and its mark, measured between the uprights at 0 and 1."""
    drawn = figures.alpha_axis(task)
    zero, one = (
        float(re.findall(rf'<polyline points="([\d.]+),[^>]*class="{kind}"', drawn)[0])
        for kind in ("axis", "axis dash")
    )
    seen = 0
    for name, cell in figures.cells_of(task):
        if name != "v1":
            continue
        group = drawn.split(f"<title>v1, n {cell['n']}, m {cell['m']}:")[1].split("</g>")[0]
        bars = re.findall(r'points="([\d.]+),[\d.]+ ([\d.]+),[\d.]+" class="bar"', group)
        for kind, bar in zip(("alpha_avg", "alpha_net"), bars, strict=True):
            alpha = [(float(x) - zero) / (one - zero) for x in bar]
            assert alpha == pytest.approx([cell[kind + "_low"], cell[kind + "_high"]], abs=2e-3)
            seen += 1
    assert seen == 2 * len(N) * len(M)


def test_tables_hold_the_document_s_numbers(task: dict[str, Any]) -> None:
    tables = {tuple(rows[0]): rows[1:] for rows in whole(report(task)).tables}
    (rows,) = [rows for header, rows in tables.items() if "α marginal" in header]
    assert len(rows) == len(VERSIONS) * len(N) * len(M)
    kinds = {"d_eff": 1, "alpha_avg": 2, "alpha_net": 2, "gain_net": 1, "alpha_marg": 2}
    for row, (name, cell) in zip(rows, figures.cells_of(task), strict=True):
        assert row[:4] == [name, *(str(cell[x]) for x in ("n", "m", "k"))]
        error = "{error:.4g} [{error_low:.4g}, {error_high:.4g}]".format(**cell)
        assert row[4:10] == [error, *(interval(cell, kind, d) for kind, d in kinds.items())]
    (rows,) = [rows for header, rows in tables.items() if "slope to the next n" in header]
    assert [row[0] for row in rows] == [str(n) for n in CURVE]
    for row, error in zip(rows, task["curve"]["error"], strict=True):
        assert row[1] == "{value:.4g} [{low:.4g}, {high:.4g}]".format(**error)


def open_sides(cell: dict[str, Any]) -> int:
    """Ends of a cell's intervals, gross and net, that are not known."""
    kinds = ("alpha_avg", "alpha_net") if cell["k"] else ("alpha_avg",)
    if cell["verdict"].startswith("CENSORED"):
        return len(kinds)
    return sum(cell[kind + end] is None for kind in kinds for end in ("_low", "_high"))


def test_censored_cells_are_arrows_from_their_bound_to_the_end(task: dict[str, Any]) -> None:
    off = [cell for cell in cells(task) if cell["verdict"].startswith("CENSORED")]
    assert off and {cell["verdict"] for cell in off} == {"CENSORED_HI"}  # "far" is off the curve
    drawn = figures.alpha_axis(task)
    assert drawn.count("mark arrow") == drawn.count("bar open") == sum(map(open_sides, cells(task)))
    assert figures.learning(task).count("mark arrow") == len(off)
    assert "mark arrow" not in figures.alpha_axis(
        {**task, "versions": {"v1": task["versions"]["v1"]}}
    )
    unknown(task, "NOT_IDENTIFIED")
    assert 'class="bar' not in figures.alpha_axis(task)
    assert figures.alpha_axis(task).count("not readable") == 2 * len(cells(task))  # title, margin


def test_text_of_a_table_cannot_change_the_page(task: dict[str, Any]) -> None:
    evil = "<script>alert('1')</script>\" & <b>"
    task["task"] = evil
    task["versions"] = {evil + v if v == "v1" else v: x for v, x in task["versions"].items()}
    task["differences"] = []
    cells(task)[0]["reason"] = evil
    page = report({"tasks": [task, task]})
    whole(page)
    assert "<script" not in page and "alert(&#x27;1&#x27;)" in page
    assert any(evil + "v1" in row for rows in whole(page).tables for row in rows)


def test_a_cap_or_a_limit_is_drawn_where_there_is_one(task: dict[str, Any]) -> None:
    assert "bar cap" not in report(task) and "Level lines" not in report(task)
    task["versions"]["v1"] |= {"cap": 40.0, "cap_low": 30.0, "cap_high": 60.0}
    page = report(task | {"law": "oracle"})
    assert page.count("bar cap") == len(N) and "40.00 [30.00, 60.00]" in page
    task["versions"]["v1"] |= {"cap": None, "cap_low": None, "cap_high": None, "limit": 50.0}
    assert [figures.levels(task, n) for n in N] == [{"v1": 50.0}] * 2
    task["versions"]["v*"] |= {"limit": 900.0, "limit_low": 400.0, "limit_high": None}
    page = report(task | {"law": "pooled"})
    assert page.count("bar cap") == len(N) and page.count("Above the figure: v* at 900") == len(N)
    assert "tends to as m grows" in page


def test_reused_corrections_are_shown_next_to_the_others(task: dict[str, Any]) -> None:
    before = figures.alpha_axis(task)
    cell = task["versions"]["v1"]["cells"][0]
    for kind in ("alpha_net", "gain_net", "d_eff"):
        cell |= {f"{kind}_reused{e}": cell[kind + e] for e in figures.ENDS}
    cell |= {"verdict_reused": "OK", "alpha_net_reused": 0.31}
    page = report(task)
    whole(page)
    assert figures.alpha_axis(task).count("<circle") == before.count("<circle") + 1  # the dot
    (rows,) = [rows for rows in whole(page).tables if "α net, reused" in rows[0]]
    assert [row[rows[0].index("α net, reused")][:6] for row in rows[1:]].count("0.31 [") == 1
    assert "trained on them too 0.31 [" in page
    cell |= {"verdict_reused": "CENSORED_LO"}
    cell |= {f"{k}_reused{e}": None for k in ("alpha_net", "gain_net") for e in figures.ENDS}
    arrows = [figures.alpha_axis(task).count("mark arrow"), before.count("mark arrow")]
    assert arrows[0] == arrows[1] + 1


def test_an_end_that_is_not_known_is_an_arrow(task: dict[str, Any]) -> None:
    before = figures.alpha_axis(task).count("mark arrow")
    cell = task["versions"]["v1"]["cells"][0]
    cell["alpha_avg_high"] = None
    assert figures.alpha_axis(task).count("mark arrow") == before + 1
    assert f"[{cell['alpha_avg_low']:.2f}, –]" in report(task)
    task |= {"recipe": "a <learner>", "split": "test", "seeds": 12}
    page = report(task | {"notes": ["a <note>"]})
    assert "a &lt;learner&gt;" in page and "a &lt;note&gt;" in page and "12 seeds" in page


def test_the_cost_card_and_the_judge_follow_alpha(task: dict[str, Any]) -> None:
    assert "What it costs" not in report(task) and "judge" not in report(task)
    measured = cost.Measured("2 <cores>", cost.cpu_hour(2), 0.03, 470.0)
    task["cost"] = cost.price(task, {"v1": measured, "far": measured})
    rng = np.random.default_rng(0)
    f = rng.normal(size=100)
    result = evaluation.evaluate(f[:30] + rng.normal(size=30), f[:30], f[30:])
    task["evaluation"] = {"a policy": evaluation.described(result)}
    task = json.loads(json.dumps(task, allow_nan=False))
    page = report(task)
    tables = {tuple(rows[0]): rows[1:] for rows in whole(page).tables}
    (rows,) = [rows for header, rows in tables.items() if "break-even α" in header]
    assert len(rows) == 2 * len(N) * len(M)
    priced = task["cost"]["versions"]["v1"]["cells"][0]
    kinds = ("real", "correction", "first", "later", "synthetic", "break_even", "net_value")
    assert rows[0][4:11] == [between(priced[f"{k}_low"], priced[f"{k}_high"]) for k in kinds]
    assert {row[-1] for row in rows} <= {"pays", "does not pay", "may pay or not"}
    (assumed,) = [rows for header, rows in tables.items() if header[0] == "assumed"]
    assert [row[2] for row in assumed] == [a["source"] for a in task["cost"]["assumptions"]]
    (devices,) = [rows for header, rows in tables.items() if "device" in header]
    assert devices[0] == ["v1", "2 <cores>", "0.03", "470", "–"]  # no energy was measured
    assert devices[-1][2] == "58" and "2 &lt;cores&gt;" in page
    (judged,) = [rows for header, rows in tables.items() if "α_eval" in header]
    assert judged[0][0] == "a policy" and judged[0][5] == interval(
        task["evaluation"]["a policy"], "alpha"
    )


def test_what_training_took_is_shown_where_it_is_known(task: dict[str, Any]) -> None:
    assert "budget of a training run" not in report(task)
    row = {"version": "", "n": 8, "m": 0, "k": 0, "steps": 4000.0, "device_seconds": 2.5}
    row |= {"energy_joules": None}
    task["budgets"] = [row, row | {"version": "v1", "m": 16, "k": 6, "device_seconds": None}]
    page = report(json.loads(json.dumps(task)))
    assert "What it costs" not in page  # a table alone, without prices
    (table,) = [t for t in whole(page).tables if "steps" in t[0]]
    assert table == [
        ["version", "n", "m", "K", "steps", "device [s]"],
        ["real only", "8", "0", "0", "4,000", "2.5"],
        ["v1", "8", "16", "6", "4,000", "–"],
    ]


@given(st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=9))
def test_a_logarithmic_axis_has_no_zero(values: list[float]) -> None:
    axis = logarithmic(values, 10.0, 200.0)
    assert 0 < axis.low <= min(values) <= max(values) <= axis.high
    assert all(tick > 0 for tick in axis.ticks(20))
    if max(values) > 2 * min(values):  # equal factors, equal distances
        middle = (min(values) * max(values)) ** 0.5
        assert axis(middle) == pytest.approx((axis(min(values)) + axis(max(values))) / 2)


@given(
    st.lists(st.floats(-1e6, 1e6).map(lambda v: round(v, 9)), min_size=1, max_size=9),
    st.sampled_from([None, 1.0, 8.0]),
    st.booleans(),
)
def test_no_number_leaves_its_axis(values: list[float], bend: float | None, turned: bool) -> None:
    start, end = (200.0, 10.0) if turned else (10.0, 200.0)
    axis = scale(values, start, end, bend)
    places = [axis(v) for v in sorted(values)]
    assert all(10 <= x <= 200 for x in places)
    assert places == sorted(places, reverse=turned)
    ticks = axis.ticks(20)
    assert all(axis.low <= tick <= axis.high for tick in ticks)
    gaps = np.abs(np.diff([axis(tick) for tick in ticks]))
    assert (gaps >= 20 - 1e-6).all()
