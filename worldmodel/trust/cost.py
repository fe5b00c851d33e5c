"""The cost card: what a real and a synthetic episode cost, and the alpha from which they pay.

A real episode:       c_r = operator-hours · wage · overhead / yield
A synthetic one:      c_s = device time · price + (model + K corrections) / m
Break-even:           alpha = c_s / c_r
Net value at (n, m):  (D_eff − n) · c_r − m · c_s

The model's cost is the hours of an engineer who builds it and the device time of its fit. A
correction captured in deployment has a price of its own, below that of a demonstration: a person
only steps in. Every assumption is a range with its source, which a lab may override. Every cost is
the exact range over all assumptions: each formula is monotone in each of them, so that its
extremes lie at corners. A quantity above and below a fraction (the wage) cancels there.
"""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from worldmodel.errors import InputError
from worldmodel.trust.table import TableError, attached


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
    """The default assumptions, with the given ones replaced.

    Args:
      overridden: (name, low, high) of each assumption to replace, in the default's unit.

    Raises:
      InputError: a name is unknown or given twice, or its range is invalid.
    """
    known, replaced = Assumptions(), {}
    for name, low, high in overridden:
        if name not in vars(known):
            names = ", ".join(vars(known))
            raise InputError(f"no assumption is called {name!r}; there are {names}")
        if name in replaced:
            raise InputError(f"the assumption {name!r} is given twice; keep one")
        replaced[name] = Range(low, high, getattr(known, name).unit, "given by who ran this")
    return dataclasses.replace(known, **replaced)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Generation:
    """What the synthetic episodes of one version took: a row of the table of costs."""

    task: str = ""  # may be empty where the document has one task
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
        source = f"{self.device}: {self.price_source}"
        return Range(self.dollars_per_hour_low, self.dollars_per_hour_high, "$/h", source)

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


# For comparison: a video world model, which gives pixels and neither actions nor forces.
SCALE = {
    "what": "a 7.9 s clip at 480p of NVIDIA Cosmos 3 Nano on one H200",
    "episode_seconds": 58.0,
    "gpu_hours_per_1000": 58.0 * 1000 / 3600,
}


def card(
    measured: Generation, m: int, k: int, assumptions: Assumptions | None = None
) -> dict[str, tuple[float, float]]:
    """The ranges (low, high) of all costs.

    Args:
      measured: of the version.
      m: synthetic episodes made.
      k: corrections that the version cost, beyond the n of its mixture.
      assumptions: the defaults if None.

    Returns:
      ``real`` c_r, ``variant`` for a task variant taught by real episodes alone, ``correction``,
      ``first`` synthetic episode, one ``later``, ``synthetic`` c_s [$], ``break_even`` c_s / c_r.

    Raises:
      InputError: m < 1 or k < 0.
    """
    points = _points(measured, assumptions, m, k)
    return {name: _range([point[name] for point in points]) for name in points[0]}


def net_value(
    d_eff: float,
    n: int,
    m: int,
    k: int,
    measured: Generation,
    assumptions: Assumptions | None = None,
) -> tuple[float, float]:
    """(D_eff − n) · c_r − m · c_s as a range [$]: what a version saves less what it costs.

    A real episode saved counts as one demonstration, each of the K corrections as a correction.
    For an interval of D_eff take the low end at its low end and the high end at its high end.

    Args:
      d_eff: effective number of real episodes.
      n, m, k: real, synthetic episodes, corrections.

    Raises:
      InputError: m < 1, k < 0, or D_eff is not finite.
    """
    if not math.isfinite(d_eff):
        raise InputError(f"D_eff = {d_eff}; where it is censored, value its known end alone")
    points = _points(measured, assumptions, m, k)
    return _range([(d_eff - n) * p["real"] - m * p["synthetic"] for p in points])


