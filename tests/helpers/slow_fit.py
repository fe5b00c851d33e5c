"""A config for launches: counts slowly, goes on after a stop, fails or dies if asked to."""

import dataclasses
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from worldmodel import runtime


@dataclasses.dataclass(frozen=True)
class Args:
    """How long, and how it ends."""

    out: Path
    steps: int = 3
    pause: float = 0.0  # per step [s]
    end: str = "well"  # or "raises", "killed", "silent"
    unless: Path | None = None  # a file; where it exists the run ends well
    seed: int = 0


def main(args: Args, stop: Callable[[], bool]) -> int:
    """Counts to ``steps``; the count is kept in ``out``."""
    args.out.mkdir(exist_ok=True)
    path = args.out / "count"
    count = int(path.read_text()) if path.is_file() else 0
    print(f"begins at {count}", file=sys.stderr, flush=True)
    while count < args.steps:
        time.sleep(args.pause)
        count += 1
        path.write_text(str(count))
        if stop():
            raise runtime.Interrupted(f"stopped at {count}")
    if args.unless is None or not args.unless.exists():
        if args.end == "raises":
            raise ValueError("the fit diverged")
        if args.end == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if args.end == "silent":
            return 0
    print(json.dumps({"count": count, "cores": sorted(os.sched_getaffinity(0))}))
    return 0


def sweep(add: Callable[..., None]) -> None:
    """Three runs, the middle one of which fails."""
    add(seed=0)
    add(seed=1, end="raises")
    add(seed=2)


def one(add: Callable[..., None]) -> None:
    """One run."""
    add()


def two(add: Callable[..., None]) -> None:
    """Two runs."""
    add(seed=0)
    add(seed=1)
