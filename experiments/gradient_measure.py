"""One measurement of the gradient benchmark, in a process of its own; ``bench_gradients`` calls it.

A process measures one scene in one precision: the precision is global to JAX, and so is the patch
that unrolls MJX's solver. It prints one JSON line per measurement.

Variants, all of the same rollout and the same loss, a fixed random mix of final positions and
velocities, differentiated in parameters, start and controls:

- ``forward``: stock ``mjx.step``;
- ``gradient``: reverse mode through ``worldmodel.physics.step``;
- ``unrolled``: reverse mode through stock MJX, its solver's loop a ``scan`` of all iterations;
- ``remembered``: the same without this project's checkpoint per step: every residual is kept;
- ``one``: reverse mode through stock MJX with ``iterations=1``, what its users fall back on.
"""

import contextlib
import dataclasses
import functools
import itertools
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

from experiments.gradient_scenes import SCENES, Bench
from worldmodel import physics, programs, runtime
from worldmodel._mujoco import c_rollout, mjx, mujoco
from worldmodel.mjcf import to_mjcf
from worldmodel.physics import oracle, parameters

VARIANTS = ("forward", "gradient", "unrolled", "remembered", "one")
REPEATS = 5  # the median is reported
SPREAD = 0.05  # m/s, rad/s: how the states of a batch differ
ABREAST = 512  # states at once on a CPU, in every variant: XLA did not come back from 4096
# Of differences. Over 32 steps a corner that only just touches is near: 1e-5 m steps over it.
EPSILON = {"qpos": 1e-6}
WIDE = {True: 3e-5, False: 3e-4}  # by x64: what single precision rounds off is divided by it
# Widths of all differences, times those: a touch within a width is one that the next does not
# agree with.
WIDTHS = {True: (1.0, 0.3, 0.1, 0.03), False: (1.0, 3.0)}
AGREE = 1e-3  # relative: differences of two widths that agree


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    scene: str
    x64: bool = True
    batches: tuple[int, ...] = ()  # forward and gradient
    compare: int = 0  # batch at which the other variants run; 0: not at all
    horizon: int = 32  # physics steps
    iterations: int = 10  # of the solver
    memory_horizons: tuple[int, ...] = ()  # compiled only
    memory_iterations: tuple[int, ...] = ()  # compiled only
    errors: bool = False  # against C MuJoCo
    first: bool = False  # seconds from the start of this process to the first gradient


