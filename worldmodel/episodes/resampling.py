"""From samples with a clock of their own to frames at the control rate, without later samples.

A frame with a sample no older than a control period is fresh: its state is that sample carried
forward with its velocity, so an initial state never uses a later sample. Other frames between two
samples are only scored; they lie on a cubic Hermite polynomial (of a quaternion: on the shortest
arc). Nothing is filled across a gap (``clock.gap_seconds``).

Velocities come from positions by one rule: the end slope of the parabola fitted to the samples of
the past ``SLOPE_SECONDS``, at least 3 and at most 16, of the same stretch without a gap; of a
quaternion, in the tangent space of its last sample. Recorded rates are late: filtered ones by 3 to
4 samples, backward differences by half a sample (15 ms at 33 Hz). They are kept where every frame
is a sample, and where fewer than 3 samples precede.
"""

import dataclasses

import numpy as np
from scipy.spatial.transform import Rotation

from worldmodel.episodes.clock import gap_seconds

SAMPLE_AGE = 1.0  # control periods: how old the sample under a fresh frame may be
SLOPE_SECONDS, SLOPE_SAMPLES = 0.02, (3, 16)  # what a velocity is estimated from: see velocities


@dataclasses.dataclass(frozen=True)
class Track:
    """The samples of one signal in one episode: finite values only."""

    time: np.ndarray  # (samples,) [s], increasing
    values: np.ndarray  # (samples, w) SI units; quaternions of one sign
    rates: np.ndarray | None  # (samples, v) recorded velocities, NaN where none is
    hole: np.ndarray  # (samples,) bool; rows without a value lie between this sample and the next
    turns: bool = False  # whether the values are quaternions wxyz

    @property
    def width(self) -> int:
        """v, of its velocity."""
        return 3 if self.turns else self.values.shape[1]

    @property
    def gap(self) -> np.ndarray:
        """(samples − 1,) bool; True where the next sample comes too late."""
        return np.diff(self.time) > gap_seconds(self.time) + 1e-9


@dataclasses.dataclass(frozen=True)
class Frames:
    """A signal at the frames."""

    values: np.ndarray  # (frames, w), NaN where unknown
    rates: np.ndarray  # (frames, v), NaN where unknown
    fresh: np.ndarray  # (frames,) bool
    measured: np.ndarray  # (frames,) bool; False in a gap, and between samples around a hole
    recorded: np.ndarray  # (frames,) bool; the velocity is a recorded one
    sampled: bool = True  # whether every frame is a sample; if not, no velocity is a recorded one

    @property
    def known(self) -> np.ndarray:
        """(frames,) bool."""
        return np.asarray(np.isfinite(self.values).all(axis=1))


def at_frames(track: Track, grid: np.ndarray, period: float) -> Frames:
    """A signal at the frames of a grid.

    Args:
      grid: (frames,) [s], on the clock of the track.
      period: [s] between frames.
    """
    time, values, count = track.time, track.values, len(track.time)
    if count == 0:
        none = np.zeros(len(grid), bool)
        value, rate = (np.full((len(grid), n), np.nan) for n in (values.shape[1], track.width))
        return Frames(value, rate, none, none, none)
    last = np.searchsorted(time, grid + 1e-9, side="right") - 1
    before, last = last < 0, np.maximum(last, 0)
    age = grid - time[last]
    following = np.minimum(last + 1, count - 1)
    gap = np.append(track.gap, True)[last]  # behind the last sample nothing follows
    exact, hole = np.abs(age) < 1e-9, track.hole[last]
    fresh = ~before & (age <= SAMPLE_AGE * period + 1e-9)
    sampled = bool((exact | gap | hole | before).all())  # every frame is a sample
    recorded = np.zeros(len(grid), bool)
    if sampled and track.rates is not None:
        recorded = np.asarray(np.isfinite(track.rates[last]).all(axis=1))
    rate = velocities(track, last)
    if track.rates is not None:
        rate[recorded] = track.rates[last[recorded]]
    out = _carried(values[last], rate, age, track.turns)
    if not fresh.all():
        out = np.where(fresh[:, None], out, _between(track, last, following, age))
    known = (fresh | (~before & ~gap)) & np.isfinite(out).all(axis=1)
    return Frames(
        np.where(known[:, None], out, np.nan),
        np.where(known[:, None], rate, np.nan),
        fresh & known,
        known & (exact | ~hole),
        recorded,
        sampled,
    )


