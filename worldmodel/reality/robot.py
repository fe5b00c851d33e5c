"""The machine, or a stand-in for one: what ``deploy`` calls, and how it fails."""

from typing import Protocol

import numpy as np

from worldmodel.types import Episode, Measurement, Names, Start


class Robot(Protocol):
    """A machine, or a stand-in for one. Calls come one at a time, and any of them may fail.

    Positions are in SI units, by the task's names; of a measurement ``deploy`` takes joints,
    objects, touch and age. Velocities and the applied command follow by its own rule.
    """

    control_hz: float  # [1/s]
    names: Names  # what it reports and takes
    max_rate: np.ndarray  # (nu,) of commands [their unit/s]; infinite where there is no limit

    def connect(self) -> None:
        """Opens the machine; nothing moves."""
        ...

    def reset(self, start: Start) -> Measurement:
        """Puts everything in place, at rest, and measures: what it measures is the start. Raises
        ``RobotError`` where it cannot."""
        ...

    def step(self, ctrl: np.ndarray) -> Measurement:
        """Sends one command, (nu,), waits for the next tick, and measures; raises ``TimeoutError``
        when the machine does not answer."""
        ...

    def stop(self) -> None:
        """Brings everything to rest, at once, from whatever state; never raises."""
        ...

    def close(self) -> None:
        """Lets go of the machine."""
        ...


class RobotError(RuntimeError):
    """A robot that failed in mid-episode; ``episode`` holds the frames before, None without any."""

    def __init__(self, message: str, episode: Episode | None = None) -> None:
        super().__init__(message)
        self.episode = episode