class Rollouts:
    """The scene's rollout and its variants."""

    def __init__(self, bench: Bench, horizon: int) -> None:
        self.bench, self.horizon = bench, horizon
        model = bench.scene.mj_model
        random = np.random.default_rng(0)
        self.weights = jnp.asarray(random.normal(size=model.nq + model.nv))
        self.at: dict[str, Any] = {
            "parameters": {
                name: jnp.asarray(0.1 * random.normal(size=u.shape))
                for name, u in parameters.zeros(bench.free).items()
            },
            "qpos": jnp.asarray(bench.qpos),
            "qvel": jnp.asarray(bench.qvel),
            "ctrl": jnp.asarray(bench.ctrl),
        }

    def loss(
        self,
        x: dict[str, Any],
        *,
        step: Callable,
        iterations: int | None = None,
        remember: bool = False,
    ) -> Any:
        """A mix of the final positions and velocities: (), from one state."""
        scene = self.bench.scene
        model = parameters.apply(scene, scene.mjx_model(), self.bench.free, x["parameters"])
        if iterations is not None:
            model = model.tree_replace({"opt.iterations": iterations})
        blank = mjx.make_data(scene.mj_model).replace(ctrl=x["ctrl"])

        def body(carry: tuple, _: None) -> tuple[tuple, None]:
            qpos, qvel, warmstart = carry
            data = blank.replace(qpos=qpos, qvel=qvel, qacc_warmstart=warmstart)
            data = step(model, data)
            return (data.qpos, data.qvel, jax.lax.stop_gradient(data.qacc_warmstart)), None

        keep = jax.checkpoint_policies.save_only_these_names(physics.SOLUTION)
        start = x["qpos"], x["qvel"], jnp.zeros_like(x["qvel"])
        body = body if remember else jax.checkpoint(body, policy=keep)
        (qpos, qvel, _), _ = jax.lax.scan(body, start, length=self.horizon)
        return self.weights @ jnp.concatenate([qpos, qvel])

    def batch(self, size: int) -> dict[str, Any]:
        """``size`` states that differ in their velocities; the parameters are shared."""
        noise = SPREAD * np.random.default_rng(1).normal(size=(size, len(self.bench.qvel)))
        noise[0] = 0.0
        tiled = {k: jnp.tile(self.at[k], (size, 1)) for k in ("qpos", "qvel", "ctrl")}
        tiled["qvel"] += noise
        return {"parameters": self.at["parameters"], **tiled}

    def total(self, variant: str) -> Callable[[dict[str, Any]], Any]:
        """The mean loss of a batch, or its gradient in everything."""
        step = physics.step if variant == "gradient" else mjx.step
        one = functools.partial(
            self.loss,
            step=step,
            iterations=1 if variant == "one" else None,
            remember=variant == "remembered",
        )
        narrow = jax.default_backend() == "cpu"

        def mean(x: dict[str, Any]) -> Any:
            states = {k: x[k] for k in ("qpos", "qvel", "ctrl")}
            here = lambda s: one({"parameters": x["parameters"], **s})  # noqa: E731
            if narrow and len(states["qpos"]) > ABREAST:
                return jnp.mean(jax.lax.map(here, states, batch_size=ABREAST))
            return jnp.mean(jax.vmap(here)(states))

        return mean if variant == "forward" else jax.value_and_grad(mean)


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
    """The executable of a variant, and what compiling it took."""
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


def timed(rollouts: Rollouts, variant: str, size: int, iterations: int) -> dict:
    """A row: seconds per call (median), and what compiling took."""
    program, row = compiled(rollouts, variant, size, iterations)
    x = rollouts.batch(size)
    out = jax.block_until_ready(program(x))
    finite = all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(out))
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        jax.block_until_ready(program(x))
        seconds.append(time.perf_counter() - began)
    median = statistics.median(seconds)
    return row | {
        "seconds": median,
        "least_s": min(seconds),
        "greatest_s": max(seconds),
        "steps_per_s": size * rollouts.horizon / median,
        "finite": finite,
    }


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

    def play() -> float:
        began = time.perf_counter()
        c_rollout.rollout(
            model, workers, states, ctrl, nstep=rollouts.horizon, persistent_pool=True
        )
        return time.perf_counter() - began

    play()
    median = statistics.median(play() for _ in range(REPEATS))
    return {
        "variant": "c",
        "batch": size,
        "horizon": rollouts.horizon,
        "threads": threads,
        "seconds": median,
        "steps_per_s": size * rollouts.horizon / median,
    }


