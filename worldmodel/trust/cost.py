"""The cost card: what a real and a synthetic episode cost, and the alpha from which they pay.

A real episode:       c_r = operator-hours · wage · overhead / yield
A synthetic one:      c_s = device time · price + (model + K corrections) / m
Break-even:           alpha = c_s / c_r
Net value at (n, m):  (D_eff − n) · c_r − m · c_s

The model's cost is the hours of an engineer who builds it and the device time of its fit. A
correction captured in deployment is cheaper than a demonstration: a person only steps in. Every
assumption is a range with its source, which a lab may override. Every cost is the exact range over
all assumptions: each formula is monotone in each of them, so that its extremes lie at corners.
"""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from worldmodel.errors import InputError
from worldmodel.trust.result import to_json
from worldmodel.trust.table import TableError


@dataclasses.dataclass(frozen=True)
class Range:
    """A closed interval of a number that is 0 or above."""

    low: float
    high: float
    unit: str
    source: str

    def __post_init__(self) -> None:
        if not (0 <= self.low <= self.high < math.inf):
            raise InputError(
                f"range {self.low} to {self.high} {self.unit}: give two finite ends, the lower "
                "first, neither below 0"
            )


@dataclasses.dataclass(frozen=True)
class Assumptions:
    """What was not measured. The defaults are wide, for the USA; override them where you can.

    SVRC is the Silicon Valley Robotics Center (cost per demonstration), BLS the Bureau of Labor
    Statistics.
    """

    operator_hours: Range = Range(10, 100, "h", "for one task variant (Seeker Labs)")
    usable_per_hour: Range = Range(
        2.4, 100, "episodes/h", "dexterous manipulation (SVRC) to ALOHA (Zhao et al. 2023)"
    )
    wage: Range = Range(22, 48, "$/h", "junior operator (SVRC) to data collector (Tesla, 2024)")
    overhead: Range = Range(
        1.4, 2.0, "times the wage", "benefits (BLS, ECEC) to robot, room and supervision (assumed)"
    )
    correction_minutes: Range = Range(0.5, 5, "min", "assumed: to notice, step in and reset")
    model_hours: Range = Range(4, 40, "h", "assumed: an engineer builds the scene, once")
    engineer_wage: Range = Range(45, 65, "$/h", "mechanical to software, US medians (BLS, 2023)")

    def __post_init__(self) -> None:
        for name in ("operator_hours", "usable_per_hour", "wage", "overhead"):
            if getattr(self, name).low <= 0:
                raise InputError(f"{name} must be above 0: else a real episode has no price")


