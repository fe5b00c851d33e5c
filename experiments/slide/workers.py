"""Processes that play strokes in reality, and the time that they take."""

import functools
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process
from typing import Any


class Workers(ProcessPoolExecutor):
    """A process per available core; what ``map`` plays is timed.

    They ignore Ctrl-C at the terminal: it is for the process that started them. They end with it,
    also where it is killed.
    """

    def __init__(self) -> None:
        affinity = getattr(os, "sched_getaffinity", None)
        self.cores = len(affinity(0)) if affinity else os.cpu_count() or 1
        self.core_seconds = 0.0  # of all that was played so far
        super().__init__(self.cores, mp_context=get_context("spawn"), initializer=_serve)

    def map(
        self, fn: Callable[..., Any], *iterables: Iterable[Any], **options: Any
    ) -> Iterator[Any]:
        """As an executor's; all is submitted at once."""
        return self._counted(super().map(functools.partial(_timed, fn), *iterables, **options))

    def _counted(self, timed: Iterable[tuple[Any, float]]) -> Iterator[Any]:
        for result, seconds in timed:
            self.core_seconds += seconds
            yield result


def _timed(fn: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """The result, and the processor's seconds that it took."""
    began = time.process_time()
    result = fn(*arguments)
    return result, time.process_time() - began


def _serve() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    starter = parent_process()
    assert starter is not None

    def end_with_it() -> None:
        starter.join()
        os._exit(1)

    # A worker waits for work on a pipe that the other workers hold open too.
    threading.Thread(target=end_with_it, daemon=True).start()