def errors(rollouts: Rollouts) -> dict:
    """The gradient against fourth-order differences of C MuJoCo on recompiled models.

    Both in float64 on C's side; ours in this process's precision.
    """
    bench, horizon = rollouts.bench, rollouts.horizon
    scene = bench.scene
    apply = jax.jit(lambda u: parameters.apply(scene, scene.mjx_model(), bench.free, u))
    grad = jax.jit(jax.value_and_grad(functools.partial(rollouts.loss, step=physics.step)))
    value, ours = grad(rollouts.at)
    weights = np.asarray(rollouts.weights, float)

    def final(x: dict[str, Any]) -> np.ndarray:
        model = mujoco.MjModel.from_xml_string(to_mjcf(scene.spec, apply(x["parameters"])))
        model.opt.tolerance, model.opt.iterations, model.opt.ls_iterations = 1e-14, 100, 50
        ctrl = np.tile(np.asarray(x["ctrl"], float), (horizon, 1))
        qpos, qvel = oracle.trajectory(
            model, np.asarray(x["qpos"], float), np.asarray(x["qvel"], float), ctrl, 1
        )
        return weights[None] @ np.concatenate([qpos[-1], qvel[-1]])

    names = [*(("parameters", n) for n in rollouts.at["parameters"]), "qpos", "qvel", "ctrl"]
    exact = bool(jax.config.values["jax_enable_x64"])

    def differences(width: float) -> np.ndarray:
        truth = []
        for name in names:
            key, inner = name if isinstance(name, tuple) else (name, None)
            here = np.asarray(rollouts.at[key] if inner is None else rollouts.at[key][inner], float)

            def at(values: np.ndarray, key: str = key, inner: str | None = inner) -> np.ndarray:
                x = dict(rollouts.at)
                x[key] = values if inner is None else dict(x[key], **{inner: jnp.asarray(values)})
                return final(x)

            if here.size:
                epsilon = width * EPSILON.get(key, WIDE[exact])
                truth.append(oracle.differences(at, here, epsilon)[0])
        return np.concatenate(truth)

    truth, disagreement, width = agreeing(differences, WIDTHS[exact])
    leaves = [ours[n] if isinstance(n, str) else ours[n[0]][n[1]] for n in names]
    mine = np.concatenate([np.asarray(leaf, float).ravel() for leaf in leaves])
    return {
        "variant": "error",
        "horizon": horizon,
        "numbers": len(truth),
        "relative": float(np.linalg.norm(mine - truth) / np.linalg.norm(truth)),
        "cosine": float(mine @ truth / np.linalg.norm(mine) / np.linalg.norm(truth)),
        "norm": float(np.linalg.norm(truth)),
        "norm_of_ours": float(np.linalg.norm(mine)),
        "disagreement": disagreement,
        "width": width,
        "value": float(value),
        "value_of_c": float(final(rollouts.at)[0]),
    }


def agreeing(
    differences: Callable[[float], np.ndarray], widths: tuple[float, ...]
) -> tuple[np.ndarray, float, float]:
    """Differences of the first width that those of the next agree with; else of the last one.

    Returns:
      (numbers,) differences; how far two widths' are from one another, relative; the width.
    """
    here = differences(widths[0])
    disagreement = np.inf
    for width, other in itertools.pairwise(widths):
        there = differences(other)
        disagreement = float(np.linalg.norm(there - here) / np.linalg.norm(there))
        if disagreement <= AGREE:
            return here, disagreement, width
        here = there
    return here, disagreement, widths[-1]


def measure(args: Args, began: float) -> Iterator[dict]:
    """The rows of one process."""
    bench = SCENES[args.scene]
    exact = 100 if args.x64 else 50
    if args.first:
        rollouts = Rollouts(bench(args.iterations), args.horizon)
        size = args.compare or 1
        gradient = programs.kept(rollouts.total("gradient"))
        jax.block_until_ready(gradient(rollouts.batch(size)))
        seconds = time.time() - began
        yield {"variant": "first", "batch": size, "horizon": args.horizon, "first_s": seconds}
        return
    if args.errors:
        for horizon in (1, args.horizon):
            yield errors(Rollouts(bench(exact), horizon))
    for size in args.batches:
        rollouts = Rollouts(bench(args.iterations), args.horizon)
        yield timed(rollouts, "forward", size, args.iterations)
        yield timed(rollouts, "gradient", size, args.iterations)
        yield timed_c(rollouts, size)
    if args.compare:
        rollouts = Rollouts(bench(args.iterations), args.horizon)
        for variant in ("unrolled", "one"):
            yield timed(rollouts, variant, args.compare, args.iterations)
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
    main(tyro.cli(Args))
