"""One public scene, in a process of its own; ``public`` calls it.

Question: does this scene step as in ``mjx.step``, and is its gradient right?
Command:  python -m experiments.gradients.public_row --scene quick/finger.xml
Runtime:  one to ten minutes, most of them compiling
Expected: JSON lines, each with more of one row

Float64. *Shipped*: the scene's own solver and iterations; *converged*: the same problem solved by
Newton's method until it has converged. The step's derivative is that of the converged problem, so
both are compared with central differences of ``mjx.step``, converged: after one step from one
state for both; after ``SHORT`` steps for the converged alone, whose path that is.
"""

import contextlib
import dataclasses
import fcntl
import functools
import json
import resource
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from experiments.gradients.measure import alone, repeated
from experiments.gradients.one_sided import Slopes, slopes
from experiments.gradients.public_problem import (
    LONG,
    SHORT,
    Problem,
    Start,
    converged,
    start,
    trajectory_of_c,
)
from experiments.gradients.public_scenes import QUICK, QUICK_FOLDER, SCENES, PublicScene
from worldmodel import physics, runtime
from worldmodel._mujoco import mjx, mujoco
from worldmodel.errors import InputError
from worldmodel.scene import SceneWarning
from worldmodel.scene.collisions import allocation

# Of the differences, in [m/s, rad/s], and in halves of a control's range and logarithms. The narrow
# ones are for states a little before a touch, at which velocities jump.
WIDTHS = {"qvel": (1e-3, 1e-4, 1e-5, 1e-6, 1e-7)}
WIDE = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
DEAD = 1e-12  # a slope of a state, in its own units: rounding of a state of order one
NUMBERS = 24  # of a leaf, drawn at random, that are compared with differences
Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    scene: str  # its name
    scenes: Path = QUICK_FOLDER  # folder of the clones
    seed: int = 0  # of the control, the velocities and the cotangent
    batch: int = 0  # states at once that are timed too; 0: none
    memory_gb: float = 12.0  # of this process's data, at most; 0: any
    turn: int = -1  # an open file, locked as shared while this process computes; -1: none


class Compiled:
    """Executables of the problem's functions: one for each set of static options."""

    def __init__(self) -> None:
        self.known: dict[Any, tuple[Any, float]] = {}

    def __call__(
        self, name: str, function: Callable, *inputs: Any, options: dict | None = None
    ) -> tuple[Any, float]:
        """The executable, and the seconds that tracing and compiling it took.

        Args:
          options: of XLA, if it is not known yet.
        """
        key = name, jax.tree.structure(inputs)
        if key not in self.known:
            with runtime.compiling(name):
                began = time.perf_counter()
                executable = jax.jit(function).lower(*inputs).compile(options)
                self.known[key] = executable, time.perf_counter() - began
        return self.known[key]


def facts(model: mujoco.MjModel) -> Row:
    """Sizes and options."""
    sizes, option = allocation(model), model.opt
    name = lambda kind, value: kind(int(value)).name.split("_")[1].lower()  # noqa: E731
    return {
        "nv": int(model.nv),
        "nu": int(model.nu),
        "slots": sizes.slots,
        "rows": sizes.rows.total,
        "solver": f"{name(mujoco.mjtSolver, option.solver)} {option.iterations}",
        "cone": name(mujoco.mjtCone, option.cone),
        "integrator": name(mujoco.mjtIntegrator, option.integrator),
    }


def distance(path: np.ndarray, other: np.ndarray) -> list[float | None]:
    """Largest difference of two paths after one step and after all; None where not finite."""
    largest = np.abs(path - other).max(axis=1)
    return [float(x) if np.isfinite(x) else None for x in largest[[0, -1]]]


