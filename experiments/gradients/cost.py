"""What a gradient through contact costs, beside its alternatives: time, compilation, memory.

Question: what does the gradient of 64 rollouts cost, as a multiple of simulating them?
Command:  python -m experiments.gradients.cost --out experiments/results/gradients/cost
Runtime:  half an hour on 2 idle cores; with --scenes hopper --batches 1 --variants forward gradient
          two minutes
Expected: gradient / forward 1.4 to 2.2 on cube, elbow, T-block and gripper, 3 on the hopper, where
          unrolled MJX costs 6 to 43; its compilation at most 4.4 times the forward's

All variants have the same rollouts and the same loss, a fixed random mix of final positions and
velocities; gradients are in parameters, start and controls.

- ``forward``: stock ``mjx.step``, no gradient;
- ``gradient``: reverse mode through ``worldmodel.physics.step``;
- ``unrolled``: reverse mode through stock MJX, its solver's loop a ``scan`` of all iterations;
- ``one``: reverse mode through stock MJX with ``iterations=1``, its users' usual workaround;
- ``differences``: one-sided differences of stock MJX, the whole batch anew for every number;
- ``unsolved``: ``forward`` without an iteration of the solver; where it is asked for;
- ``c``: C MuJoCo on all cores.
"""

import contextlib
import copy
import dataclasses
import functools
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from experiments import records
from experiments.recordings.problems import CUBE, ELBOW, free_parameters
from experiments.records import Row
from worldmodel import physics, runtime
from worldmodel._mujoco import mjx
from worldmodel.physics import parameters
from worldmodel.scene import FreeParameter, Scene, load_scene
from worldmodel.scene.replay import Replayer

STEPS, ITERATIONS = 32, 10  # of a rollout; of the solver, in every scene
SPREAD = 0.05  # [m/s, rad/s]: how the states of a batch differ
DIFFERENCE = 1e-6  # of a one-sided difference
CPU_BATCH = 512  # states at once on a CPU: XLA does not finish 4096
REPEATS, LEAST_S = 5, 1.0  # calls of which the median counts: at least so many, and so long
VARIANTS = ("forward", "gradient", "unrolled", "one", "differences")
Point = dict[str, Any]  # parameters, qpos, qvel, ctrl
STEP_HZ = 500.0
HERE = Path(__file__).parent


class Bench(NamedTuple):
    """An MJCF, what is differentiated, and a state in which everything touches."""

    mjcf: Path
    free: tuple[FreeParameter, ...]
    qpos: tuple[float, ...]  # (nq,)
    qvel: tuple[float, ...]  # (nv,)
    ctrl: tuple[float, ...] = ()  # (nu,) held

    def scene(self) -> Scene:
        """The scene, one physics step per control step."""
        return load_scene(self.mjcf, control_hz=STEP_HZ, substeps=1)


SCENES = {
    # The tossed cube, tilted, an edge in the table.
    "cube": Bench(
        CUBE.mjcf,
        CUBE.free,
        qpos=(0, 0, 0.0640, np.cos(0.15), 0, np.sin(0.15), 0),
        qvel=(0.5, 0.2, -0.1, 0.3, 0.4, 1.0),
    ),
    # The tossed elbow, flat and a millimetre deep in the table, turning and opening.
    "elbow": Bench(
        ELBOW.mjcf,
        ELBOW.free,
        qpos=(0, 0, 0.0240, 1, 0, 0, 0, 0),
        qvel=(0.6, 0.3, 0, 0, 0, 2.0, 1.0),
    ),
    # A T on the table, pushed off its centre.
    "t_block": Bench(
        HERE / "t_block.xml",
        (
            *free_parameters("mass com inertia", "block"),
            *free_parameters("friction solref solimp geom_size geom_pos", "bar", "stem"),
            *free_parameters("friction solref solimp", "pusher"),
            *free_parameters("damping armature", "push_x", "push_y"),
            *free_parameters("gain", "servo_x", "servo_y"),
        ),
        qpos=(0, 0, 0.0198, 1, 0, 0, 0, 0, 0),
        qvel=(0, -0.2, 0, 0, 0, -0.5, 0, -0.25),
        ctrl=(0, -0.05),
    ),
    # A planar hopper that lands on its foot.
    "hopper": Bench(
        HERE / "hopper.xml",
        (
            *free_parameters("mass com inertia", "torso", "thigh", "leg", "foot"),
            *free_parameters("damping armature", "hip", "knee", "ankle"),
            *free_parameters("gain", "hip", "knee", "ankle"),
            *free_parameters("friction solref solimp", "foot"),
        ),
        qpos=(0, 0.009, 0.02, -0.05, -0.1, 0.07),
        qvel=(0.8, -0.6, 0.2, 0.5, -0.5, 0.3),
        ctrl=(0.1, -0.2, 0.1),
    ),
    # Two fingers that squeeze a cube on the table and begin to lift it.
    "gripper": Bench(
        HERE / "gripper.xml",
        (
            *free_parameters("mass com inertia", "cube"),
            *free_parameters("friction solref geom_size", "cube"),
            *free_parameters("friction solref", "left", "right"),
            *free_parameters("damping armature", "lift", "left", "right"),
            *free_parameters("gain", "lift", "left", "right"),
        ),
        qpos=(0, 0, 0.0249, 1, 0, 0, 0, 0, -0.0008, -0.0008),
        qvel=(0, 0, 0, 0, 0, 0, 0.1, 0.02, 0.03),
        ctrl=(0.02, 4.0, 4.0),
    ),
}


