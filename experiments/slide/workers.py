"""Processes that play strokes in reality."""

import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context, parent_process


def make_workers() -> ProcessPoolExecutor:
    """A process per available core. They ignore Ctrl-C at the terminal, which is for the process
    that started them, and end with it, also where it is killed."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count()
    return ProcessPoolExecutor(cores, mp_context=get_context("spawn"), initializer=_serve)


def _serve() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    starter = parent_process()
    assert starter is not None

    def end_with_it() -> None:
        starter.join()
        os._exit(1)

    # A worker waits for work on a pipe that the other workers hold open too.
    threading.Thread(target=end_with_it, daemon=True).start()
