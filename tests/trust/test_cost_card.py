"""The cost card: by hand, at its break-even, and exact over the assumptions' ranges."""

import dataclasses
import json
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldmodel.errors import InputError
from worldmodel.trust.cost import (
    Assumptions,
    Generation,
    Range,
    card,
    price,
)

FIELDS = [f.name for f in dataclasses.fields(Assumptions)]


def measured(low: float, high: float, episode: float, model: float, name: str = "v1") -> Generation:
    """Device time [s] of an episode and of the model, at a price [$/h]."""
    return Generation(
        version=name,
        device="2 CPU cores",
        dollars_per_hour_low=low,
        dollars_per_hour_high=high,
        episode_seconds=episode,
        model_seconds=model,
    )


OURS = measured(0.06, 0.1, 0.03, 470.0)


def exact(**values: float) -> Assumptions:
    """Assumptions without width: 30 $/h, twice that with overhead, 20 usable an hour."""
    known = {"operator_hours": 50.0, "usable_per_hour": 20.0, "wage": 30.0, "overhead": 2.0}
    known |= {"correction_minutes": 1.0, "model_hours": 10.0, "engineer_wage": 60.0} | values
    return Assumptions(**{name: Range(v, v, "", "known") for name, v in known.items()})


def point(interval: tuple[float, float]) -> float:
    assert interval[0] == pytest.approx(interval[1])
    return interval[0]


def test_by_hand() -> None:
    device = measured(3.6, 3.6, 2.0, 1000.0)
    ranges = card(device, m=100, k=5, assumptions=exact(), saved=(7, 7))
    costs = {name: point(ends) for name, ends in ranges.items()}
    assert costs["real"] == pytest.approx(50 * 30 * 2 / (50 * 20))  # 3 $
    assert costs["variant"] == pytest.approx(3000)
    assert costs["correction"] == pytest.approx(1)  # one minute at 60 $/h: not the 3 $ above
    assert costs["later"] == pytest.approx(0.002)  # 2 s at 0.001 $/s
    assert costs["first"] == pytest.approx(1200 + 1 + 5 + 0.002)
    assert costs["synthetic"] == pytest.approx((1200 + 1 + 5) / 100 + 0.002)
    assert costs["break_even"] == pytest.approx(costs["synthetic"] / 3)
    assert costs["net_value"] == pytest.approx(7 * 3 - 100 * costs["synthetic"])


@given(
    m=st.integers(1, 10**5),
    k=st.integers(0, 50),
    wage=st.floats(5, 80),
    minutes=st.floats(0, 30),
)
def test_at_the_break_even_nothing_is_gained(m: int, k: int, wage: float, minutes: float) -> None:
    assumed = exact(wage=wage, correction_minutes=minutes)

    def value(alpha: float) -> float:
        saved = (alpha * m, alpha * m)
        return point(card(OURS_PRICED, m, k, assumed, saved=saved)["net_value"])

    alpha = point(card(OURS_PRICED, m, k, assumed)["break_even"])
    assert value(alpha) == pytest.approx(0, abs=1e-6)
    assert value(alpha + 0.1) > 0


OURS_PRICED = measured(0.04, 0.04, 0.03, 470.0)


@given(st.data())
def test_ranges_hold_every_point_and_no_more(data: Any) -> None:
    """Every point lies in the range, whose ends are attained at corners."""
    wide = Assumptions()
    parts = data.draw(st.lists(st.floats(0, 1), min_size=len(FIELDS), max_size=len(FIELDS)))
    inside = {
        name: (r := getattr(wide, name)).low + part * (r.high - r.low)
        for name, part in zip(FIELDS, parts, strict=True)
    }
    saved = data.draw(st.floats(-60, 190))
    ranges = card(OURS_PRICED, 200, 6, wide, saved=(saved, saved))
    for name, value in card(OURS_PRICED, 200, 6, exact(**inside), saved=(saved, saved)).items():
        low, high = ranges[name]
        slack = 1e-9 * max(abs(low), abs(high))
        assert low - slack <= point(value) <= high + slack


def test_a_wage_on_both_sides_of_the_fraction_cancels() -> None:
    """Corrections and demonstrations by the same person: their ratio knows no wage."""
    free = measured(0, 0, 0, 0)
    assumed = dataclasses.replace(exact(model_hours=0), wage=Range(10, 50, "$/h", "unknown"))
    assert point(card(free, 10, 20, assumed)["break_even"]) == pytest.approx(20 * 1 / 3 / 10)


def test_more_episodes_share_the_first_one() -> None:
    costs = [card(OURS, m, 6) for m in (1, 100, 10_000)]
    assert costs[0]["synthetic"] == pytest.approx(costs[0]["first"])
    tops = [c["break_even"][1] for c in costs]
    assert tops[0] > 50 * tops[1] > 2000 * tops[2]
    assert costs[2]["later"][1] < 1e-5 * costs[2]["real"][0]  # 0.03 s of a core


def test_the_priced_document_is_plain_and_keeps_what_is_unknown() -> None:
    cell = {"n": 8, "m": 24, "k": 6, "d_eff_low": 20.0, "d_eff_high": None}
    task = {"task": "slide", "versions": {"v0": {"cells": []}, "v1": {"cells": [cell]}}}
    document = json.loads(json.dumps(price(task, [OURS]), allow_nan=False))
    assert list(document["versions"]) == ["v1"]
    (priced,) = document["versions"]["v1"]["cells"]
    assert priced["net_value_high"] is None
    assert priced["net_value_low"] == card(OURS, 24, 6, saved=(12, math.nan))["net_value"][0]
    assert (priced["synthetic_low"], priced["synthetic_high"]) == card(OURS, 24, 6)["synthetic"]
    assert {a["name"] for a in document["assumptions"]} == set(FIELDS)
    assert all(a["unit"] and a["source"] for a in document["assumptions"])


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: Range(2, 1, "h", ""), "lower first"),
        (lambda: Range(0, math.inf, "h", ""), "finite"),
        (lambda: Assumptions(usable_per_hour=Range(0, 1, "", "")), "usable"),
        (lambda: Assumptions(wage=Range(0, 1, "", "")), "wage must be above 0"),
        (lambda: card(OURS, 0, 0), "m = 0"),
        (lambda: price({"task": "t", "versions": {"v0": {}}}, [OURS]), "no version 'v1'"),
    ],
)
def test_bad_input_is_named(call: Any, named: str) -> None:
    with pytest.raises(InputError, match=named):
        call()
