"""The input of the trust measurement: a long table with a row for each training run (``Row``).

A dataclass is the schema of a table. Its fields (str, int, float or ``int | str``) are the columns,
in any order; a column whose field has a default may be absent, or empty in a row. Its ``fault``
is why a row is invalid by itself. ``cost.Generation`` and ``evaluation.Pair`` are further schemas.

The real episodes spent are n + k, so that the gain net of corrections is D_eff − n − k. All rows of
a version that cost K corrections have k = K. Where the corrections are trained on too, they count
in n: such runs are a version of another name, with cells (n + K, m, k = 0). Real-only rows are
training runs on n real episodes with m = 0 and k = 0; they serve all versions.

Whole numbers and optional ones lie below 2⁵³. Text has no spaces around it; files are stripped of
them. An error names the bad rows, in a file the line (CSV) or row (Parquet). CSV is read by the
standard library's strict reader: pandas mends damaged quotes and short lines, and counts no lines.
"""

import csv
import dataclasses
import inspect
import io
import math
import numbers
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd

from worldmodel.errors import InputError, cause
from worldmodel.runtime.files import write_text

NAMED = 3  # rows, cells or lines named in one message, at most
LEAST_ROLLOUTS = 200  # of an error that is a rate, such as the share of failures
COUNT_ROUNDED = 0.02  # distance of a rounded share from a whole count, at most
LEAST_COUNTED = 4  # rows; two sizes with two seeds
LARGEST = 2**53  # whole numbers below it are exact as floating-point ones
ERRORS = (1e-100, 1e100)  # range within which squares and ratios stay finite
KEYS = ["version", "n", "m", "k"]  # of a cell
OPTIONAL = ("evaluations", "steps", "device_seconds", "energy_joules")
Key = tuple[str, int, int, int]  # version, n, m, k
# Numbers as ASCII text; the further forms of Python's int and float (1_000, ١) are refused.
WHOLE = re.compile(r"[+-]?[0-9]+(\.0*)?", re.ASCII)
NUMBER = re.compile(
    r"[+-]?(([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|inf(inity)?|nan)", re.ASCII | re.IGNORECASE
)
OTHER_MARKS = {";": "semicolons", "\t": "tabs"}
Record = tuple[int, Sequence[Any]]  # number of a line or row, fields
Columns = Mapping[str, inspect.Parameter]  # of a schema, by name


class TableError(InputError):
    """A table, or its file, from which alpha cannot be measured."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One training run and the error it reached; its fields are the columns."""

    task: str  # the task learnt; each is measured by itself
    version: str  # of the world model; empty (null) where m = 0: real episodes only
    recipe: str  # the learner, a function of the pooled rows; one per task
    n: int  # all real episodes trained on; 1 or more
    m: int  # synthetic episodes trained on; 0 or more
    # Real episodes that the version cost and that were *not* trained on: corrections, validation,
    # failed deployments, cumulative over its turns.
    k: int
    seed: int | str  # the replicate, a number or a name; paired over the curve and all cells
    split: str  # of the held-out reality; one per task
    # On held-out reality; above 0, lower is better, in any unit that keeps it in ``ERRORS``.
    error: float
    evaluations: int | None = None  # rollouts or episodes that the error is a mean over
    steps: int | None = None  # of training
    device_seconds: float | None = None  # [s] of training
    energy_joules: float | None = None  # [J] of training

    def __str__(self) -> str:
        where = f"task {self.task!r}, version {self.version!r}, n {self.n}, m {self.m}"
        return f"row ({where}, seed {self.seed})"

    def fault(self) -> str:
        """The reason why the row is invalid by itself; empty if it is valid."""
        for name, least in (("n", 1), ("m", 0), ("k", 0)):
            value = getattr(self, name)
            if not isinstance(value, numbers.Integral):
                return f"{name} = {value!r} is no whole number"
            if not least <= int(value) < LARGEST:
                return f"{name} = {value} is " + (
                    f"below {least}" if value < least else "not below 2⁵³"
                )
        seed, error = self.seed, self.error
        if not isinstance(seed, numbers.Integral | str):
            return f"seed = {seed!r} is neither a whole number nor a name"
        if isinstance(seed, str) and (not seed or seed != seed.strip()):
            return f"seed = {seed!r}; give a number, or a name without spaces around it"
        if not isinstance(seed, str) and abs(seed) >= LARGEST:
            return f"seed = {seed} is not between −2⁵³ and 2⁵³; number the replicates from 0"
        for name in ("task", "version", "recipe", "split"):
            value = getattr(self, name)
            if not isinstance(value, str):
                return f"{name} = {value!r} is no text"
            if not value and name != "version":
                return f"the {name} is empty; name one"
            if value != value.strip():
                return f"{name} = {value!r} has spaces around it; leave them out"
        if not isinstance(error, numbers.Real):
            return f"error = {error!r} is no number"
        if not 0 < error < math.inf:
            return f"error = {error}; give a finite number above 0"
        if not ERRORS[0] <= error <= ERRORS[1]:
            return f"error = {error} is not within 1e-100 and 1e100; give it in another unit"
        if self.m == 0 and self.version:
            return "m = 0 with a version; real-only rows have an empty version"
        if self.m > 0 and not self.version:
            return "m > 0 without a version; name the version of the synthetic episodes"
        if self.m == 0 and self.k:
            return f"m = 0 with k = {self.k}; real-only runs have no corrections"
        for name in OPTIONAL:
            value = getattr(self, name)
            valid = isinstance(value, int | float | np.number) and 0 <= value < LARGEST
            if value is not None and not valid:
                return f"{name} = {value} is not from 0 to below 2⁵³; leave it empty if unknown"
        return ""


