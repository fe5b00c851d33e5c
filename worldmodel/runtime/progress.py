"""Messages to stderr: stdout belongs to results."""

import contextlib
import sys
import time
from collections.abc import Iterator


def log(message: str) -> None:
    """One line to stderr, at once."""
    print(message, file=sys.stderr, flush=True)


@contextlib.contextmanager
def compiling(what: str) -> Iterator[None]:
    """Logs that a compilation begins, and its duration [s], the first run included."""
    log(f"compiling {what} … (Ctrl-C takes effect when it is done)")
    began = time.monotonic()
    yield
    log(f"compiled {what} in {time.monotonic() - began:.1f} s")
