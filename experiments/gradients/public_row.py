"""One public scene, in a process of its own; ``public`` calls it.

Question: does this scene step as in ``mjx.step``, and is its gradient right?
Command:  python -m experiments.gradients.public_row --scene quick/finger.xml
Runtime:  one to ten minutes, most of them compiling
Expected: one JSON line

Float64. *Shipped*: the scene's own solver and iterations; *converged*: the same problem solved by
Newton's method until it has converged. The step's derivative is that of the converged problem, so
both are compared with central differences of ``mjx.step``, converged: after one step from one
state for both; after ``SHORT`` steps for the converged alone, whose path that is.
"""

import copy
import dataclasses
import functools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.gradients.cost import repeated
from experiments.gradients.differences import JUMP, slope
from experiments.gradients.public_problem import (
    LONG,
    SHORT,
    Problem,
    converged,
    start,
    trajectory_of_c,
)
from experiments.gradients.public_scenes import FOLDER, QUICK, SCENES, PublicScene
from worldmodel import physics, runtime
from worldmodel._mujoco import mjx, mujoco
from worldmodel.errors import InputError
from worldmodel.scene.collisions import allocation

WIDTHS = {"qvel": 1e-4}  # [m/s, rad/s] of the differences
WIDE = 1e-3  # of all else: halves of a control's range, logarithms
DEAD = 1e-12  # a slope of a state, in its own units: rounding of a state of order one
NUMBERS = 24  # of a leaf, drawn at random, that are compared with differences
STEPS: dict[str, Callable] = {"mjx": mjx.step, "ours": physics.step}
Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    scene: str  # its name
    scenes: Path = FOLDER  # folder of the clones
    seed: int = 0  # of the control, the velocities and the cotangent


def compiled(name: str, function: Callable, *inputs: Any, cheap: bool = False) -> tuple[Any, float]:
    """The executable, and the seconds that tracing and compiling it took.

    Args:
      cheap: a third less to compile, half as fast to run.
    """
    options: dict[str, Any] | None = {"xla_backend_optimization_level": 0} if cheap else None
    with runtime.compiling(name):
        began = time.perf_counter()
        executable = jax.jit(function).lower(*inputs).compile(options)
    return executable, time.perf_counter() - began


def facts(model: mujoco.MjModel) -> Row:
    """Sizes and options."""
    sizes, option = allocation(model), model.opt
    solver = mujoco.mjtSolver(int(option.solver)).name.removeprefix("mjSOL_").lower()
    return {
        "nv": int(model.nv),
        "slots": sizes.slots,
        "rows": sizes.rows.total,
        "solver": f"{solver} {option.iterations}",
    }


def distance(path: np.ndarray, other: np.ndarray) -> list[float | None]:
    """Largest difference of two paths after one step and after all; None where not finite."""
    largest = np.abs(path - other).max(axis=1)
    return [float(x) if np.isfinite(x) else None for x in largest[[0, -1]]]


def error_of(ours: np.ndarray, slopes: np.ndarray, jumps: np.ndarray) -> Row:
    """One leaf's gradient against differences, kinks left out; (n,) numbers each.

    Returns:
      ``error`` and ``reference``, the jump of the differences' slope, are norms over the greater of
      the two gradients' norms; a ``note`` stands where there is no error to give.
    """
    kink = np.abs(jumps) > JUMP * np.abs(slopes) + DEAD
    row: Row = {"numbers": int((~kink).sum()), "kinks": int(kink.sum())}
    if ours.size == 0:
        return row | {"note": "none"}
    if not np.isfinite(ours).all():
        return row | {"note": "not finite"}
    if kink.all():
        return row | {"note": "kink"}
    norm = max(np.linalg.norm(slopes[~kink]), np.linalg.norm(ours[~kink]))
    if norm <= DEAD:
        return row | {"note": "dead"}
    error = np.linalg.norm((ours - slopes)[~kink]) / norm
    return row | {"error": float(error), "reference": float(np.linalg.norm(jumps[~kink]) / norm)}