def check(rows: Sequence[Row]) -> pd.DataFrame:
    """The rows as a frame, unless alpha cannot be measured from them.

    Raises:
      TableError: there are no rows; a row is invalid (``Row.fault``); a run is given twice; a task
        has more than one recipe or split, fewer than two real-only sizes or seeds, a version with
        more than one k, a cell without one of the seeds, or an error that is a rate over fewer than
        ``LEAST_ROLLOUTS`` evaluations.
    """
    if not rows:
        raise TableError("the table has no rows; give one per training run")
    if faults := [f"{row}: {text}" for row in rows if (text := row.fault())]:
        raise TableError(f"{some(faults)}; mend these rows")
    frame = pd.DataFrame([vars(row) for row in rows])
    again = frame.duplicated(["task", *KEYS, "seed"])
    if twice := [str(row) for row, second in zip(rows, again, strict=True) if second]:
        raise TableError(f"given twice: {some(twice)}; keep one row per training run")
    for task, own in frame.groupby("task"):
        if text := _task_fault(own):
            raise TableError(f"task {task!r} {text}")
    return frame


def _task_fault(own: pd.DataFrame) -> str:
    """The fault of a task's valid rows together; empty if there is none."""
    for name in ("recipe", "split"):
        if len(values := sorted(set(own[name]))) > 1:
            return (
                f"mixes the {name}s {some(map(repr, values))}; alpha belongs to one {name}: "
                "measure each in a table of its own, or name the task apart"
            )
    sizes = sorted({int(n) for n in own.n[own.m == 0]})
    if len(sizes) < 2:
        real = f"has real-only rows (m = 0) at {len(sizes)} size(s) n {sizes}"
        return f"{real}; the curve needs two at least, and should have six"
    seeds = in_order(own.seed)
    if len(seeds) < 2:
        return f"has one seed ({seeds[0]}); an interval needs two, and should have ten"
    if few := rate_of_few(own):
        return f"has a rate as its error: {few}"
    for version, costs in own.groupby("version").k.unique().items():
        if len(costs) > 1:
            return (
                f"has several costs: version {version!r} has different k ({some(map(str, costs))});"
                " a version has one number of corrections: name the versions apart"
            )
    incomplete = []
    for (version, n, m, _), present in own.groupby(KEYS).seed:
        if absent := [str(seed) for seed in seeds if seed not in set(present)]:
            where = f"version {version!r}, n {n}, m {m}"
            incomplete.append(f"{where} lacks seed {some(absent)}")
    if incomplete:
        remedy = "replicates are paired: run these seeds, or leave them out everywhere"
        return f"has gaps: {some(incomplete)}; {remedy}"
    return ""


def rate_of_few(frame: pd.DataFrame) -> str:
    """The fault of errors that are rates over too few rollouts; empty if there is none.

    Counts identify a rate: in every row with ``evaluations`` the error, as a share or in per cent,
    times the evaluations is within ``COUNT_ROUNDED`` of a whole number from 1 to the evaluations.
    A continuous error does so by chance with probability 0.04 in one row; fewer than four rows are
    not judged. Rates without ``evaluations``, more coarsely rounded or transformed are not seen.
    """
    counted = frame[frame.evaluations.astype(float) > 0]
    of = counted.evaluations.to_numpy(float)
    if len(counted) < LEAST_COUNTED or of.min() >= LEAST_ROLLOUTS:
        return ""
    for scale in (1, 100):
        count = counted.error.to_numpy(float) / scale * of
        whole = np.round(count)
        if ((whole >= 1) & (whole <= of) & (abs(count - whole) <= COUNT_ROUNDED)).all():
            return (
                f"every error is a share of its evaluations, {of.min():.0f} at the fewest: a rate "
                f"needs {LEAST_ROLLOUTS} rollouts per run, or take a continuous error"
            )
    return ""


