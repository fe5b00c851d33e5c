"""Trust: how many real episodes a synthetic one is worth, D_eff = D_real + alpha · D_syn.

``table`` holds the training runs (``files`` reads them), ``estimate`` measures alpha from them,
``planner`` says how many runs that takes, ``summary`` and ``report`` say what came out.
Beside alpha and never merged with it: ``evaluation`` and ``cost``; ``beside`` reads what they take.
"""

from worldmodel.trust.estimate import measure
from worldmodel.trust.files import read, read_csv, read_parquet, read_rows, write_csv
from worldmodel.trust.intervals import Interval
from worldmodel.trust.law import LAWS, Law
from worldmodel.trust.measurement import Cell, Curve, Difference, Measurement, Version
from worldmodel.trust.plain import document, to_json
from worldmodel.trust.planner import Grid, Plan, grids, seeds_needed
from worldmodel.trust.reading import VERDICTS
from worldmodel.trust.table import Row, TableError, check

__all__ = [
    "LAWS",
    "VERDICTS",
    "Cell",
    "Curve",
    "Difference",
    "Grid",
    "Interval",
    "Law",
    "Measurement",
    "Plan",
    "Row",
    "TableError",
    "Version",
    "check",
    "document",
    "grids",
    "measure",
    "read",
    "read_csv",
    "read_parquet",
    "read_rows",
    "seeds_needed",
    "to_json",
    "write_csv",
]
