"""CSV and Parquet files as named columns of numbers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from worldmodel.errors import InputError

Choose = Callable[[dict[str, Any], dict[str, str]], list[str]]
_ABSENT = ["", "nan", "NaN", "NAN", "null", "NULL", "none", "None", "NA", "N/A"]


class TableError(InputError):
    """A CSV or Parquet file that is truncated, damaged or ragged."""


def csv_table(
    path: Path, choose: Choose
) -> tuple[dict[str, np.ndarray], dict[str, Any], dict[str, str]]:
    """Reads a CSV with a header; empty cells and "nan" are NaN.

    Args:
      choose: readable columns and unreadable ones with the reason → the columns to return.

    Returns:
      the chosen columns (rows,); all readable ones; the others and why.

    Raises:
      TableError: no header, rows of different lengths, a name twice.
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
        raise TableError(f"{path} is no CSV with a header ({error}); export it again") from error
    if ragged:
        raise TableError(
            f"{path}: line {ragged[0].number} has {ragged[0].actual_columns} cells where the "
            f"header has {ragged[0].expected_columns}; mend it, or delete it where it was cut off"
        )
    return _chosen(path, table.rename_columns(_stripped(path, table.column_names)), choose)


def parquet_table(
    path: Path, choose: Choose
) -> tuple[dict[str, np.ndarray], dict[str, Any], dict[str, str]]:
    """Reads a Parquet file of numbers and lists of numbers; as ``csv_table``."""
    try:
        with pq.ParquetFile(path) as file:
            table = file.read()
            table.validate(full=True)
    except Exception as error:  # damage shows as any of Arrow's errors, or as Python's
        raise TableError(
            f"{path} is truncated or damaged ({error}); copy it again, or cut the recording that "
            "was not closed"
        ) from error
    while any(pa.types.is_struct(field.type) for field in table.schema):
        table = table.flatten()
    return _chosen(path, table, choose)


def _stripped(path: Path, names: list[str]) -> list[str]:
    stripped = [name.strip().lstrip("#").strip() for name in names]
    for name in stripped:
        if stripped.count(name) > 1:
            raise TableError(f"{path} has two columns '{name}'; rename one")
    return stripped


def _chosen(
    path: Path, table: pa.Table, choose: Choose
) -> tuple[dict[str, np.ndarray], dict[str, Any], dict[str, str]]:
    if not table.num_rows:
        raise TableError(f"{path} has columns but no row; record it again, or take it away")
    arrays, names, ignored = {}, {}, {}
    for name in table.column_names:
        values = _numbers(table.column(name))
        if isinstance(values, str):
            ignored[name] = values
        else:
            arrays[name], names[name] = values, None
    chosen = {}
    for name in choose(names, ignored):
        if name in arrays:
            chosen[name] = arrays[name]
        else:  # a column of text may number the episodes
            chosen[name] = np.array(table.column(name).to_pylist(), dtype=str)
    return chosen, names, ignored


def _numbers(column: Any) -> np.ndarray | str:
    """(rows,) or (rows, k) of a column, empty cells NaN; or why it holds no numbers."""
    kind, rows = column.type, len(column)
    if any(
        f(kind) for f in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    ):
        widths = pc.call_function("list_value_length", [column]).unique().to_pylist()
        if len(widths) != 1 or not widths[0]:
            return f"its rows have {len(widths)} lengths ({', '.join(map(str, widths[:3]))} …)"
        flat = _numbers(pc.call_function("list_flatten", [column]))
        return flat if isinstance(flat, str) or flat.ndim > 1 else flat.reshape(rows, widths[0])
    if pa.types.is_null(kind):
        return np.full(rows, np.nan)
    if pa.types.is_timestamp(kind) or pa.types.is_duration(kind):  # → seconds
        precise = pa.timestamp("ns") if pa.types.is_timestamp(kind) else pa.duration("ns")
        column = pc.call_function(
            "divide",
            [column.cast(precise).cast(pa.int64()).cast(pa.float64(), safe=False), pa.scalar(1e9)],
        )
    elif not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        return _text(column)
    if column.null_count and not pa.types.is_floating(column.type):
        column = column.cast(pa.float64())
    chunks = [chunk.to_numpy(zero_copy_only=False) for chunk in column.chunks]
    return np.concatenate(chunks) if chunks else np.zeros(0)


def _text(column: Any) -> str:
    """Why a column is not of numbers: its first value that is none."""
    for row, value in enumerate(column.to_pylist()):
        try:
            float(value)
        except (TypeError, ValueError):
            if value is not None:
                return f"it holds {column.type!s} ({str(value)[:20]!r} at row {row})"
    return f"it holds {column.type}, not numbers"
