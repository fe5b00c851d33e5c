"""The page of alpha on tosses: what a sceptic asks stands there, where its condition holds."""

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.recordings.problems import CUBE
from experiments.slide.replicate_cells import Oracle
from experiments.slide.replicate_report import mean_alpha, oracle_verdict
from experiments.tosses_alpha.measure import cells
from experiments.tosses_alpha.report import CHANGES, page, publish
from experiments.tosses_alpha.report_text import convergence
from experiments.tosses_alpha.study import SMOKE
from worldmodel.trust.phrases import CONTROL

RESULTS = Path(__file__).parents[2] / "experiments" / "results"
STUDY = dataclasses.replace(SMOKE, real=(2, 4, 8, 16, 32, 64), m=(4, 16))
ALPHA = {CONTROL: 1.0, "thin25": 0.25, "thin75": 0.75, "copies": 0.0}
FIT = {"converged": True, "costs": [300.0, 102.0, 101.0, 99.0, 100.0], "to_go": 2.5, "left_out": 1}


def result(seed: int) -> dict[str, Any]:
    """A replicate whose errors follow the law: 1 at two real tosses, then D to the power −1/2."""
    rng = np.random.default_rng(seed)
    done = []
    for version, n, m in cells(STUDY):
        effective = n + ALPHA.get(version, 0.6) * m  # real tosses
        error = np.sqrt(2 / effective) * np.exp(0.01 * rng.normal(size=2) * (effective > 2))
        error = np.ones(2) if version == "dealt" else error
        done.append({"version": version, "n": n, "m": m, "errors": error.tolist()})
    about = {
        "direct": {name: [0.3, 0.3] for name in ("v0", "v1", "v2-physics", "v2")},
        "regression": 0.9 + 0.1 * seed,
        "fits": {"v1": FIT, "v2": FIT | {"converged": seed > 1}},
        "provenance": {"commit": f"versions{seed % 2}"},
    }
    return {
        "cells": done,
        "ballistic": [0.1, 0.2],
        "seconds": 1.0,
        "provenance": {"commit": "learner0"},
        "about": about,
    }


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("published")
    summary = publish(out, CUBE, STUDY, [result(s) for s in range(5)], 100, True, "again")
    assert summary["control_holds"]
    return json.loads((out / "measurement.json").read_text())


def test_the_page_says_what_was_changed_and_where_it_was_made(document: dict[str, Any]) -> None:
    text = page(document)
    assert "## What was changed after a look" in text
    assert all(f"- {change}" in text for change in CHANGES)
    assert document["commits"]["versions"] == ["versions0", "versions1"]
    assert "replicates learner0; the versions versions0 and versions1; published" in text
    assert "the geometric mean of position and rotation error" in text


def test_a_page_of_an_older_run_says_what_it_does_not_have(document: dict[str, Any]) -> None:
    old = copy.deepcopy(document)
    del old["commits"]
    for about in old["about"]:
        del about["fits"], about["provenance"]
    text = page(old)
    assert "the learner's replicates not recorded; the versions not recorded; published" in text
    assert "Convergence of the fits: not recorded." in text and "fits of physics" not in text


def test_convergence_is_counted(document: dict[str, Any]) -> None:
    text = convergence(document["about"])
    assert text in page(document)
    assert text.startswith("8 of 10 fits of physics converged")
    # Costs 102, 101, 99, 100: three of a hundred.
    assert "varies by 3.00 % (median), 3.00 % at most" in text and "up to 2.5 of its" in text
    assert "left out, in all fits: 10." in text and "1 or above" in text
    assert "in 4 of 5 replicates" in text
    first = convergence(document["about"][:1])
    assert "1 or above" not in first and "0.90 to 0.90" in first
    mixed = [document["about"][0], {"regression": 0.9}]
    assert "Of 1 of 2 replicates this was not recorded." in convergence(mixed)


def test_weaknesses_stand_where_they_hold(document: dict[str, Any]) -> None:
    text = page(document)
    assert "thin25 (4, 16) holds the same 4 fresh tosses as the cell v* (4, 4)" in text
    assert "thin75 (4, 16) holds" not in text  # 12 fresh ones: no such cell
    assert "The error of dealt is the ballistic one in every replicate" in text
    assert "it holds" in text and "it fails" not in text and "The control fails" not in text
    failed = copy.deepcopy(document)
    control = failed["tasks"][0]["versions"][CONTROL]
    control |= {"alpha": 1.18, "alpha_low": 1.003, "alpha_high": 1.357}
    failed["tasks"][1]["versions"]["dealt"]["cells"][0]["error"] = 0.98
    text = page(failed)
    assert "does not hold: its mean α is 1.180 [1.003, 1.357]" in text
    assert "The control fails" in text and "it fails" in text and "it holds" not in text
    assert "The error of dealt is" not in text


def bounds(low: float | None, high: float | None, verdict: str = "OK") -> dict[str, Any]:
    """A version of one cell."""
    middle = None if low is None or high is None else (low + high) / 2
    cell = {"alpha_avg": middle, "alpha_avg_low": low, "alpha_avg_high": high, "verdict": verdict}
    mean = dict.fromkeys(("alpha", "alpha_low", "alpha_high"))
    if middle is not None:
        mean = {"alpha": middle, "alpha_low": low, "alpha_high": high}
    return mean | {"cells": [cell], "verdict": verdict, "homogeneity_p": None}


@pytest.mark.parametrize(
    ("alpha", "low", "high", "word"),
    [
        (0.0, -0.1, 0.1, "as theory has it"),
        (0.0, 0.1, 0.2, "NOT"),
        (0.0, None, -0.1, "NOT"),  # the one end that is known refutes it
        (0.0, 0.1, None, "NOT"),
        (0.0, None, 0.0, "cannot be told"),
        (0.0, None, None, "cannot be told"),
        (None, -0.2, -0.1, "as theory has it"),
        (None, None, -0.1, "as theory has it"),
        (None, -0.1, 0.1, "NOT"),  # the curve has a place for it, and it is not shown
        (None, 0.1, None, "NOT"),
        (None, None, 0.0, "cannot be told"),
        (None, None, None, "cannot be told"),
    ],
)
def test_an_oracle_off_the_curve_is_no_failure_and_no_success(
    alpha: float | None, low: float | None, high: float | None, word: str
) -> None:
    verdict = "CENSORED_LO" if low is None else "CENSORED_HI" if high is None else "OK"
    text = oracle_verdict("one", Oracle(alpha, "why"), bounds(low, high, verdict))
    assert f": {word}" in text
    assert ("worse than the smallest real-only set" in text) == (word == "cannot be told")


def test_a_mean_over_unlike_cells_is_marked(document: dict[str, Any]) -> None:
    version = bounds(0.5, 0.7)
    assert mean_alpha(version) == "0.60 [0.50, 0.70]"
    for unlike in ({"homogeneity_p": 0.003}, {"verdict": "HETEROGENEOUS"}):
        assert mean_alpha(version | unlike) == "0.60 [0.50, 0.70] (not one α)"
    marked = copy.deepcopy(document)
    marked["tasks"][0]["versions"]["v0"]["homogeneity_p"] = 0.003
    assert page(marked).count("(not one α)") == page(document).count("(not one α)") + 1


@pytest.mark.parametrize("name", ["elbow_toss", "cube_toss"])
def test_the_published_text_is_that_of_its_numbers(name: str) -> None:
    folder = RESULTS / "tosses_alpha" / name
    document = json.loads((folder / "measurement.json").read_text())
    assert page(document) == (folder / "alpha.md").read_text()
