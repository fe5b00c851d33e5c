"""The machine, or a stand-in for one: what ``deploy`` asks of it, and how it fails."""

from typing import Protocol

import numpy as np

from worldmodel.types import Episode, Measurement


class Robot(Protocol):
    """A machine, or a stand-in for one. It is asked one thing at a time and may fail at any."""

    control_hz: float  # [1/s]

    def reset(self, qpos: np.ndarray) -> Measurement:
        """Puts everything in place, at rest; (nq,) → what it measures there."""
        ...

    def step(self, ctrl: np.ndarray) -> Measurement:
        """Plays one command, (nu,), for one control step; raises ``TimeoutError`` when the
        machine does not answer."""
        ...


class RobotError(RuntimeError):
    """A robot that failed in mid-episode; ``episode`` holds what had been captured till then."""

    def __init__(self, message: str, episode: Episode | None) -> None:
        super().__init__(message)
        self.episode = episode
