"""Files of tables as recorders leave them, whole or not, and their columns as numbers."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json
import pyarrow.parquet as pq

T = TypeVar("T")
_REMEDY = "copy it again if it is whole elsewhere; else what it held is lost, and it can be deleted"


def attempt(paths: Sequence[Path], call: Callable[[Path], T], damaged: list[str]) -> dict[Path, T]:
    """What the call makes of each file; those it cannot read go to ``damaged``, by cause."""
    results, causes = {}, {}
    for path in paths:
        try:
            results[path] = call(path)
        except Exception as error:  # damage shows as any of Arrow's errors, or as Python's
            causes.setdefault(_cause(path, error), []).append(path)
    for cause, files in causes.items():
        more = f" and {len(files) - 1} more files: each" if files[1:] else ""
        damaged.append(f"{files[0]}{more} {cause}")
    return results


def _cause(path: Path, error: Exception) -> str:
    try:
        content = path.read_bytes()
    except OSError as denied:
        return f"cannot be opened ({denied})"
    if content.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS; git lfs pull brings the file"
    cause = f"is damaged ({str(error).partition(chr(10))[0]})"
    if not content or (content.startswith(b"PAR1") and not content.endswith(b"PAR1")):
        cause = "has no end: its recorder was stopped before it closed it, or a copy broke off"
    return f"{cause}; {_REMEDY}"


def read_table(path: Path, names: Sequence[str] | None = None) -> pa.Table:
    """The columns of those names that the file has, by default all: Parquet, or lines of JSON."""
    if path.suffix == ".jsonl":
        return pyarrow.json.read_json(path)
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        here = file.schema_arrow.names
        table = file.read([name for name in here if names is None or name in names])
    table.validate(full=True)
    return table


def is_numeric(kind: pa.DataType) -> bool:
    """Whether values are numbers or truth values, or lists of them at any depth."""
    while _is_list(kind):
        kind = kind.value_type
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null)
    return any(test(kind) for test in tests)


def _is_list(kind: pa.DataType) -> bool:
    tests = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(test(kind) for test in tests)


def numbers(table: pa.Table, name: str) -> np.ndarray | None:
    """A column as (rows, components), NaN where null: integers with a null are float64.

    None where there is no such column of numbers, or its rows differ in length.
    """
    if name not in table.column_names or not is_numeric(table.schema.field(name).type):
        return None
    column = table.column(name)
    valid, flat = np.asarray(column.is_valid()), column.drop_null()
    while _is_list(flat.type):
        if len(pc.call_function("list_value_length", [flat]).unique()) > 1:
            return None
        flat = pc.call_function("list_flatten", [flat])
    if flat.null_count and not pa.types.is_floating(flat.type):
        flat = flat.cast(pa.float64())
    values, rows = np.asarray(flat), int(valid.sum())
    if rows and (not values.size or values.size % rows):
        return None
    values = values.reshape(rows, -1 if rows else 1)
    if rows == len(valid):
        return values
    kind = values.dtype if values.dtype.kind == "f" else np.float64
    whole = np.full((len(valid), values.shape[1]), np.nan, kind)
    whole[valid] = values
    return whole
