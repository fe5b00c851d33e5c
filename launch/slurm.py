"""A sweep on Slurm, as one job array: needs submitit, the extra ``launch``.

Command:  python -m launch.slurm FILE.py:sweep --out runs/NAME --minutes 60 --parallel 8 [-- …]

``--dry-run`` prints the batch file. A job that is preempted or comes to its time limit lets its run
save, and is put into the queue again, at most three times for the limit. The same command submits
again what is neither done, failed nor queued, and names what failed; ``--rerun`` begins it again.
"""

import collections
import dataclasses
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import tyro

from launch.local import locked, unfinished
from launch.process import group
from launch.run import finish, start, status
from launch.snapshot import describe
from launch.sweep import Run, Sweep, command_line, plan, prepare
from worldmodel import runtime
from worldmodel.errors import InputError
from worldmodel.runtime.files import write_json
from worldmodel.runtime.settings import check_options

_POLL = 0.2  # [s]
_PYTHON = f"{shlex.quote(sys.executable)} -P"  # without the working folder before the snapshot


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    sweep: tyro.conf.Positional[str]  # package.module:sweep or path/to/file.py:sweep
    out: Path  # a folder per run, which all nodes see
    minutes: int  # the time limit of a run, until it is put into the queue again
    parallel: int = 8  # runs at a time
    cores: int = 1  # per run
    gpus: int = 0  # per node of a run
    nodes: int = 1  # per run, a process on each, which share it
    memory: str | None = None  # per run, such as 8G
    partition: str | None = None
    account: str | None = None
    save_seconds: int = 90  # between the signal and the limit
    rerun: tuple[str, ...] = ()  # ids of failed runs that begin again
    dry_run: bool = False  # prints the batch file and writes nothing


class Job:
    """What a job of the array calls: a run, in a process of its own."""

    def __init__(self, folder: Path, save_seconds: float) -> None:
        self.folder, self.save_seconds = folder, save_seconds
        self.process: subprocess.Popen | None = None

    def __call__(self) -> str:
        """Runs it.

        Raises:
          RuntimeError: it failed, so that Slurm lists the job as failed too.
        """
        if status(self.folder)["state"] == "done":  # before its job was put into the queue again
            return "done"
        own = {signal.SIGUSR2}  # submitit's, which Slurm sends to every process of the job
        signal.pthread_sigmask(signal.SIG_BLOCK, own)
        member = group()
        self.process = start(self.folder, own=member)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, own)
        while (code := self.process.poll()) is None:
            time.sleep(_POLL)
        if member.index:  # the first task writes how it ended, and is put into the queue again
            if code:
                time.sleep(self.save_seconds)
            return "done" if code == 0 else "ended"
        now = finish(self.folder, code, stopped=code == -signal.SIGTERM)
        if now["state"] == "stopped":  # by Slurm, whose other signal calls checkpoint
            time.sleep(self.save_seconds)
        if now["state"] != "done":
            raise RuntimeError(now.get("reason", "stopped; the same command submits it again"))
        return now["state"]

    def checkpoint(self) -> Any:
        """Lets the run save; what submitit puts into the queue again."""
        import submitit

        if self.process is not None and self.process.returncode is None:
            os.kill(self.process.pid, signal.SIGTERM)
            ended = self._ended(0.8 * self.save_seconds)
            if not ended:
                os.killpg(self.process.pid, signal.SIGKILL)  # it goes on from its last checkpoint
                self._ended(5.0)
            finish(self.folder, -(signal.SIGTERM if ended else signal.SIGKILL), stopped=True)
        return submitit.helpers.DelayedSubmission(Job(self.folder, self.save_seconds))

    def _ended(self, seconds: float) -> bool:
        """Waits without Popen, whose lock the interrupted poll may hold."""
        assert self.process is not None
        end = time.monotonic() + seconds
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        while time.monotonic() < end:
            if os.waitid(os.P_PID, self.process.pid, flags) is not None:
                return True
            time.sleep(_POLL)
        return False


