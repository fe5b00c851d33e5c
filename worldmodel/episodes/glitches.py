"""Rules that reject frames of a tracked pose (``Columns.rejects``)."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class PlanarGlitches:
    """Frames of a body in a plane that follow a jump of its tracked pose or are a spike.

    A frame is a glitch where the angle turned faster than ``turn`` since the last one, or where the
    rate of turning changes by more than ``turn_change``, or the velocity by more than
    ``velocity_change``, from the step before the frame to the step after it, and the change before
    or after that one undoes at least ``undone`` of it (a bounce changes the velocity once, a spike
    there and back, a jump of the pose there and back too). Its successor, whose stored velocity is
    the difference to it, goes with it.
    """

    rate_hz: float
    position: tuple[int, ...]  # into qpos
    angle: int
    turn: float  # [rad/s]
    turn_change: float  # [rad/s] from one frame to the next
    velocity_change: float  # [m/s] likewise
    undone: float = 0.3

    def rejected(self, qpos: np.ndarray) -> np.ndarray:
        """(frames, nq) → (frames,) bool."""
        angle = qpos[:, [self.angle]]
        bad = np.zeros(len(qpos), bool)
        bad[1:] = np.abs(np.diff(angle, axis=0)).max(axis=1) * self.rate_hz > self.turn
        for values, limit in (
            (angle, self.turn_change),
            (qpos[:, list(self.position)], self.velocity_change),
        ):
            change = np.diff(values, n=2, axis=0) * self.rate_hz  # at the frame in the middle
            square = np.sum(change**2, axis=1)
            undone = np.zeros(len(change), bool)
            opposed = np.sum(change[1:] * change[:-1], axis=1)
            undone[1:] |= opposed < -self.undone * square[1:]
            undone[:-1] |= opposed < -self.undone * square[:-1]
            spike = np.flatnonzero((square > limit**2) & undone) + 1
            bad[spike] = True
            bad[np.minimum(spike + 1, len(qpos) - 1)] = True
        return bad
