"""The report's sentences and axes follow the numbers; the page is whole and stands alone."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.slide.report import (
    COLUMNS,
    Args,
    against,
    headline,
    main,
    markdown,
    page,
    sentences,
    warnings,
)
from tests.helpers.html_page import whole
from worldmodel import trust
from worldmodel.trust.phrases import interval, number

CURVE, N, M, SEEDS = (4, 6, 9, 14, 21, 32, 48, 72), (8, 12), (8, 16, 24), 24
VERSIONS = {"v0": (-0.2, 0), "v1": (0.6, 6), "v2": (0.9, 12), "v1-hybrid": (8.0, 6), "v*": (1.0, 0)}
ENDS = {"error": "value", "low": "low", "high": "high"}


def simulated() -> list[trust.Row]:
    """A learner whose error falls as the root of its episodes; versions of planted alpha."""
    rng = np.random.default_rng(1)

    def row(version: str, n: int, m: int, k: int, seed: int, d_eff: float) -> trust.Row:
        error = 0.3 * d_eff**-0.5 * float(np.exp(0.05 * rng.standard_normal()))
        return trust.Row("slide", version, "weight 1", n, m, k, seed, "test", error)

    rows = []
    for seed in range(SEEDS):
        rows += [row("", n, 0, 0, seed, n) for n in CURVE]
        for version, (alpha, k) in VERSIONS.items():
            cells = [(n, m) for n in N for m in M]
            rows += [row(version, n, m, k, seed, max(n + alpha * m, 2)) for n, m in cells]
    return rows


def example() -> dict[str, Any]:
    """Results as ``close_the_loop`` assembles them: v1 good, v0 harmful, a hybrid off the curve."""
    rows = simulated()
    measured = trust.to_json(trust.measure(rows)[0])
    time = np.linspace(0, 1, 20)
    turns = {"v0": 0.22, "v1": 0.13, "v1-hybrid": 0.12, "v2": 0.11, "reality": 0.1}
    path = {
        name: np.stack([0.45 + (0.5 + turn) * time, turn * time**1.3], axis=1).tolist()
        for name, turn in turns.items()
    }
    names = [name for name in VERSIONS if name != "v*"]
    versions: list[dict[str, Any]] = [
        {"name": name, "label": f"made up & <{name}>", "parent": "v0" if name != "v0" else None}
        | {
            "kind": "physics",
            "corrections": VERSIONS[name][1],
            "prediction_m": 0.1,
            "parameters": {},
        }
        for name in names
    ]
    twin = {"name": "v*", "label": "reality itself", "parent": None, "kind": "reality"}
    errors: dict[tuple[str, int, int], list[float]] = {}
    for r in rows:
        errors.setdefault((r.version, r.n, r.m), []).append(r.error)
    return {
        "task": "slide",
        "reality": "held-out simulation",
        "hidden_seed": 1,
        "smoke": False,
        "config": {"seeds": SEEDS, "none": None},
        "provenance": {"commit": "0" * 12, "versions": {"jax": "0"}, "cpu": None, "devices": []},
        "trust": measured,
        "versions": [*versions, twin],
        "launch": {
            "start": path["reality"][0],
            "target": [1.02, 0.12],
            "reality": path["reality"],
            "versions": {name: path[name] for name in names},
        },
        "learning": {
            "n": list(CURVE),
            **{end: [e[key] for e in measured["curve"]["error"]] for end, key in ENDS.items()},
            "success": [0.1] * len(CURVE),
        },
        "policies": [
            {"version": v, "n": n, "m": m, "error_m": float(np.mean(e)), "success": 0.1}
            for (v, n, m), e in errors.items()
        ],
        "direct": {"version": "v1", "error_m": 0.05, "low": 0.04, "high": 0.06, "success": 0.3}
        | {"episodes": 14, "note": "planned"},
        "pure": [{"version": "v0", "m": 24, "error_m": None, "success": 0.1}],
        "cost": {"synthetic_episode_s": 0.01, "synthetic_first_s": 100.0, "real_episode_s": 2.4}
        | {"operator_low_usd": 0.2, "operator_high_usd": 1.6, "note": "assumed"},
        "seconds": {"a stage": 1.0, "another": 2.5},
        "data_sets": {"real": "data/real"},
    }


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    return example()


@pytest.fixture
def results(measured: dict[str, Any]) -> dict[str, Any]:
    return copy.deepcopy(measured)


def cells(results: dict[str, Any], name: str) -> list[dict[str, Any]]:
    return results["trust"]["versions"][name]["cells"]


def test_the_page_is_whole_and_stands_alone(results: dict[str, Any]) -> None:
    text = page(results)
    whole(text)
    assert text.count('role="img"') == 3 + 2 * len(N) and text.count("<text") > 50
    assert "made up &amp; &lt;v1&gt;" in text
    assert "--hidden-seed 1 --out" in text
    assert "--hidden-seed 1 --full --out" in page(results | {"full": True})


def test_the_page_is_written_again_from_a_file(results: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps(results, allow_nan=False))
    assert main(Args(tmp_path / "results.json", tmp_path / "page.html")) == 0
    assert (tmp_path / "page.html").read_text() == page(results)


def test_optional_keys_may_be_absent(results: dict[str, Any]) -> None:
    assert "Synthetic episodes alone" in page(results)
    for key in ("pure", "config", "data_sets", "seconds"):
        del results[key]
    results["direct"] |= {"low": None, "high": None}
    assert "Synthetic episodes alone" not in page(results)


def test_the_control_decides_what_may_be_believed(results: dict[str, Any]) -> None:
    assert warnings(results) == [] and "class=loud" not in page(results)
    assert "the control v* holds" in headline(results)
    for key, value in (("alpha_high", 0.9), ("alpha_low", 0.1), ("alpha_low", None)):
        doubted = copy.deepcopy(results)
        doubted["trust"]["versions"]["v*"][key] = value
        if value is None:
            cells(doubted, "v*")[0]["alpha_avg"] = None
        (warning,) = warnings(doubted)
        assert warning.startswith("Nothing below should be believed yet")
        assert ("1 of 6 cells have none" in warning) == (value is None)
        assert "the control v* fails" in headline(doubted) and "class=loud" in page(doubted)
    del results["trust"]["versions"]["v*"]
    assert "was not measured" in warnings(results)[0]
    assert len(warnings(results | {"smoke": True})) == 2


def test_sentences_follow_the_numbers(results: dict[str, Any]) -> None:
    lines = {s.split(" ")[0]: s for s in sentences(results)}
    assert "gross α is above 0 in no cell, below 0 in every cell" in lines["v0"]
    assert "gross α is above 0 in every cell, below 0 in no cell" in lines["v1"]
    assert "a bound at most, in" in lines["v1-hybrid"] and "a bound" not in lines["v1"]
    assert "in no cell for v0" in headline(results) and "held-out simulation" in headline(results)
    for cell in cells(results, "v0"):
        cell |= {"alpha_avg": 0.5, "alpha_avg_low": 0.4, "alpha_avg_high": 0.6}
    cells(results, "v1")[0]["alpha_avg_low"] = -0.1
    lines = {s.split(" ")[0]: s for s in sentences(results)}
    assert "gross α is above 0 in every cell, below 0 in no cell" in lines["v0"]
    assert "gross α is above 0 in 5 of 6 cells" in lines["v1"]
    assert "in no cell" not in headline(results).split(";")[0]


def test_net_differences_follow_the_numbers(results: dict[str, Any]) -> None:
    pair = [d for d in results["trust"]["differences"] if (d["a"], d["b"]) == ("v2", "v0")]
    for verdict, phrase in (("RISES", "rises in"), ("FALLS", "rises in no cell, falls in")):
        for d in pair:
            d["verdict"] = verdict
        assert f"from v0 to v2 the gain net of corrections {phrase} every cell" in headline(results)
    pair[0]["verdict"] = "CENSORED"
    assert "cannot be compared in 1 of 6 cells" in headline(results)
    results["trust"]["differences"] = []
    assert "v2 and v0 were not compared" in headline(results)
    del results["trust"]["versions"]["v2"]
    assert "v1 and v0 were not compared" in headline(results)


def test_direct_planning_is_held_against_mixtures_of_no_more_episodes(
    results: dict[str, Any],
) -> None:
    spent = {name: k for name, (_, k) in VERSIONS.items() if name != "v*"}
    fair = [
        p["error_m"]
        for p in results["policies"]
        if p["version"] in spent and p["n"] + spent[p["version"]] <= 14
    ]
    assert f"misses by {100 * min(fair):.1f} cm" in against(results)
    for low, high, verb in ((0.0, 0.001, "beats"), (0.0, 9.0, "is level"), (8.0, 9.0, "is worse")):
        results["direct"] |= {"low": low, "high": high}
        assert f"Planning in the model itself {verb}" in against(results)
    results["policies"] = []
    assert "no mixture" in against(results)


def test_numbers_are_rounded_for_reading() -> None:
    shown = {None: "–", 0.123: "0.12", -0.001: "0.00", -1.5: "−1.50", 1234.56: "1235"}
    assert {value: number(value) for value in shown} == shown
    cell = {"x": None, "x_low": None, "x_high": 0.5}
    assert interval(cell, "x") == "≤ 0.50"
    assert interval(cell | {"x_low": 0.1, "x_high": None}, "x") == "≥ 0.10"
    assert interval(cell | {"x": 0.3, "x_low": 0.1}, "x") == "0.30 [0.10, 0.50]"
    assert interval(dict.fromkeys(cell), "x") == "–"


def test_markdown_has_a_row_per_cell(results: dict[str, Any]) -> None:
    text = markdown(results)
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert len(rows) == 2 + len(VERSIONS) * len(N) * len(M)
    assert {row.count(" | ") for row in rows} == {len(COLUMNS) - 1}
    assert headline(results) in text and not re.search(r"\b(nan|None)\b", text)
    results["trust"]["versions"]["v*"]["alpha_high"] = 0.9
    assert "Nothing below should be believed yet" in markdown(results)
