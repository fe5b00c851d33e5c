"""Faults of a measured channel in one episode: what is wrapped, stuck, dead or no number."""

import numpy as np

from worldmodel.errors import InputError

STUCK_ROWS = 5  # exact repeats, at least, of a stuck encoder
JUMP, ABRUPT = 3.0, 4.0  # see stuck
DEAD_SPAN = 0.05  # [rad; a tenth of it in m] a servo's command moves that much, its joint not a bit
TURN = 0.1  # [rad] by which wrapped angles may span more than a turn
UNIT = 1e-3  # how far a quaternion's norm may be off 1


def unwrapped(values: np.ndarray, bounds: tuple[float, float] | None) -> tuple[np.ndarray, int]:
    """Angles without jumps of whole turns, and how many jumps there were.

    A joint with less than half a turn of range cannot wrap, and values over more than a turn are
    not wrapped: neither is touched. A limited joint is moved by whole turns to where its range is.

    Args:
      values: (samples,) [rad], finite.
    """
    if bounds is not None and bounds[1] - bounds[0] < np.pi:
        return values, 0
    out = np.unwrap(values) if np.ptp(values) <= 2 * np.pi + TURN else values
    turns = int((np.abs(np.diff(out) - np.diff(values)) > 1.0).sum())
    if bounds is not None and len(out):
        middle = 0.5 * (bounds[0] + bounds[1])
        away = np.round((np.median(out) - middle) / (2 * np.pi))
        if away and not bounds[0] <= np.median(out) <= bounds[1]:
            out = out - 2 * np.pi * away
    return out, turns


def unit_quaternions(where: str, values: np.ndarray) -> tuple[np.ndarray, int]:
    """Quaternions of norm 1 and of one sign from frame to frame, and how many signs were turned.

    Args:
      values: (samples, 4), finite.

    Raises:
      InputError: a norm off 1 by more than ``UNIT``.
    """
    norm = np.linalg.norm(values, axis=1, keepdims=True)
    off = np.abs(norm[:, 0] - 1) > UNIT
    if off.any():
        frame = int(np.flatnonzero(off)[0])
        raise InputError(
            f"{where}: the quaternion at frame {frame} has norm {norm[frame, 0]:.4f}, not 1; "
            "normalise it, or cut the episode"
        )
    values = values / norm
    flips = (values[1:] * values[:-1]).sum(axis=1) < 0
    sign = np.concatenate([[1.0], np.where(np.cumsum(flips) % 2, -1.0, 1.0)])[: len(values)]
    return (values * sign[:, None] if flips.any() else values), int(flips.sum())


def stuck(values: np.ndarray) -> np.ndarray:
    """Samples that repeat the value at which an encoder stuck.

    A stuck encoder repeats a value exactly, at least ``STUCK_ROWS`` times, while its joint moves.
    Either it jumps to the joint when it is released: its step is ``ABRUPT`` times as large as the
    usual change from one step to the next (95 % of them are smaller) and ``JUMP`` times as large
    as the two steps after it; or it stops and starts that abruptly. A joint that comes to rest, by
    friction or at its stop, and later leaves it, does neither. One that stops that abruptly and
    never moves again is stuck to the end.

    Args:
      values: (samples,).

    Returns:
      (samples,) bool; the first of the equal samples is not one of them.
    """
    out = np.zeros(len(values), bool)
    step = np.diff(values)
    change = np.abs(np.diff(step))
    if not (change > 0).any():
        return out
    usual = ABRUPT * np.quantile(change[change > 0], 0.95)
    edges = np.diff(np.concatenate([[0], (step == 0).astype(int), [0]]))
    size = np.abs(np.append(step, [0.0, 0.0, 0.0]))
    for begin, end in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True):
        if end - begin < STUCK_ROWS:
            continue
        if end >= len(step):
            out[begin + 1 :] |= begin > 0 and size[begin - 1] > usual
            continue
        jump = size[end] > usual and size[end] > JUMP * size[end + 1 : end + 3].max()
        if jump or (begin > 0 and min(size[begin - 1], size[end]) > usual):
            out[begin + 1 : end + 1] = True
    return out


def dead(values: np.ndarray, command: np.ndarray, angular: bool) -> bool:
    """Whether a position never changes by a bit though its servo's command moves.

    Args:
      values: (samples,) finite. command: (samples,) [rad or m].
    """
    command = command[np.isfinite(command)]
    if len(values) < 2 or len(command) < 2 or np.ptp(values) > 0:
        return False
    return bool(np.ptp(command) > (DEAD_SPAN if angular else 0.1 * DEAD_SPAN))
