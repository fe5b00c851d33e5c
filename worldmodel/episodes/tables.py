"""CSV and Parquet files as named columns of numbers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from worldmodel.errors import InputError, cause

_ABSENT = ["", "nan", "NaN", "NAN", "null", "NULL", "none", "None", "NA", "N/A"]


def csv_table(path: Path) -> pa.Table:
    """Reads a CSV with a header; empty cells and "nan" are null.

    Raises:
      InputError: no CSV; no header, rows of different lengths, a name twice.
    """
    ragged: list[Any] = []

    def keep(row: Any) -> str:
        ragged.append(row)
        return "skip"

    try:
        with path.open(encoding="utf-8-sig") as file:
            header = file.readline()
        delimiter = max(",;\t", key=header.count)
        table = pacsv.read_csv(
            path,
            read_options=pacsv.ReadOptions(use_threads=False),  # which row is known then alone
            parse_options=pacsv.ParseOptions(delimiter=delimiter, invalid_row_handler=keep),
            convert_options=pacsv.ConvertOptions(null_values=_ABSENT, strings_can_be_null=True),
        )
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        why = f"is no CSV with a header ({cause(error)}); export it again"
        raise InputError(f"{path} {why}") from error
    names = [name for name in map(str.strip, table.column_names) if name]
    # pandas numbers columns that have no names
    counted = all(name.isdecimal() for name in names) and names == sorted(set(names), key=int)
    marked = header.lstrip().startswith(("#", "%", "//"))
    comment = ragged and ragged[0].number == 2 and (marked or ragged[0].expected_columns == 1)
    if comment or (not counted and all(map(_is_number, names))):
        raise InputError(
            f"{path}: line 1, '{header.strip()[:40]}', names no columns; begin the file with a "
            "line that names each of them"
        )
    if ragged:
        raise InputError(
            f"{path}: line {ragged[0].number} has {ragged[0].actual_columns} cells where the "
            f"header has {ragged[0].expected_columns}; mend it, or delete it where it was cut off"
        )
    return table.rename_columns(_stripped(path, table.column_names))


def parquet_table(path: Path) -> pa.Table:
    """Reads a Parquet file, the fields of structures as columns; raises as ``csv_table``."""
    try:
        table = read_parquet(path)
    except Exception as error:  # damage shows as any of Arrow's errors, or as Python's
        raise InputError(f"{path} {damage(path, error)}") from error
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    return table


def read_parquet(path: Path, names: Sequence[str] | None = None) -> pa.Table:
    """The columns of those names that a Parquet file has, by default all."""
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        here = [name for name in file.schema_arrow.names if names is None or name in names]
        table = file.read(here).select(here)  # read alone takes "a" for "a.b", too
    table.validate(full=True)
    return table


def damage(path: Path, error: Exception) -> str:
    """Why a file cannot be read, and the remedy."""
    try:
        with path.open("rb") as file:
            pointer = file.read(23) == b"version https://git-lfs"
    except OSError as denied:
        return f"cannot be opened ({cause(denied)}); give a file that can be read"
    if pointer:
        return "is a pointer of Git LFS; git lfs pull brings the file"
    return (
        f"is truncated or damaged ({cause(error)}); copy it again, or delete it if its recorder "
        "was stopped before it closed it"
    )


def _stripped(path: Path, names: list[str]) -> list[str]:
    stripped = [name.strip().lstrip("#").strip() for name in names]
    for name in stripped:
        if stripped.count(name) > 1:
            raise InputError(f"{path} has two columns '{name}'; rename one")
    return stripped


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def is_numeric(kind: pa.DataType) -> bool:
    """Whether values are numbers, truth values or times, or lists of them at any depth."""
    while _is_list(kind):
        kind = kind.value_type
    types = pa.types
    tests = (types.is_integer, types.is_floating, types.is_boolean, types.is_null)
    return any(test(kind) for test in (*tests, types.is_timestamp, types.is_duration))


def numbers(column: Any) -> np.ndarray | str:
    """A column as (rows,), or of lists as (rows, k), NaN where it is empty, or why it is of no
    numbers. Integers and truth values with empty cells are float64; times are in seconds."""
    kind = column.type
    if not is_numeric(kind):
        return _text(column)
    if _is_list(kind):
        return _rows(column)
    if pa.types.is_null(kind):
        return np.full(len(column), np.nan)
    if pa.types.is_timestamp(kind) or pa.types.is_duration(kind):
        precise = pa.timestamp("ns") if pa.types.is_timestamp(kind) else pa.duration("ns")
        counted = column.cast(precise).cast(pa.int64()).cast(pa.float64(), safe=False)
        column = pc.call_function("divide", [counted, pa.scalar(1e9)])
    elif column.null_count and not pa.types.is_floating(kind):
        column = column.cast(pa.float64())
    return np.asarray(column)


def _is_list(kind: pa.DataType) -> bool:
    types = pa.types
    return types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind)


def _rows(column: Any) -> np.ndarray | str:
    """A column of lists of one length as (rows, k), flattened where they hold lists."""
    valid, flat = np.asarray(column.is_valid()), column.drop_null()
    rows = len(flat)
    while _is_list(flat.type):
        if len(pc.call_function("list_value_length", [flat]).unique()) > 1:
            return "its rows differ in length"
        flat = pc.call_function("list_flatten", [flat])
    values = np.asarray(numbers(flat))
    if rows and not values.size:
        return "its rows are empty lists"
    values = values.reshape(rows, -1 if rows else 1)
    if rows == len(valid):
        return values
    kind = values.dtype if values.dtype.kind == "f" else np.dtype(np.float64)
    whole = np.full((len(valid), values.shape[1]), np.nan, kind)
    whole[valid] = values
    return whole


def _text(column: Any) -> str:
    """Why a column is not of numbers: its first value that is none."""
    for row, value in enumerate(column.to_pylist()):
        try:
            float(value)
        except (TypeError, ValueError):
            if value is not None:
                seen = f"{str(value)[:20]!r} in row {row + 1} of its values"
                return f"it holds {column.type!s} ({seen}); leave empty what is not known"
    return f"it holds {column.type}, not numbers"
