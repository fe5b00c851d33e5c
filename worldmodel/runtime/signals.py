"""SIGINT and SIGTERM as a flag, so that long work can save and stop."""

import contextlib
import math
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any, ClassVar

from worldmodel.runtime.progress import log


class Interrupted(RuntimeError):
    """A job stopped by a signal after saving; the same command resumes it."""


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """Inside, the first SIGINT or SIGTERM ends the work, also within an ``Interrupt``: for work
    that saves nothing on the way. In a thread that can set no handlers nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    former_end = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)
        signal.signal(signal.SIGTERM, former_end)


PATIENCE = 1.0  # [s] after which a signal that no handler has seen is acknowledged


class Interrupt:
    """Turns the first SIGINT or SIGTERM into a flag, so that a loop can save and stop.

    A second Ctrl-C raises KeyboardInterrupt at once. Python runs no handler while the main thread
    is in compiled code, such as a program of XLA: a thread then says that the signal came. The
    former handlers are restored on exit, and in a forked child, whose signals are its own.
    """

    entered: ClassVar[list["Interrupt"]] = []

    def __init__(self) -> None:
        self.signum: int | None = None
        self._former: dict[int, Any] = {}
        self._handled = -math.inf  # [s] when the handler last ran

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
        self._waking, woken = socket.socketpair()
        self._waking.setblocking(False)  # as set_wakeup_fd asks
        self._former_waking = signal.set_wakeup_fd(self._waking.fileno())
        threading.Thread(target=self._acknowledge, args=(woken,), daemon=True).start()
        self.entered.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        if self not in self.entered:
            return  # in a forked child
        self.entered.remove(self)
        signal.set_wakeup_fd(self._former_waking)
        self._waking.close()
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _acknowledge(self, woken: socket.socket) -> None:
        with woken:
            while number := woken.recv(1):  # empty once the other end is closed
                if number[0] not in (signal.SIGINT, signal.SIGTERM):
                    continue
                came = time.monotonic()
                time.sleep(PATIENCE)
                if self._waking.fileno() < 0:
                    return
                with contextlib.suppress(BlockingIOError):  # one line for all that came meanwhile
                    woken.recv(4096, socket.MSG_DONTWAIT)
                if self._handled < came - 0.1:  # the handler may run just before this thread
                    name = signal.Signals(number[0]).name
                    log(f"{name}: takes effect when the compiled program that is running has ended")

    def _handle(self, signum: int, _: FrameType | None) -> None:
        self._handled = time.monotonic()
        if self.requested and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.signum = signum
        log(f"{signal.Signals(signum).name}: saving after this step; again to stop at once")


def _leave() -> None:
    for interrupt in reversed([*Interrupt.entered]):
        interrupt.__exit__()


os.register_at_fork(after_in_child=_leave)
