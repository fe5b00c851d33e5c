"""Creep of a held box: what it is proportional to, and its table."""

import json
from pathlib import Path

import numpy as np
import pytest

from experiments.manipulation import creep

RESULT = Path(__file__).parents[2] / "experiments/results/manipulation/creep/table.json"
OWN = next(creep.settings())


def test_a_slope_is_creep_and_what_settles_before_is_not() -> None:
    time = 1e-3 * np.arange(2500)
    falling = 0.1 - 3e-4 * time + np.where(time < creep.SETTLED, 0.01, 0.0)
    assert creep.creep(falling, 1e-3) == pytest.approx(300.0, abs=0.5)


@pytest.mark.parametrize(
    ("changed", "factor"),
    [({"impratio": 100.0}, 0.1), ({"timestep_ms": 2.0}, 1.0), ({"iterations": 5}, 1.0)],
    ids=str,
)
def test_creep_is_the_contacts_and_not_the_solvers(changed: dict, factor: float) -> None:
    own, other = (creep.measured(row, "c") for row in (OWN, OWN | changed))
    assert own > 50.0
    assert other / own == pytest.approx(factor, rel=1e-3)


def test_noslip_ends_it_and_mjx_is_c() -> None:
    assert abs(creep.measured(OWN, "noslip")) < 1.0
    rows = json.loads(RESULT.read_text())["rows"]
    assert [{k: row[k] for k in OWN} for row in rows] == [*creep.settings()]
    for row in rows:
        assert row["mjx"] == pytest.approx(row["c"], rel=1e-3) and abs(row["noslip"]) < 1.0
    assert rows[0]["c"] == pytest.approx(creep.measured(OWN, "c"), rel=1e-3)
