"""Results as documents for JSON: plain numbers and text, without NaN."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from worldmodel.trust.intervals import Interval
from worldmodel.trust.law import Law
from worldmodel.trust.result import TaskResult


def document(results: Sequence[TaskResult]) -> dict[str, Any]:
    """The document that ``python -m worldmodel trust --json`` writes: ``tasks``, as ``to_json``."""
    return {"tasks": [to_json(result) for result in results]}


def to_json(result: TaskResult) -> dict[str, Any]:
    """A result as plain numbers, text, lists and dictionaries; NaN becomes None.

    It has the fields of ``TaskResult``. Each version has its ``cells`` and the fields of its law,
    ``p`` and ``reason`` as ``law_p`` and ``law_reason``. An interval ``x`` becomes ``x``, ``x_low``
    and ``x_high``; those of the curve are lists of ``value``, ``low`` and ``high``.
    """
    out = flat(result)
    cells = out.pop("cells")
    out["versions"] = {
        name: flat(version) | {"cells": [cell for cell in cells if cell["version"] == name]}
        for name, version in result.versions.items()
    }
    return out


def flat(value: Any) -> Any:
    """The fields of a result as plain numbers, text, lists and dictionaries, as ``to_json``."""
    if isinstance(value, list | tuple):
        return [flat(v) for v in value]
    if isinstance(value, dict):
        return {key: flat(v) for key, v in value.items()}
    if not dataclasses.is_dataclass(value):
        value = value.item() if isinstance(value, np.generic) else value
        return None if isinstance(value, float) and math.isnan(value) else value
    out = {}
    for name, x in vars(value).items():
        if isinstance(x, Law):
            law = flat(x)
            out |= {f"law_{key}": law.pop(key) for key in ("p", "reason")} | law
        elif isinstance(x, Interval):
            ends = zip(("", "_low", "_high"), vars(x).values(), strict=True)
            out |= {name + end: flat(bound) for end, bound in ends}
        else:
            out[name] = flat(x)
    return out
