"""A measurement as JSON: plain numbers and text, no NaN."""

import dataclasses
import math
from typing import Any

import numpy as np

from worldmodel.trust.estimate import Interval, Measurement, version_verdict


def to_json(measurement: Measurement) -> dict:
    """A measurement as plain numbers, text, lists and dictionaries; NaN becomes None.

    Keys: ``task``, ``level``, ``curve``, ``versions`` (by name: ``verdict``, ``homogeneity_p``,
    ``alpha`` and ``cells``), ``differences``. An interval ``x`` is ``x``, ``x_low`` and
    ``x_high``; the curve's are lists of ``value``, ``low`` and ``high``.
    """
    versions = {
        version: {
            "verdict": version_verdict(measurement, version),
            "homogeneity_p": _plain(p),
            **_interval("alpha", measurement.alpha[version]),
            "cells": _plain([cell for cell in measurement.cells if cell.version == version]),
        }
        for version, p in measurement.homogeneity_p.items()
    }
    out = {"task": measurement.task, "level": measurement.level, "versions": versions}
    curve, differences = measurement.curve, measurement.differences
    return out | {"curve": _plain(curve), "differences": _plain(differences)}


def _plain(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if not dataclasses.is_dataclass(value):
        value = value.item() if isinstance(value, np.generic) else value
        return None if isinstance(value, float) and math.isnan(value) else value
    out = {}
    for name, x in vars(value).items():
        out |= _interval(name, x) if isinstance(x, Interval) else {name: _plain(x)}
    return out


def _interval(name: str, x: Interval) -> dict[str, float | None]:
    return {name: _plain(x.value), f"{name}_low": _plain(x.low), f"{name}_high": _plain(x.high)}
