"""The report's sentences and axes follow the numbers; the page is whole and stands alone."""

import copy
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.loop_figures import limits
from experiments.loop_report import page, verdicts, write_markdown, write_report
from worldmodel import trust

SIZES, M, SEEDS = (5, 8, 12, 18, 27, 42, 64, 100), (12, 24), 12


def row(version: str, n: int, m: int, k: int, seed: int, error: float) -> trust.Row:
    return trust.Row("slide", version, "weight 1", n, m, k, seed, "test", error)


def simulated() -> list[trust.Row]:
    """A learner whose error falls as the root of its episodes; versions of planted worth."""
    rng = np.random.default_rng(0)
    rows = []
    for seed in range(SEEDS):
        noise = lambda: float(np.exp(0.02 * rng.standard_normal()))  # noqa: E731
        rows += [row("", n, 0, 0, seed, n**-0.5 * noise()) for n in SIZES]
        for version, worth, k in (("v0", -0.1, 0), ("v1", 0.6, 6), ("v2", 5.0, 12), ("v*", 1, 0)):
            rows += [row(version, 16, m, k, seed, (16 + worth * m) ** -0.5 * noise()) for m in M]
    return rows


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    measured = trust.to_json(trust.measure(simulated())[0])
    names = ["v0", "v1", "v2"]
    path = [[0.45, 0.0], [1.0, 0.1]]
    kinds = {"v0": None, "v1": "v0", "v2": "v1"}
    return {
        "task": "slide",
        "reality": "held-out simulation",
        "hidden_seed": 1,
        "smoke": False,
        "provenance": {"commit": "0" * 12},
        "trust": measured,
        "versions": [
            {"name": n, "label": "made up", "parent": kinds[n], "corrections": 0, "kind": "physics"}
            | {"prediction_m": 0.1}
            for n in names
        ]
        + [{"name": "v*", "label": "reality itself", "parent": None, "kind": "reality"}],
        "launch": {
            "start": path[0],
            "target": path[1],
            "reality": path,
            "versions": dict.fromkeys(names, path),
        },
        "learning": {
            "n": list(SIZES),
            **{k: [n**-0.5 for n in SIZES] for k in ("error", "low", "high", "success")},
        },
        "policies": [
            {"version": v, "n": 16, "m": m, "error_m": 0.1, "success": 0.1}
            for v in (*names, "v*")
            for m in M
        ],
        "direct": {
            "version": "v1",
            "error_m": 0.05,
            "low": 0.04,
            "high": 0.06,
            "success": 0.3,
            "episodes": 14,
            "note": "planned",
        },
        "cost": {
            "synthetic_episode_s": 0.01,
            "synthetic_first_s": 100.0,
            "real_episode_s": 2.4,
            "operator_low_usd": 0.2,
            "operator_high_usd": 1.6,
            "note": "assumed",
        },
        "seconds": {"a stage": 1.0},
    }


class Balanced(HTMLParser):
    """Fails on a tag that is closed without having been opened; ``open`` are left over."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in {"meta", "link", "br"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_and_stands_alone(results: dict[str, Any], tmp_path: Path) -> None:
    write_report(results, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    assert not re.search(r'(src|href)="http', text) and "<script" not in text
    shown = re.sub(r"<style.*?</style>|<[^>]*>", " ", text, flags=re.S)
    assert not re.search(r"\b(nan|None|inf)\b", shown)
    assert text.count("<svg") == 3 and "held-out simulation" in shown
    write_markdown(results, tmp_path / "cells.md")
    assert (tmp_path / "cells.md").read_text().count("| v1 |") == len(M)


def test_sentences_follow_the_numbers(results: dict[str, Any]) -> None:
    said = verdicts(results)
    assert said[0].startswith("The control holds")
    assert "v1: α above 0 in 2 of 2 cells, below 0 in 0" in said[2]
    assert "v0: α above 0 in 0 of 2 cells" in said[1]
    doubted = copy.deepcopy(results)
    doubted["trust"]["versions"]["v*"]["cells"][0]["alpha_avg_high"] = 0.9
    assert verdicts(doubted)[0].startswith("Nothing below should be believed yet")
    assert "class=loud" in page(doubted) and "class=loud" not in page(results)
    worse = copy.deepcopy(results)
    worse["direct"]["error_m"] = 0.2
    assert "It beats the best mixture" in page(results)
    assert "It does not beat the best mixture" in page(worse)


def test_no_interval_leaves_the_axis(results: dict[str, Any]) -> None:
    cells = [c for v in results["trust"]["versions"].values() for c in v["cells"]]
    low, high = limits(cells)
    ends = [c[k] for c in cells for k in c if k.startswith(("alpha_avg", "alpha_net"))]
    assert all(low < e < high for e in ends if e is not None)
    assert low < 0 and high > 1
    assert any(c["verdict"].startswith("CENSORED") for c in cells)  # v2 is off the curve
