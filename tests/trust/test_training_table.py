"""Tables of training runs: every fault is named, in rows, CSV and Parquet; rates of few."""

import math
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet

from tests.helpers.refusal import refused
from tests.helpers.training_runs import smooth, table
from worldmodel import trust
from worldmodel.errors import InputError
from worldmodel.trust import measure
from worldmodel.trust.table import OPTIONAL

TEXTS = ("task", "version", "recipe", "split")
HEAD = "task,version,recipe,n,m,k,seed,split,error"

GOOD = table(smooth(3) | {("v", 64, 10, 2): np.full(3, 1 / 70)})


def test_bad_tables_are_named() -> None:
    fields = ("error", "error", "error", "n", "m", "k", "steps", "energy_joules")
    values = (math.nan, math.inf, 0.0, 0, -3, -1, -1, math.nan)
    for field, value in zip(fields, values, strict=True):
        bad = replace(GOOD[4], **{field: value})
        refused(f"n {bad.n}, m {bad.m}, seed 1.*: {field} = {value}", measure, [*GOOD, bad])
    for row, field, value, message in (
        (4, "n", 1.5, "n = 1.5 is no whole number"),
        (4, "seed", 1.5, "seed = 1.5 is neither a whole number nor a name"),
        (4, "seed", "", "seed = ''; give a number, or a name"),
        (4, "seed", "a", "version '', n 32, m 0 lacks seed"),
        (4, "task", "", "the task is empty"),
        (4, "k", 3, "m = 0 with k = 3"),
        (4, "version", "v", "m = 0 with a version"),
        (4, "recipe", "mlp", "mixes the recipes 'mlp', 'net'"),
        (4, "split", "train", "mixes the splits 'test', 'train'"),
        (4, "seed", 2, r"given twice: row \(.* n 32, m 0, seed 2\)"),
        (-1, "version", "", "m > 0 without a version"),
        (-1, "k", 7, r"version 'v' has different k \(2, 7\)"),
        (-1, "seed", 9, "version '', n 16, m 0 lacks seed 9"),
    ):
        rows = list(GOOD)
        rows[row] = replace(rows[row], **{field: value})
        refused(message, measure, rows)
    refused("no rows", measure, [])
    for field, value, message in (
        *((name, 2**53, f"{name} = {2**53} is not below") for name in ("n", "m", "k")),
        *(("seed", seed, f"seed = {seed} is not between") for seed in (2**53, -(2**53))),
        *((name, 2**53, f"{name} = {2**53} is not from 0") for name in OPTIONAL),
        *(("error", value, "give it in another unit") for value in (9e-101, 2e100)),
        *((name, "", f"the {name} is empty") for name in ("task", "recipe", "split")),
        *((name, " a", f"{name} = ' a' has spaces") for name in TEXTS),
        *((name, "a\n", f"{name} = .* has spaces") for name in TEXTS),
        ("recipe", None, "recipe = None is no text"),
        ("error", "1", "error = '1' is no number"),
    ):
        refused(message, measure, [*GOOD[:-1], replace(GOOD[-1], **{field: value})])
    largest = {name: 2**53 - 1 for name in ("seed", *OPTIONAL)}
    assert not any(replace(GOOD[-1], error=e, **largest).fault() for e in (1e-100, 1e100))
    refused(r"one seed \(1\)", measure, [r for r in GOOD if r.seed == 1])
    refused(r"at 1 size\(s\) n \[64\]", measure, [r for r in GOOD if r.n == 64])
    refused(r"at 0 size\(s\)", measure, [r for r in GOOD if r.m])
    refused("version 'v', n 64, m 10 lacks seed 2", measure, GOOD[:-1])
    refused("level", measure, GOOD, level=1.0, kind=InputError)


def test_files(tmp_path: Path) -> None:
    path, good = tmp_path / "runs.csv", "\nt,,r,8,0,0,0,s,1"
    refused(r"no file .*runs\.csv", trust.read, path)
    costly = replace(GOOD[0], evaluations=3, steps=5, device_seconds=0.1 + 0.2, energy_joules=1e-7)
    rows = [costly, *GOOD[1:], replace(GOOD[1], task='a, "b"\nc')]
    for _ in range(2):  # the second replaces the first
        trust.write_csv(path, rows)
        assert trust.read(path) == rows
    refused("recipe|task", trust.write_csv, path, [*rows, None], kind=AttributeError)
    assert trust.read(path) == rows and list(tmp_path.iterdir()) == [path]
    for text, message in (
        ("", "no column 'task', 'version', 'recipe' and 6 more"),
        (HEAD + ",energy", "unknown column 'energy'"),
        (HEAD + ",n", "twice the column 'n', 'n'"),
        (HEAD + good + "\nt,,r,x,0,0,0,s,1", "line 3: n = 'x' is no whole number"),
        (HEAD + "\n\nt,,r,8,0,0,0,s,low", "line 3: error = 'low' is no number"),
        (HEAD + good[:-2], "line 2: 8 fields where line 1 names 9"),
        (HEAD + "\nt,,r,0,0,0,0,s,1\nt,v,r,8,0,0,0,s,1", "line 2: n = 0.*line 3: m = 0 with"),
        (HEAD + ',steps\nt,,r,8,0,0,0,s,1,"2', r"no CSV in UTF-8 \(line 2: "),
        (HEAD + good + '\nt,,"r"x,8,0,0,0,s,1' + good, r"no CSV in UTF-8 \(line 3: "),
        (HEAD.replace(",", ";") + "\nt;;r", "line 1 is separated by semicolons; .* commas"),
        (HEAD.replace(",", "\t"), "line 1 is separated by tabs"),
        *(
            (HEAD + f"\nt,,r,{n},0,0,0,s,1", f"line 2: n = '{n}' is no whole number")
            for n in ("1_000", "٨", "0x8", "8.5", "1e3", "８")
        ),
        *(
            (HEAD + f"\nt,,r,8,0,0,0,s,{error}", f"line 2: error = '{error}' is no number")
            for error in ("1_0.5", "١", "0x1p2", "1e", ".", "1.5 m")
        ),
        (HEAD + "\n" + "x\n" * 5, "line 4: .* and 2 more"),
        (HEAD + "\n\udcff", "no CSV in UTF-8"),
    ):
        path.write_bytes(text.encode(errors="surrogateescape"))
        refused(message, trust.read, path)