def batch(bench: Bench, size: int) -> Point:
    """``size`` states that differ in their velocities; the parameters are shared."""
    random = np.random.default_rng(1)
    noise = SPREAD * random.normal(size=(size, len(bench.qvel)))
    noise[0] = 0.0
    moved = {
        name: 0.1 * random.normal(size=u.shape) for name, u in parameters.zeros(bench.free).items()
    }
    states = {k: np.tile(getattr(bench, k), (size, 1)) for k in ("qpos", "qvel", "ctrl")}
    states["qvel"] = states["qvel"] + noise
    return jax.tree.map(jnp.asarray, {"parameters": moved, **states})


def loss(
    scene: Scene, free: tuple[FreeParameter, ...], step: Callable, iterations: int, x: Point
) -> jax.Array:
    """() of one state, by ``physics.step`` or ``mjx.step`` with so many solver iterations."""
    model = parameters.apply(scene, scene.mjx_model(), free, x["parameters"])
    model = model.tree_replace({"opt.iterations": iterations})
    blank = mjx.make_data(scene.mj_model).replace(ctrl=x["ctrl"])
    weights = np.random.default_rng(0).normal(size=scene.mj_model.nq + scene.mj_model.nv)

    @functools.partial(
        jax.checkpoint, policy=jax.checkpoint_policies.save_only_these_names(physics.SOLUTION)
    )
    def body(carry: tuple, _: None) -> tuple[tuple, None]:
        qpos, qvel, warmstart = carry
        data = step(model, blank.replace(qpos=qpos, qvel=qvel, qacc_warmstart=warmstart))
        return (data.qpos, data.qvel, jax.lax.stop_gradient(data.qacc_warmstart)), None

    start = x["qpos"], x["qvel"], jnp.zeros_like(x["qvel"])
    (qpos, qvel, _), _ = jax.lax.scan(body, start, length=STEPS)
    return jnp.asarray(weights) @ jnp.concatenate([qpos, qvel])


def program(bench: Bench, variant: str) -> Callable[[Point], Any]:
    """The mean loss of a batch, or with its gradient in everything; by ``differences`` (numbers,),
    in what moves all states of the batch alike."""
    step = physics.step if variant == "gradient" else mjx.step
    iterations = {"one": 1, "unsolved": 0}.get(variant, ITERATIONS)
    one = functools.partial(loss, bench.scene(), bench.free, step, iterations)

    def mean(x: Point) -> jax.Array:
        states = {k: x[k] for k in ("qpos", "qvel", "ctrl")}
        here = lambda s: one({"parameters": x["parameters"], **s})  # noqa: E731
        if jax.default_backend() == "cpu" and len(states["qpos"]) > CPU_BATCH:
            return jnp.mean(jax.lax.map(here, states, batch_size=CPU_BATCH))
        return jnp.mean(jax.vmap(here)(states))

    def differences(x: Point) -> jax.Array:
        first = {k: v if k == "parameters" else v[0] for k, v in x.items()}
        numbers, unflatten = ravel_pytree(jax.tree.map(jnp.zeros_like, first))
        moves = DIFFERENCE * jnp.eye(numbers.size + 1, numbers.size, dtype=numbers.dtype)
        losses = jax.lax.map(lambda by: mean(jax.tree.map(jnp.add, x, unflatten(by))), moves)
        return (losses[:-1] - losses[-1]) / DIFFERENCE

    whole = {"forward": mean, "unsolved": mean, "differences": differences}
    return whole.get(variant) or jax.value_and_grad(mean)


