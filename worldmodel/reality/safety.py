"""What watches an episode of a robot: a person, and a clock."""

import dataclasses
import select
import sys
import threading
import time
from collections.abc import Callable
from typing import Protocol, TextIO

import numpy as np

from worldmodel.runtime import log
from worldmodel.types import Episode, Measurement


@dataclasses.dataclass(frozen=True)
class Safety:
    """When an episode is given up, and the robot stopped."""

    max_late: int | None = None  # late control steps; None: they are counted
    silence: float = 5.0  # [s] between two control steps, before a watchdog stops the robot


class Operator(Protocol):
    """The person who watches. A subclass of ``Nobody`` has what it does not override."""

    def connect(self) -> None:
        """Opens what she commands with, before the robot is connected."""
        ...

    def close(self) -> None:
        """Lets go of it, after the robot is closed."""
        ...

    def wants_stop(self) -> bool:
        """Asked before every command: whether the robot is to be stopped."""
        ...

    def command(self, measured: Measurement) -> np.ndarray | None:
        """(nu,) her own command where she has taken over; None: the policy's. It is held within
        the range and the rate of commands, as the policy's is."""
        ...

    def judge(self, episode: Episode) -> bool | None:
        """Whether an episode succeeded that its task cannot judge; None: not judged."""
        ...


class Nobody:
    """Nobody watches."""

    def connect(self) -> None:
        """Nothing is to be opened."""

    def close(self) -> None:
        """Nothing is to be let go of."""

    def wants_stop(self) -> bool:
        """Never."""
        return False

    def command(self, measured: Measurement) -> np.ndarray | None:
        """The policy's counts."""
        del measured

    def judge(self, episode: Episode) -> bool | None:
        """Not judged."""
        del episode


class Keyboard(Nobody):
    """A person at the terminal: Enter stops the robot; after an episode she is asked whether it
    succeeded. An Enter that comes before the question is no answer: it stops the next episode.

    Args:
      keys: where she types.
      leader: whose commands count, such as hers through a teleoperator; nobody's when absent.
    """

    def __init__(self, keys: TextIO = sys.stdin, leader: Operator | None = None) -> None:
        self._keys, self._pressed, self._leader = keys, False, leader or Nobody()
        self.connect, self.close = self._leader.connect, self._leader.close
        self.command = self._leader.command
        log("Enter stops the robot")

    def wants_stop(self) -> bool:
        """Whether Enter was pressed, or the leader wants a stop."""
        return self._typed() or self._leader.wants_stop()

    def _typed(self) -> bool:
        pressed, self._pressed = self._pressed, False
        if not pressed and select.select([self._keys], [], [], 0)[0]:
            return bool(self._keys.readline())  # empty: the terminal is closed
        return pressed

    def judge(self, episode: Episode) -> bool | None:
        """Asks until the answer is y, n, or nothing."""
        self._pressed = self._typed()
        answers = {"y": True, "n": False, "": None}
        while True:
            log(f"episode {episode.id}: did it succeed? [y, n; Enter: not judged]")
            answer = self._keys.readline().strip().lower()
            if answer in answers:
                return answers[answer]


class Watchdog:
    """Calls ``stop`` from a thread of its own when it was not fed for ``silence`` [s]; it barks
    once."""

    def __init__(self, stop: Callable[[], None], silence: float) -> None:
        self.barked = False
        self._stop, self._silence = stop, silence
        self._fed = float("inf")  # not yet
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def feed(self) -> bool:
        """Whether all is well: False after it has barked, when nothing may be sent any more."""
        with self._lock:
            self._fed = time.monotonic()
            return not self.barked

    def __enter__(self) -> "Watchdog":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(self._silence / 10):
            with self._lock:
                self.barked = time.monotonic() - self._fed > self._silence
            if self.barked:
                log(f"no control step for {self._silence:g} s: the robot is stopped")
                return self._stop()
