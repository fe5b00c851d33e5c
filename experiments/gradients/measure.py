"""One measurement of the gradient benchmark, in a process of its own; ``bench`` calls it.

Question: what do the programs of one scene in one precision cost?
Command:  python -m experiments.gradients.measure --scene hopper --batches 1 64
Runtime:  minutes, most of them compiling
Expected: one JSON line per measurement

A process measures one scene in one precision: both the precision and the patch that unrolls MJX's
solver are global to JAX.

Variants, all of the same rollout and the same loss, a fixed random mix of final positions and
velocities, differentiated in parameters, start and controls:

- ``forward``: stock ``mjx.step``;
- ``gradient``: reverse mode through ``worldmodel.physics.step``;
- ``step``: the rollout by ``worldmodel.physics.step``, without a gradient;
- ``packed``: ``gradient``, the scan of the rollout carrying one array in place of three;
- ``unfinished``: the same at the point where the solver stopped (``Backward.finish``);
- ``unrolled``: reverse mode through stock MJX, its solver's loop a ``scan`` of all iterations;
- ``remembered``: the same without this project's checkpoint per step: every residual is kept;
- ``one``: reverse mode through stock MJX with ``iterations=1``, its users' usual workaround;
- ``differences``: one-sided differences of stock MJX, the whole batch anew for every number;
- ``bare``, ``bare_gradient``: the first two without the solver's iterations, which shows the time
  spent outside the solver.

All programs of a process are compiled before the first is timed. With ``turn`` the process then
waits until every process that shares that lock has compiled too, and times alone.
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from experiments.gradients.errors import errors
from experiments.gradients.rollouts import Rollouts
from experiments.gradients.scenes import SCENES
from worldmodel import runtime
from worldmodel._mujoco import c_rollout, mujoco
from worldmodel.physics import parameters
from worldmodel.runtime.executables import cached_jit

REPEATS = 5  # at least; the median is reported
LEAST = 1.0  # [s] for which calls are repeated


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    scene: str
    x64: bool = True
    batches: tuple[int, ...] = ()  # forward and gradient
    cost: bool = False  # at these batches ``step``, ``packed`` and ``unfinished`` too
    bare: bool = False  # at these batches without the solver's iterations too
    compare: int = 0  # batch at which the other variants run; 0: not at all
    horizon: int = 32  # physics steps
    iterations: int = 10  # of the solver
    memory_horizons: tuple[int, ...] = ()  # compiled only
    memory_iterations: tuple[int, ...] = ()  # compiled only
    errors: bool = False  # against C MuJoCo
    first: bool = False  # seconds from the start of this process to the first gradient
    turn: int = -1  # an open file, locked as shared while this process compiles; -1: none


@contextlib.contextmanager
def unrolled_solver(variant: str, iterations: int) -> Iterator[None]:
    """While tracing an unrolled variant: MJX's solver as a scan, which reverse mode accepts."""
    if variant not in ("unrolled", "remembered"):
        yield
        return
    original = jax.lax.while_loop

    def loop(cond: Callable, body: Callable, init: Any) -> Any:
        if cond.__module__ != "mujoco.mjx._src.solver":
            return original(cond, body, init)

        def once(x: Any, _: None) -> tuple[Any, None]:
            return jax.lax.cond(cond(x), body, lambda x: x, x), None

        return jax.lax.scan(once, init, length=iterations)[0]

    with mock.patch.object(jax.lax, "while_loop", loop):
        yield


def compiled(rollouts: Rollouts, variant: str, size: int, iterations: int) -> tuple[Any, dict]:
    """The executable of a variant, and a row with the cost of compiling it."""
    function = jax.jit(rollouts.total(variant))
    x = rollouts.batch(size)
    began = time.perf_counter()
    with unrolled_solver(variant, iterations):
        lowered = function.lower(x)
    traced = time.perf_counter()
    program = lowered.compile()
    done = time.perf_counter()
    memory = program.memory_analysis()
    return program, {
        "variant": variant,
        "batch": size,
        "horizon": rollouts.horizon,
        "iterations": iterations,
        "trace_s": traced - began,
        "compile_s": done - traced,
        "temporary_bytes": memory.temp_size_in_bytes if memory else None,
    }


def timed(program: Any, x: dict[str, Any], row: dict) -> dict:
    """A compiled program's row, and its seconds per call (median)."""
    out = jax.block_until_ready(program(x))
    finite = all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(out))
    seconds = repeated(lambda: jax.block_until_ready(program(x)))
    median = statistics.median(seconds)
    return row | {
        "seconds": median,
        "calls": len(seconds),
        "least_s": min(seconds),
        "greatest_s": max(seconds),
        "steps_per_s": row["batch"] * row["horizon"] / median,
        "finite": finite,
    }


