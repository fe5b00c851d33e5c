"""What one GPU does: simulation, gradient, the solver's share, episodes, energy, memory.

Question: how many steps and episodes a second, at which energy, and what does a gradient cost?
Command:  launch/gpu_check.sh runs/gpu_check
Runtime:  8 minutes at most on one GPU; what comes too late is named. With --quick minutes on a CPU:
          tiny batches, which check that the program runs
Expected: no GPU was measured by it; experiments/results/gradients/cost_gpu has an older H200

Each precision is a process of its own. The programs are compiled at the same time, on all cores.
"""

import concurrent.futures
import dataclasses
import functools
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments import records
from experiments.gradients.cost import checked, repeated
from experiments.gradients.rollouts import ITERATIONS, STEP_HZ, STEPS, Bench, batch, cube, program
from experiments.records import Row
from worldmodel import loop, runtime
from worldmodel.model import WorldModel, init
from worldmodel.rollout import Replay
from worldmodel.scene import FreeParameter, load_scene
from worldmodel.tasks.push.task import Push

PRECISIONS = ("float32", "float64")
BATCHES, EPISODES = (32768, 1024), 4096
QUICK_BATCHES, QUICK_EPISODES = (4,), 2
# Of rollouts, the most important first; their variants.
VARIANTS = {"forward": "forward", "gradient": "gradient", "no solver iterations": "unsolved"}
_START = 10.0  # [s] that nvidia-smi may take for its first line


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    out: Path
    quick: bool = False  # tiny batches of a ball
    seconds: float = 440.0  # half of them for each precision, after which no measurement begins
    precision: str | None = None  # both, one after the other, when absent


def ball() -> Bench:
    """A ball that slides over a table in a vertical plane: its programs compile in seconds."""
    mjcf = """<mujoco model="ball"><option cone="elliptic"/><worldbody>
    <geom type="plane" size="0 0 .1"/><body name="ball" pos="0 0 .05">
    <joint type="slide" axis="1 0 0"/><joint type="slide" axis="0 0 1"/>
    <geom type="sphere" size=".05" mass=".3"/></body></worldbody></mujoco>"""
    scene = load_scene(mjcf, control_hz=STEP_HZ, substeps=1)
    at, moving = np.array([0.0, -0.001]), np.array([0.5, 0.0])
    return Bench(scene, (FreeParameter("mass", "ball"),), at, moving, np.zeros(0))


@contextmanager
def power() -> Iterator[list[float]]:
    """Samples of the first GPU's power [W], each tenth of a second; none without nvidia-smi."""
    watts: list[float] = []
    begun = threading.Event()
    if shutil.which("nvidia-smi") is None:
        yield watts
        return
    seen = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    query = ["nvidia-smi", f"--id={seen}", "--query-gpu=power.draw", "--loop-ms=100"]
    process = subprocess.Popen(
        [*query, "--format=csv,noheader,nounits"], stdout=subprocess.PIPE, text=True
    )

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip().replace(".", "", 1).isdigit():
                watts.append(float(line))
            begun.set()

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        begun.wait(_START)
        watts.clear()
        yield watts
    finally:
        process.terminate()
        process.wait()
        reader.join()


def timed(call: Callable[[], Any], units: int) -> Row:
    """Median seconds of a call, and per second and unit of what it makes."""
    with power() as watts:
        seconds = repeated(call)
    drawn = statistics.mean(watts) if watts else None
    return {
        "seconds": seconds,
        "per_second": units / seconds,
        "watts": drawn,
        "joules_per_1000": None if drawn is None else 1000 * drawn * seconds / units,
    }


