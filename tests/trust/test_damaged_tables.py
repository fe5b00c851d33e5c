"""Damaged tables: the error names the damage, or the cells that it reaches have no number."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.random_tables import SIZES, document, few, tables
from worldmodel import trust
from worldmodel.trust import Row, TableError, measure

good = tables(slopes=(0.5, 1.5), noises=(0.01, 0.05), alphas=(-0.05, 0.8))
places = st.integers(0, 10**6)  # of a row, modulo their number
Damage = Callable[[list[Row], int], tuple[list[Row], str]]  # rows and the expected message


def cell_of(row: Row) -> str:
    return f"version {row.version!r}, n {row.n}, m {row.m}"


def put(rows: Sequence[Row], i: int, **fields: Any) -> list[Row]:
    return [*rows[:i], replace(rows[i], **fields), *rows[i + 1 :]]


def dropped(rows: list[Row], i: int) -> tuple[list[Row], str]:
    return rows[:i] + rows[i + 1 :], f"{cell_of(rows[i])} lacks seed {rows[i].seed}"


def repeated(rows: list[Row], i: int) -> tuple[list[Row], str]:
    named = f"given twice: row (task 'toss', {cell_of(rows[i])}, seed {rows[i].seed})"
    return [*rows, replace(rows[i], error=2 * rows[i].error)], named


def other_split(rows: list[Row], i: int) -> tuple[list[Row], str]:
    return put(rows, i, split="train"), "task 'toss' mixes the splits 'test', 'train'"


def other_recipe(rows: list[Row], i: int) -> tuple[list[Row], str]:
    return put(rows, i, recipe="mlp"), "task 'toss' mixes the recipes 'mlp', 'net'"


def one_seed(rows: list[Row], i: int) -> tuple[list[Row], str]:
    seed = rows[i].seed
    return [row for row in rows if row.seed == seed], f"task 'toss' has one seed ({seed})"


def one_size(rows: list[Row], i: int) -> tuple[list[Row], str]:
    n = SIZES[i % len(SIZES)]
    named = f"has real-only rows (m = 0) at 1 size(s) n [{n}]"
    return [row for row in rows if row.m or row.n == n], named


@few
@given(
    good,
    places,
    st.sampled_from([dropped, repeated, other_split, other_recipe, one_seed, one_size]),
)
def test_a_damaged_grid_is_named(rows: list[Row], at: int, damage: Damage) -> None:
    damaged, named = damage(rows, at % len(rows))
    with pytest.raises(TableError, match=re.escape(named)):
        measure(damaged)


def wrong_version(row: Row) -> dict[str, Any]:
    """m > 0 without a version, or m = 0 with one."""
    return {"version": "" if row.m else "v0"}


@few
@given(
    good,
    places,
    st.one_of(
        st.sampled_from([math.nan, math.inf, -math.inf, 0.0]).map(lambda x: {"error": x}),
        st.floats(max_value=0, allow_infinity=False).map(lambda x: {"error": x}),
        st.integers(max_value=0).map(lambda n: {"n": n}),
        st.sampled_from(["m", "k"]).map(lambda name: {name: -1}),
        st.none(),  # the wrong version
    ),
)
def test_a_damaged_row_is_named_and_in_a_file_its_line(
    rows: list[Row], at: int, fields: dict[str, Any] | None
) -> None:
    i = at % len(rows)
    fields = wrong_version(rows[i]) if fields is None else fields
    damaged = put(rows, i, **fields)
    texts = {"version": r"m (> 0 without a|= 0 with a) version"}
    (name,) = fields
    message = texts.get(name, f"{name} = {re.escape(str(fields[name]))}")
    named = re.escape(f"{cell_of(damaged[i])}, seed {rows[i].seed})")
    with pytest.raises(TableError, match=f"{named}: {message}"):
        measure(damaged)
    with TemporaryDirectory() as folder:
        trust.write_csv(path := Path(folder) / "runs.csv", damaged)
        with pytest.raises(TableError, match=f"line {i + 2}: {message}"):
            trust.read(path)


def numbers(cell: dict[str, Any]) -> list[str]:
    """The fields of a cell that hold a number."""
    kinds = [
        f"{k}{end}"
        for k in ("d_eff", "alpha_avg", "alpha_net", "gain_net", "alpha_marg")
        for end in ("", "_low", "_high")
    ]
    return [kind for kind in kinds if cell[kind] is not None]


@few
@given(good, st.booleans())
def test_a_flat_or_rising_curve_gives_no_number(rows: list[Row], rising: bool) -> None:
    error = {(row.n, row.seed): row.error for row in rows if not row.m}
    from_n = dict(zip(SIZES, SIZES[::-1] if rising else SIZES[:1] * len(SIZES), strict=True))
    damaged = [row if row.m else replace(row, error=error[from_n[row.n], row.seed]) for row in rows]
    result = document(damaged)
    for version in result["versions"].values():
        assert (version["alpha"], version["kappa"], version["verdict"]) == (
            None,
            None,
            "NOT_IDENTIFIED",
        )
        for cell in version["cells"]:
            assert cell["verdict"] == "NOT_IDENTIFIED" and not numbers(cell)
            assert "the real-only curve is flat" in cell["reason"] or "rises" in cell["reason"]
    assert {d["verdict"] for d in result["differences"].values()} <= {"CENSORED"}


@few
@given(good, places, st.booleans(), st.booleans())
def test_what_is_off_the_curve_has_a_bound_at_most(
    rows: list[Row], at: int, better: bool, alone: bool
) -> None:
    """One cell, or one of its runs, is far better or worse than the whole curve."""
    intact = document(rows)
    mixed = [row for row in rows if row.m]
    hit = mixed[at % len(mixed)]
    better, cell = better and not alone, (hit.version, hit.n, hit.m)
    factor = 1e-4 if better else 1e4
    damaged = [
        replace(row, error=row.error * factor)
        if (row.version, row.n, row.m) == cell and (not alone or row.seed == hit.seed)
        else row
        for row in rows
    ]
    result = document(damaged)
    for name, version in result["versions"].items():
        for now, then in zip(version["cells"], intact["versions"][name]["cells"], strict=True):
            if (name, now["n"], now["m"]) != cell:
                assert {k: v for k, v in now.items() if "marg" not in k} == {
                    k: v for k, v in then.items() if "marg" not in k
                }
                continue
            assert now["verdict"] in (
                "CENSORED_HI" if better else "CENSORED_LO",
                "NOT_IDENTIFIED",  # the good table's cell may be that already
            )
            assert now["d_eff"] is now["alpha_avg"] is now["alpha_net"] is now["gain_net"] is None
            assert now["d_eff_high" if better else "d_eff_low"] is None
    assert result["versions"][hit.version]["alpha"] is None
    assert result["versions"][hit.version]["kappa"] is None


@few
@given(good)
def test_a_seed_entered_twice_is_noted(rows: list[Row]) -> None:
    copied = max(int(row.seed) for row in rows) + 1
    more = [replace(row, seed=copied) for row in rows if row.seed == 0]
    assert any(
        f"Seeds 0 and {copied} have the same error" in note
        for note in document(rows + more)["notes"]
    )
    assert not any("have the same error" in note for note in document(rows)["notes"])
