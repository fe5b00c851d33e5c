"""The machine, or a stand-in for one: what ``deploy`` calls, and how it fails."""

import time
from typing import Any, Protocol

import numpy as np

from worldmodel.types import Array, Measurement, Names, Start


class Robot(Protocol):
    """A machine, or a stand-in for one. Any call may fail; they come one at a time, but for
    ``stop``, which may come from another thread while a step hangs.

    Positions are in SI units, by the task's names. A measurement is made by ``measurement``;
    velocities follow by ``deploy``'s own rule.

    Three more methods are used where a robot has them: ``measure()`` reads without moving, for a
    dry run; ``clock()`` is the robot's own time [s], of a simulation that does not run in real
    time; ``begin(key)`` comes before an episode that is captured, with its random key.
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
        """Brings everything to rest, at once, from whatever state; never raises. A reset may
        follow."""
        ...

    def close(self) -> None:
        """Lets go of the machine."""
        ...


class RobotError(RuntimeError):
    """A robot that failed in mid-episode, or cannot begin one."""


def connect(device: Any, what: str) -> None:
    """Connects a robot, or what an operator commands with.

    Raises:
      RobotError: it does not answer.
    """
    try:
        device.connect()
    except OSError as error:  # a timeout among them
        raise RobotError(
            f"the {what} cannot be connected ({error}); check it, then run the same command again"
        ) from error


def measurement(
    names: Names,
    joints: Array,
    *,
    objects: Array | None = None,
    touch: Array | None = None,
    force: Array | None = None,
    age: Array | None = None,
    applied: Array | None = None,
    intervention: bool = False,
) -> Measurement:
    """What a robot reports at one moment.

    Args:
      joints: (joints,) [m, rad], NaN where one was not measured.
      objects: (objects, 7) position [m] and unit quaternion wxyz, a NaN row where one was not seen;
        none was when absent.
      touch: (touch,) bool; nothing touches when absent.
      force: (forces,) [N] normal, NaN where one was not measured; none was when absent.
      age: (joints + objects,) [s] since each was read; just now when absent.
      applied: (nu,) the command that acted, where it is not the one that was sent.
      intervention: whether that was a person's.
    """
    count, bodies = len(names.joints), len(names.objects)
    joints = np.asarray(joints, float)
    return Measurement(
        joints=joints,
        velocities=np.zeros(joints.shape),
        objects=np.full((bodies, 7), np.nan) if objects is None else np.asarray(objects, float),
        touch=np.zeros(len(names.touch), bool) if touch is None else np.asarray(touch, bool),
        force=np.full(len(names.forces), np.nan) if force is None else np.asarray(force, float),
        age=np.zeros(count + bodies) if age is None else np.asarray(age, float),
        applied=np.full(len(names.actuators), np.nan) if applied is None else applied,
        intervention=np.asarray(intervention),
        names=names,
    )


class Ticks:
    """A regular clock of a machine in real time."""

    def __init__(self, control_hz: float) -> None:
        self._period = 1.0 / control_hz
        self.begin()

    def begin(self) -> None:
        """The next tick is one period from now."""
        self._last = time.monotonic()

    def wait(self) -> None:
        """Sleeps until the next tick; after one that has passed the ticks begin anew."""
        now = time.monotonic()
        self._last = max(self._last + self._period, now)
        time.sleep(self._last - now)
