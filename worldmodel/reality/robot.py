"""The machine, or a stand-in for one: what ``deploy`` calls, and how it fails."""

from typing import Protocol

import numpy as np

from worldmodel.types import Episode, Measurement


class Robot(Protocol):
    """A machine, or a stand-in for one. Calls come one at a time, and any of them may fail."""

    control_hz: float  # [1/s]

    def reset(self, qpos: np.ndarray) -> Measurement:
        """Puts everything in place, (nq,), at rest, and measures."""
        ...

    def step(self, ctrl: np.ndarray) -> Measurement:
        """Plays one command, (nu,), for one control step, and measures; raises ``TimeoutError``
        when the machine does not answer."""
        ...


class RobotError(RuntimeError):
    """A robot that failed in mid-episode; ``episode`` holds the frames before, None without any."""

    def __init__(self, message: str, episode: Episode | None) -> None:
        super().__init__(message)
        self.episode = episode