def repeated(call: Callable[[], Any]) -> list[float]:
    """Seconds of each of a call's repetitions."""
    seconds: list[float] = []
    while len(seconds) < REPEATS or sum(seconds) < LEAST:
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return seconds


def timed_c(rollouts: Rollouts, size: int) -> dict:
    """The same rollouts by C MuJoCo's batched ``rollout``, on all cores."""
    bench, threads = rollouts.bench, os.cpu_count() or 1
    model = bench.scene.mj_model
    full = mujoco.mjtState.mjSTATE_FULLPHYSICS
    states = np.empty((size, mujoco.mj_stateSize(model, full)))
    data = mujoco.MjData(model)
    batch = rollouts.batch(size)
    for row, qpos, qvel in zip(states, batch["qpos"], batch["qvel"], strict=True):
        data.qpos[:], data.qvel[:] = qpos, qvel
        mujoco.mj_getState(model, data, row, full)
    ctrl = np.tile(bench.ctrl, (size, rollouts.horizon, 1)) if model.nu else None
    workers = [mujoco.MjData(model) for _ in range(threads)]

    def play() -> None:
        c_rollout.rollout(
            model, workers, states, ctrl, nstep=rollouts.horizon, persistent_pool=True
        )

    play()
    median = statistics.median(repeated(play))
    return {
        "variant": "c",
        "batch": size,
        "horizon": rollouts.horizon,
        "threads": threads,
        "seconds": median,
        "steps_per_s": size * rollouts.horizon / median,
    }


@contextlib.contextmanager
def alone(turn: int) -> Iterator[None]:
    """Waits until no other process that shares the lock compiles or times; -1: does not wait."""
    if turn >= 0:
        fcntl.flock(turn, fcntl.LOCK_EX)
    yield
    if turn >= 0:
        fcntl.flock(turn, fcntl.LOCK_UN)


def measure(args: Args, began: float) -> Iterator[dict]:
    """The rows of one process."""
    bench = SCENES[args.scene]
    exact = 100 if args.x64 else 50
    if args.first:
        rollouts = Rollouts(bench(args.iterations), args.horizon)
        size = args.compare or 1
        gradient = cached_jit(rollouts.total("gradient"))
        jax.block_until_ready(gradient(rollouts.batch(size)))
        seconds = time.time() - began
        yield {"variant": "first", "batch": size, "horizon": args.horizon, "first_s": seconds}
        return
    if args.errors:
        for horizon in (1, args.horizon):
            yield errors(Rollouts(bench(exact), horizon))
    rollouts = Rollouts(bench(args.iterations), args.horizon)
    every = ["forward", "gradient"]
    every += ["step", "packed", "unfinished"] if args.cost else []
    every += ["bare", "bare_gradient"] if args.bare else []
    wanted = [(variant, size) for size in args.batches for variant in every]
    others = ("unrolled", "one", "differences") if args.compare else ()
    wanted += [(variant, args.compare) for variant in others]
    ready = [compiled(rollouts, variant, size, args.iterations) for variant, size in wanted]
    with alone(args.turn):
        for program, row in ready:
            yield timed(program, rollouts.batch(row["batch"]), row)
        for size in args.batches:
            yield timed_c(rollouts, size)
    sizes = [(h, args.iterations) for h in args.memory_horizons]
    sizes += [(args.horizon, i) for i in args.memory_iterations]
    for horizon, iterations in sizes:
        rollouts = Rollouts(bench(iterations), horizon)
        for variant in ("gradient", "unrolled", "remembered"):
            yield compiled(rollouts, variant, 1, iterations)[1] | {"memory": True}


def main(args: Args) -> None:
    """Prints one JSON line per measurement."""
    began = float(os.environ.get("WORLDMODEL_BENCH_BEGAN", time.time()))
    runtime.configure(x64=args.x64, cache=bool(os.environ.get("JAX_COMPILATION_CACHE_DIR")))
    for row in measure(args, began):
        own = {"scene": args.scene, "dtype": "float64" if args.x64 else "float32"}
        numbers = sum(u.size for u in parameters.zeros(SCENES[args.scene](2).free).values())
        print(json.dumps(own | {"parameters": numbers} | row), flush=True)
        sys.stderr.write(f"{args.scene} {row['variant']} {row.get('batch', '')}\n")


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
