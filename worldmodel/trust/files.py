"""Tables as files: reads CSV and Parquet, writes CSV; ``Columns`` describes a kind of table."""

import csv
import inspect
import io
import math
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args, get_type_hints

from worldmodel.errors import cause
from worldmodel.runtime.files import write_text
from worldmodel.trust.table import Row, TableError, fault, some

T = TypeVar("T")
# Numbers as ASCII text; the further forms of Python's int and float (1_000, ١) are refused.
WHOLE = re.compile(r"[+-]?[0-9]+(\.0*)?", re.ASCII)
NUMBER = re.compile(
    r"[+-]?(([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|inf(inity)?|nan)", re.ASCII | re.IGNORECASE
)
OTHER_MARKS = {";": "semicolons", "\t": "tabs"}


class Columns(Generic[T]):
    """The columns of a table and how its rows are checked.

    Args:
      row: dataclass whose fields, str, int, float or ``int | str``, are the columns; one with a
        default may be absent, or empty in a row.
      fault: the reason why a row is invalid; empty if it is valid.
    """

    def __init__(self, row: type[T], fault: Callable[[T], str]) -> None:
        self.row, self.fault = row, fault
        parameters, kinds = inspect.signature(row).parameters, get_type_hints(row)
        self.types = {name: (*get_args(kinds[name]), kinds[name])[0] for name in parameters}
        self.named = {name for name, kind in kinds.items() if str in get_args(kind)}  # or a number
        self.optional = [name for name, p in parameters.items() if p.default is not p.empty]


RUNS = Columns(Row, fault)


def read(path: Path, columns: Columns[Any] = RUNS) -> list[Any]:
    """Reads a table: Parquet by its suffix .parquet or .pq, CSV otherwise.

    Raises:
      TableError: see ``read_csv`` and ``read_parquet``.
    """
    parquet = Path(path).suffix.lower() in (".parquet", ".pq")
    return (read_parquet if parquet else read_csv)(path, columns)


def read_csv(path: Path, columns: Columns[Any] = RUNS) -> list[Any]:
    """Reads a CSV table and checks every row by itself; ``table.check`` compares the rows.

    Args:
      path: UTF-8, comma-separated, with a first line of column names.
      columns: of the table.

    Raises:
      TableError: there is no such file or it is no text; a column is absent, unknown or named
        twice; a line has too few or too many fields, an unreadable number or an invalid row.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            try:
                names = next(reader, [])
                lines = ((reader.line_num, fields) for fields in reader if fields)
                return _rows(path, ("line 1", "line"), names, lines, columns)
            except csv.Error as error:
                message = f"line {reader.line_num}: {error}"
                raise TableError(
                    f"{path} is no CSV in UTF-8 ({message}); write it again"
                ) from error
    except FileNotFoundError as error:
        raise TableError(f"no file {path}; give a table as CSV or Parquet") from error
    except (OSError, UnicodeDecodeError) as error:
        raise TableError(f"{path} is no CSV in UTF-8 ({cause(error)}); write it again") from error


def read_parquet(path: Path, columns: Columns[Any] = RUNS) -> list[Any]:
    """Reads a Parquet table; nulls are empty fields, and rows are counted from 1.

    Raises:
      TableError: there is no such file or it is no Parquet; columns and rows as in ``read_csv``.
    """
    import pyarrow  # here, since its import takes longer than measuring a table
    import pyarrow.parquet

    if not Path(path).is_file():
        raise TableError(f"no file {path}; give a table as CSV or Parquet")
    try:
        table = pyarrow.parquet.ParquetFile(path).read()
    except (OSError, pyarrow.ArrowException) as error:
        raise TableError(f"{path} is no Parquet file ({cause(error)}); write it again") from error
    rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
    places = ("its schema", "row")
    return _rows(path, places, table.column_names, enumerate(rows, 1), columns)


def write_csv(path: Path, rows: Sequence[Any], columns: Columns[Any] = RUNS) -> None:
    """Writes a table with all columns, whole or not at all.

    Args:
      path: in a folder that exists.
      rows: of the table; numbers read back exactly.
      columns: of the table.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns.types)
    for row in rows:
        values = [getattr(row, name) for name in columns.types]
        writer.writerow(["" if value is None else value for value in values])
    write_text(path, text.getvalue())


def _rows(
    path: Path,
    places: tuple[str, str],
    names: Sequence[str],
    records: Iterable[tuple[int, Sequence[Any]]],
    columns: Columns[T],
) -> list[T]:
    """The rows of records (number, fields); ``places`` name the line of names and a row's."""
    head, unit = places
    _check_columns(path, head, names, columns)
    rows, faults = [], []
    for number, fields in records:
        if len(fields) == len(names):
            parsed = _parse(dict(zip(names, fields, strict=True)), columns)
        else:
            parsed = f"{len(fields)} fields where {head} names {len(names)} columns"
        if isinstance(parsed, str):
            faults.append(f"{unit} {number}: {parsed}")
        else:
            rows.append(parsed)
    if faults:
        raise TableError(f"{path}: {some(faults)}; mend these {unit}s")
    return rows


def _check_columns(path: Path, head: str, names: Sequence[str], columns: Columns[Any]) -> None:
    for mark, marks in OTHER_MARKS.items():
        if len(names) == 1 and set(names[0].split(mark)) & set(columns.types) - {names[0]}:
            raise TableError(f"{path}: {head} is separated by {marks}; write it with commas")
    wanted = [name for name in columns.types if name not in columns.optional]
    hint = ""
    if "error" in wanted and any("success" in name.lower() for name in names):
        hint = "; the error of a success rate is 1 − rate, in per cent 100 − rate"
    for what, wrong in (
        ("has no column", [name for name in wanted if name not in names]),
        ("has the unknown column", [name for name in names if name not in columns.types]),
        ("names twice the column", [name for name in names if names.count(name) > 1]),
    ):
        if wrong:
            raise TableError(
                f"{path} {what} {some(map(repr, wrong))}; {head} must name {', '.join(wanted)} "
                f"and may name {', '.join(columns.optional)}{hint}"
            )


def _parse(fields: dict[str, Any], columns: Columns[T]) -> T | str:
    """A row of the table from a record's fields, or its fault as text."""
    values: dict[str, Any] = {}
    for name, field in fields.items():
        empty = field is None or (isinstance(field, str) and not field.strip())
        absent = empty or (isinstance(field, float) and math.isnan(field))
        if name in columns.optional and absent:
            continue
        kind = columns.types[name]
        what = {str: "text", int: "whole number"}.get(kind, "number")
        if isinstance(field, bytes | bytearray | memoryview):
            return f"{name} is binary and no {what}; write the column as such"
        if kind is str:
            values[name] = "" if field is None else str(field).strip()
        elif isinstance(field, bool):
            return f"{name} = {field} is no number"
        else:
            try:
                values[name] = _number(field, kind) if isinstance(field, str) else kind(field)
                if not isinstance(field, str) and values[name] != field and field == field:
                    raise ValueError  # as for int(1.5); 8.0 passes, since pandas writes it for 8
            except (ValueError, TypeError, OverflowError):
                text = field.strip() if isinstance(field, str) else ""
                if name in columns.named and text and not NUMBER.fullmatch(text):
                    values[name] = text
                    continue
                return f"{name} = {field!r} is no {what}"
    row = columns.row(**values)
    return columns.fault(row) or row


def _number(text: str, kind: type) -> int | float:
    text = text.strip()
    if not (WHOLE if kind is int else NUMBER).fullmatch(text):
        raise ValueError
    return kind(text.partition(".")[0] if kind is int else text)