def assumed(overridden: Sequence[tuple[str, float, float]]) -> Assumptions:
    """The default assumptions, with the given ones (name, low, high) replaced in the same unit.

    Raises:
      InputError: a name is unknown or given twice, or its range is invalid.
    """
    known, replaced = vars(Assumptions()), {}
    for name, low, high in overridden:
        if name not in known:
            raise InputError(f"no assumption is called {name!r}; there are {', '.join(known)}")
        if name in replaced:
            raise InputError(f"the assumption {name!r} is given twice; keep one")
        replaced[name] = Range(low, high, known[name].unit, "given by who ran this")
    return Assumptions(**known | replaced)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generation:
    """What the synthetic episodes of one version took: a row of the table of costs."""

    version: str  # of the world model
    device: str  # such as "1 NVIDIA H200" or "2 CPU cores"
    dollars_per_hour_low: float  # [$/h] price of the whole device, lowest and highest
    dollars_per_hour_high: float  # [$/h]
    price_source: str = "given with the measurement"
    episode_seconds: float  # [s] of the device, one more synthetic episode
    model_seconds: float  # [s] of the device before the first: fitting, compiling
    energy_joules: float | None = None  # [J] per episode, from the device's counter

    @property
    def device_hour(self) -> Range:
        """The price of the device."""
        low, high = self.dollars_per_hour_low, self.dollars_per_hour_high
        return Range(low, high, "$/h", self.price_source)

    def fault(self) -> str:
        """The reason why the row is invalid by itself; empty if it is valid."""
        for name in ("version", "device"):
            if not getattr(self, name):
                return f"the {name} is empty; name one"
        for name in ("episode_seconds", "model_seconds", "energy_joules"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < math.inf:
                return f"{name} = {value}; give what was measured, 0 or above"
        try:
            _ = self.device_hour
        except InputError as error:
            return str(error)
        return ""


def card(
    measured: Generation,
    m: int,
    k: int,
    assumptions: Assumptions | None = None,
    *,
    saved: tuple[float, float] = (math.nan, math.nan),
) -> dict[str, tuple[float, float]]:
    """The ranges (low, high) of all costs [$].

    Args:
      measured: of the version.
      m: synthetic episodes made.
      k: corrections that the version cost, beyond the n of its mixture.
      assumptions: the defaults if None.
      saved: lower and upper end of D_eff − n, the demonstrations saved; NaN if unknown.

    Returns:
      ``real`` c_r, ``variant`` for a task variant taught by real episodes alone, ``correction``,
      ``first`` synthetic episode, one ``later``, ``synthetic`` c_s, ``break_even`` c_s / c_r, and
      ``net_value``, whose ends are NaN with those of ``saved``.

    Raises:
      InputError: m < 1 or k < 0.
    """
    if m < 1 or k < 0:
        raise InputError(f"m = {m}, k = {k}; give m of 1 or more and k of 0 or more")
    ranges = vars(assumptions or Assumptions()) | {"device_hour": measured.device_hour}
    corners = np.array([*itertools.product(*((r.low, r.high) for r in ranges.values()))])
    p = dict(zip(ranges, corners.T, strict=True))  # (corners,) each
    hour = p["wage"] * p["overhead"]
    # The hours cancel in c_r and stay in the price of a variant.
    real = p["operator_hours"] * hour / (p["operator_hours"] * p["usable_per_hour"])
    correction = p["correction_minutes"] / 60 * hour
    fit = measured.model_seconds / 3600 * p["device_hour"]
    model = p["model_hours"] * p["engineer_wage"] * p["overhead"] + fit
    later = measured.episode_seconds / 3600 * p["device_hour"]
    synthetic = later + (model + k * correction) / m
    low, high = (end * real - m * synthetic for end in saved)
    costs = {
        "real": (real, real),
        "variant": (p["operator_hours"] * hour,) * 2,
        "correction": (correction, correction),
        "first": (model + k * correction + later,) * 2,
        "later": (later, later),
        "synthetic": (synthetic, synthetic),
        "break_even": (synthetic / real,) * 2,
        "net_value": (low, high),
    }
    return {name: (float(low.min()), float(high.max())) for name, (low, high) in costs.items()}


def price(
    task: Mapping[str, Any], rows: Sequence[Generation], assumptions: Assumptions | None = None
) -> dict[str, Any]:
    """The cost card of a task, as plain numbers and text for its document.

    Args:
      task: one of the document's tasks, with ``versions``, each with ``cells``.
      rows: at most one per version; a version without a row has no card.
      assumptions: the defaults if None.

    Returns:
      ``assumptions``: list of ``name, low, high, unit, source``; ``versions``: by name, what was
      measured, and ``cells``: ``n, m, k`` and every name of ``card`` as ``x_low`` and ``x_high``,
      None where that end of D_eff is unknown.

    Raises:
      TableError: a version has two rows.
      InputError: a row is of a version that the task does not have.
    """
    known, versions = task["versions"], dict[str, Any]()
    for row in rows:
        if row.version not in known:
            names = ", ".join(sorted(known))
            raise InputError(f"{task['task']!r} has no version {row.version!r}; it has {names}")
        if row.version in versions:
            raise TableError(f"two rows for the version {row.version!r}; keep one")
        cells = []
        for cell in known[row.version]["cells"]:
            sizes = {name: cell[name] for name in ("n", "m", "k")}
            d_eff = np.array([cell["d_eff_low"], cell["d_eff_high"]], float)  # None: NaN
            ends = card(row, cell["m"], cell["k"], assumptions, saved=(*(d_eff - cell["n"]),))
            costs = {
                f"{x}_{end}": ends[x][i] for x in ends for i, end in enumerate(("low", "high"))
            }
            cells.append(to_json(sizes | costs))
        versions[row.version] = to_json(row) | {"cells": cells}
    used = vars(assumptions or Assumptions()).items()
    return {"versions": versions, "assumptions": [{"name": name, **vars(x)} for name, x in used]}
