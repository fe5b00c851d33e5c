"""Which of many candidate parameters the data identify: one linearisation, then elimination.

At the start the errors of the windows and their derivatives give the curvature H of the data, in
units of the priors N(0, 1), with the noise that a linear fit would leave; the errors of an
open-loop window grow together, so its n frames count as √n. The covariance is (H + 1)⁻¹. While the
most uncertain number has a deviation above ``UNKNOWN``, it is held at the MJCF's value
and the others are judged again, so of two numbers that the data cannot tell apart one stays.
"""

import dataclasses

import numpy as np

from worldmodel.episodes.windows import Windows
from worldmodel.errors import InputError
from worldmodel.finetune.engines import make_engine
from worldmodel.finetune.gauss_newton import UNKNOWN
from worldmodel.finetune.moved import numbers
from worldmodel.model import WorldModel
from worldmodel.physics import parameters as physical
from worldmodel.scene import FreeParameter

FAR = 10.0  # medians; a window with a larger error or slope says nothing here
LINEAR_FITS = 4  # each with the noise that the one before it leaves


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What the data say of one number before it is fitted."""

    name: str  # leaf of the parameters
    index: int
    deviation: float  # of its prior's, when it was judged; 1 where the data say nothing
    kept: bool
    moves: bool  # whether it changes any scored frame

    def __str__(self) -> str:
        if self.kept:
            return "free"
        return "not told apart from the others" if self.moves else "nothing recorded depends on it"


def choose(
    world: WorldModel, windows: Windows, *, count: int | None = None
) -> tuple[tuple[FreeParameter, ...], tuple[Verdict, ...]]:
    """The free parameters of ``world`` that the data identify, and a verdict on each number.

    Args:
      world: its ``free`` are the candidates; without a network.
      windows: of training episodes.
      count: of the windows that they stand for, themselves alone when absent.

    Returns:
      The parameters kept, numbers that are held with the scale 0; the verdicts in their order.

    Raises:
      InputError: no candidate, or no window whose prediction is finite.
      ParameterError: a parameter that the scene does not have.
    """
    if not world.free:
        raise InputError("there is no candidate to choose from; name one with --free kind:element")
    physical.check(world.scene, world.free)
    named = numbers(world)
    error, slope = make_engine(world, "c", len(windows)).slopes(
        np.zeros(len(named)), np.zeros((len(windows), 0)), windows
    )
    kept = _usual(error) & _usual(slope)
    if not kept.any():
        raise InputError(
            "no window's prediction is finite at the MJCF's values; the scene is not stable from "
            "recorded states, or the columns have other units"
        )
    share = len(windows) / (count or len(windows))
    error, slope = error[kept], slope[kept]
    scored = np.asarray(windows.scored)[kept]
    frames = float(scored.sum(axis=1).mean())
    curvature = _curvature(error[scored], slope[scored]) / np.sqrt(frames) / share
    deviation, free = eliminate(curvature)
    verdicts = tuple(
        Verdict(name, i, float(d), bool(f), bool(c > 0))
        for (name, i), d, f, c in zip(named, deviation, free, np.diag(curvature), strict=True)
    )
    return restricted(world.free, verdicts), verdicts


def _curvature(error: np.ndarray, slope: np.ndarray) -> np.ndarray:
    """Of the data in units of the priors, (numbers, numbers).

    The noise is what a linear fit would leave of the errors, not the errors at the start: these
    are mostly what is to be fitted.

    Args:
      error: (frames, nv). slope: (frames, nv, numbers).
    """
    remaining, size = error, slope.shape[-1]
    curvature = np.zeros((size, size))
    for _ in range(LINEAR_FITS):
        sigma = np.array([_spread(column) for column in remaining.T])
        rows = (slope / sigma[:, None]).reshape(-1, size)
        curvature = rows.T @ rows
        u = np.linalg.solve(curvature + np.eye(size), -rows.T @ (error / sigma).ravel())
        remaining = error + slope @ u
    return curvature


def eliminate(curvature: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(numbers,) deviations in prior widths, and which numbers stay.

    Args:
      curvature: (numbers, numbers) of the data, in units of the priors.
    """
    free, deviation = np.ones(len(curvature), bool), np.ones(len(curvature))
    while free.any():
        block = curvature[np.ix_(free, free)] + np.eye(int(free.sum()))
        now = np.sqrt(np.diag(np.linalg.inv(block)))
        deviation[free] = now
        if now.max() < UNKNOWN:
            break
        free[np.flatnonzero(free)[np.argmax(now)]] = False
    return deviation, free


def restricted(
    free: tuple[FreeParameter, ...], verdicts: tuple[Verdict, ...]
) -> tuple[FreeParameter, ...]:
    """The parameters of which a number is kept; the scale of the other numbers is 0."""
    kept = {(v.name, v.index) for v in verdicts if v.kept}
    out = []
    for f in free:
        widths = np.broadcast_to(f.scale, len(physical.KINDS[f.kind].width))
        scale = tuple(float(w) if (f.name, i) in kept else 0.0 for i, w in enumerate(widths))
        if any(scale):
            same = len(set(scale)) == 1
            out.append(dataclasses.replace(f, scale=scale[0] if same else scale))
    return tuple(out)


def _usual(values: np.ndarray) -> np.ndarray:
    """(windows,) bool: finite, and at most ``FAR`` medians large."""
    size = np.sqrt(np.square(values).mean(axis=tuple(range(1, values.ndim))))
    finite = np.isfinite(size)
    middle = np.median(size[finite]) if finite.any() else 0.0
    return finite & (size <= max(FAR * middle, 1e-300))


def _spread(errors: np.ndarray) -> float:
    """A deviation that outliers do not move."""
    return max(1.4826 * float(np.median(np.abs(errors))), 1e-9)