def with_costs(
    document: Mapping[str, Any],
    costs: Sequence[Generation],
    assumptions: Assumptions | None = None,
) -> dict[str, Any]:
    """Adds a cost card (``cost``, as of ``price``) to each task that ``costs`` has rows of.

    Args:
      document: as of ``result.document``; it stays as it is.
      costs: at most one row per task and version.
      assumptions: the defaults if None.

    Raises:
      TableError: a row belongs to no task of the document, or a version has two rows.
      InputError: the task has no version of that name.
    """
    return attached(document, "cost", costs, lambda task, own: price(task, own, assumptions))


def price(
    task: Mapping[str, Any], rows: Sequence[Generation], assumptions: Assumptions | None = None
) -> dict[str, Any]:
    """The cost card of a task, as plain numbers and text for its document.

    Args:
      task: one of the document's tasks, with ``versions``, each with ``cells``.
      rows: at most one per version; a version without a row has no card.
      assumptions: the defaults if None.

    Returns:
      ``assumptions``: list of ``name, low, high, unit, source``; ``scale``; ``versions``: by name,
      what was measured, and ``cells``: ``n, m, k``, every name of ``card`` as ``x_low`` and
      ``x_high``, and ``net_value_low``, ``net_value_high`` [$], None where that end of D_eff is
      unknown.

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
        cells = [_priced(cell, row, assumptions) for cell in known[row.version]["cells"]]
        versions[row.version] = {
            **dataclasses.asdict(row),
            "device_hour": dataclasses.asdict(row.device_hour),
            "cells": cells,
        }
    used = vars(assumptions or Assumptions())
    return {
        "versions": versions,
        "assumptions": [{"name": name} | dataclasses.asdict(r) for name, r in used.items()],
        "scale": SCALE,
    }


def _priced(
    cell: Mapping[str, Any], row: Generation, assumptions: Assumptions | None
) -> dict[str, Any]:
    sizes = {key: cell[key] for key in ("n", "m", "k")}
    entry: dict[str, Any] = dict(sizes)
    ends = card(row, cell["m"], cell["k"], assumptions)
    net: list[float | None] = [None, None]
    for i, end in enumerate(("low", "high")):
        if (d_eff := cell[f"d_eff_{end}"]) is not None:
            net[i] = net_value(d_eff, **sizes, measured=row, assumptions=assumptions)[i]
    for name, (low, high) in (ends | {"net_value": net}).items():
        entry |= {f"{name}_low": low, f"{name}_high": high}
    return entry


def _points(
    measured: Generation, assumptions: Assumptions | None, m: int, k: int
) -> list[dict[str, float]]:
    """All costs [$] at every combination of the ranges' ends."""
    if m < 1 or k < 0:
        raise InputError(f"m = {m}, k = {k}; give m of 1 or more and k of 0 or more")
    ranges = vars(assumptions or Assumptions()) | {"device_hour": measured.device_hour}
    ends = itertools.product(*({r.low, r.high} for r in ranges.values()))
    return [_point(dict(zip(ranges, point, strict=True)), measured, m, k) for point in ends]


def _point(p: Mapping[str, float], measured: Generation, m: int, k: int) -> dict[str, float]:
    hour = p["wage"] * p["overhead"]
    # The hours cancel in c_r and stay in the price of a variant.
    usable = p["operator_hours"] * p["usable_per_hour"]
    real = p["operator_hours"] * hour / usable
    correction = p["correction_minutes"] / 60 * hour
    model = (
        p["model_hours"] * p["engineer_wage"] * p["overhead"]
        + measured.model_seconds / 3600 * p["device_hour"]
    )
    later = measured.episode_seconds / 3600 * p["device_hour"]
    synthetic = later + (model + k * correction) / m
    return {
        "real": real,
        "variant": p["operator_hours"] * hour,
        "correction": correction,
        "first": model + k * correction + later,
        "later": later,
        "synthetic": synthetic,
        "break_even": synthetic / real,
    }


def _range(values: list[float]) -> tuple[float, float]:
    return min(values), max(values)
