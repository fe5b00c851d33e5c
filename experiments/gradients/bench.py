"""The gradient through contact and its alternatives: speed, compile time, memory, error.

Question: what does a gradient of a contact simulation cost, and is it right?
Command:  python -m experiments.gradients.bench --out experiments/results/gradients
Runtime:  forty minutes on 2 cores; on a GPU, with --sweep-x32 --bare --parts speed --abreast 16
          --batches 64 1024 8192 32768, five to compile on 16 cores before the first row is there
Expected: gradient ≤ 3 × forward where the unrolled solver costs more; compile of the gradient
          ≤ 2.5 × that of the forward; memory that does not grow with the solver's iterations;
          one-step error ≤ 1e-6 (float64), ≤ 1e-4 (float32); 32-step hopper cosine ≥ 0.9999

Every scene and precision is measured in a process of its own (``measure``), one after another;
ratios are within one process. With ``--abreast`` several processes compile at once, and each times
alone after all have compiled: compile times are then those of a busy machine. OUT gets
gradients.json (every row), and gradients.md and gradients.png generated from it. Rows that
gradients.json already has of the same machine and versions are kept, with the commit they were
measured at; a file with rows of another machine or another command is refused.
"""

import dataclasses
import fcntl
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from experiments.gradients.report import draw, markdown
from worldmodel import runtime
from worldmodel.errors import InputError
from worldmodel.runtime import files

COMPARE = 64  # batch at which all variants are compared
HORIZONS = (8, 32, 128)  # of the memory rows
ITERATIONS = (5, 40)
SWEEP_SCENE = "hopper"  # at every batch; the other scenes only at the batch of the comparison
WIDE = 1024  # batches from here on have a process of their own
FIRST_SCENE = "elbow"
Part = Literal["speed", "errors", "memory", "first"]


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    out: Path
    scenes: tuple[str, ...] = ("cube", "elbow", "t_block", "hopper", "gripper")
    batches: tuple[int, ...] = (1, 64, 512, 4096)
    parts: tuple[Part, ...] = ("speed", "errors", "memory", "first")
    # Processes that compile at once; "first" has the machine to itself.
    compiling: Annotated[int, tyro.conf.arg(name="abreast")] = 1
    sweep_x32: bool = False  # every batch in single precision too
    bare: bool = False  # in single precision both without the solver's iterations too


def jobs(args: Args) -> list[dict[str, Any]]:
    """The options of every process, in order."""
    speed: list[dict[str, Any]] = []
    bare = {"bare": True} if args.bare else {}
    for scene in args.scenes:
        swept = args.batches if scene == SWEEP_SCENE else (COMPARE,)
        narrow = [str(b) for b in swept if b < WIDE]
        speed.append({"scene": scene, "batches": narrow, "compare": COMPARE})
        single = narrow if args.sweep_x32 else [str(COMPARE)]
        speed.append({"scene": scene, "x64": False, "batches": single} | bare)
        for size in (str(b) for b in swept if b >= WIDE):
            speed.append({"scene": scene, "batches": [size]})
            if args.sweep_x32:
                speed.append({"scene": scene, "x64": False, "batches": [size]} | bare)
    errors = [
        {"scene": scene, "x64": x64, "errors": True}
        for scene in args.scenes
        for x64 in (True, False)
    ]
    sizes = {
        "memory_horizons": [str(h) for h in HORIZONS],
        "memory_iterations": [str(i) for i in ITERATIONS],
    }
    memory = [{"scene": SWEEP_SCENE} | sizes] * (SWEEP_SCENE in args.scenes)
    first = [{"scene": FIRST_SCENE, "first": True, "compare": COMPARE}]
    first *= FIRST_SCENE in args.scenes
    parts = {"speed": speed, "errors": errors, "memory": memory, "first": first}
    return [job for part, group in parts.items() if part in args.parts for job in group]


