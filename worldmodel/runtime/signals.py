"""SIGINT and SIGTERM as a flag, so that long work can save and stop."""

import signal
from types import FrameType
from typing import Any

from worldmodel.runtime.progress import log


class Interrupted(RuntimeError):
    """A job stopped by a signal after saving; the same command resumes it."""


class Interrupt:
    """Turns the first SIGINT or SIGTERM into a flag, so that a loop can save and stop.

    A second Ctrl-C raises KeyboardInterrupt at once. The former handlers are restored on exit.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._former: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal came."""
        return self.signum is not None

    @property
    def exit_status(self) -> int:
        """What a shell expects of a process ended by that signal."""
        return 128 + (self.signum or 0)

    def __enter__(self) -> "Interrupt":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._former[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _handle(self, signum: int, _: FrameType | None) -> None:
        if self.requested and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.signum = signum
        log(f"{signal.Signals(signum).name}: saving after this step; again to stop at once")
