"""Trust: how many real episodes a synthetic one is worth, D_eff = D_real + alpha · D_syn.

``table`` describes the training runs (``files`` reads them), ``estimate`` measures alpha from them,
``planner`` computes how many runs that takes, ``summary`` and ``report`` present the result.
``evaluation`` and ``cost`` supplement alpha and are never merged with it; ``supplements`` reads
their tables.
"""

from worldmodel.trust.estimate import measure
from worldmodel.trust.files import read, read_csv, read_parquet, write_csv
from worldmodel.trust.plain import document, to_json
from worldmodel.trust.planner import grids, seeds_needed
from worldmodel.trust.result import Cell, TaskResult
from worldmodel.trust.table import Row, TableError, check

__all__ = [
    "Cell",
    "Row",
    "TableError",
    "TaskResult",
    "check",
    "document",
    "grids",
    "measure",
    "read",
    "read_csv",
    "read_parquet",
    "seeds_needed",
    "to_json",
    "write_csv",
]
