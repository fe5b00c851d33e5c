"""Windows that a least-squares fit leaves out, each with its reason.

A pseudo-Huber loss bounds what an error counts, not what a derivative counts: one window whose
prediction explodes owns the curvature and holds every number where it starts. So a window is left
out where the root mean square of its derivatives, in deviations of the noise, or the root of its
mean loss, is more than ``FAR`` times the median window's. A single bad frame is left to the loss.
The median is over the windows that answer: where an arm only now and then touches what it is to
push, the others say nothing of the block, and would make each touch an outlier.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np

FAR = 30.0  # the four recordings' own windows reach 28 in errors, and 23 to 106 in derivatives
ANSWER = 1e-3  # of a large derivative, below which a window does not answer
NAMED = 8  # windows that a message lists


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """One window that a fit does not use."""

    window: int  # row of the windows
    episode: int  # index of the episode in the list it came from
    frame: int | None  # of the episode at which it starts; None where the windows do not say
    reason: str

    def __str__(self) -> str:
        start = "" if self.frame is None else f" from frame {self.frame}"
        return f"episode {self.episode}{start} ({self.reason})"


def answering(slope: np.ndarray, counted: np.ndarray, bad: float) -> np.ndarray:
    """Which windows' predictions move with the unknowns: (windows, nv) bool.

    Args:
      slope: (windows, frames, nv, unknowns).
      counted: (windows, frames, nv) bool.
      bad: share of the windows that may be outliers, which decide nothing.

    Returns:
      Of a degree of freedom in which no window answers, all windows.
    """
    size = np.abs(np.where(counted[..., None], slope, 0.0)).max((1, 3), initial=0.0)
    answers = size > ANSWER * np.quantile(size, 1.0 - bad, axis=0, method="lower")
    return answers | ~answers.any(0)


def far_beyond(
    error: np.ndarray,
    slope: np.ndarray,
    sigma: np.ndarray,
    counted: np.ndarray,
    huber: float,
    bad: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Each window's size over the median window's: of its errors, and of their derivatives.

    Args:
      error: (windows, frames, nv) predicted − recorded.
      slope: (windows, frames, nv, unknowns) its derivative.
      sigma: (nv,) deviation of the noise.
      counted: (windows, frames, nv) bool; a window without any has the sizes 0.
      huber: deviations beyond which errors count linearly.
      bad: share of the windows that may be outliers.

    Returns:
      Two arrays (windows,).
    """
    count = np.maximum(counted.sum((1, 2)), 1)
    z = np.where(counted, error / sigma, 0.0)
    steep = np.where(counted[..., None], slope / sigma[:, None], 0.0)
    loss = 2.0 * huber**2 * (np.sqrt(1.0 + np.square(z / huber)) - 1.0)
    errors = np.sqrt(loss.sum((1, 2)) / count)
    slopes = np.sqrt(np.square(steep).sum((1, 2, 3)) / count)
    answers = answering(slope, counted, bad)
    some = np.asarray((counted & answers[:, None]).any((1, 2)))
    return _over_median(errors, some), _over_median(slopes, some)


def _over_median(size: np.ndarray, some: np.ndarray) -> np.ndarray:
    median = np.median(size[some]) if some.any() else 0.0
    return size / median if median > 0 else np.zeros_like(size)


def reasons(finite: np.ndarray, errors: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """(windows,) str: why each window is left out; empty where it is not.

    Args:
      finite: (windows,) bool.
      errors, slopes: (windows,) of ``far_beyond``.
    """
    out = [""] * len(finite)
    for row in np.flatnonzero(~finite | (errors > FAR) | (slopes > FAR)):
        if not finite[row]:
            out[row] = "not finite"
        elif slopes[row] > FAR:
            out[row] = f"derivatives {slopes[row]:.0f} times the median window's"
        else:
            out[row] = f"errors {errors[row]:.0f} times the median window's"
    return np.array(out)


def listed(windows: Sequence[LeftOut]) -> str:
    """The windows in one line, the first ``NAMED`` of them by name."""
    more = f" and {len(windows) - NAMED} more" if len(windows) > NAMED else ""
    return ", ".join(map(str, windows[:NAMED])) + more
