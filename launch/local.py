"""A sweep on this machine: a pool of processes with pinned cores, or one per GPU.

Command:  python -m launch.local FILE.py:sweep --out runs/NAME [--workers 4] [-- --steps 50]

What stands behind ``--`` overrides fields of every run. Ctrl-C or SIGTERM lets the runs save and
stop; the same command goes on with what is unfinished. A run that fails stops no other; it is named
with the last line of its log, and ``--rerun`` begins it again.
"""

import collections
import contextlib
import dataclasses
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tyro

from launch.process import local_group
from launch.run import finish, start, status
from launch.sweep import Run, command_line, plan, prepare
from worldmodel import runtime
from worldmodel.errors import InputError, near

_POLL = 0.05  # [s]


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    sweep: tyro.conf.Positional[str]  # package.module:sweep or path/to/file.py:sweep
    out: Path  # a folder per run
    workers: int | None = None  # runs at a time; by default as many as there are cores for
    cores: int | None = None  # per run; 1, or with GPUs an equal share
    gpus: tuple[str, ...] = ()  # a run at a time on each of these
    processes: int = 1  # that share a run, a core each
    rerun: tuple[str, ...] = ()  # ids of failed runs that begin again
    dry_run: bool = False  # lists the runs and writes nothing


@dataclasses.dataclass(frozen=True)
class Slot:
    """Where one run at a time runs."""

    cores: tuple[int, ...]  # empty: not pinned
    gpu: str | None = None


def slots_of(args: Args, cores: Sequence[int], gpus: Sequence[str]) -> list[Slot]:
    """Slots on this machine.

    Args:
      args: what was asked for.
      cores: those that there are.
      gpus: those that there are.

    Raises:
      InputError: a GPU that is not there, or more cores than there are.
    """
    if unknown := [gpu for gpu in args.gpus if gpu not in gpus]:
        raise InputError(
            f"--gpus {' '.join(unknown)}: this machine has {', '.join(gpus) or 'none'}"
        )
    if len(set(args.gpus)) < len(args.gpus):
        raise InputError("--gpus names one twice; a run has a GPU of its own")
    if args.processes < 1 or (args.processes > 1 and args.gpus):
        raise InputError(
            f"--processes {args.processes}: give one above 0, and none with --gpus, since one "
            "process uses all GPUs that it sees"
        )
    share = len(cores) // len(args.gpus) if args.gpus else 1
    each = args.cores or max(args.processes, share)
    workers = args.workers or len(args.gpus) or len(cores) // each
    if args.gpus and workers != len(args.gpus):
        raise InputError(f"--workers {workers} with {len(args.gpus)} GPUs; leave --workers out")
    if each < 1 or workers < 1 or workers * each > len(cores):
        raise InputError(
            f"{workers} workers of {each} cores on {len(cores)} cores; give other --workers or "
            "--cores"
        )
    own = args.gpus or [None] * workers
    return [Slot(tuple(cores[i * each : (i + 1) * each]), gpu) for i, gpu in enumerate(own)]


def unfinished(runs: Sequence[Run], out: Path, rerun: Sequence[str] = ()) -> list[Run]:
    """The runs that are neither done nor failed, and those to be rerun; logs why others failed.

    Raises:
      InputError: a run to be rerun is not there, or has not failed.
    """
    ends = {run.id: status(out / run.id) for run in runs}
    for name in rerun:
        if name not in ends:
            raise InputError(f"--rerun {name}: no such run in {out}; {near(name, ends)}")
        if (state := ends[name]["state"]) != "failed":
            raise InputError(f"--rerun {name}: it is {state}; name runs that failed")
    for run in runs:
        if ends[run.id]["state"] == "failed" and run.id not in rerun:
            _log(run, ends[run.id])
    return [r for r in runs if ends[r.id]["state"] not in ("done", "failed") or r.id in rerun]


