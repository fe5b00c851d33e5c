"""Trust: how many real episodes a synthetic one is worth, D_eff = D_real + alpha · D_syn.

``table`` holds the training runs, ``estimate`` measures alpha from them, ``planner`` says how
many runs that takes.
"""

from worldmodel.trust.estimate import (
    VERDICTS,
    Cell,
    Curve,
    Difference,
    Interval,
    Measurement,
    homogeneous,
    measure,
    version_verdict,
)
from worldmodel.trust.files import read, read_csv, read_parquet, write_csv
from worldmodel.trust.plain import to_json
from worldmodel.trust.planner import Plan, seeds_needed
from worldmodel.trust.table import Row, TableError, check

__all__ = [
    "VERDICTS",
    "Cell",
    "Curve",
    "Difference",
    "Interval",
    "Measurement",
    "Plan",
    "Row",
    "TableError",
    "check",
    "homogeneous",
    "measure",
    "read",
    "read_csv",
    "read_parquet",
    "seeds_needed",
    "to_json",
    "version_verdict",
    "write_csv",
]
