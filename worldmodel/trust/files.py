"""Tables as files: reads CSV and Parquet, writes CSV; a dataclass is the schema (``table.Schema``).

CSV is read by the standard library's strict reader, not by pandas, which mends damaged quotes and
short lines in silence and counts no lines.
"""

import csv
import dataclasses
import inspect
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from worldmodel.errors import cause
from worldmodel.runtime.files import write_text
from worldmodel.trust.table import Row, Schema, TableError, some

# Numbers as ASCII text; the further forms of Python's int and float (1_000, ١) are refused.
WHOLE = re.compile(r"[+-]?[0-9]+(\.0*)?", re.ASCII)
NUMBER = re.compile(
    r"[+-]?(([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|inf(inity)?|nan)", re.ASCII | re.IGNORECASE
)
OTHER_MARKS = {";": "semicolons", "\t": "tabs"}
Record = tuple[int, Sequence[Any]]  # number of a line or row, fields
Columns = Mapping[str, inspect.Parameter]  # of a schema, by name


def read(path: Path, schema: type[Schema] = Row) -> list[Any]:
    """Reads a table and checks every row by itself; ``table.check`` compares the rows.

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


def write_csv(path: Path, rows: Sequence[Any], schema: type[Schema] = Row) -> None:
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