def pool(
    runs: Sequence[Run], out: Path, slots: Sequence[Slot], lock: int, processes: int = 1
) -> int:
    """Runs all; after a signal none begins and those at work are asked to save and stop.

    Args:
      processes: that share a run.

    Returns:
      0, or the exit status of the signal.
    """
    waiting, free = collections.deque(runs), list(slots)
    busy: dict[str, tuple[Run, Slot, subprocess.Popen]] = {}
    with runtime.Interrupt() as interrupt:
        asked = False
        try:
            while busy or (waiting and not asked):
                if interrupt.requested and not asked:
                    asked = True
                    for _, _, process in busy.values():
                        process.send_signal(signal.SIGTERM)
                while waiting and free and not interrupt.requested:
                    run, slot = waiting.popleft(), free.pop(0)
                    runtime.log(f"{run.id} {run.name}: begins")
                    own = local_group(processes)
                    try:
                        process = start(out / run.id, slot.cores, slot.gpu, [lock], own)
                    except OSError as error:
                        runtime.log(f"{run.id} {run.name}: cannot begin: {error}")
                        free.append(slot)
                        continue
                    busy[run.id] = run, slot, process
                for run, slot, process in list(busy.values()):
                    if (code := process.poll()) is not None:
                        _end(process)
                        del busy[run.id]
                        free.append(slot)
                        _log(run, finish(out / run.id, code, stopped=asked))
                time.sleep(_POLL)
        finally:
            for _, _, process in busy.values():
                _end(process)
    return interrupt.exit_status if interrupt.requested else 0


def _end(process: subprocess.Popen) -> None:
    """Ends what remains of a run's process group, such as its workers."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _log(run: Run, now: dict[str, Any]) -> None:
    reason = f": {now['reason']}" if "reason" in now else ""
    again = f"; to begin it again: --rerun {run.id}" if now["state"] == "failed" else ""
    runtime.log(f"{run.id} {run.name}: {now['state']}{reason}{again}")


@contextlib.contextmanager
def locked(out: Path) -> Iterator[int]:
    """Holds a sweep's folder; processes that get the file descriptor hold it too.

    Raises:
      InputError: another launch, or a run of a launch that was killed, holds it.
    """
    out.mkdir(parents=True, exist_ok=True)
    handle = os.open(out, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"another launch, or a run of one that was killed, is at work in {out}; wait for "
                "it, or stop it: status.json has its process"
            ) from error
        yield handle
    finally:
        os.close(handle)


def _gpus() -> list[str]:
    """Those of CUDA_VISIBLE_DEVICES, else nvidia-smi's indices; none where that is absent."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [gpu.strip() for gpu in visible.split(",") if gpu.strip()]
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return []
    return done.stdout.split()


def _cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def main(line: tuple[Args, tuple[str, ...]]) -> int:
    """Launches a sweep; prints one JSON line; 1 where a run is not done."""
    args, overrides = line
    sweep = plan(args.sweep, overrides)
    slots = slots_of(args, _cores(), _gpus() if args.gpus else [])
    if args.dry_run:
        for run in sweep.runs:
            print(run.id, run.name)
        return 0
    with locked(args.out) as lock:
        prepare(sweep, args.out, "local")
        runs = unfinished(sweep.runs, args.out, args.rerun)
        runtime.log(f"{len(runs)} of {len(sweep.runs)} runs to do, {len(slots)} at a time")
        code = pool(runs, args.out, slots, lock, args.processes)
        ends = {run.id: status(args.out / run.id) for run in sweep.runs}
    counted = collections.Counter(end["state"] for end in ends.values())
    failed = [name for name, end in ends.items() if end["state"] == "failed"]
    print(json.dumps({"runs": len(ends), "done": counted["done"], "failed": failed}))
    return code or int(counted["done"] < len(ends))


if __name__ == "__main__":
    sys.exit(runtime.run(main, command_line(Args, __doc__)))
