"""The times of a log's rows, from its time stamps.

Stamps are true where none follows the last one faster than the loop runs: they are kept, however
irregular. Stamps that come in bursts are the host's, of when it read, not of when it measured. They
are replaced by a regular clock where a line through them explains it, and refused where none does.
A regular clock of the control rate whose stamps are off by little is snapped to its frames.
"""

import dataclasses

import numpy as np

from worldmodel.episodes.columns import TIME_UNITS
from worldmodel.errors import InputError

BURST = 0.9  # sample periods: a stamp that follows the last one sooner is the host's
HALF, WITHIN, FARTHEST = 0.5, 0.95, 3.0  # a line explains stamps: 95 % within half a period, all 3
SNAP = 0.1  # periods a stamp may be off a regular clock
SLOWEST, FASTEST = 0.5, 5e-5  # [s] median sample period of a robot's log
LONGEST_GAP = 600.0  # [s] within an episode
GAP_PERIODS, GAP_SECONDS = 3.0, 0.02  # a gap is longer than both


@dataclasses.dataclass(frozen=True)
class Clock:
    """The rows of an episode that have a time of their own, and when."""

    time: np.ndarray  # (kept rows,) [s], starts at 0, increasing
    kept: np.ndarray  # (rows,) bool; False where a row repeats the one before
    moved: int = 0  # rows whose time is not their stamp: a line through the stamps
    snapped: int = 0  # rows whose time is a whole frame, and whose stamp was not quite
    frames: bool = False  # whether every row's time is a whole frame
    start: float = 0.0  # [s] of its first row, on the episode's first clock

    @property
    def period(self) -> float:
        """[s] the median of its sample periods; NaN with fewer than two rows."""
        return float(np.median(np.diff(self.time))) if len(self.time) > 1 else np.nan


def read_clock(where: str, stamps: np.ndarray, unit: str, repeats: np.ndarray) -> Clock:
    """The clock of one episode.

    Args:
      where: the file, episode and column, as messages name them.
      stamps: (rows,) as stored.
      repeats: (rows,) bool; the row's values are those of the row before.

    Raises:
      InputError: stamps that are not finite, run backwards, jump by more than ``LONGEST_GAP``, are
        not in ``unit``, or come in bursts that no regular clock explains.
    """
    if stamps.dtype.kind == "f" and not np.isfinite(stamps).all():
        row = int(np.flatnonzero(~np.isfinite(stamps))[0])
        raise InputError(f"{where}: the time is not finite at frame {row}; cut or mend the episode")
    time = (stamps - stamps[:1]).astype(float) * TIME_UNITS[unit]  # whole nanoseconds lose no digit
    step = np.diff(time)
    if (step < 0).any():
        row = int(np.flatnonzero(step < 0)[0]) + 1
        raise InputError(f"{where}: time does not increase at frame {row}; sort the frames")
    kept = np.ones(len(time), bool)
    kept[1:] = (step > 0) | ~repeats[1:]
    time = time[kept]
    step = np.diff(time)
    if len(step) == 0:
        return Clock(time, kept)
    if not (step > 0).any():
        raise InputError(
            f"{where}: every frame has the same time; name the column of the time, or give rate_hz"
        )
    period = float(np.median(step[step > 0]))
    _check_unit(where, period, unit)
    if step.max() > LONGEST_GAP:
        row = int(np.argmax(step)) + 1
        raise InputError(
            f"{where}: time jumps by {step.max():.4g} s at frame {row}; split it there, or "
            "mend the stamp"
        )
    if step.min() >= BURST * period:
        return Clock(time, kept)
    line = regular(time)
    if line is None:
        row = int(np.argmin(step)) + 1
        what = "repeats" if step.min() == 0 else "follows"
        raise InputError(
            f"{where}: the stamp of frame {row} {what} the one before by {step.min():.2g} s where "
            f"{period:.2g} s is usual, and no regular clock explains these stamps; log the "
            "device's own time, or give rate_hz where the rate is constant"
        )
    return Clock(line, kept, moved=int((np.abs(line - time) > 0.01 * period).sum()))


def regular(time: np.ndarray) -> np.ndarray | None:
    """The regular clock that explains stamps up to delays of the host, or None.

    Stamps count up by one period each, across a gap by as many as fit into it.

    Args:
      time: (rows,) [s], not decreasing.
    """
    period = (time[-1] - time[0]) / max(len(time) - 1, 1)
    for _ in range(2):  # with the gaps counted, the period is known better
        step = np.diff(time)
        lost = np.where(step > GAP_PERIODS * period, np.round(step / period) - 1, 0)
        index = np.concatenate([[0], np.cumsum(1 + lost)])
        period, start = np.polyfit(index, time, 1)
    late = np.abs(time - (start + period * index)) / period
    if np.quantile(late, WITHIN) > HALF or late.max() > FARTHEST:
        return None
    return period * index


def snapped(clock: Clock, control_hz: float) -> Clock:
    """The clock on the frames of a control rate, where each row is within ``SNAP`` of its own."""
    frames = np.round(clock.time * control_hz)
    off = np.abs(clock.time * control_hz - frames)
    if len(frames) > 1 and np.diff(frames).min() < 1:
        return clock
    if off.max(initial=0.0) > SNAP:
        return clock
    return dataclasses.replace(
        clock, time=frames / control_hz, snapped=int((off > 0.01).sum()), frames=True
    )


def gap_seconds(time: np.ndarray) -> float:
    """What is a gap between samples: longer than 3 median sample periods and than 0.02 s."""
    if len(time) < 2:
        return GAP_SECONDS
    return max(GAP_PERIODS * float(np.median(np.diff(time))), GAP_SECONDS)


def _check_unit(where: str, period: float, unit: str) -> None:
    units = [*TIME_UNITS]
    if FASTEST < period < SLOWEST:
        return
    step, sizes = (1, "smaller") if period >= SLOWEST else (-1, "larger")
    other = units[min(max(units.index(unit) + step, 0), len(units) - 1)]
    raise InputError(
        f"{where}: a frame every {period:.3g} s is no robot's clock; is it in {sizes} units? "
        f'time_unit = "{other}"'
    )
