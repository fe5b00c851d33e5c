"""Trust: how many real episodes a synthetic one is worth, D_eff = D_real + alpha · D_syn.

``table`` describes and reads the training runs, ``estimate`` measures alpha from them, ``planner``
computes how many runs that takes, ``report`` presents the result. ``evaluation`` and ``cost``
supplement alpha and are never merged with it; each has a table of its own.
"""

from worldmodel.trust.estimate import measure
from worldmodel.trust.planner import Plan, grids
from worldmodel.trust.result import CONTROL, Cell, TaskResult, document, to_json
from worldmodel.trust.table import Row, TableError, check, read, write_csv

__all__ = [
    "CONTROL",
    "Cell",
    "Plan",
    "Row",
    "TableError",
    "TaskResult",
    "check",
    "document",
    "grids",
    "measure",
    "read",
    "to_json",
    "write_csv",
]
