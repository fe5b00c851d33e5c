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
from worldmodel.runtime.files import write_bytes, write_text


@dataclasses.dataclass(frozen=True)
class Args:
    """How long, and how it ends."""

    out: Path
    steps: int = 3
    pause: float = 0.0  # per step [s]
    end: str = "well"  # or "raises", "killed", "silent", "fills" the disk
    unless: Path | None = None  # a file; where it exists the run ends well
    seed: int = 0


def main(args: Args, stop: Callable[[], bool]) -> int:
    """Iterates a chaotic map ``steps`` times; the count and the value are kept in ``out``."""
    args.out.mkdir(exist_ok=True)
    path = args.out / "count"
    kept = path.read_text().split() if path.is_file() else ["0", "0.4"]
    count, value = int(kept[0]), float(kept[1])
    print(f"begins at {count}", file=sys.stderr, flush=True)
    while count < args.steps:
        time.sleep(args.pause)
        count, value = count + 1, 3.9 * value * (1.0 - value)
        write_text(path, f"{count} {value}")
        if stop():
            raise runtime.Interrupted(f"stopped at {count}")
    if args.unless is None or not args.unless.exists():
        if args.end == "raises":
            raise ValueError("the fit diverged")
        if args.end == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        if args.end == "silent":
            return 0
        if args.end == "fills":
            write_bytes(args.out / "large", bytes(200_000_000))
    print(json.dumps({"count": count, "value": value, "cores": sorted(os.sched_getaffinity(0))}))
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


def long(add: Callable[..., None]) -> None:
    """One run of four seconds."""
    add(steps=40, pause=0.1)


def bad(add: Callable[..., None]) -> None:
    """Three runs, of which the first needs more disk than a small one has."""
    add(seed=0, end="fills")
    add(seed=1)
    add(seed=2)