def velocities(track: Track, last: np.ndarray) -> np.ndarray:
    """Velocities at the samples ``last``, from those and earlier ones alone: see the file's header.

    Args:
      last: (frames,) indices of samples.

    Returns:
      (frames, v) [1/s], of quaternions in the body's frame; the recorded ones, or NaN, where fewer
      than 3 samples of a stretch precede.
    """
    time, values = track.time, track.values
    fewest, most = SLOPE_SAMPLES
    begins = np.concatenate([[0], np.flatnonzero(track.gap) + 1])  # of stretches without a gap
    begin = begins[np.searchsorted(begins, last, side="right") - 1]
    count = last - np.searchsorted(time, time[last] - SLOPE_SECONDS) + 1
    count = np.minimum(np.clip(count, fewest, most), last - begin + 1)
    back = np.arange(int(count.max()))
    rows = np.maximum(last[:, None] - back, 0)
    inside = (back < count[:, None]).astype(float)
    age = (time[rows] - time[last][:, None]) * inside
    span = np.maximum(-age.min(axis=1), 1e-12)  # scaled, so that the 3 × 3 systems are even
    design = np.stack([inside, age / span[:, None], (age / span[:, None]) ** 2], axis=-1)
    enough = count >= fewest
    past, latest = values[rows[enough]], values[last[enough]][:, None]
    # Of the change since the sample, so that what stands still has a velocity of exactly 0.
    past = rotation_vectors(latest, past) if track.turns else past - latest
    gram = np.einsum("nsi,nsj->nij", design[enough], design[enough])
    right = np.einsum("nsi,nsj->nij", design[enough], past)
    out = np.full((len(last), track.width), np.nan) if track.rates is None else track.rates[last]
    out[enough] = np.linalg.solve(gram, right)[:, 1] / span[enough][:, None]
    return out


def rotation_vectors(base: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Rotation vectors from quaternions wxyz to others, in the frame of the first; (…, 3)."""
    base = np.broadcast_to(base, other.shape)
    turn = _rotation(base).inv() * _rotation(other)
    return turn.as_rotvec().reshape(*other.shape[:-1], 3)


def _rotation(quaternion: np.ndarray) -> Rotation:
    return Rotation.from_quat(np.ascontiguousarray(quaternion).reshape(-1, 4), scalar_first=True)


def _carried(values: np.ndarray, rate: np.ndarray, age: np.ndarray, turns: bool) -> np.ndarray:
    """Samples carried on by ``age`` [s] at their velocity; NaN where that is not known."""
    still = np.abs(age) < 1e-9
    step = np.where((still & np.isnan(rate).any(axis=1))[:, None], 0.0, rate) * age[:, None]
    if not turns:
        return values + step
    unknown = np.isnan(step).any(axis=1, keepdims=True)
    return np.where(unknown, np.nan, _turned(values, np.nan_to_num(step)))


def _turned(quaternion: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """Quaternions wxyz turned by rotation vectors in their own frame; a zero turn changes none."""
    turned = (_rotation(quaternion) * Rotation.from_rotvec(vector)).as_quat(scalar_first=True)
    sign = np.where((turned * quaternion).sum(axis=1, keepdims=True) < 0, -1.0, 1.0)
    return np.where((vector == 0).all(axis=1, keepdims=True), quaternion, sign * turned)


def _between(track: Track, last: np.ndarray, following: np.ndarray, age: np.ndarray) -> np.ndarray:
    """Values ``age`` after the samples ``last``: cubic Hermite with central slopes, or an arc."""
    time, values = track.time, track.values
    if len(time) < 2:
        return values[last]
    h = np.maximum(time[following] - time[last], 1e-12)[:, None]
    s = np.clip(age[:, None] / h, 0.0, 1.0)
    if track.turns:
        return _turned(values[last], s * rotation_vectors(values[last], values[following]))
    slope = np.empty_like(values)
    for part in np.split(np.arange(len(time)), np.flatnonzero(track.gap) + 1):
        slope[part] = np.gradient(values[part], time[part], axis=0) if len(part) > 1 else 0.0
    return (
        (1 + 2 * s) * (1 - s) ** 2 * values[last]
        + s * (1 - s) ** 2 * h * slope[last]
        + s**2 * (3 - 2 * s) * values[following]
        + s**2 * (s - 1) * h * slope[following]
    )


def held(
    time: np.ndarray, values: np.ndarray, grid: np.ndarray, period: float, longest: float = np.inf
) -> tuple[np.ndarray, np.ndarray]:
    """A command at the frames: its mean over the control period that begins there.

    A command is held until the next. Where the samples are the frames, it is the frame's sample.

    Args:
      time: (samples,) [s] when each acts. values: (samples,).
      grid: (frames,) [s].
      longest: [s] a command is held at most; what is older is not known.

    Returns:
      (frames,) the commands, NaN before the first; (frames,) bool, whether one was known.
    """
    if len(time) == 0:
        return np.full(len(grid), np.nan), np.zeros(len(grid), bool)
    last = np.searchsorted(time, grid + 1e-9, side="right") - 1
    known = (last >= 0) & (grid - time[np.maximum(last, 0)] <= longest + 1e-9)
    if len(time) == len(grid) and np.abs(time - grid).max() < 1e-9:
        return values.copy(), known
    edges = np.append(grid, grid[-1] + period)
    time = np.append(time, max(edges[-1], time[-1]) + period)  # the last one is held on
    integral = np.append(0.0, np.cumsum(values * np.diff(time)))
    mean = np.diff(np.interp(edges, time, integral)) / period
    return np.where(known, mean, np.nan), known
