"""Tables as files: CSV or Parquet in, CSV out. The columns are those of ``table``."""

import csv
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from worldmodel.trust.table import OPTIONAL, TYPES, Row, TableError, fault, some


def read(path: Path) -> list[Row]:
    """Reads a table: Parquet if its name ends so, CSV otherwise.

    Raises:
      TableError: see ``read_csv`` and ``read_parquet``.
    """
    path = Path(path)
    return read_parquet(path) if path.suffix in (".parquet", ".pq") else read_csv(path)


def read_csv(path: Path) -> list[Row]:
    """Reads a table, each row checked by itself; ``check`` holds the rows against each other.

    Args:
      path: UTF-8, comma-separated, a line of column names first.

    Raises:
      TableError: no such file or not text; a column missing, unknown or named twice; a line with
        too few or too many fields, an unreadable number or an impossible row.
    """
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return _rows(path, "line", _csv_lines(path, csv.reader(file, strict=True)))
    except FileNotFoundError as error:
        raise TableError(f"no file {path}; give the CSV of the training runs") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{path} is no CSV in UTF-8 ({error}); write it again") from error


def read_parquet(path: Path) -> list[Row]:
    """Reads a table like ``read_csv``; nulls are empty, rows are counted from 1.

    Raises:
      TableError: no such file or no Parquet; columns or rows as in ``read_csv``.
    """
    import pyarrow  # only where it is needed: it takes longer to import than a table to measure
    import pyarrow.parquet

    path = Path(path)
    if not path.is_file():
        raise TableError(f"no file {path}; give the table of the training runs")
    try:
        table = pyarrow.parquet.ParquetFile(path).read()
    except (OSError, pyarrow.ArrowException) as error:
        raise TableError(f"{path} is no Parquet file ({error}); write it again") from error
    columns = table.column_names
    _check_columns(path, "its schema", columns)
    values = zip(*(column.to_pylist() for column in table.columns), strict=True)
    rows = ((dict(zip(columns, row, strict=True)), i) for i, row in enumerate(values, 1))
    return _rows(path, "row", rows)


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
            writer.writerow(TYPES)
            for row in rows:
                values = [getattr(row, name) for name in TYPES]
                writer.writerow(["" if value is None else value for value in values])
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _csv_lines(path: Path, reader: Any) -> Iterator[tuple[dict[str, Any] | str, int]]:
    """Each line's fields by column, or what is wrong with it, and its number."""
    columns = next(reader, [])
    _check_columns(path, "line 1", columns)
    for fields in reader:
        if not fields:  # an empty line
            continue
        if len(fields) != len(columns):
            said = f"{len(fields)} fields where line 1 names {len(columns)} columns"
            yield said, reader.line_num
        else:
            yield dict(zip(columns, fields, strict=True)), reader.line_num


def _rows(path: Path, unit: str, found: Any) -> list[Row]:
    rows, faults = [], []
    for fields, number in found:
        parsed = fields if isinstance(fields, str) else _parse(fields)
        if isinstance(parsed, Row):
            rows.append(parsed)
        else:
            faults.append(f"{unit} {number}: {parsed}")
    if faults:
        raise TableError(f"{path}: {some(faults)}; mend these {unit}s")
    return rows


def _check_columns(path: Path, head: str, columns: Sequence[str]) -> None:
    wanted = [name for name in TYPES if name not in OPTIONAL]
    for what, names in (
        ("has no column", [name for name in wanted if name not in columns]),
        ("has the unknown column", [name for name in columns if name not in TYPES]),
        ("names twice the column", [name for name in columns if columns.count(name) > 1]),
    ):
        if names:
            raise TableError(
                f"{path} {what} {some(map(repr, names))}; {head} must name {', '.join(wanted)} "
                f"and may name {', '.join(OPTIONAL)}"
            )


def _parse(fields: dict[str, Any]) -> Row | str:
    """A row of text or numbers as a ``Row``, or what is wrong with it."""
    values: dict[str, Any] = {}
    for name, field in fields.items():
        empty = field is None or (isinstance(field, str) and not field.strip())
        if name in OPTIONAL and (empty or (isinstance(field, float) and math.isnan(field))):
            continue
        kind = TYPES[name]
        if kind is str:
            values[name] = "" if field is None else str(field)
        elif isinstance(field, bool):
            return f"{name} = {field} is no number"
        else:
            try:
                values[name] = kind(field)
                if not isinstance(field, str) and values[name] != field and field == field:
                    raise ValueError  # int(1.5); but 8.0, as pandas keeps 8 beside nulls, is one
            except (ValueError, TypeError, OverflowError):
                what = "whole number" if kind is int else "number"
                return f"{name} = {field!r} is no {what}"
    row = Row(**values)
    return fault(row) or row
