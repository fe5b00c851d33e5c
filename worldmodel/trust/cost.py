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
from collections.abc import Mapping
from typing import Any

from worldmodel.errors import InputError


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


H200_HOUR = Range(2.5, 7.0, "$/h", "on-demand list prices of one H200, cheapest to dearest, 2026")


def cpu_hour(cores: int) -> Range:
    """The price of that many CPU cores [$/h]."""
    source = f"{cores} general-purpose cloud cores at list prices, 0.03 to 0.05 $/h each, 2026"
    return Range(0.03 * cores, 0.05 * cores, "$/h", source)


@dataclasses.dataclass(frozen=True)
class Assumptions:
    """What was not measured. The defaults are wide, for the USA; override them where you can."""

    operator_hours: Range = Range(
        10, 100, "h", "for one task variant (Seeker Labs, What a robot's training data costs)"
    )
    usable_per_hour: Range = Range(
        2.4,
        100,
        "episodes/h",
        "25 minutes each for dexterous manipulation (Silicon Valley Robotics Center, cost per "
        "demonstration) to 50 in half an hour (Zhao et al. 2023, ALOHA); resets included",
    )
    wage: Range = Range(
        22,
        48,
        "$/h",
        "a junior operator (Silicon Valley Robotics Center) to the most that Tesla advertised for "
        "data collection in 2024, 25.25 to 48",
    )
    overhead: Range = Range(
        1.4,
        2.0,
        "times the wage",
        "benefits are 30 % of what US employers pay (Bureau of Labor Statistics, ECEC); twice the "
        "wage with robot, room and supervision is assumed",
    )
    correction_minutes: Range = Range(
        0.5, 5, "min", "assumed: an operator notices, steps in and resets, once per correction"
    )
    model_hours: Range = Range(4, 40, "h", "assumed: an engineer builds the scene, once")
    engineer_wage: Range = Range(
        45, 65, "$/h", "US medians of mechanical engineers and software developers (BLS, 2023)"
    )

    def __post_init__(self) -> None:
        if self.usable_per_hour.low <= 0 or self.operator_hours.low <= 0:
            raise InputError(
                "operator_hours and usable_per_hour must be above 0: without usable episodes a "
                "real one has no price"
            )
        if self.wage.low <= 0 or self.overhead.low <= 0:
            raise InputError("wage and overhead must be above 0: free work has no break-even")


@dataclasses.dataclass(frozen=True)
class Measured:
    """The device time and energy that a version's synthetic episodes took."""

    device: str  # its name, for the reader
    device_hour: Range  # [$/h] price of that device, all its cores or GPUs
    episode_seconds: float  # [s] of the device, one more episode
    model_seconds: float  # [s] of the device before the first: fitting, compiling
    energy_joules: float | None = None  # [J] per episode; None where no counter was read

    def __post_init__(self) -> None:
        for name in ("episode_seconds", "model_seconds", "energy_joules"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                raise InputError(f"{name} = {value}; give what was measured, 0 or above")


# For comparison: a video world model, which gives pixels and neither actions nor forces.
SCALE = {
    "what": "a 7.9 s clip at 480p of NVIDIA Cosmos 3 Nano on one H200",
    "episode_seconds": 58.0,
    "gpu_hours_per_1000": 58.0 * 1000 / 3600,
}
_UNITS = {  # of a card's ranges
    "real": "$ per usable real episode",
    "variant": "$ per task variant taught by real episodes alone",
    "correction": "$ per correction captured in deployment",
    "first": "$ for the first synthetic episode: model, corrections, one episode",
    "later": "$ for one more, say the ten-thousandth",
    "synthetic": "$ per synthetic episode, all m sharing model and corrections",
    "break_even": "alpha from which on they pay",
}


def card(
    measured: Measured, m: int, k: int, assumptions: Assumptions | None = None
) -> dict[str, tuple[float, float]]:
    """The ranges (low, high) of all costs.

    Args:
      measured: of the version.
      m: synthetic episodes made.
      k: corrections that the version cost, beyond the n of its mixture.
      assumptions: the defaults if None.

    Returns:
      ``real`` c_r, ``variant``, ``correction``, ``first``, ``later``, ``synthetic`` c_s [$] and
      ``break_even`` c_s / c_r.

    Raises:
      InputError: m < 1 or k < 0.
    """
    points = _points(measured, assumptions, m, k)
    return {name: _range([point[name] for point in points]) for name in _UNITS}


def net_value(
    d_eff: float, n: int, m: int, k: int, measured: Measured, assumptions: Assumptions | None = None
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


def price(
    task: Mapping[str, Any],
    measured: Mapping[str, Measured],
    assumptions: Assumptions | None = None,
) -> dict[str, Any]:
    """The cost card of a task, as plain numbers and text for its document.

    Args:
      task: one of the document's tasks, with ``versions``, each with ``cells``.
      measured: by version; a version without an entry has no card.
      assumptions: the defaults if None.

    Returns:
      ``assumptions``: list of ``name, low, high, unit, source``; ``scale``; ``versions``: by name,
      ``device``, ``episode_seconds``, ``model_seconds``, ``energy_joules`` and ``cells``: ``n, m,
      k``, every name of ``card`` as ``x_low`` and ``x_high``, and ``net_value_low``,
      ``net_value_high`` [$], None where that end of D_eff is unknown.

    Raises:
      InputError: ``measured`` names a version that the task does not have.
    """
    if unknown := sorted(set(measured) - set(task["versions"])):
        raise InputError(
            f"{task['task']!r} has no version {unknown[0]!r}; it has "
            f"{', '.join(sorted(task['versions']))}"
        )
    assumed = assumptions or Assumptions()
    versions = {}
    for name, taken in measured.items():
        own = dataclasses.asdict(taken) | {"cells": []}
        priced: dict[str, Any] = {"measured": taken, "assumptions": assumed}
        for cell in task["versions"][name]["cells"]:
            sizes = {key: cell[key] for key in ("n", "m", "k")}
            costs = card(taken, cell["m"], cell["k"], assumed)
            flat: dict[str, float | None] = {}
            for x, (low, high) in costs.items():
                flat |= {f"{x}_low": low, f"{x}_high": high}
            for i, end in enumerate(("low", "high")):
                d_eff = cell[f"d_eff_{end}"]
                value = None if d_eff is None else net_value(d_eff, **sizes, **priced)[i]
                flat[f"net_value_{end}"] = value
            own["cells"].append(sizes | flat)
        versions[name] = own
    return {
        "assumptions": [{"name": key} | dataclasses.asdict(r) for key, r in vars(assumed).items()],
        "units": _UNITS | {"net_value": "$ gained by the version at (n, m)"},
        "scale": SCALE,
        "versions": versions,
    }


def _points(
    measured: Measured, assumptions: Assumptions | None, m: int, k: int
) -> list[dict[str, float]]:
    """All costs [$] at every combination of the ranges' ends."""
    if m < 1 or k < 0:
        raise InputError(f"m = {m}, k = {k}; give m of 1 or more and k of 0 or more")
    ranges = vars(assumptions or Assumptions()) | {"device_hour": measured.device_hour}
    ends = itertools.product(*({r.low, r.high} for r in ranges.values()))
    return [_point(dict(zip(ranges, point, strict=True)), measured, m, k) for point in ends]


def _point(p: Mapping[str, float], measured: Measured, m: int, k: int) -> dict[str, float]:
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
