"""The one input of the trust measurement: a table with a row for each training run.

As a CSV it has the columns ``task, version, recipe, n, m, k, seed, split, error`` and optionally
``evaluations, steps, device_seconds, energy_joules``, in any order. Real-only runs have m = 0
and an empty version. What is wrong with a table is said by row, in a file also by line.
"""

import csv
import dataclasses
import math
import numbers
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from worldmodel.types import InputError

NAMED = 3  # rows, cells or lines named in one message at most


class TableError(InputError):
    """A table, or a file of one, from which the trust coefficient cannot be measured."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One training run and the error it reached on held-out reality."""

    task: str
    version: str  # of the world model; empty where m = 0: real only
    recipe: str  # the learner: one function of the pooled rows
    n: int  # real episodes trained on
    m: int  # synthetic episodes trained on
    k: int  # corrections: real episodes spent on the version, beyond the n; cumulative
    seed: int  # the replicate: the same seed is dropped from the curve and from every cell
    split: str  # of the held-out reality
    error: float  # on held-out reality; above 0, lower is better, any unit
    evaluations: int | None = None
    steps: int | None = None
    device_seconds: float | None = None  # [s]
    energy_joules: float | None = None  # [J]


_TYPES = {  # column: how its text is read
    "task": str,
    "version": str,
    "recipe": str,
    "n": int,
    "m": int,
    "k": int,
    "seed": int,
    "split": str,
    "error": float,
    "evaluations": int,
    "steps": int,
    "device_seconds": float,
    "energy_joules": float,
}
_COSTS = ("evaluations", "steps", "device_seconds", "energy_joules")


def read_csv(path: Path) -> list[Row]:
    """Reads a table, each row checked by itself; ``check`` holds the rows against each other.

    Args:
      path: UTF-8, comma-separated, a line of column names first.

    Raises:
      TableError: no such file or not text; a column missing, unknown or named twice; a line with
        too few or too many fields, an unreadable number or an impossible row.
    """
    path = Path(path)
    rows, faults = [], []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            columns = next(reader, [])
            _check_columns(path, columns)
            for fields in reader:
                if not fields:  # an empty line
                    continue
                parsed = _parse(columns, fields)
                if isinstance(parsed, Row):
                    rows.append(parsed)
                else:
                    faults.append(f"line {reader.line_num}: {parsed}")
    except FileNotFoundError as error:
        raise TableError(f"no file {path}; give the CSV of the training runs") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{path} is no CSV in UTF-8 ({error}); write it again") from error
    if faults:
        raise TableError(f"{path}: {_some(faults)}; mend these lines")
    return rows


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Writes a table with all columns; the file is replaced in one rename, or not at all.

    Args:
      path: in a folder that exists.
      rows: written as they are; numbers read back exactly.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(_TYPES)
            for row in rows:
                values = [getattr(row, name) for name in _TYPES]
                writer.writerow(["" if value is None else value for value in values])
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def check(rows: Sequence[Row]) -> None:
    """Refuses rows from which nothing, or something wrong, would be measured.

    A task may have no mixture rows yet (a pilot). Its rows must otherwise be a full grid: every
    cell, real only or mixture, holds exactly the same seeds, at least two.

    Raises:
      TableError: no rows; a row impossible in itself (n < 1, an error that is not finite and
        above 0, m = 0 with a version, m > 0 without one, …); a run given twice; within a task
        more than one recipe or split, fewer than two real-only sizes or seeds, a cell whose
        seeds or k differ.
    """
    if not rows:
        raise TableError("the table has no rows; give one per training run")
    faults = [f"{_name(row)}: {fault}" for row in rows if (fault := _fault(row))]
    if faults:
        raise TableError(f"{_some(faults)}; mend these rows")
    seen, twice = set(), []
    for row in rows:
        if (key := (*_cell(row), row.seed)) in seen:
            twice.append(_name(row))
        seen.add(key)
    if twice:
        raise TableError(f"given twice: {_some(twice)}; keep one row per training run")
    for task in sorted({row.task for row in rows}):
        _check_task(task, [row for row in rows if row.task == task])