def measured(job: dict[str, Any], cache: str | None, turn: int = -1) -> list[dict]:
    """The rows of one process.

    Args:
      turn: open file whose shared lock the process takes over; -1: none.

    Raises:
      RuntimeError: it failed; the message ends with its stderr.
    """
    command = [sys.executable, "-m", "experiments.gradients.measure"]
    for name, value in job.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            command.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            command += [f"--{flag}", *(value if isinstance(value, list) else [str(value)])]
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    environment["WORLDMODEL_BENCH_BEGAN"] = repr(time.time())
    if turn >= 0:
        command += ["--turn", str(turn)]
        environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # they share one GPU's memory
    if cache is not None:
        environment["JAX_COMPILATION_CACHE_DIR"] = cache
    with subprocess.Popen(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=(turn,) if turn >= 0 else (),
    ) as process:
        if turn >= 0:
            os.close(turn)  # only the process holds it now: the lock ends with the process
        stdout, stderr = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{stderr[-2000:]}")
    return [json.loads(line) for line in stdout.splitlines() if line.startswith("{")]


def measured_together(group: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], list[dict]]]:
    """Jobs with their rows, in the order they finish: all compile at once, each times alone.

    Raises:
      RuntimeError: one failed; raised after the others' rows.
    """
    if len(group) == 1:
        (job,) = group
        if not job.get("first"):
            yield job, measured(job, None)
            return
        with tempfile.TemporaryDirectory() as cache:  # cold, then cached
            yield (
                job,
                [
                    row | {"cache": state}
                    for state in ("cold", "cached")
                    for row in measured(job, cache)
                ],
            )
        return
    with tempfile.NamedTemporaryFile() as lock, ThreadPoolExecutor(len(group)) as pool:
        turns = [os.open(lock.name, os.O_RDWR) for _ in group]
        for turn in turns:  # before any of them could have compiled
            fcntl.flock(turn, fcntl.LOCK_SH)
        running = {
            pool.submit(measured, job, None, turn): job
            for job, turn in zip(group, turns, strict=True)
        }
        for finished in as_completed(running):
            if finished.exception() is None:  # one's failure does not lose the others' rows
                yield running[finished], finished.result()
        for finished in running:
            finished.result()


def main(args: Args) -> int:
    """Measures the jobs that have no rows; prints one JSON line at the end."""
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "gradients.json"
    provenance = runtime.provenance()
    kept = json.loads(path.read_text()) if path.is_file() else {}
    before = kept.get("provenance", {})
    done: dict[str, dict] = kept.get("jobs", {})
    todo = jobs(args)
    same = all(before.get(key) == provenance[key] for key in ("versions", "cpu", "devices"))
    if done and not (same and set(done) <= set(map(json.dumps, todo))):
        raise InputError(
            f"{path} has rows of another machine, other versions or another command; remove it to "
            "measure all again, or choose another --out"
        )
    command = f"python -m experiments.gradients.bench --out {args.out} --scenes "
    command += f"{' '.join(args.scenes)} --batches {' '.join(map(str, args.batches))}"
    if args.parts != Args.parts:
        command += f" --parts {' '.join(args.parts)}"
    command += f" --abreast {args.compiling}" * (args.compiling > 1)
    command += " --sweep-x32" * args.sweep_x32 + " --bare" * args.bare
    result = {"command": command, "provenance": provenance, "jobs": done}
    began = time.monotonic()
    remaining = [job for job in todo if json.dumps(job) not in done]
    together = [job for job in remaining if not job.get("first")]
    groups = [together[i : i + args.compiling] for i in range(0, len(together), args.compiling)]
    groups += [[job] for job in remaining if job.get("first")]
    for group in groups:
        so_far = f"{len(done)}/{len(todo)} jobs, {time.monotonic() - began:.0f} s so far"
        runtime.log(f"{so_far}: {'; '.join(map(json.dumps, group))}")
        for job, rows in measured_together(group):
            done[json.dumps(job)] = {"commit": provenance["commit"], "rows": rows}
            files.write_json(path, result)
    result["jobs"] = {key: done[key] for key in map(json.dumps, todo)}
    files.write_json(path, result)
    rows = rows_of(result)
    text, summary = markdown(rows, provenance, command)
    files.write_text(args.out / "gradients.md", text)
    draw(rows, provenance, command, args.out / "gradients.png")
    print(json.dumps(summary | {"out": str(args.out)}))
    return 0


def rows_of(result: dict[str, Any]) -> list[dict]:
    """Every row of gradients.json, with the commit it was measured at."""
    entries = result["jobs"].values()
    return [row | {"commit": entry["commit"]} for entry in entries for row in entry["rows"]]


if __name__ == "__main__":
    sys.exit(runtime.run(main, tyro.cli(Args, description=__doc__)))
