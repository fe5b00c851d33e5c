"""Whether launches survive a cluster: a real Slurm in this machine, as root on Debian.

Command:  python -m launch.selftest --out runs/selftest

Eight small fits, at most two at a time. One comes to its time limit; of one, a more urgent job
takes the node; of one the process is killed, and of one the whole job. All must end with the
numbers of undisturbed runs, bit for bit. Five minutes.
"""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import tyro

from launch import slurm_box
from launch.collect import collect
from launch.run import status
from worldmodel import runtime
from worldmodel.errors import InputError
from worldmodel.runtime.files import write_json

FITS = str(Path(__file__).with_name("selftest_fits.py")) + ":sweep"
LIMIT, PREEMPTED, KILLED, LOST = range(4)  # seeds
CAP = 2
_POLL = 0.5  # [s]


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    out: Path  # a new folder: the Slurm's files, its runs, the undisturbed ones, report.json


class Watch:
    """The runs of a sweep as their status files show them, by their seeds."""

    def __init__(self, out: Path) -> None:
        known = json.loads((out / "settings.json").read_text())["runs"]
        self.folders = [out / name for name in known]
        self.spans: dict[tuple[int, int], list[float]] = {}  # begin and end of each attempt

    def look(self) -> list[dict[str, Any]]:
        """All statuses; what they show of begin and end is kept."""
        states = [status(folder) for folder in self.folders]
        for seed, now in enumerate(states):
            if "began" in now:
                span = self.spans.setdefault((seed, now["attempt"]), [now["began"], float("inf")])
                if now["state"] != "running":
                    span[1] = min(span[1], now["began"] + now.get("seconds", float("inf")))
                    span[1] = min(span[1], time.time())
        return states

    def until(self, seed: int, state: str, seconds: float = 300.0) -> dict[str, Any]:
        """Waits for a run; returns its status.

        Raises:
          RuntimeError: it takes too long.
        """
        end = time.monotonic() + seconds
        while (now := self.look()[seed])["state"] != state:
            if time.monotonic() > end:
                raise RuntimeError(f"fit {seed} is {now}, not {state}, after {seconds} s")
            time.sleep(_POLL)
        return now

    def most(self) -> int:
        """How many ran at once."""
        spans = self.spans.values()
        return max(sum(s[0] <= begin < s[1] for s in spans) for begin, _ in spans)


def disturb(watch: Watch, where: dict[str, str]) -> None:
    """Disturbs the runs, each once it has begun."""
    for seed in (PREEMPTED, KILLED, LOST):
        now = watch.until(seed, "running")
        time.sleep(3.0)  # some steps
        if seed == PREEMPTED:
            job = json.loads((watch.folders[seed] / "job.json").read_text())["job"]
            node = slurm_box.slurm(where, "squeue", "-h", "-j", job, "-o", "%N").strip()
            urgent = ["-p", "urgent", "-w", node, "-c", "2", "-o", "/dev/null", "--wrap", "sleep 5"]
            slurm_box.slurm(where, "sbatch", *urgent)
            runtime.log(f"fit {seed}: an urgent job takes its node, {node}")
            watch.until(seed, "stopped")
            continue
        if seed == LOST:
            ps = subprocess.run(["ps", "-o", "ppid=", str(now["pid"])], capture_output=True)
            os.kill(int(ps.stdout), signal.SIGKILL)
        os.kill(now["pid"], signal.SIGKILL)
        watch.spans[seed, now["attempt"]][1] = time.time()
        runtime.log(f"fit {seed}: its {'job' if seed == LOST else 'process'} is killed")


def main(args: Args) -> int:
    """Runs it; prints one JSON line; 1 where a fit ended otherwise."""
    if absent := slurm_box.absent():
        raise InputError(
            f"a Slurm needs {', '.join(absent)}; install Debian's packages (apt-get install "
            "slurm-wlm munge), and run this as root"
        )
    if args.out.exists():
        raise InputError(f"--out {args.out} is there already; give a new folder")
    out, began = args.out.resolve(), time.monotonic()
    (out / "box").mkdir(parents=True)
    _launch("launch.local", out / "undisturbed", {}, "--", "--pause", "0")
    line = ["--minutes", "2", "--parallel", str(CAP), "--save-seconds", "30"]
    with slurm_box.cluster(out / "box") as where:
        version = slurm_box.slurm(where, "sinfo", "--version").split()[-1]
        submitted = _launch("launch.slurm", out / "runs", where, *line)["submitted"]
        runtime.log(f"Slurm {version} has an array of {submitted} fits, at most {CAP} at a time")
        watch = Watch(out / "runs")
        disturb(watch, where)
        while slurm_box.slurm(where, "squeue", "-h"):
            watch.look()
            time.sleep(_POLL)
        states = watch.look()
        runtime.log(f"fit {KILLED}: {states[KILLED]['state']}: {states[KILLED].get('reason')}")
        again = ["--rerun", watch.folders[KILLED].name]
        submitted = _launch("launch.slurm", out / "runs", where, *line, *again)["submitted"]
        runtime.log(f"{submitted} submitted again: the failed fit by name, and the lost one")
        for seed in range(len(states)):
            states[seed] = watch.until(seed, "done")
    differ = _differences(out)
    report = {
        "slurm": version,
        "fits": len(states),
        "most_at_once": watch.most(),
        "attempts": [now["attempt"] for now in states],
        "seconds": round(time.monotonic() - began),
        "differ": differ,
    }
    write_json(out / "report.json", report)
    print(json.dumps(report))
    disturbed = [report["attempts"][seed] for seed in (LIMIT, PREEMPTED, KILLED, LOST)]
    return int(bool(differ) or report["most_at_once"] != CAP or min(disturbed) < 2)


def _launch(module: str, out: Path, where: dict[str, str], *options: str) -> dict[str, Any]:
    """A launch of the fits, as a user types it; its JSON line."""
    command = [sys.executable, "-m", module, FITS, "--out", str(out), *options]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=os.environ | where)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command[2:])} ended with {done.returncode}")
    return json.loads(done.stdout)


def _differences(out: Path) -> list[int]:
    """Seeds whose results are not those of the undisturbed runs, to the last bit."""
    tables = [collect(out / name) for name in ("runs", "undisturbed")]
    disturbed, calm = ({row["seed"]: row["mean"] for row in rows} for rows, _ in tables)
    return [seed for seed in calm.keys() | disturbed.keys() if disturbed.get(seed) != calm[seed]]


if __name__ == "__main__":
    sys.exit(runtime.run(main, tyro.cli(Args, description=__doc__)))