def measure(public: PublicScene, args: Args) -> Row:
    """The scene's row."""
    try:
        scene = public.load(args.scenes)
    except InputError as error:
        return {"outcome": "refused", "reason": str(error).splitlines()[0]}
    model = scene.mj_model
    at = start(model, args.seed)
    problem, many = Problem(scene, at), jnp.asarray(LONG)
    x = problem.zero
    random = np.random.default_rng(args.seed)
    cotangent = random.normal(size=model.nq + model.nv)

    # At the scene's own options.
    shipped = mjx.put_model(model)
    path_of = {name: functools.partial(problem.path, step) for name, step in STEPS.items()}
    theirs, theirs_s = compiled("mjx.step", path_of["mjx"], shipped, x, many)
    ours, ours_s = compiled("physics.step", path_of["ours"], shipped, x, many)
    path = np.asarray(ours(shipped, x, many))
    values = {
        "mjx": distance(path, np.asarray(theirs(shipped, x, many))),
        "c": distance(path, trajectory_of_c(model, at, LONG)),
    }
    weights = np.zeros((2, LONG, len(cotangent)))
    weights[0, 0] = weights[1, SHORT - 1] = cotangent
    first, last = jnp.asarray(weights)
    grad = jax.value_and_grad(problem.loss)
    gradient, gradient_s = compiled("the gradient", grad, x, shipped, first)
    data = copy.copy(at)

    def in_c() -> None:
        mujoco.mj_copyData(data, model, at)
        mujoco.mj_step(model, data, nstep=LONG)

    calls: dict[str, Callable] = {
        "c": in_c,
        "mjx": lambda: jax.block_until_ready(theirs(shipped, x, many)),
        "ours": lambda: jax.block_until_ready(ours(shipped, x, many)),
        "gradient": lambda: jax.block_until_ready(gradient(x, shipped, last)),
    }
    runtime.log("timing")
    step_s = {name: repeated(call) / LONG for name, call in calls.items()}
    mine = {"shipped": (gradient(x, shipped, first)[1], 0)}

    # Converged.
    c_exact = converged(model)
    exact = mjx.put_model(c_exact)
    theirs, _ = compiled("mjx.step, converged", path_of["mjx"], exact, x, many)
    gradient, _ = compiled("the gradient, converged", grad, x, exact, first, cheap=True)
    exact_path = np.asarray(theirs(exact, x, many))
    values["c_converged"] = distance(exact_path, trajectory_of_c(c_exact, at, LONG))
    mine["one"] = gradient(x, exact, first)[1], 0
    mine["short"] = gradient(x, exact, last)[1], 1
    errors: dict[str, Row] = {name: {} for name in mine}
    runtime.log("central differences of mjx.step")
    for leaf, zero in x.items():
        numbers = np.sort(random.permutation(zero.size)[:NUMBERS])

        def moved(by: float, number: int, leaf: str = leaf) -> np.ndarray:
            """(2, 1) the mix of the states after one step and after ``SHORT``."""
            there = x | {leaf: x[leaf].at[number].add(by)}
            states = np.asarray(theirs(exact, there, jnp.asarray(SHORT)))
            return states[[0, SHORT - 1]] @ cotangent[:, None]

        here, width = exact_path[[0, SHORT - 1]] @ cotangent[:, None], WIDTHS.get(leaf, WIDE)
        columns = [slope(functools.partial(moved, number=n), here, width) for n in numbers]
        slopes, jumps = np.array(columns).reshape(-1, 2, 2).transpose(1, 2, 0)
        for name, (gradients, k) in mine.items():
            errors[name][leaf] = error_of(np.asarray(gradients[leaf])[numbers], slopes[k], jumps[k])
    compile_s = {"mjx": theirs_s, "ours": ours_s, "gradient": gradient_s}
    row = {"outcome": "measured", **facts(model), "contacts": int(at.ncon), "values": values}
    return row | {"compile_s": compile_s, "step_s": step_s, "gradient": errors}


def main(args: Args) -> int:
    """Prints one JSON line."""
    runtime.configure(cache=False)
    (public,) = [s for s in (*SCENES, *QUICK) if s.name == args.scene]
    print(json.dumps(measure(public, args)))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
