"""The committed certificate of the intervals follows from the committed coverage.json."""

import json
from pathlib import Path
from typing import Any

import pytest

from experiments.coverage.certificate import markdown
from experiments.coverage.measure import Args
from experiments.coverage.scenarios import scenarios

RESULTS = Path(__file__).resolve().parents[2] / "experiments" / "results" / "trust"


@pytest.fixture
def result() -> dict[str, Any]:
    return json.loads((RESULTS / "coverage.json").read_text())


def test_the_certificate_follows_from_its_rows(result: dict[str, Any]) -> None:
    assert markdown(result) == (RESULTS / "coverage.md").read_text()


def test_every_scenario_is_published_with_all_replications(result: dict[str, Any]) -> None:
    """The published rows are those of the study, each with its replications."""
    study = Args(out=RESULTS)
    fields = ("group", "design", "figure", "seeds", "cv", "slope", "wanted")
    published = [[row[name] for name in fields] + [row["replications"]] for row in result["arms"]]
    assert published == [
        [getattr(scenario, name) for name in fields] + [scenario.tables]
        for scenario in scenarios(study.tables, study.pools)
    ]