def _check_task(task: str, rows: Sequence[Row]) -> None:
    for name in ("recipe", "split"):
        values = sorted({getattr(row, name) for row in rows})
        if len(values) > 1:
            raise TableError(
                f"task {task!r} mixes the {name}s {_some(map(repr, values))}; alpha belongs to one "
                f"{name}: measure each in a table of its own, or name the task apart"
            )
    sizes = sorted({row.n for row in rows if row.m == 0})
    if len(sizes) < 2:
        raise TableError(
            f"task {task!r} has real-only rows (m = 0) at {len(sizes)} size(s) n {sizes}; the "
            "curve needs two at least, and should have six"
        )
    seeds = {row.seed for row in rows}
    if len(seeds) < 2:
        raise TableError(
            f"task {task!r} has one seed ({min(seeds)}); an interval needs two at least, and "
            "should have ten"
        )
    cells: dict[tuple[str, str, int, int], list[Row]] = {}
    for row in rows:
        cells.setdefault(_cell(row), []).append(row)
    missing = []
    for (_, version, n, m), members in sorted(cells.items()):
        where = f"version {version!r}, n {n}, m {m}"
        if absent := sorted(seeds - {row.seed for row in members}):
            missing.append(f"{where} lacks seed {_some(map(str, absent))}")
        if len(k := {row.k for row in members}) > 1:
            raise TableError(
                f"task {task!r}: {where} has different k ({_some(map(str, sorted(k)))}) over its "
                "seeds; a cell has one number of corrections: name the versions apart"
            )
    if missing:
        raise TableError(
            f"task {task!r}: {_some(missing)}; replicates are paired: run what is missing, or "
            "leave these seeds out everywhere"
        )


def _fault(row: Row) -> str:
    """What is impossible about a row by itself; empty if nothing."""
    for name, least in (("n", 1), ("m", 0), ("k", 0)):
        value = getattr(row, name)
        if not isinstance(value, numbers.Integral):
            return f"{name} = {value!r} is no whole number"
        if value < least:
            return f"{name} = {value} is below {least}"
    if not isinstance(row.seed, numbers.Integral):
        return f"seed = {row.seed!r} is no whole number"
    if not row.task:
        return "it names no task"
    if not (math.isfinite(row.error) and row.error > 0):
        return f"error = {row.error}, where a finite one above 0 is needed"
    if row.m == 0 and row.version:
        return "m = 0 with a version; real-only rows have an empty version"
    if row.m > 0 and not row.version:
        return "m > 0 without a version; say which version made the synthetic episodes"
    if row.m == 0 and row.k:
        return f"m = 0 with k = {row.k}; real-only runs have no corrections"
    for name in _COSTS:
        value = getattr(row, name)
        if value is not None and not (math.isfinite(value) and value >= 0):
            return f"{name} = {value} is not finite or below 0; leave it empty if unknown"
    return ""


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    wanted = [name for name in _TYPES if name not in _COSTS]
    for what, names in (
        ("has no column", [name for name in wanted if name not in columns]),
        ("has the unknown column", [name for name in columns if name not in _TYPES]),
        ("names twice the column", [name for name in columns if columns.count(name) > 1]),
    ):
        if names:
            raise TableError(
                f"{path} {what} {_some(map(repr, names))}; line 1 must name {', '.join(wanted)} "
                f"and may name {', '.join(_COSTS)}"
            )


def _parse(columns: Sequence[str], fields: Sequence[str]) -> Row | str:
    """A row of text as a ``Row``, or what is wrong with it."""
    if len(fields) != len(columns):
        return f"{len(fields)} fields where line 1 names {len(columns)} columns"
    values: dict = {}
    for name, text in zip(columns, fields, strict=True):
        if name in _COSTS and not text.strip():
            continue
        try:
            values[name] = _TYPES[name](text)
        except ValueError:
            kind = "whole number" if _TYPES[name] is int else "number"
            return f"{name} = {text!r} is no {kind}"
    row = Row(**values)
    return _fault(row) or row


def _cell(row: Row) -> tuple[str, str, int, int]:
    return row.task, row.version, row.n, row.m


def _name(row: Row) -> str:
    return (
        f"row (task {row.task!r}, version {row.version!r}, n {row.n}, m {row.m}, seed {row.seed})"
    )


def _some(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
