"""The unit of a joint's numbers, guessed from its range and its name."""

import dataclasses
from collections.abc import Collection, Iterable

import numpy as np

from worldmodel.episodes.columns import FACTORS
from worldmodel.episodes.plausible import FAR
from worldmodel.episodes.signals import Signal

GRIPPERS = ("gripper", "jaw", "finger", "claw", "hand")
MARGIN = 0.1  # of the range: how far outside a calibrated joint may read
MOST = 0.98  # of the values that a unit must bring into the range
PER_CENT = 103.0
QUICK = 60.0  # a free hinge whose values span that many radians is in degrees


@dataclasses.dataclass(frozen=True)
class Guess:
    """A unit and why."""

    unit: str = ""
    note: str = ""  # what it is taken for, where that is not plain
    range: tuple[float, float] | None = None


def guessed(signal: Signal, values: np.ndarray, others: Collection[str] = ()) -> Guess:
    """The unit of a hinge's or slide's values, (n,) finite.

    Args:
      others: units of the log's other joints, which it shares where its values allow it.
    """
    if len(values) == 0:
        return Guess("", "unknown: it holds no number")
    hinge, bounds = signal.kind == "hinge", signal.bounds
    low, high = np.quantile(values, [0.01, 0.99])
    units = ("deg",) if hinge else ("mm", "cm")
    if bounds is None:
        if hinge and high - low > QUICK:
            return Guess("deg", f"degrees: it spans {high - low:.4g}")
        if not hinge and max(-low, high) > FAR:
            return Guess("mm", f"mm: {low:.4g} to {high:.4g}")
        return _shared(units, others)
    fitting = [u for u in units if _inside(values * FACTORS[u], bounds)]
    if _inside(values, bounds):
        return _shared([u for u in fitting if u == "deg"], others)
    spread = f"{low:.4g} to {high:.4g}"
    per_cent = low > -5 and high < PER_CENT + 2
    if per_cent and any(word in signal.joint.lower() for word in GRIPPERS):
        more = f", or {' or '.join(fitting)}" if fitting else ""
        return Guess("percent", f"per cent of its range, as grippers are{more}: {spread}")
    if fitting:
        both = "deg" in fitting and max(-low, high) < PER_CENT
        more = ", or per cent from -100 to 100" if both else ""
        return Guess(fitting[0], f"{fitting[0]}{more}: {spread}")
    if per_cent:
        return Guess("percent", f"per cent of its range: {spread}")
    if max(-low, high) < PER_CENT:
        middle = 0.5 * (bounds[0] + bounds[1])
        return Guess("percent", f"per cent from -100 to 100: {spread}", (middle, bounds[1]))
    return Guess("", f"rad or m though it lies outside the range: {spread}")


def guessed_rate(values: np.ndarray, bounds: tuple[float, float] | None, unit: str) -> str:
    """The unit per second of a velocity servo's commands, (n,) finite: its joint's, where the
    command's range does not forbid it, and SI where the numbers lie inside that range as they are.

    Args:
      bounds: the command's range in SI; None: it has none.
      unit: of the joint's position.
    """
    if unit not in FACTORS or len(values) == 0:
        return ""
    if bounds is None:
        return unit
    return unit if not _inside(values, bounds) and _inside(values * FACTORS[unit], bounds) else ""


def _shared(units: Iterable[str], others: Collection[str]) -> Guess:
    shared = [u for u in units if u in others]
    return Guess(shared[0], f"{shared[0]}, as the other joints") if shared else Guess()


def _inside(values: np.ndarray, bounds: tuple[float, float]) -> bool:
    margin = MARGIN * (bounds[1] - bounds[0])
    within = (values > bounds[0] - margin) & (values < bounds[1] + margin)
    return bool(within.mean() >= MOST)
