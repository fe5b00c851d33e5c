"""From samples with a clock of their own to frames at the control rate, without later samples."""

import numpy as np

from worldmodel.types import Episode

SAMPLE_AGE = 1.0  # control periods: how old the sample under a fresh frame may be
SLOPE_SECONDS, SLOPE_SAMPLES = 0.02, (3, 16)  # what a velocity is estimated from: see velocities


def resampled(
    identity: int | str,
    time: np.ndarray,
    qpos: np.ndarray,
    qvel: np.ndarray,
    torque: np.ndarray,
    control_hz: float,
) -> Episode:
    """An episode at the control rate.

    The torque is held from sample to sample; a frame's control is its mean over the control
    period that begins there. A frame with a sample no older than a control period is ``fresh``:
    its state is that sample carried forward with its velocity (``velocities``), so an initial
    state never uses a later sample. Other frames (the 33 Hz runs have them) are only scored, by
    a cubic Hermite polynomial between the samples around them; no prediction starts there.

    Args:
      identity: the episode's id.
      time: (samples,) [s], increasing.
      qpos, qvel: (samples, joints) hinge angles [rad] and recorded rates [rad/s].
      torque: (samples, nu) [N·m].
      control_hz: rate of the frames that come out.
    """
    period = 1.0 / control_hz
    time = time - time[0]
    grid = np.arange(int(np.floor(time[-1] * control_hz + 1e-9)) + 1) * period
    last = np.clip(np.searchsorted(time, grid + 1e-9, side="right") - 1, 0, len(time) - 2)
    age = grid - time[last]
    fresh = age <= SAMPLE_AGE * period
    rate = velocities(time, qpos, qvel, last)
    carried = qpos[last] + rate * age[:, None]
    return Episode(
        id=identity,
        time=grid,
        qpos=np.where(fresh[:, None], carried, _between(time, qpos, last, age)),
        qvel=rate,
        ctrl=_held_mean(time, torque, grid, period),
        valid=np.ones(len(grid), bool),
        fresh=fresh,
    )


def velocities(
    time: np.ndarray, qpos: np.ndarray, recorded: np.ndarray, last: np.ndarray
) -> np.ndarray:
    """Joint rates at samples, from those samples and earlier ones alone.

    The end slope of the parabola fitted to the samples of the past ``SLOPE_SECONDS``, at least 3
    and at most 16. The recorded rates are late: the filtered ones of the closed-loop runs by 3
    to 4 samples, the unfiltered ones, backward differences, by half a sample (15 ms at 33 Hz).

    Args:
      time: (samples,) [s]. qpos, recorded: (samples, joints).
      last: (frames,) indices of the samples; ``recorded`` is kept where fewer than 3 precede.

    Returns:
      (frames, joints) [rad/s].
    """
    fewest, most = SLOPE_SAMPLES
    count = last - np.searchsorted(time, time[last] - SLOPE_SECONDS) + 1
    count = np.minimum(np.clip(count, fewest, most), last + 1)
    back = np.arange(int(count.max()))
    rows = np.maximum(last[:, None] - back, 0)
    inside = (back < count[:, None]).astype(float)
    age = (time[rows] - time[last][:, None]) * inside
    span = np.maximum(-age.min(axis=1), 1e-12)  # scaled, so that the 3 × 3 systems are even
    design = np.stack([inside, age / span[:, None], (age / span[:, None]) ** 2], axis=-1)
    enough = count >= fewest
    gram = np.einsum("nsi,nsj->nij", design[enough], design[enough])
    right = np.einsum("nsi,nsj->nij", design[enough], qpos[rows[enough]])
    out = recorded[last].copy()
    out[enough] = np.linalg.solve(gram, right)[:, 1] / span[enough][:, None]
    return out


def _between(time: np.ndarray, qpos: np.ndarray, last: np.ndarray, age: np.ndarray) -> np.ndarray:
    """Angles ``age`` after the samples ``last``: cubic Hermite with central slopes."""
    slope = np.gradient(qpos, time, axis=0)
    h = (time[last + 1] - time[last])[:, None]
    s = np.clip(age[:, None] / h, 0.0, 1.0)
    return (
        (1 + 2 * s) * (1 - s) ** 2 * qpos[last]
        + s * (1 - s) ** 2 * h * slope[last]
        + s**2 * (3 - 2 * s) * qpos[last + 1]
        + s**2 * (s - 1) * h * slope[last + 1]
    )


def _held_mean(time: np.ndarray, torque: np.ndarray, grid: np.ndarray, period: float) -> np.ndarray:
    """Mean over each control period of a torque held from sample to sample; held at the end."""
    edges = np.append(grid, grid[-1] + period)
    time = np.append(time, max(edges[-1], time[-1]) + period)  # the last torque is held on
    steps = torque * np.diff(time)[:, None]
    impulse = np.concatenate([np.zeros((1, torque.shape[1])), np.cumsum(steps, axis=0)])
    at = np.stack([np.interp(edges, time, column) for column in impulse.T], axis=1)
    return np.diff(at, axis=0) / period
