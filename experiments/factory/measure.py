"""What do 1 000 synthetic episodes cost, and how much memory does a set of 10 000 take?

Question: episodes per second and seconds of a core per episode, by task and engine; the peak memory
          of ``worldmodel generate`` for 1 000 and for 10 000 episodes
Command:  python -m experiments.factory.measure --out experiments/results/factory
Runtime:  9 minutes on 2 idle cores; a minute with --tasks slide
          --engines c --played 64 --sets 50 100
Expected: C MuJoCo plays hundreds of episodes a second on two cores, MJX on a CPU 2 to 100; the peak
          memory of 10 000 episodes is that of 2 000, and at most 15 % above that of 1 000

An episode is planned by the task's expert in C MuJoCo, then played by each engine, in one batch.
Compilation is apart: each is done twice, and the second counts. Rows of a GPU are there where JAX
sees one. A set is made by the command, in a process of its own, with start, plan, play, write and
read; the same command again reads it, as a stream.
"""

import dataclasses
import functools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from experiments import records
from experiments.records import Row
from worldmodel import loop, runtime
from worldmodel.commands.generate import Demonstration
from worldmodel.errors import InputError
from worldmodel.policies.epochs import now
from worldmodel.tasks import data_set
from worldmodel.tasks.play import episodes

ROOT = Path(__file__).resolve().parents[2]
TASKS = {
    "slide": (
        "worldmodel.tasks.slide.task:SlideTask",
        "worldmodel.tasks.slide.expert:Demonstrator",
    ),
    "push": ("worldmodel.tasks.push.task:Push", "worldmodel.tasks.push.expert:EXPERT"),
    "my_arm": ("docs/examples/my_arm/my_arm.py:task", "docs/examples/my_arm/my_arm.py:expert"),
}
TITLE = "The factory: what synthetic episodes cost"
NOTE = (
    "Seconds without compilation, except of whole commands. core-s: seconds of a core per episode; "
    "h / 1 000: core-hours of 1 000 episodes. For scale: NVIDIA's Cosmos 3 Nano takes 58 s of an "
    "H200 for a clip of 7.9 s at 480p, 16 GPU-hours for 1 000 (published, not measured here). That "
    "is no race: it draws pixels of whatever text or images ask for; here joints, objects and "
    "contacts of one scene move, whose MJCF is given, and nothing is drawn."
)
COLUMNS: records.Columns = {
    "task": "task",
    "engine": "engine",
    "work": "work",
    "episodes": "episodes",
    "of [s]": "length_s",
    "compile [s]": "compile_s",
    "seconds": "seconds",
    "episodes/s": "rate",
    "core-s": "core_s",
    "h / 1 000": "core_hours_1000",
    "peak [MB]": "peak_mb",
}
# Runs a command from a small process, and prints its peak memory [kB] and seconds of a core: what
# this process starts itself would have at least the peak of this one.
STARTER = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(used.ru_maxrss, used.ru_utime + used.ru_stime)
sys.exit(code)
"""


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    out: Path
    tasks: tuple[Literal["slide", "push", "my_arm"], ...] = ("slide", "push", "my_arm")
    engines: tuple[Literal["c", "mjx"], ...] = ("c", "mjx")
    played: int = 512  # episodes of a batch
    played_mjx: int = 128  # of MJX, on a CPU
    sets: tuple[int, ...] = (1000, 2000, 10_000)  # episodes, in one part, two and ten; of slide


def twice(work: Callable[[], Any]) -> tuple[Any, Row]:
    """What it returns, and its cost when it is done again."""
    began = now()
    work()
    first = now()
    result = work()
    seconds, core = np.subtract(now(), first).tolist()
    compiled = max(0.0, first[0] - began[0] - seconds)
    return result, {"compile_s": compiled, "seconds": seconds, "core": core, "peak_mb": None}


def played(name: str, args: Args) -> list[Row]:
    """The rows of a task: its expert plans, every engine plays, the set is written."""
    reference, expert = TASKS[name]
    asked = Demonstration.of(reference, None, expert, args.played, 0, "c")
    task, version = asked.task, asked.version
    drawing, planning, playing = jax.random.split(jax.random.key(0), 3)
    starts, goals = loop.draw(task, drawing, args.played)
    simulate = loop.simulator(version, task, engine="c")
    policies, spent = twice(lambda: asked.expert.plan(simulate, starts, goals, planning))
    rows, done = [row(name, "c", "plan", args.played, spent)], None
    for engine in args.engines:
        few = engine == "mjx" and jax.default_backend() == "cpu"
        count = min(args.played, args.played_mjx) if few else args.played
        begin = jax.tree.map(lambda x, count=count: x[:count], (policies, starts, goals))
        play = loop.simulator(version, task, engine=engine)
        result, spent = twice(functools.partial(play, *begin, playing))
        if not few:
            done = result
        where = engine if engine == "c" else f"{engine}, {jax.default_backend()}"
        rows.append(row(name, where, "play", count, spent))
    if done is not None:
        kept = episodes(task, done, goals, source=version.name)
        with tempfile.TemporaryDirectory() as folder:
            names = iter("ab")
            _, spent = twice(lambda: data_set.write(Path(folder) / next(names), task, kept, {}))
        rows.append(row(name, None, "write", args.played, spent | {"compile_s": None}))
    for one in rows:
        one["length_s"] = task.horizon / task.scene.control_hz
    return rows


def row(task: str, engine: str | None, work: str, count: int, spent: Row) -> Row:
    """A row of the table, per episode."""
    core = spent.pop("core") / count
    one = {"task": task, "engine": engine, "work": work, "episodes": count, "length_s": None}
    rate = {"rate": count / spent["seconds"], "core_s": core, "core_hours_1000": core / 3.6}
    return one | spent | rate


def command(task: str, count: int, out: Path) -> Row:
    """What ``worldmodel generate`` costs in a process of its own.

    Raises:
      InputError: it fails.
    """
    reference, expert = TASKS[task]
    line = [sys.executable, "-m", "worldmodel", "generate", reference, "--expert", expert]
    line += ["--episodes", str(count), "--engine", "c", "--out", str(out)]
    began = time.perf_counter()
    starter = [sys.executable, "-c", STARTER, *line]
    done = subprocess.run(starter, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise InputError(f"{' '.join(line[1:])} failed; see the lines above")
    peak, core = map(float, done.stdout.split())
    seconds = time.perf_counter() - began
    return {"compile_s": None, "seconds": seconds, "core": core, "peak_mb": peak / 1024}


def sets(args: Args) -> list[Row]:
    """Rows of whole commands: sets that are made, and read again as a stream."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for work in ("generate", "read"):
            for count in args.sets:
                spent = command("slide", count, Path(folder) / str(count))
                rows.append(row("slide", "c", work, count, spent))
    for one in rows:  # of the smallest set
        (first,) = (r for r in rows if (r["work"], r["episodes"]) == (one["work"], args.sets[0]))
        one["peak_ratio"] = one["peak_mb"] / first["peak_mb"]
    return rows


def main(args: Args) -> int:
    """Measures; prints one JSON line."""
    runtime.configure()
    rows = [one for name in args.tasks for one in played(name, args)]
    rows += sets(args) if args.sets else []
    records.write(args.out, TITLE, rows, COLUMNS, note=NOTE)
    rates = {f"{r['task']} {r['engine']}": r["rate"] for r in rows if r["work"] == "play"}
    peaks = {f"{r['work']} {r['episodes']}": r["peak_mb"] for r in rows if r["peak_mb"]}
    print(json.dumps({"episodes_per_s": rates, "peak_mb": peaks}))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
