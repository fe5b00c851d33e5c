"""One run of a sweep in its own process: ``python -m launch.run FOLDER``.

Its folder holds config.json, dirty.diff, provenance.json, status.json, log.txt (stderr of every
attempt), stdout.txt (of the last one; its last line is the result, a JSON object) and ``out/``.
Where several processes share a run (``process``), log1.txt is stderr of the second.
"""

import contextlib
import dataclasses
import inspect
import json
import os
import platform
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tyro

from launch import snapshot
from launch.process import Group, agreed, group, joined
from launch.sweep import entry
from worldmodel import runtime
from worldmodel.errors import InputError, cause
from worldmodel.runtime.command import resolved
from worldmodel.runtime.files import write_json
from worldmodel.runtime.provenance import machine

_FAREWELL = 10.0  # [s] in which the other processes end by themselves


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    folder: tyro.conf.Positional[Path]
    cores: tuple[int, ...] = ()  # that it is pinned to, on Linux; all where empty


def start(
    folder: Path,
    cores: Sequence[int] = (),
    gpu: str | None = None,
    lock: Sequence[int] = (),
    own: Group = Group(),  # noqa: B008
) -> subprocess.Popen:
    """Begins a run of its sweep's snapshot in a process group of its own, which Ctrl-C does not
    reach.

    Args:
      folder: of the run.
      cores: that it is pinned to.
      gpu: the one that it sees; all where it is None.
      lock: open file descriptors that it keeps.
      own: which of its processes this is, where several share it.
    """
    changes = {"PYTHONPATH": snapshot.read(folder.parent).python_path()}
    changes["PYTHONSAFEPATH"] = "1"  # in its own processes too the copy precedes the working folder
    if gpu is not None:  # numbered as nvidia-smi does
        changes |= {"CUDA_VISIBLE_DEVICES": gpu, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    command = [sys.executable, "-m", "launch.run", str(folder)]
    if cores:
        command += ["--cores", *map(str, cores)]
    logged, printed = (
        (f"log{own.index}.txt", os.devnull) if own.index else ("log.txt", "stdout.txt")
    )
    if own.index == 0:
        attempt = status(folder)["attempt"]
        write_json(folder / "status.json", {"state": "waiting", "attempt": attempt})
    with (folder / logged).open("ab") as log, (folder / printed).open("wb") as stdout:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=log,
            env=os.environ | changes | own.variables,
            start_new_session=not (own.index and own.here),  # ends with process 0
            pass_fds=lock,
        )


def finish(folder: Path, code: int, *, stopped: bool) -> dict[str, Any]:
    """The status of a run whose process has ended.

    Args:
      folder: of the run.
      code: the process's exit status; minus the signal's number where one killed it.
      stopped: whether it was asked to stop.
    """
    now = status(folder)
    if now["state"] in ("waiting", "running"):  # it was killed before it could write its end
        by = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        state = "stopped" if stopped else "failed"
        now |= {"state": state, "reason": f"ended by {by} after: {last_line(folder / 'log.txt')}"}
        try:
            write_json(folder / "status.json", now)
        except OSError as error:  # a full disk may have ended it; the launch goes on
            now["reason"] += f"; {error.filename} is not written ({cause(error)})"
    return now


def status(folder: Path) -> dict[str, Any]:
    """Its ``state`` (waiting, running, done, failed or stopped), and how the last attempt went.

    Raises:
      InputError: the file is damaged.
    """
    path = folder / "status.json"
    if not path.is_file():
        return {"state": "waiting", "attempt": 0}
    try:
        return dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error}); remove it, and the run begins") from error


def last_line(path: Path) -> str:
    """The last line of a file that is not blank; empty where there is none."""
    lines = path.read_text("utf-8", "replace").split("\n") if path.is_file() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def main(args: Args) -> int:
    """Runs it and writes how it ended; returns the exit status."""
    own = group()
    if args.cores and hasattr(os, "sched_setaffinity"):  # macOS shares them out itself
        os.sched_setaffinity(0, args.cores[own.index :: own.count] or args.cores)
    if own.index:
        return _attempted(args.folder, own)
    began, attempt = time.time(), status(args.folder)["attempt"] + 1
    now = {"attempt": attempt, "pid": os.getpid(), "host": platform.node(), "began": began}
    write_json(args.folder / "status.json", {"state": "running", **now})
    with _others(args, own):
        code = _attempted(args.folder, own)
    states = {0: "done", 128 + signal.SIGTERM: "stopped"}
    now |= {"state": states.get(code, "failed"), "exit": code, "seconds": time.time() - began}
    if now["state"] == "failed":
        sys.stderr.flush()
        now["reason"] = last_line(args.folder / "log.txt")
    write_json(args.folder / "status.json", now)
    return code


@contextlib.contextmanager
def _others(args: Args, own: Group) -> Iterator[None]:
    """The other processes on this machine, which end with this one."""
    indices = range(1, own.count) if own.here else ()
    others = [
        start(args.folder, args.cores, own=dataclasses.replace(own, index=i)) for i in indices
    ]
    try:
        yield
    finally:
        for other in others:
            with contextlib.suppress(subprocess.TimeoutExpired):
                other.wait(_FAREWELL)
            other.kill()
            other.wait()


def _attempted(folder: Path, own: Group) -> int:
    """The exit status."""

    def attempt(folder: Path) -> int:
        with joined(own, folder / "out") as out:
            return _run(folder, own, out)

    try:
        return runtime.run(attempt, folder)
    except runtime.Interrupted as error:
        runtime.log(str(error))
        return 128 + signal.SIGTERM
    except BaseException:  # whatever a user's program raises, SystemExit included
        traceback.print_exc()
        return 1


def _run(folder: Path, own: Group, out: Path) -> int:
    described = json.loads((folder / "config.json").read_text())
    code = snapshot.read(folder.parent)
    os.environ["WORLDMODEL_COMMIT"] = described["commit"].split()[0]  # the copy has no git
    at = entry(code.inside(described["entry"]))
    here = machine()["versions"]
    differ = [f"{k} {here[k]}, not {v}" for k, v in described["versions"].items() if here[k] != v]
    if differ:
        raise InputError(
            f"{platform.node()} has {'; '.join(differ)} as at the launch; install the same there"
        )
    config = at.parse(described["arguments"], out)
    if code.original(resolved(config)) != code.original(described["config"]):
        raise InputError(f"the config of run {described['id']} resolves otherwise than it did")
    config = code.placed(config)
    if own.index == 0:
        write_json(folder / "provenance.json", _provenance(described))
    if len(inspect.signature(at.main).parameters) == 1:
        return at.main(config)
    with runtime.Interrupt() as interrupt:
        return at.main(config, agreed(own, lambda: interrupt.requested))


def _provenance(described: dict[str, Any]) -> dict[str, Any]:
    """Without the devices: JAX must not start before the program has configured it."""
    affinity = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return machine() | {
        "commit": described["commit"],
        "seeds": described["seeds"],
        "host": platform.node(),
        "cores": affinity,
        "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
    }


if __name__ == "__main__":
    code = main(tyro.cli(Args))
    sys.stdout.flush()
    sys.stderr.flush()
    if code and group().count > 1:  # JAX would wait at the exit for the other processes
        os._exit(code)
    sys.exit(code)