def test_files_are_stripped_and_numbers_have_their_usual_forms(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text(HEAD + "\n t , v , r ,+8, 16.0 ,2.,-3,s\t, 1E-3\nt,v,r,08,1,0,0,s,.5\n")
    assert trust.read(path) == [
        trust.Row("t", "v", "r", 8, 16, 2, -3, "s", 1e-3),
        trust.Row("t", "v", "r", 8, 1, 0, 0, "s", 0.5),
    ]


def parquet(path: Path, rows: Iterable[dict[str, Any]]) -> Path:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)
    return path


def test_parquet(tmp_path: Path) -> None:
    path = tmp_path / "runs.parquet"
    costly = [replace(r, steps=5 + i, device_seconds=0.1) for i, r in enumerate(GOOD)]
    rows = [replace(costly[0], steps=None), *costly[1:]]
    assert trust.read(parquet(path, map(asdict, rows))) == rows
    # As other programs write them: an empty version is null, whole numbers beside nulls are not.
    floats = [asdict(r) | {"version": r.version or None, "k": float(r.k)} for r in rows]
    floats[0]["steps"] = math.nan
    for row in floats[1:]:
        row["steps"] = float(row["steps"])
    assert trust.read(parquet(path, floats)) == rows
    for field, value, message in (
        ("error", None, "row 5: error = None is no number"),
        ("error", math.nan, "row 5: error = nan; give a finite number above 0"),
        ("n", 0, "row 5: n = 0 is below 1"),
        ("k", 1.5, "row 5: k = 1.5 is no whole number"),
        ("version", "v", "row 5: m = 0 with a version"),
    ):
        bad = [asdict(r) for r in GOOD]
        if isinstance(value, bool | float):
            bad = [row | {field: type(value)(row[field])} for row in bad]
        bad[4][field] = value
        if isinstance(value, bool):  # every row is wrong; the first few are named
            message = "row 1: m = False is no whole number"
        refused(message, trust.read, parquet(path, bad))
    truths = [asdict(r) | {"m": r.m > 0} for r in GOOD]
    refused(
        "row 1: m is of type bool and no whole number.* and 18 more",
        trust.read,
        parquet(path, truths),
    )
    refused("no column 'version'", trust.read, parquet(path, [{"task": "t"}]))
    for field, what in (("task", "text"), ("n", "whole number"), ("error", "number")):
        binary = [asdict(r) | {field: str(getattr(r, field)).encode()} for r in GOOD]
        refused(f"row 1: {field} is of type bytes and no {what}", trust.read, parquet(path, binary))
    for name in ("runs.Parquet", "runs.PQ"):
        assert trust.read(parquet(tmp_path / name, map(asdict, rows))) == rows
    path.write_bytes(b"PAR1")
    refused("no Parquet", trust.read, path)
    refused(r"no file .*gone\.parquet", trust.read, tmp_path / "gone.parquet")


def test_a_rate_over_few_rollouts_is_refused() -> None:
    shares = {key: np.round(100 * errors + 2) / 100 for key, errors in smooth(3).items()}
    rows = [replace(r, evaluations=100) for r in table(shares)]
    refused("a rate needs 200 rollouts", measure, rows)
    measure([replace(r, evaluations=1000) for r in rows])  # enough of them
    measure([replace(r, error=r.error + 1e-3) for r in rows])  # no rate
    refused("a rate", measure, [replace(r, error=100 * r.error) for r in rows])  # in per cent
    thirds = {key: np.round(np.ceil(60 * e) / 60, 4) for key, e in smooth(3).items()}
    refused("a rate", measure, [replace(r, evaluations=60) for r in table(thirds)])  # rounded
    for unit in (1e-5, 1e-3, 1.0, 1e3):  # a continuous error, small or large beside a count
        measure([replace(r, error=unit * r.error * math.pi / 3) for r in rows])
    measure([*table(smooth(3))[:-1], rows[-1]])  # one row with evaluations is not judged