def in_order(seeds: Iterable[int | str]) -> list[int | str]:
    """The different replicates in one order: numbers first, then names."""
    return sorted(set(seeds), key=lambda seed: (isinstance(seed, str), seed))


def some(names: Iterable[str]) -> str:
    """The first ``NAMED`` names, and the number of the others."""
    names = list(names)
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def read(path: Path, schema: type[Any] = Row) -> list[Any]:
    """Reads a table and checks every row by itself; ``check`` compares the rows.

    A suffix .parquet or .pq: Parquet, with nulls for empty fields; otherwise CSV in UTF-8 with a
    first line of column names.

    Raises:
      TableError: there is no such file or it is damaged; a column is absent, unknown or named
        twice; a row has too few or too many fields, an unreadable number or is invalid.
    """
    path = Path(path)
    if not path.exists():
        raise TableError(f"no file {path}; give a table as CSV or Parquet")
    parquet = path.suffix.lower() in (".parquet", ".pq")
    names, records = (_parquet if parquet else _csv)(path)
    head, unit = ("its schema", "row") if parquet else ("line 1", "line")
    columns = inspect.signature(schema).parameters
    _check_columns(path, head, names, columns)
    rows, faults = [], []
    for number, fields in records:
        try:
            if len(fields) != len(names):
                raise TableError(f"{len(fields)} fields where {head} names {len(names)} columns")
            pairs = zip(names, fields, strict=True)
            rows.append(row := schema(**{x: _value(x, v, columns[x]) for x, v in pairs}))
            if text := row.fault():
                raise TableError(text)
        except TableError as error:
            faults.append(f"{unit} {number}: {error}")
    if faults:
        raise TableError(f"{path}: {some(faults)}; mend these {unit}s")
    return rows


def write_csv(path: Path, rows: Sequence[Any], schema: type[Any] = Row) -> None:
    """Writes a table with all columns, whole or not at all; numbers read back exactly."""
    names = [field.name for field in dataclasses.fields(schema)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([getattr(row, name) for name in names] for row in rows)  # None: empty
    write_text(path, text.getvalue())


def _csv(path: Path) -> tuple[list[str], list[Record]]:
    reader = csv.reader([])
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            names = next(reader, [])
            return names, [(reader.line_num, fields) for fields in reader if fields]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        where = f"line {reader.line_num}: " if isinstance(error, csv.Error) else ""
        message = f"{path} is no CSV in UTF-8 ({where}{cause(error)}); write it again"
        raise TableError(message) from error


def _parquet(path: Path) -> tuple[list[str], Iterable[Record]]:
    import pyarrow  # here, since its import takes longer than measuring a table
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.ParquetFile(path).read()
    except (OSError, pyarrow.ArrowException) as error:
        raise TableError(f"{path} is no Parquet file ({cause(error)}); write it again") from error
    rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
    return table.column_names, enumerate(rows, 1)


def _check_columns(path: Path, head: str, names: Sequence[str], columns: Columns) -> None:
    for mark, marks in OTHER_MARKS.items():
        if len(names) == 1 and set(names[0].split(mark)) & set(columns) - {names[0]}:
            raise TableError(f"{path}: {head} is separated by {marks}; write it with commas")
    wanted = [name for name, column in columns.items() if column.default is column.empty]
    optional = [name for name in columns if name not in wanted]
    rate = "error" in wanted and any("success" in name.lower() for name in names)
    hint = "; the error of a success rate is 1 − rate, in per cent 100 − rate" if rate else ""
    for what, wrong in (
        ("has no column", [name for name in wanted if name not in names]),
        ("has the unknown column", [name for name in names if name not in columns]),
        ("names twice the column", [name for name in names if names.count(name) > 1]),
    ):
        if wrong:
            raise TableError(
                f"{path} {what} {some(map(repr, wrong))}; {head} must name {', '.join(wanted)} "
                f"and may name {', '.join(optional)}{hint}"
            )


def _value(name: str, field: Any, column: inspect.Parameter) -> Any:
    """A field as its column's type: str, int, float, or int or else str; absent, the default."""
    kinds = get_args(column.annotation) or (column.annotation,)
    what = {str: "text", int: "whole number"}.get(kinds[0], "number")
    if isinstance(field, bytes | bool):
        kind = type(field).__name__
        raise TableError(f"{name} is of type {kind} and no {what}; write the column as such")
    text = "" if field is None else str(field).strip()
    if (not text or field != field) and column.default is not column.empty:
        return column.default
    if kinds[0] is str:
        return text
    # 8.0 passes as a whole number, since pandas writes it for 8; 1.5 does not.
    if (WHOLE if kinds[0] is int else NUMBER).fullmatch(text):
        return kinds[0](text.partition(".")[0] if kinds[0] is int else text)
    if str in kinds and text and not NUMBER.fullmatch(text):
        return text
    raise TableError(f"{name} = {field!r} is no {what}")
