"""Changes of a table that leave the result as it is."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.random_tables import SIZES, M, N, document, few, tables
from worldmodel.trust import Row

NAMES = st.text('av0*", é\n', min_size=1).map(str.strip).filter(bool)  # spaces within alone


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
def test_the_order_of_rows_changes_nothing(rows: list[Row], random: Any) -> None:
    assert document(random.sample(rows, len(rows))) == document(rows)


@few
@given(tables(), st.floats(1e-6, 1e6))
def test_another_version_changes_no_other(rows: list[Row], error: float) -> None:
    """Not even one off the curve, with cells that no other version has."""
    plain = document(rows)
    seeds = sorted({int(row.seed) for row in rows})
    more = [replace(rows[0], version="aside", n=n, m=m) for n, m in ((16, 20), (64, 7))]
    more = [replace(row, seed=seed, error=error * (1 + seed)) for row in more for seed in seeds]
    wider = document(rows + more)
    assert {name: wider["versions"][name] for name in plain["versions"]} == plain["versions"]
    assert wider["curve"] == plain["curve"]
    kept = {key: d for key, d in wider["differences"].items() if "aside" not in key}
    assert kept == plain["differences"]


@few
@given(tables(), st.floats(1e-9, 1e9))
def test_the_unit_of_the_error_changes_nothing(rows: list[Row], unit: float) -> None:
    """All but the errors themselves stays."""
    plain, scaled = document(rows), document([replace(row, error=row.error * unit) for row in rows])
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
def test_names_change_nothing(rows: list[Row], names: list[str], seeds: list[int]) -> None:
    called = {"": "", "v0": names[0], "v1": names[1]}
    plain = document(rows)
    notes = len(plain.pop("notes"))  # they name versions
    other = [replace(row, version=called[row.version], seed=seeds[int(row.seed)]) for row in rows]
    renamed = document(other)
    assert len(renamed.pop("notes")) == notes
    versions = {called[name]: version for name, version in plain["versions"].items()}
    for name, version in versions.items():
        for cell in version["cells"]:
            cell["version"] = name
    differences = {
        (called[a], called[b], n, m): d | {"a": called[a], "b": called[b]}
        for (a, b, n, m), d in plain["differences"].items()
    }
    same(renamed, plain | {"versions": versions, "differences": differences})


@few
@given(
    st.floats(0.3, 1.5),
    st.floats(0.5, 3.0),
    st.lists(st.floats(0.2, 5.0), min_size=3, max_size=6),
    st.floats(-0.15, 1.2),  # below, D_eff would be negative
)
def test_a_power_of_the_error(
    slope: float, power: float, factors: list[float], alpha: float
) -> None:
    """D_eff is read off the mean errors, and the mean of a power is not the power of the mean.

    A power of the error (a squared error for its root, say) leaves D_eff as it is, with slopes
    times that power, if the runs of a seed have one factor in common and no noise of their own.
    Such noise moves D_eff: alpha belongs to the error that was registered.
    """
    cells = [("", n, 0, float(n)) for n in SIZES]
    cells += [("v", n, m, n + alpha * m) for n in N for m in M]

    def raised(power: float) -> dict[str, Any]:
        return document(
            [
                Row("toss", v, "net", n, m, 0, seed, "test", (factor * d_eff**-slope) ** power)
                for v, n, m, d_eff in cells
                for seed, factor in enumerate(factors)
            ]
        )

    plain, changed = raised(1.0), raised(power)
    now, then = (x["versions"]["v"]["cells"] for x in (changed, plain))
    for a, b in zip(now, then, strict=True):
        for kind in ("d_eff", "alpha_avg", "alpha_net", "gain_net", "alpha_marg"):
            for end in ("", "_low", "_high"):
                same(a[kind + end], b[kind + end], 1e-6)  # the root of a number's precision
        assert a["verdict"] == b["verdict"]
    for a, b in zip(changed["curve"]["slope"], plain["curve"]["slope"], strict=True):
        same(a["value"], power * b["value"])


def test_a_power_of_noisy_errors_is_another_error() -> None:
    """With noise of a cell's own, the root of the error has another D_eff."""
    rows = [
        Row("toss", "v" * (m > 0), "net", n, m, 0, seed, "test", (2.0 if m and seed else 1.0) / n)
        for n, m in [*((n, 0) for n in SIZES), (64, 20)]
        for seed in range(3)
    ]
    (whole,) = document(rows)["versions"]["v"]["cells"]
    (root,) = document([replace(r, error=r.error**0.5) for r in rows])["versions"]["v"]["cells"]
    assert whole["d_eff"] == pytest.approx(64 * 3 / 5)
    assert root["d_eff"] == pytest.approx(64 * (3 / (1 + 2 * 2**0.5)) ** 2)
