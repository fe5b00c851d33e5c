"""One run of a sweep in its own process: ``python -m launch.run FOLDER``.

Its folder holds config.json, dirty.diff, provenance.json, status.json, log.txt (stderr of every
attempt), stdout.txt (of the last one; its last line is the result, a JSON object) and ``out/``.
"""

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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tyro

from launch import snapshot
from launch.source import versions
from launch.sweep import entry
from worldmodel import runtime
from worldmodel.errors import InputError, cause
from worldmodel.runtime.files import write_json


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    folder: tyro.conf.Positional[Path]
    cores: tuple[int, ...] = ()  # that it is pinned to, on Linux; all where empty


def start(
    folder: Path, cores: Sequence[int] = (), gpu: str | None = None, lock: Sequence[int] = ()
) -> subprocess.Popen:
    """Begins a run of its sweep's snapshot in a process group of its own, which Ctrl-C does not
    reach.

    Args:
      folder: of the run.
      cores: that it is pinned to.
      gpu: the one that it sees; all where it is None.
      lock: open file descriptors that it keeps.
    """
    changes = {"PYTHONPATH": snapshot.read(folder.parent).python_path()}
    if gpu is not None:  # numbered as nvidia-smi does
        changes |= {"CUDA_VISIBLE_DEVICES": gpu, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}
    command = [sys.executable, "-P", "-m", "launch.run", str(folder)]
    if cores:
        command += ["--cores", *map(str, cores)]
    write_json(folder / "status.json", {"state": "waiting", "attempt": status(folder)["attempt"]})
    with (folder / "log.txt").open("ab") as log, (folder / "stdout.txt").open("wb") as stdout:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=log,
            env=os.environ | changes,
            start_new_session=True,
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
        now |= {"state": state, "reason": f"ended by {by} after: {last_line(folder)}"}
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


def last_line(folder: Path) -> str:
    """Of the log; empty where there is none."""
    path = folder / "log.txt"
    lines = path.read_text("utf-8", "replace").split("\n") if path.is_file() else []
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def main(args: Args) -> int:
    """Runs it and writes how it ended; returns the exit status."""
    if args.cores:
        os.sched_setaffinity(0, args.cores)
    began, attempt = time.time(), status(args.folder)["attempt"] + 1
    now = {"attempt": attempt, "pid": os.getpid(), "host": platform.node(), "began": began}
    write_json(args.folder / "status.json", {"state": "running", **now})
    try:
        code = runtime.run(_execute, args.folder)
    except runtime.Interrupted as error:
        runtime.log(str(error))
        code = 128 + signal.SIGTERM
    except BaseException:  # whatever a user's program raises, SystemExit included
        traceback.print_exc()
        code = 1
    states = {0: "done", 128 + signal.SIGTERM: "stopped"}
    now |= {"state": states.get(code, "failed"), "exit": code, "seconds": time.time() - began}
    if now["state"] == "failed":
        sys.stderr.flush()
        now["reason"] = last_line(args.folder)
    write_json(args.folder / "status.json", now)
    return code


def _execute(folder: Path) -> int:
    described = json.loads((folder / "config.json").read_text())
    code = snapshot.read(folder.parent)
    os.environ["WORLDMODEL_COMMIT"] = described["commit"].split()[0]  # the copy has no git
    at = entry(code.inside(described["entry"]))
    here = versions()
    differ = [f"{k} {here[k]}, not {v}" for k, v in described["versions"].items() if here[k] != v]
    if differ:
        raise InputError(
            f"{platform.node()} has {'; '.join(differ)} as at the launch; install the same there"
        )
    config = at.parse([code.inside(text) for text in described["arguments"]], folder / "out")
    if code.original(at.flat(config)) != code.original(described["config"]):
        raise InputError(f"the config of run {described['id']} resolves otherwise than it did")
    write_json(folder / "provenance.json", _provenance(described))
    if len(inspect.signature(at.main).parameters) == 1:
        return at.main(config)
    with runtime.Interrupt() as interrupt:
        return at.main(config, lambda: interrupt.requested)


def _provenance(described: dict[str, Any]) -> dict[str, Any]:
    """Without the devices: JAX must not start before the program has configured it."""
    affinity = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    named = described["config"].items()
    return {
        "commit": described["commit"],
        "versions": versions(),
        "host": platform.node(),
        "cpu": runtime.processor(),
        "cores": affinity,
        "gpus": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "seeds": {name: value for name, value in named if name.split(".")[-1] == "seed"},
    }


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Args)))
