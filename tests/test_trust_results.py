"""The committed certificate of the trust tool's intervals is that of the rows beside it."""

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.trust_arms import arms
from experiments.trust_certificate import markdown
from experiments.trust_coverage import Args

RESULTS = Path(__file__).resolve().parent.parent / "experiments" / "results" / "trust"


@pytest.fixture
def result() -> dict[str, Any]:
    return json.loads((RESULTS / "coverage.json").read_text())


def test_the_certificate_is_that_of_its_rows(result: dict[str, Any]) -> None:
    assert markdown(result) == (RESULTS / "coverage.md").read_text()


def test_no_arm_is_missing_or_was_cut_short(result: dict[str, Any]) -> None:
    """What was published is the gate as it stands, each arm with the replications that it has."""
    gate = Args(out=RESULTS)
    words = ("group", "design", "figure", "seeds", "cv", "slope", "wanted")
    told = [[row[word] for word in words] + [row["replications"]] for row in result["arms"]]
    assert told == [
        [getattr(arm, word) for word in words] + [arm.tables]
        for arm in arms(gate.tables, gate.pools)
    ]
