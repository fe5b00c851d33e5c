"""Properties of a whole measurement: what changes nothing about it, whatever it says.

Tables are drawn with every verdict among their cells: steep and flat curves, little noise and much.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worldmodel.trust import Row, measure, to_json

few = settings(max_examples=25, deadline=None, derandomize=True, database=None)
SIZES, N, M = (8, 16, 32, 64, 128), (16, 32), (20, 60, 90)
NAMES = st.text('av0*", é\n', min_size=1).map(str.strip).filter(bool)  # spaces within alone


@st.composite
def tables(
    draw: st.DrawFn,
    slopes: tuple[float, float] = (0.05, 1.5),
    noises: tuple[float, float] = (0.01, 0.6),
    alphas: tuple[float, float] = (-1.0, 2.0),
) -> list[Row]:
    """One task: a curve of five sizes and one or two versions on two n by three m, one with K."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    slope, noise = draw(st.floats(*slopes)), draw(st.floats(*noises))
    seeds = draw(st.integers(2, 8))
    cells = [("", n, 0, 0, float(n)) for n in SIZES]
    for version, k in (("v0", 0), ("v1", 5))[: draw(st.integers(1, 2))]:
        alpha = draw(st.floats(*alphas))
        cells += [(version, n, m, k, max(1.0, n + alpha * m)) for n in N for m in M]
    return [
        Row(
            "toss",
            version,
            "net",
            n,
            m,
            k,
            seed,
            "test",
            worth**-slope * float(rng.lognormal(0, noise)),
        )
        for version, n, m, k, worth in cells
        for seed in range(seeds)
    ]


def told(rows: list[Row]) -> dict[str, Any]:
    """All there is to say of the one task; differences by what they compare."""
    out = to_json(measure(rows)[0])
    out["differences"] = {(d["a"], d["b"], d["n"], d["m"]): d for d in out["differences"]}
    return out


def same(a: Any, b: Any, rounding: float = 1e-9) -> None:
    """Equal, numbers but for rounding: that much, or a millionth of them."""
    if isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            same(a[key], b[key], rounding)
    elif isinstance(a, list):
        for x, y in zip(a, b, strict=True):
            same(x, y, rounding)
    else:
        near = pytest.approx(b, rel=1e-6, abs=rounding) if isinstance(b, float) else b
        assert a == near


@few
@given(tables(), st.randoms(use_true_random=False))
def test_the_order_of_rows_is_nothing(rows: list[Row], random: Any) -> None:
    assert told(random.sample(rows, len(rows))) == told(rows)


@few
@given(tables(), st.floats(1e-6, 1e6))
def test_an_unused_version_is_nothing_to_the_others(rows: list[Row], error: float) -> None:
    """Also where it is off the curve, and has cells that no other version has."""
    plain = told(rows)
    seeds = sorted({row.seed for row in rows})
    more = [replace(rows[0], version="aside", n=n, m=m) for n, m in ((16, 20), (64, 7))]
    more = [replace(row, seed=seed, error=error * (1 + seed)) for row in more for seed in seeds]
    found = told(rows + more)
    assert {name: found["versions"][name] for name in plain["versions"]} == plain["versions"]
    assert found["curve"] == plain["curve"]
    kept = {key: d for key, d in found["differences"].items() if "aside" not in key}
    assert kept == plain["differences"]


@few
@given(tables(), st.floats(1e-9, 1e9))
def test_the_unit_of_the_error_is_nothing(rows: list[Row], unit: float) -> None:
    """All but the errors themselves stays."""
    plain, scaled = told(rows), told([replace(row, error=row.error * unit) for row in rows])
    in_unit = [
        *plain["curve"]["error"],
        *(c for v in plain["versions"].values() for c in v["cells"]),
    ]
    for entry in in_unit:
        for key in (
            ("value", "low", "high") if "value" in entry else ("error", "error_low", "error_high")
        ):
            entry[key] *= unit
    same(scaled, plain)


@few
@given(
    tables(),
    st.lists(NAMES, min_size=2, max_size=2, unique=True),
    st.lists(st.integers(-(10**12), 10**12), min_size=8, max_size=8, unique=True),
)
def test_names_are_nothing(rows: list[Row], names: list[str], seeds: list[int]) -> None:
    called = {"": "", "v0": names[0], "v1": names[1]}
    plain = told(rows)
    notes = len(plain.pop("notes"))  # they name versions
    other = [replace(row, version=called[row.version], seed=seeds[row.seed]) for row in rows]
    found = told(other)
    assert len(found.pop("notes")) == notes
    versions = {called[name]: version for name, version in plain["versions"].items()}
    for name, version in versions.items():
        for cell in version["cells"]:
            cell["version"] = name
    differences = {
        (called[a], called[b], n, m): d | {"a": called[a], "b": called[b]}
        for (a, b, n, m), d in plain["differences"].items()
    }
    same(found, plain | {"versions": versions, "differences": differences})


@few
@given(
    st.floats(0.3, 1.5),
    st.floats(0.5, 3.0),
    st.lists(st.floats(0.2, 5.0), min_size=3, max_size=6),
    st.floats(-0.15, 1.2),  # below, a cell would be worth less than no episode
)
def test_a_power_of_the_error(
    slope: float, power: float, factors: list[float], alpha: float
) -> None:
    """D_eff is read off the mean errors, and the mean of a power is not the power of the mean.

    So a power of the error (a squared error for its root, say) leaves D_eff as it is, with slopes
    times that power, where the runs of a seed have one factor in common and no noise of their own.
    With such noise it moves D_eff: alpha belongs to the error that was registered.
    """
    cells = [("", n, 0, float(n)) for n in SIZES]
    cells += [("v", n, m, n + alpha * m) for n in N for m in M]

    def raised(power: float) -> dict[str, Any]:
        return told(
            [
                Row("toss", v, "net", n, m, 0, seed, "test", (factor * worth**-slope) ** power)
                for v, n, m, worth in cells
                for seed, factor in enumerate(factors)
            ]
        )

    plain, found = raised(1.0), raised(power)
    for a, b in zip(found["versions"]["v"]["cells"], plain["versions"]["v"]["cells"], strict=True):
        for kind in ("d_eff", "alpha_avg", "alpha_net", "gain_net", "alpha_marg"):
            for end in ("", "_low", "_high"):
                same(a[kind + end], b[kind + end], 1e-6)  # the root of a number's precision
        assert a["verdict"] == b["verdict"]
    for a, b in zip(found["curve"]["slope"], plain["curve"]["slope"], strict=True):
        same(a["value"], power * b["value"])


def test_a_power_of_noisy_errors_is_another_error() -> None:
    """The reverse of the above: noise of a cell's own, and the root reads another D_eff."""
    rows = [
        Row("toss", "v" * (m > 0), "net", n, m, 0, seed, "test", (2.0 if m and seed else 1.0) / n)
        for n, m in [*((n, 0) for n in SIZES), (64, 20)]
        for seed in range(3)
    ]
    (whole,) = told(rows)["versions"]["v"]["cells"]
    (root,) = told([replace(r, error=r.error**0.5) for r in rows])["versions"]["v"]["cells"]
    assert whole["d_eff"] == pytest.approx(64 * 3 / 5)
    assert root["d_eff"] == pytest.approx(64 * (3 / (1 + 2 * 2**0.5)) ** 2)
