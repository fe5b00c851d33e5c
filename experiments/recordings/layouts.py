"""The four recordings: how each archive is laid out, and where its prediction windows start.

Conventions are those of ``worldmodel.types``, the arrays those of
``worldmodel.episodes.recording``; the MJCF files in this folder and the root README name the
sources.
"""

import dataclasses

import numpy as np

from worldmodel.episodes.recording import Recording, RecordingError
from worldmodel.episodes.windows import WindowGrid


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


_TOSS = WindowGrid(first=8, stride=8, horizon=16)
CUBE_TOSS = Recording(
    name="cube_toss",
    nq=7,
    nv=6,
    nu=0,
    quaternions=((3, 4, 5, 6),),
    hinges=(),
    rate_hz=148.0,
    control_hz=148.0,
    windows=_TOSS,
)
ELBOW_TOSS = dataclasses.replace(CUBE_TOSS, name="elbow_toss", nq=8, nv=7, hinges=(7,))
SQUARE_DROP = dataclasses.replace(
    CUBE_TOSS,
    name="square_drop",
    nq=3,
    nv=3,
    quaternions=(),
    rate_hz=250.0,
    control_hz=250.0,
    # It meets the table at 2.6 m/s at most, which as rotation alone would be 106 rad/s; spins of 60
    # to 75 rad/s that last a whole flight are real, and an impact changes the velocity by 4 m/s.
    rejects=PlanarGlitches(250.0, (0, 1), 2, turn=100.0, turn_change=60.0, velocity_change=6.0),
)
DOUBLE_PENDULUM = Recording(
    name="double_pendulum",
    nq=2,
    nv=2,
    nu=2,
    quaternions=(),
    hinges=(),
    rate_hz=None,
    control_hz=200.0,
    windows=WindowGrid(first=0, stride=50, horizon=100),  # 0.5 s every 0.25 s
    command="torque_measured",
)
RECORDINGS = (CUBE_TOSS, ELBOW_TOSS, SQUARE_DROP, DOUBLE_PENDULUM)


def find(name: str) -> Recording:
    """The recording of that name.

    Raises:
      RecordingError: an unknown name; the message lists the known ones.
    """
    for recording in RECORDINGS:
        if recording.name == name:
            return recording
    known = ", ".join(r.name for r in RECORDINGS)
    raise RecordingError(f"unknown recording '{name}'; known: {known}")