def error_of(ours: np.ndarray, reference: Slopes, output: int) -> Row:
    """One leaf's gradient against differences, kinks left out.

    Args:
      ours: (n,) the numbers that were displaced.
      output: whose slopes are meant.

    Returns:
      ``error`` and ``reference``, the disagreement of two widths' differences, are norms over the
      greater of the two gradients' norms; a ``note`` stands where there is no error to give.
    """
    kink = reference.kink[output]
    row: Row = {"numbers": int((~kink).sum()), "kinks": int(kink.sum())}
    truth, unsure = reference.value[output][~kink], reference.disagreement[output][~kink]
    if ours.size == 0:
        return row | {"note": "none"}
    if not np.isfinite(ours).all():
        return row | {"note": "not finite"}
    if kink.all():
        return row | {"note": "kink"}
    norm = max(np.linalg.norm(truth), np.linalg.norm(ours[~kink]))
    if norm <= DEAD:
        return row | {"note": "dead"}
    error = np.linalg.norm(ours[~kink] - truth) / norm
    return row | {"error": float(error), "reference": float(np.linalg.norm(unsure) / norm)}


def measure(public: PublicScene, args: Args) -> Iterator[Row]:
    """Parts of the scene's row, as they are measured."""
    began = time.perf_counter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SceneWarning)
        try:
            scene = public.load(args.scenes)
        except InputError as error:
            yield {"outcome": "refused", "reason": str(error).splitlines()[0]}
            return
    c_model = scene.mj_model
    warned = [str(w.message).splitlines()[0] for w in caught if w.category is SceneWarning]
    yield facts(c_model) | {"load_s": time.perf_counter() - began, "warned": warned}
    at = start(c_model, args.seed)
    yield {"contacts": at.contacts}
    problem, compiled = Problem(scene, at), Compiled()
    shipped = mjx.put_model(c_model)
    random = np.random.default_rng(args.seed)
    cotangent = random.normal(size=c_model.nq + c_model.nv)

    # Values, at the scene's own options.
    x, many = problem.zero, jnp.asarray(LONG)
    theirs, theirs_s = compiled(
        "mjx.step", functools.partial(problem.path, mjx.step), shipped, x, many
    )
    ours, ours_s = compiled(
        "physics.step", functools.partial(problem.path, physics.step), shipped, x, many
    )
    path = np.asarray(ours(shipped, x, many))
    c_path = trajectory_of_c(c_model, at, LONG)
    values = {
        "mjx": distance(path, np.asarray(theirs(shipped, x, many))),
        "c": distance(path, c_path),
    }
    yield {"values": values, "compile_s": {"mjx": theirs_s, "ours": ours_s}}

    # Gradients.
    weights = np.zeros((2, LONG, len(cotangent)))
    weights[0, 0] = weights[1, SHORT - 1] = cotangent
    first, last = jnp.asarray(weights)
    grad = jax.value_and_grad(problem.loss)
    gradient, gradient_s = compiled("the gradient", grad, x, shipped, first)
    at_shipped = gradient(x, shipped, first)[1]
    runtime.log("timing")
    with timing(args.turn):
        times = {
            "c": timed_c(c_model, at),
            "mjx": _per_step(lambda: theirs(shipped, x, many)),
            "ours": _per_step(lambda: ours(shipped, x, many)),
            "gradient": _per_step(lambda: gradient(x, shipped, last)),
        }
    compile_s = {"mjx": theirs_s, "ours": ours_s, "gradient": gradient_s}
    yield {"compile_s": compile_s, "step_s": times}

    c_exact = converged(c_model)
    exact = mjx.put_model(c_exact)
    theirs, _ = compiled("mjx.step", functools.partial(problem.path, mjx.step), exact, x, many)
    # It is called twice and not timed: a third less to compile, half as fast to run.
    cheap = {"xla_backend_optimization_level": 0}
    gradient, _ = compiled("the gradient", grad, x, exact, first, options=cheap)
    exact_path = np.asarray(theirs(exact, x, many))
    values["c_converged"] = distance(exact_path, trajectory_of_c(c_exact, at, LONG))
    yield {"values": values}
    mine = {
        "shipped": (at_shipped, 0),
        "one": (gradient(x, exact, first)[1], 0),
        "short": (gradient(x, exact, last)[1], 1),
    }
    errors: dict[str, Row] = {name: {} for name in mine}
    runtime.log("central differences of mjx.step")
    for leaf, zero in x.items():
        numbers = np.sort(random.permutation(zero.size)[:NUMBERS])

        def moved(number: int, by: float, leaf: str = leaf) -> np.ndarray:
            there = x | ({leaf: x[leaf].at[number].add(by)} if by else {})
            states = np.asarray(theirs(exact, there, jnp.asarray(SHORT)))
            return states[[0, SHORT - 1]] @ cotangent

        reference = slopes(moved, numbers.tolist(), WIDTHS.get(leaf, WIDE))
        for name, (gradients, output) in mine.items():
            errors[name][leaf] = error_of(np.asarray(gradients[leaf])[numbers], reference, output)
    yield {"gradient": errors}
    if args.batch:
        yield {"batch": in_a_batch(problem, shipped, last, args)}
    yield {"outcome": "measured"}


