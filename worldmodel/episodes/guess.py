"""The unit of a joint's numbers, guessed from its range and its name."""

import dataclasses
from collections.abc import Iterable

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

    unit: str
    note: str = ""  # what it is taken for, where that is not plain
    range: tuple[float, float] | None = None
    may_be: tuple[str, ...] = ()  # units of other joints of its kind that it may share


def guessed(signal: Signal, values: np.ndarray) -> Guess:
    """The unit of a hinge's or slide's values, (n,) finite."""
    if len(values) == 0:
        return Guess("", "unknown: it holds no number")
    hinge, bounds = signal.kind == "hinge", signal.bounds
    low, high = np.quantile(values, [0.01, 0.99])
    if bounds is None:
        if hinge and high - low > QUICK:
            return Guess("deg", f"degrees: it spans {high - low:.4g}")
        if not hinge and max(-low, high) > FAR:
            return Guess("mm", f"mm: {low:.4g} to {high:.4g}")
        return Guess("", may_be=("deg",) if hinge else ("mm", "cm"))
    degrees = _inside(values * FACTORS["deg"], bounds)
    if _inside(values, bounds):
        return Guess("", may_be=("deg",) if degrees and hinge else ())
    spread = f"{low:.4g} to {high:.4g}"
    per_cent = low > -5 and high < PER_CENT + 2
    if per_cent and any(word in signal.joint.lower() for word in GRIPPERS):
        return Guess("percent", f"per cent of its range: {spread}, and it grips")
    if hinge and degrees:
        more = ", or per cent from -100 to 100" if max(-low, high) < PER_CENT else ""
        return Guess("deg", f"degrees{more}: {spread}")
    if not hinge:
        for unit in ("mm", "cm"):
            if _inside(values * FACTORS[unit], bounds):
                return Guess(unit, f"{unit}: {spread}")
    if per_cent:
        return Guess("percent", f"per cent of its range: {spread}")
    if max(-low, high) < PER_CENT:
        middle = 0.5 * (bounds[0] + bounds[1])
        return Guess("percent", f"per cent from -100 to 100: {spread}", (middle, bounds[1]))
    return Guess("", f"rad or m though it lies outside the range: {spread}")


def alike(guess: Guess, others: Iterable[Guess]) -> Guess:
    """The guess, in the unit that other joints of its log are in, where it may be in that too."""
    units = [other.unit for other in others if other.unit in guess.may_be]
    if guess.unit or not units:
        return guess
    return Guess(units[0], f"{units[0]}, as the other joints")


def _inside(values: np.ndarray, bounds: tuple[float, float]) -> bool:
    margin = MARGIN * (bounds[1] - bounds[0])
    within = (values > bounds[0] - margin) & (values < bounds[1] + margin)
    return bool(within.mean() >= MOST)
