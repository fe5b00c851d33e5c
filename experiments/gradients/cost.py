"""What a gradient through contact costs, beside its alternatives: time, compilation, memory.

Question: what does the gradient of 64 rollouts cost, as a multiple of simulating them?
Command:  python -m experiments.gradients.cost --out experiments/results/gradients/cost
Runtime:  half an hour on 2 idle cores; with --scenes hopper --batches 1 --variants forward gradient
          two minutes
Expected: gradient / forward 1.4 to 2.2 on cube, elbow, T-block and gripper, 3 on the hopper, where
          unrolled MJX costs 6 to 43; its compilation at most 4.4 times the forward's

``rollouts`` has the variants; ``c`` is C MuJoCo on all cores. Ratios are within one process. The
scan's carry packed into one array cost 0.8 to 1.4 times as much: no gain.
"""

import contextlib
import copy
import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments import records
from experiments.gradients.rollouts import (
    ITERATIONS,
    SCENES,
    STEPS,
    VARIANTS,
    Bench,
    batch,
    program,
    unrolled_solver,
)
from experiments.records import Row
from worldmodel import runtime
from worldmodel.scene.replay import Replayer

REPEATS, LEAST_S = 5, 1.0  # calls of which the median counts: at least so many, and so long


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    out: Path
    scenes: tuple[str, ...] = tuple(SCENES)
    batches: tuple[int, ...] = (64,)  # states at once
    variants: tuple[str, ...] = VARIANTS  # ``forward`` among them


def repeated(call: Callable[[], Any]) -> float:
    """Median seconds of a call, after one to warm up."""
    call()
    seconds: list[float] = []
    while len(seconds) < REPEATS or sum(seconds) < LEAST_S:
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def measured(bench: Bench, variant: str, size: int) -> Row:
    """Seconds of a call and of its tracing and compilation, and bytes of its temporaries."""
    x = batch(bench, size)
    began = time.perf_counter()
    with unrolled_solver() if variant == "unrolled" else contextlib.nullcontext():
        lowered = jax.jit(program(bench, variant)).lower(x)
    executable = lowered.compile()
    compile_s = time.perf_counter() - began
    seconds = repeated(lambda: jax.block_until_ready(executable(x)))
    return {"seconds": seconds, "compile_s": compile_s} | checked(executable, x)


def checked(executable: Any, x: Any) -> Row:
    """Bytes of a program's temporaries, and whether what it returns is finite."""
    memory = executable.memory_analysis()
    leaves = jax.tree.leaves(executable(x))
    return {
        "temporary_bytes": memory.temp_size_in_bytes if memory else None,
        "finite": all(bool(jnp.isfinite(leaf).all()) for leaf in leaves),
    }


def measured_c(bench: Bench, size: int) -> Row:
    """The same rollouts by C MuJoCo's batched ``rollout``, on all cores."""
    model = copy.copy(bench.scene.mj_model)
    model.opt.iterations = ITERATIONS
    x, replayer = batch(bench, size), Replayer(model)
    states, memory = replayer.states(x["qpos"], x["qvel"]), replayer.memory(size, 1)
    ctrl = np.tile(bench.ctrl, (size, STEPS, 1))
    return {"seconds": repeated(lambda: replayer.play(states, ctrl, 1, memory))}


def over(variant: str, of: str = "seconds") -> Callable[[Row], str | None]:
    """A column: a variant's figure as a multiple of the forward simulation's."""

    def cell(row: Row) -> str | None:
        if variant not in row:
            return None
        finite = of != "seconds" or row[variant].get("finite", True)
        return f"{row[variant][of] / row['forward'][of]:.2f}" + " (not finite)" * (not finite)

    return cell


def memory(row: Row) -> str | None:
    """A column: temporaries of the gradient over those of the unrolled one."""
    if not {"gradient", "unrolled"} <= set(row):
        return None
    return f"{row['gradient']['temporary_bytes'] / row['unrolled']['temporary_bytes']:.3f}"


COLUMNS: records.Columns = {
    "scene": "scene",
    "batch": "batch",
    "forward [steps/s]": lambda r: f"{STEPS * r['batch'] / r['forward']['seconds']:.0f}",
    **{variant: over(variant) for variant in (*VARIANTS[1:], "c")},
    "compile forward [s]": lambda r: f"{r['forward']['compile_s']:.0f}",
    "compile gradient": over("gradient", "compile_s"),
    "compile unrolled": over("unrolled", "compile_s"),
    "memory gradient / unrolled": memory,
}
TITLE = "What a gradient costs"
NOTE = (
    f"Rollouts of {STEPS} steps of 2 ms, {ITERATIONS} solver iterations. Variants and their "
    "compilation: multiples of *forward*, the same rollouts by `mjx.step`."
)


def main(args: Args) -> int:
    """Measures scene after scene; prints one JSON line at the end."""
    runtime.configure(cache=False)
    rows: list[Row] = []
    for scene in args.scenes:
        bench = SCENES[scene]()
        for size in args.batches:
            rows.append({"scene": scene, "batch": size, "c": measured_c(bench, size)})
            for variant in args.variants:
                runtime.log(f"{scene}, {size} states: {variant}")
                rows[-1][variant] = measured(bench, variant, size)
            records.write(args.out, TITLE, rows, COLUMNS, note=NOTE)
    print(json.dumps({"out": str(args.out), "rows": len(rows)}))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