@contextlib.contextmanager
def unrolled_solver() -> Iterator[None]:
    """While tracing: MJX's solver as a scan of all iterations, which reverse mode accepts."""
    original = jax.lax.while_loop

    def loop(cond: Callable, body: Callable, init: Any) -> Any:
        if cond.__module__ != "mujoco.mjx._src.solver":
            return original(cond, body, init)

        def once(x: Any, _: None) -> tuple[Any, None]:
            return jax.lax.cond(cond(x), body, lambda x: x, x), None

        return jax.lax.scan(once, init, length=ITERATIONS)[0]

    with mock.patch.object(jax.lax, "while_loop", loop):
        yield


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    out: Path
    scenes: tuple[str, ...] = tuple(SCENES)
    batches: tuple[int, ...] = (64,)  # states at once
    variants: tuple[str, ...] = VARIANTS  # ``forward`` among them
    x64: bool = True  # double precision


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
    """Seconds of a call and of its tracing and compilation, bytes of its temporaries, and whether
    what it returns is finite."""
    x = batch(bench, size)
    if variant == "c":
        model = copy.copy(bench.scene().mj_model)
        model.opt.iterations = ITERATIONS
        replayer = Replayer(model)
        states, memory = replayer.states(x["qpos"], x["qvel"]), replayer.memory(size, 1)
        ctrl = np.tile(bench.ctrl, (size, STEPS, 1))
        return {"seconds": repeated(lambda: replayer.play(states, ctrl, 1, memory))}
    began = time.perf_counter()
    with unrolled_solver() if variant == "unrolled" else contextlib.nullcontext():
        lowered = jax.jit(program(bench, variant)).lower(x)
    executable = lowered.compile()
    compile_s = time.perf_counter() - began
    memory = executable.memory_analysis()
    return {
        "seconds": repeated(lambda: jax.block_until_ready(executable(x))),
        "compile_s": compile_s,
        "temporary_bytes": memory.temp_size_in_bytes if memory else None,
        "finite": all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(executable(x))),
    }


def over(
    variant: str, of: str = "seconds", base: str = "forward", digits: int = 2
) -> Callable[[Row], str | None]:
    """A column: a variant's figure as a multiple of another's."""

    def cell(row: Row) -> str | None:
        if not {variant, base} <= set(row):
            return None
        finite = of != "seconds" or row[variant].get("finite", True)
        return f"{row[variant][of] / row[base][of]:.{digits}f}" + " (not finite)" * (not finite)

    return cell


COLUMNS: records.Columns = {
    "scene": "scene",
    "batch": "batch",
    "forward [steps/s]": lambda r: f"{STEPS * r['batch'] / r['forward']['seconds']:.0f}",
    **{variant: over(variant) for variant in (*VARIANTS[1:], "c")},
    "compile forward [s]": lambda r: f"{r['forward']['compile_s']:.0f}",
    "compile gradient": over("gradient", "compile_s"),
    "compile unrolled": over("unrolled", "compile_s"),
    "memory gradient / unrolled": over("gradient", "temporary_bytes", "unrolled", 3),
}
TITLE = "What a gradient costs"
NOTE = (
    f"Rollouts of {STEPS} steps of 2 ms, {ITERATIONS} solver iterations. Variants and their "
    "compilation: multiples of *forward*, the same rollouts by `mjx.step`."
)


def main(args: Args) -> int:
    """Measures scene after scene; prints one JSON line at the end."""
    runtime.configure(x64=args.x64, cache=False)
    rows: list[Row] = []
    for scene in args.scenes:
        for size in args.batches:
            rows.append({"scene": scene, "batch": size})
            for variant in ("c", *args.variants):
                runtime.log(f"{scene}, {size} states: {variant}")
                rows[-1][variant] = measured(SCENES[scene], variant, size)
            records.write(args.out, TITLE, rows, COLUMNS, note=NOTE)
    print(json.dumps({"out": str(args.out), "rows": len(rows)}))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
