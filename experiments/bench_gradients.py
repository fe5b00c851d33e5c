"""The gradient through contact beside what else there is: speed, compile time, memory, error.

Question: what does a gradient of a contact simulation cost, and is it right?
Command:  python -m experiments.bench_gradients --out experiments/results/gradients
Runtime:  forty minutes on 2 cores; on a GPU --batches 1 64 1024 4096 16384
Expected: gradient ≤ 3 × forward where the unrolled solver costs more; compile of the gradient
          ≤ 2.5 × that of the forward; memory that does not grow with the solver's iterations;
          one-step error ≤ 1e-6 (float64), ≤ 1e-4 (float32); 32-step hopper cosine ≥ 0.9999

Every scene and precision is measured in a process of its own (``gradient_measure``), one after
another; ratios are within one process. OUT gets gradients.json (every row), gradients.md and
gradients.png, generated from it. What gradients.json has of the same machine and versions is not
measured again and keeps the commit it was measured at; remove the file to begin anew.
"""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import tyro

from experiments.gradient_figure import draw, markdown
from experiments.gradient_scenes import SCENES
from worldmodel import runtime

COMPARE = 64  # batch at which the variants stand beside one another
HORIZONS = (8, 32, 128)  # of the memory rows
ITERATIONS = (5, 40)
SWEEP_SCENE = "hopper"  # every batch; the other scenes stand at the batch of the comparison
WIDE = 1024  # batches from here on have a process of their own
FIRST_SCENE = "elbow"


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    out: Path
    scenes: tuple[str, ...] = tuple(SCENES)
    batches: tuple[int, ...] = (1, 64, 512, 4096)


def jobs(args: Args) -> list[dict[str, Any]]:
    """The options of every process, in order."""
    out: list[dict[str, Any]] = []
    for scene in args.scenes:
        swept = args.batches if scene == SWEEP_SCENE else (COMPARE,)
        batches = [str(b) for b in swept if b < WIDE]
        out.append({"scene": scene, "batches": batches, "compare": COMPARE})
        out.append({"scene": scene, "x64": False, "batches": [str(COMPARE)]})
        out += [{"scene": scene, "x64": x64, "errors": True} for x64 in (True, False)]
        out += [{"scene": scene, "batches": [str(b)]} for b in swept if b >= WIDE]
    if SWEEP_SCENE in args.scenes:
        out.append(
            {
                "scene": SWEEP_SCENE,
                "memory_horizons": [str(h) for h in HORIZONS],
                "memory_iterations": [str(i) for i in ITERATIONS],
            }
        )
    if FIRST_SCENE in args.scenes:
        out.append({"scene": FIRST_SCENE, "first": True, "compare": COMPARE})
    return out


def measured(job: dict[str, Any], cache: str | None) -> list[dict]:
    """The rows of one process.

    Raises:
      RuntimeError: it failed; its last words are in the message.
    """
    command = [sys.executable, "-m", "experiments.gradient_measure"]
    for name, value in job.items():
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            command.append(f"--{flag}" if value else f"--no-{flag}")
        else:
            command += [f"--{flag}", *(value if isinstance(value, list) else [str(value)])]
    environment = {k: v for k, v in os.environ.items() if k != "JAX_COMPILATION_CACHE_DIR"}
    environment["WORLDMODEL_BENCH_BEGAN"] = repr(time.time())
    if cache is not None:
        environment["JAX_COMPILATION_CACHE_DIR"] = cache
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def main(args: Args) -> int:
    """Measures what is not measured yet; one JSON line at the end."""
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / "gradients.json"
    provenance = runtime.provenance()
    kept = json.loads(path.read_text()) if path.is_file() else {}
    had = kept.get("provenance", {})
    same = all(had.get(key) == provenance[key] for key in ("versions", "cpu", "devices"))
    done: dict[str, dict] = kept["jobs"] if same else {}
    command = f"python -m experiments.bench_gradients --out {args.out} --scenes "
    command += f"{' '.join(args.scenes)} --batches {' '.join(map(str, args.batches))}"
    todo = jobs(args)
    began = time.monotonic()
    for i, job in enumerate(todo):
        key = json.dumps(job)
        if key in done:
            continue
        runtime.log(f"{i + 1}/{len(todo)} {key}  {time.monotonic() - began:.0f} s so far")
        if job.get("first"):
            with tempfile.TemporaryDirectory() as cache:  # cold, then cached
                rows = [
                    row | {"cache": state}
                    for state in ("cold", "cached")
                    for row in measured(job, cache)
                ]
        else:
            rows = measured(job, None)
        done[key] = {"commit": provenance["commit"], "rows": rows}
        _save(path, {"command": command, "provenance": provenance, "jobs": done})
    done = {key: done[key] for key in map(json.dumps, todo)}
    result = {"command": command, "provenance": provenance, "jobs": done}
    _save(path, result)
    rows = rows_of(result)
    text, summary = markdown(rows, provenance, command)
    (args.out / "gradients.md").write_text(text)
    draw(rows, provenance, command, args.out / "gradients.png")
    print(json.dumps(summary | {"out": str(args.out)}))
    return 0


def rows_of(result: dict[str, Any]) -> list[dict]:
    """Every row of gradients.json, with the commit it was measured at."""
    entries = result["jobs"].values()
    return [row | {"commit": entry["commit"]} for entry in entries for row in entry["rows"]]


def _save(path: Path, result: dict[str, Any]) -> None:
    path.with_suffix(".part").write_text(json.dumps(result, indent=1) + "\n")
    path.with_suffix(".part").replace(path)


if __name__ == "__main__":
    sys.exit(runtime.run(main, tyro.cli(Args)))