@contextlib.contextmanager
def timing(turn: int) -> Iterator[None]:
    """Waits until every other process that shares the lock is waiting too, or has ended."""
    with alone(turn):
        yield
    if turn >= 0:
        fcntl.flock(turn, fcntl.LOCK_SH)


def _per_step(call: Callable[[], Any], states: int = 1) -> float:
    """Median seconds of one of ``LONG`` steps of one state, after one call to warm up."""
    jax.block_until_ready(call())
    median = statistics.median(repeated(lambda: jax.block_until_ready(call())))
    return median / (LONG * states)


def timed_c(model: mujoco.MjModel, at: Start) -> float:
    """Seconds per step of C MuJoCo in one thread."""
    data = mujoco.MjData(model)

    def play() -> None:
        for name, value in {**at.carried, **at.held, "ctrl": at.ctrl}.items():
            getattr(data, name)[:] = value
        mujoco.mj_step(model, data, nstep=LONG)

    return _per_step(play)


def in_a_batch(problem: Problem, model: mjx.Model, weights: jax.Array, args: Args) -> Row:
    """Seconds per step of one of many states that are stepped at once."""
    noise = 1e-3 * np.random.default_rng(args.seed).normal(size=(args.batch, model.nv))
    x = {name: jnp.tile(value, (args.batch, 1)) for name, value in problem.zero.items()}
    x |= {"qvel": jnp.asarray(noise)}
    many, compiled = jnp.asarray(LONG), Compiled()
    row: Row = {"size": args.batch}
    calls: dict[str, Callable[[], Any]] = {}
    for name, step in (("mjx", mjx.step), ("ours", physics.step)):
        function = jax.vmap(functools.partial(problem.path, step), (None, 0, None))
        play, _ = compiled(f"{name}, {args.batch} at once", function, model, x, many)
        calls[name] = functools.partial(play, model, x, many)
    function = jax.vmap(jax.value_and_grad(problem.loss), (0, None, None))
    play, _ = compiled(f"the gradient, {args.batch} at once", function, x, model, weights)
    calls["gradient"] = functools.partial(play, x, model, weights)
    with timing(args.turn):
        row |= {name: _per_step(call, args.batch) for name, call in calls.items()}
    return row


def main(args: Args) -> None:
    """Prints a JSON line per part."""
    if args.memory_gb:
        most = int(args.memory_gb * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    if args.turn >= 0:
        fcntl.flock(args.turn, fcntl.LOCK_SH)
    runtime.configure(cache=False)
    (public,) = [s for s in (*SCENES, *QUICK) if s.name == args.scene]
    for part in measure(public, args):
        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps(part | {"peak_gb": kilobytes / 2**20}), flush=True)


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Args, description=__doc__)))
