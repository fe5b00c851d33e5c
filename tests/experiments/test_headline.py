"""The head of the loop's page follows the numbers."""

import html
import json
import re
from typing import Any

import numpy as np
import pytest

from experiments.slide.headline import moving, outcome, success
from tests.helpers.html_page import whole
from worldmodel._mujoco import mujoco

N, M = 6, (20, 32)
ALPHAS = {"v0": (-0.17, 0), "v1": (0.88, 6), "v2": (0.59, 12), "v*": (0.94, 0)}
SCENE = (
    "<mujoco><worldbody><body><joint type='slide'/><geom size='.1'/></body></worldbody></mujoco>"
)


def cell(alpha: float, k: int, m: int) -> dict[str, Any]:
    return {"n": N, "m": m, "k": k, "verdict": "OK", "alpha_net": alpha - k / m} | {
        kind + end: alpha for kind in ("alpha_avg",) for end in ("", "_low", "_high")
    }


@pytest.fixture
def results() -> dict[str, Any]:
    """Success grows with the root of the episodes that count."""
    measured = {
        name: {
            "alpha": alpha,
            "alpha_low": alpha - 0.2,
            "alpha_high": alpha + 0.2,
            "verdict": "OK",
            "cells": [cell(alpha, k, m) for m in M],
        }
        for name, (alpha, k) in ALPHAS.items()
    }
    parents = {"v0": None, "v1": "v0", "v2": "v1", "v*": None}
    real = [3, 6, 12, 48]
    return {
        "trust": {"versions": measured, "differences": []},
        "versions": [{"name": n, "parent": p} for n, p in parents.items()],
        "learning": {"n": real, "success": [0.05 * n**0.5 for n in real]},
        "policies": [
            {"version": v, "n": N, "m": m, "success": 0.05 * max(N + a * m, 0) ** 0.5}
            for v, (a, _) in ALPHAS.items()
            for m in M
        ],
        "launch": {"target": [0.5, 0.25]},
    }


def test_the_sentence_is_of_the_first_version_that_learned(results: dict[str, Any]) -> None:
    net = np.mean([0.88 - 6 / m for m in M])
    assert outcome(results) == (
        "After 6 real corrections one synthetic episode of v1 is worth 0.88 real ones "
        f"[0.68, 1.08]; net of them {net:.2f}; before them, of v0, −0.17 real ones "
        "[−0.37, 0.03]."
    )
    results["trust"]["versions"]["v2"]["alpha"] = 2.0  # not the best one
    assert " of v1 is worth 0.88 " in outcome(results)
    del results["trust"]["versions"]["v1"]
    assert outcome(results).startswith("After 12 real corrections one synthetic episode of v2")
    del results["trust"]["versions"]["v2"]
    assert outcome(results) == "No version was made from corrections."


@pytest.mark.parametrize(
    ("known", "phrase"),
    [
        ({"alpha_low": 0.7}, "is worth at least 0.70 real ones;"),
        ({"alpha_high": 0.7}, "is worth at most 0.70 real ones;"),
        ({}, "a number of real ones that the runs do not determine (helps, and pays for its"),
    ],
)
def test_a_bound_is_called_a_bound(
    results: dict[str, Any], known: dict[str, float], phrase: str
) -> None:
    version = results["trust"]["versions"]["v1"]
    version |= dict.fromkeys(("alpha", "alpha_low", "alpha_high")) | known
    for c in version["cells"]:
        c |= {"alpha_net_low": 0.1, "alpha_net_high": 0.9}
    version["cells"][0]["alpha_net"] = None
    assert phrase in outcome(results) and "; net of them unknown;" in outcome(results)


def paths(drawn: str) -> dict[str, np.ndarray]:
    """The corners of every version's line."""
    drawn_lines = re.findall(r"<title>([^<]*)</title><polyline points=\"([^\"]*)\"", drawn)
    return {
        html.unescape(name): np.array([list(map(float, p.split(","))) for p in points.split()])
        for name, points in drawn_lines
    }


def test_success_climbs_along_the_real_curve_where_alpha_is_one(results: dict[str, Any]) -> None:
    results["policies"][-2:] = [
        {"version": "v*", "n": N, "m": m, "success": 0.05 * (N + m) ** 0.5} for m in M
    ]
    drawn = success(results, N)
    whole(f"<html>{drawn}</html>")
    lines = paths(drawn)
    assert list(lines) == list(ALPHAS) and {len(p) for p in lines.values()} == {1 + len(M)}
    starts = np.array([p[0] for p in lines.values()])
    assert np.ptp(starts, axis=0).max() == 0  # all begin at the real episodes alone
    heights = {name: p[-1, 1] for name, p in lines.items()}  # downwards
    assert heights["v*"] < heights["v1"] < heights["v2"] < starts[0, 1] < heights["v0"]
    x, y = lines["v*"].T  # as good as real: success is the root of the episodes, as is the curve's
    (road,) = re.findall(r"<polyline points=\"([^\"]*)\" class=\"road\"", drawn)
    curve = np.array([list(map(float, p.split(","))) for p in road.split()])
    up = (curve[0, 1] - curve[-1, 1]) / (48**0.5 - 3**0.5)
    np.testing.assert_allclose((y[0] - y[1:]) / up, np.sqrt(N + np.array(M)) - N**0.5, rtol=1e-3)
    assert (np.diff(x) > 0).all()


def test_a_size_without_real_runs_of_its_own_has_no_common_start(results: dict[str, Any]) -> None:
    results["learning"]["n"][1] = 7
    assert {len(p) for p in paths(success(results, N)).values()} == {len(M)}


def test_the_stroke_moves_in_reality_and_in_every_version(results: dict[str, Any]) -> None:
    model = mujoco.MjModel.from_xml_string(SCENE)
    assert moving(results, model, 10.0) == ""  # results of before
    rows = [[0.0], [0.25], [0.5]]
    results["launch"]["qpos"] = {"reality": rows, "v0": rows, "v1": rows[:2]}
    page = moving(results, model, 10.0)
    (text,) = re.findall(r"data-scene='([^']*)'", page)
    read = json.loads(html.unescape(text))
    assert [e["name"] for e in read["episodes"]] == ["reality", "v0", "v1"]
    assert [e["colour"] for e in read["episodes"]] == [None, "var(--c0)", "var(--c1)"]
    (disc,) = [g for g in read["geoms"] if "mark" in g]
    assert disc["position"] == [0.5, 0.25, 0] and disc["size"][0] == 0.03