def parameters(args: Args, sweep: Sweep) -> dict[str, Any]:
    """The job array's, as submitit names them."""
    path = describe(sweep.source, args.out).python_path()
    asked = {
        "job_name": sweep.entry.file.stem,
        "time": args.minutes,
        "array_parallelism": args.parallel,
        "cpus_per_task": args.cores,
        "nodes": args.nodes if args.nodes > 1 else None,
        "ntasks_per_node": 1 if args.nodes > 1 else None,
        "gpus_per_node": args.gpus or None,  # per task it hides GPUs from JAX
        "partition": args.partition,
        "account": args.account,
        "signal_delay_s": args.save_seconds,
        "setup": [f"export PYTHONPATH={shlex.quote(path)}"],
        "additional_parameters": {"mem": args.memory} if args.memory else None,
    }
    return {key: value for key, value in asked.items() if value is not None}


def batch_file(args: Args, sweep: Sweep) -> str:
    """The text that is submitted, but for submitit's own command."""
    from submitit.slurm.slurm import _make_sbatch_string  # the executor needs a Slurm

    command = f"{_PYTHON} -u -m submitit.core._submit {args.out / 'slurm'}"
    asked: dict[str, Any] = {"map_count": len(sweep.runs)} if len(sweep.runs) > 1 else {}
    return _make_sbatch_string(
        command=command, folder=args.out / "slurm", **asked, **parameters(args, sweep)
    )


def submit(args: Args, sweep: Sweep, runs: list[Run]) -> list[str]:
    """Submits these runs of a sweep as one array, and notes each one's job in job.json.

    Returns:
      The jobs' ids.

    Raises:
      InputError: Slurm refuses, such as a partition or an account that is not there.
    """
    import submitit
    from submitit.core.utils import FailedJobError

    executor = submitit.SlurmExecutor(args.out.resolve() / "slurm", python=_PYTHON)
    executor.update_parameters(**parameters(args, sweep))
    try:
        with executor.batch():
            folders = [args.out.resolve() / run.id for run in runs]
            jobs = [executor.submit(Job(folder, args.save_seconds)) for folder in folders]
    except FailedJobError as error:
        raise InputError(f"Slurm refuses the jobs: {' '.join(str(error).split())}") from error
    for folder, job in zip(folders, jobs, strict=True):
        write_json(folder / "job.json", {"job": job.job_id})
    return [job.job_id for job in jobs]


def queued(out: Path, runs: list[Run]) -> list[Run]:
    """The runs whose jobs wait or run; logs why they wait."""
    command = ["squeue", "--me", "--noheader", "--array", "--format=%A %i %r"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except subprocess.CalledProcessError as error:
        raise InputError(f"Slurm does not answer squeue: {error.stderr.strip()}") from error
    lines = [line.split(" ", 2) for line in done.stdout.splitlines()]
    reasons = {job: reason for *names, reason in lines for job in names}
    noted = [path for run in runs if (path := out / run.id / "job.json").exists()]
    jobs = {path.parent.name: json.loads(path.read_text())["job"] for path in noted}
    waiting = [run for run in runs if jobs.get(run.id) in reasons]
    for reason, count in collections.Counter(reasons[jobs[run.id]] for run in waiting).items():
        runtime.log(f"{count} runs are queued, reason: {reason}")  # None of those that run
    return waiting


def main(line: tuple[Args, tuple[str, ...]]) -> int:
    """Submits a sweep; prints one JSON line."""
    args, overrides = line
    try:
        import submitit  # noqa: F401
    except ImportError as error:
        raise InputError("submitit is not installed; pip install submitit") from error
    counts = ("minutes", "parallel", "cores", "nodes")
    check_options(**{name: getattr(args, name) for name in counts})
    if args.save_seconds >= 60 * args.minutes:
        raise InputError("--save-seconds is no less than the time limit; give more --minutes")
    sweep = plan(args.sweep, overrides)
    if args.dry_run:
        print(batch_file(args, sweep), end="")
        return 0
    if shutil.which("sbatch") is None:
        raise InputError("no sbatch here; run this on a cluster's login node, or launch.local")
    with locked(args.out):
        prepare(sweep, args.out, "slurm")
        runs = unfinished(sweep.runs, args.out, args.rerun)
        waiting = queued(args.out, runs)
        runs = [run for run in runs if run not in waiting]
        jobs = submit(args, sweep, runs) if runs else []
        ends = {run.id: status(args.out / run.id)["state"] for run in sweep.runs}
    failed = [name for name, state in ends.items() if state == "failed" and name not in args.rerun]
    report = {"runs": len(ends), "submitted": len(jobs), "queued": len(waiting)}
    print(json.dumps(report | {"failed": failed, "jobs": jobs}))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.run(main, command_line(Args, __doc__)))