def rollouts(bench: Bench, sizes: tuple[int, ...], until: float) -> Iterator[Row]:
    """A row per program and size; those whose compilation comes too late have a "skipped"."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        waiting = []
        for size in sizes:
            x = batch(bench, size)
            for what, variant in VARIANTS.items():
                lowered = jax.jit(program(bench, variant)).lower(x)
                waiting.append((what, size, x, time.monotonic(), pool.submit(lowered.compile)))
        for what, size, x, began, future in waiting:
            row = {"what": what, "batch": size, "unit": "step"}
            try:
                executable = future.result(max(0.0, until - time.monotonic()))
            except concurrent.futures.TimeoutError:
                yield row | {"skipped": "its compilation was not over in time"}
                continue
            row |= {"compile_s": time.monotonic() - began} | checked(executable, x)
            call = functools.partial(lambda run, x: jax.block_until_ready(run(x)), executable, x)
            yield row | timed(call, STEPS * size)


def generated(count: int) -> Row:
    """Episodes of the task "push" in MJX, with random actions, as ``generate`` makes them."""
    task = Push()
    world = WorldModel(task.scene, task.free)
    version = loop.Version("v0", None, world, init(world, jax.random.key(0)), 0)
    starts, goals = loop.draw(task, jax.random.key(1), count)
    shape = (count, task.horizon, task.action_size)
    policy = Replay(np.random.default_rng(0).uniform(-1.0, 1.0, shape))

    def call() -> Any:
        key = jax.random.key(2)
        return loop.generate(version, task, policy, starts, goals, key, engine="mjx")

    began = time.monotonic()
    call()
    compiled = time.monotonic() - began
    row = {"what": "generate", "batch": count, "unit": "episode", "compile_s": compiled}
    return row | timed(call, count)


def measure(args: Args) -> int:
    """The rows of one precision."""
    until = time.monotonic() + args.seconds
    runtime.configure(x64=args.precision == "float64", cache=False)
    origin, rows = runtime.provenance(), []

    def add(row: Row) -> None:
        rows.append(row | {"precision": args.precision, "origin": origin})
        runtime.log(f"{args.precision}: {row}")
        records.write(args.out, TITLE, shown(rows), COLUMNS, note=NOTE)

    bench, sizes = (ball(), QUICK_BATCHES) if args.quick else (cube(), BATCHES)
    for row in rollouts(bench, sizes, until):
        add(row)
    if time.monotonic() < until:
        add(generated(QUICK_EPISODES if args.quick else EPISODES))
    else:
        add({"what": "generate", "unit": "episode", "skipped": "no time was over"})
    return 0


def shown(rows: list[Row]) -> list[Row]:
    """The rows, with multiples of the forward simulation; None is what a row lacks."""
    simulated = (row for row in rows if row["what"] == "forward")
    forward = {(row["precision"], row["batch"]): row.get("seconds") for row in simulated}
    out = []
    for row in (dict.fromkeys(MEASURED) | row for row in rows):
        base, own = forward.get((row["precision"], row["batch"])), row["seconds"]
        row["times_forward"] = own / base if own and base else None
        rest = row["times_forward"] if row["what"] == "no solver iterations" else None
        out.append(row | {"solver_share": None if rest is None else 1.0 - rest})
    return out


MEASURED = ("batch", "seconds", "per_second", "compile_s", "temporary_bytes")
MEASURED += ("watts", "joules_per_1000")
COLUMNS: records.Columns = {
    "what": lambda r: r["what"] + (f" (skipped: {r['skipped']})" if "skipped" in r else ""),
    "precision": "precision",
    "batch": "batch",
    "unit": "unit",
    "units/s": "per_second:.4g",
    "times forward": "times_forward:.2f",
    "solver's share": "solver_share:.2f",
    "compile [s]": "compile_s:.0f",
    "temporaries [B]": "temporary_bytes",
    "power [W]": "watts:.0f",
    "J per 1000 units": "joules_per_1000:.3g",
}
TITLE = "What one accelerator does"
NOTE = (
    f"Rollouts of a cube on a plane (--quick: a ball), {STEPS} steps of 2 ms, {ITERATIONS} solver "
    "iterations; episodes of the task push by MJX. The first call of generate is its compilation. "
    "Without nvidia-smi there is no power."
)


def main(args: Args) -> int:
    """Measures both precisions; prints one JSON line."""
    if args.precision is not None:
        return measure(args)
    until, rows = time.monotonic() + args.seconds, []
    if shutil.which("nvidia-smi") is None:
        runtime.log("no nvidia-smi here: power and energy are skipped")
    for number, precision in enumerate(PRECISIONS):
        out = args.out / precision
        seconds = (until - time.monotonic()) / (len(PRECISIONS) - number)
        line = ["--out", str(out), "--precision", precision, "--seconds", str(seconds)]
        command = [sys.executable, "-m", "experiments.gradients.gpu_check", *line]
        try:
            subprocess.run([*command, *["--quick"] * args.quick], timeout=seconds + 15, check=True)
        except (subprocess.TimeoutExpired, subprocess.CalledProcessError) as error:
            runtime.log(f"{precision} is not complete: {error}")
        if (out / "table.json").is_file():
            rows += json.loads((out / "table.json").read_text())["rows"]
    # It names the devices, so that it takes hold of the GPU: when nothing is measured any more.
    records.write(args.out, TITLE, rows, COLUMNS, note=NOTE)
    skipped = [f"{r['precision']} {r['what']}" for r in rows if "skipped" in r]
    print(json.dumps({"out": str(args.out), "rows": len(rows), "skipped": skipped}))
    return 0 if rows else 1


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
