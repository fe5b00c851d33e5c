"""Identification side by side: this project's two engines and mujoco.sysid, one objective.

Question: what do derivatives through contact buy over finite differences of C MuJoCo?
Command:  pip install "mujoco[sysid]"
          python -m experiments.recordings.compare_identification --recording elbow_toss \
              --windows 128 --iterations 10 --out experiments/results/recordings/elbow_toss/sysid
Runtime:  ten minutes on 2 cores
Expected: one JSON line; every method within a few per cent of the same cost and held-out error,
          C differences faster on a CPU for few parameters

All minimise ½ Σ ((predicted − recorded) / σ)² + ½ ‖u‖² over the same windows of *train* episodes,
from u = 0, with |u| ≤ 4 and σ from the residuals at the start; errors are those of *test* episodes
by the recording's protocol, predicted in MJX for all. A Gauss-Newton step of the engines evaluates
the derivative once and the cost once or more. ``mujoco.sysid`` is its own optimiser (``mujoco`` and
``scipy_parallel_fd``) on residuals that C MuJoCo's batched rollouts give.
"""

import dataclasses
import importlib
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from experiments.recordings.source import read_recording
from experiments.records import write
from worldmodel import runtime
from worldmodel.commands.scores import BATCH, named
from worldmodel.episodes.errors import episode_errors
from worldmodel.episodes.windows import Windows
from worldmodel.errors import InputError
from worldmodel.finetune.engines import make_engine
from worldmodel.finetune.gauss_newton import IdentifyConfig, identify
from worldmodel.finetune.moved import numbers, unpacked
from worldmodel.model import WorldModel
from worldmodel.model.ensemble import make_predictor

BOUND = 4.0
COLUMNS = {
    "method": "method",
    "time [s]": "seconds:.0f",
    "rollouts": "rollouts",
    "tangents": "tangents",
    "cost": "cost:.0f",
    "position [m]": "position_m:.5f",
    "rotation [rad]": "rotation_rad:.4f",
    "joints [rad]": "joint_rad:.4f",
}


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    recording: str
    out: Path
    windows: int = 256  # of the training episodes, drawn by ``seed``
    iterations: int = 15  # at most, of every method
    seed: int = 0


Fit = tuple[np.ndarray, dict[str, Any]]  # u, and the evaluations that it took


def by_engine(
    world: WorldModel, windows: Windows, sigma: np.ndarray, engine: str, iterations: int
) -> Fit:
    """Gauss-Newton of this project."""
    rows: list[dict] = []
    config = IdentifyConfig(
        iterations=iterations, engine=engine, huber=1e6, bound=BOUND, batch=min(128, len(windows))
    )
    identified = identify(world, windows, config, noise=sigma, record=rows.append)
    # At most: the last iteration takes no derivatives.
    columns, slopes = len(identified.numbers), 1 + len(rows)
    counts = {"rollouts": sum(r["tries"] for r in rows) + slopes, "tangents": 0}
    if engine == "c":  # a central difference takes two rollouts
        counts["rollouts"] += columns * (slopes + sum(r["central"] for r in rows))
    else:
        counts["tangents"] += columns * slopes
    u = np.array([n.u for n in identified.numbers])
    return u, counts | {"iterations": identified.iterations, "converged": identified.converged}


def by_sysid(
    residual: Callable[[np.ndarray], np.ndarray], size: int, optimizer: str, iterations: int
) -> Fit:
    """mujoco.sysid's optimiser on the same objective."""
    sysid, count = importlib.import_module("mujoco.sysid"), 0

    def evaluate(x: np.ndarray, *_: Any) -> tuple[list[np.ndarray], None, None]:
        nonlocal count
        columns = np.atleast_2d(x.T)
        count += len(columns)
        out = np.stack([residual(u) for u in columns], axis=1)
        return [out if x.ndim == 2 else out[:, 0]], None, None

    bound = np.full(size, BOUND)
    start = sysid.ParameterDict({"u": sysid.Parameter("u", np.zeros(size), -bound, bound)})
    _, result = sysid.optimize(start, evaluate, optimizer, verbose=False, max_iters=iterations)
    return np.asarray(result.x).ravel(), {"rollouts": count, "tangents": 0}


def main(args: Args) -> int:
    """Fits with every method; writes table.json and table.md.

    Raises:
      InputError: mujoco.sysid lacks its extra.
    """
    runtime.configure()
    if not hasattr(importlib.import_module("mujoco.sysid"), "optimize"):
        raise InputError('mujoco.sysid lacks its extra: pip install "mujoco[sysid]"')
    recording = read_recording(args.recording)
    problem, grid = recording.problem, recording.problem.windows
    windows = recording.training_windows(grid.horizon, args.windows, args.seed)
    held_out, _ = grid.cut(recording.part("test"))
    world = WorldModel(problem.scene(), problem.free)
    channels = problem.channels(world.scene)
    predictor = make_predictor(world, min(BATCH, len(held_out)))
    size, still = len(numbers(world)), np.zeros((len(windows), 0))
    c = make_engine(world, "c", len(windows))
    at_start = np.abs(c.errors(np.zeros(size), still, windows)[np.asarray(windows.scored)])
    sigma = np.maximum(1.4826 * np.median(at_start, axis=0), 1e-9)

    def residual(u: np.ndarray) -> np.ndarray:
        return np.concatenate([(c.errors(u, still, windows) / sigma).ravel(), u])

    def judged(u: np.ndarray) -> dict[str, float | None]:
        parameters = {"physics": unpacked(world, jnp.asarray(u)), "network": {}}
        error = episode_errors(predictor(parameters, held_out), held_out, channels).mean(0)
        return {"cost": 0.5 * float(np.sum(residual(u) ** 2)), **named(error)}

    methods: dict[str, Callable[[int], Fit]] = {
        "engine c": partial(by_engine, world, windows, sigma, "c"),
        "mujoco.sysid, mujoco": partial(by_sysid, residual, size, "mujoco"),
        "mujoco.sysid, scipy": partial(by_sysid, residual, size, "scipy_parallel_fd"),
        "engine mjx": partial(by_engine, world, windows, sigma, "mjx"),
    }
    start, rows = judged(np.zeros(size)), []
    for name, fit in methods.items():
        runtime.log(f"── {name}")
        began = time.perf_counter()
        u, counts = fit(args.iterations)
        seconds = time.perf_counter() - began
        rows.append({"method": name, "seconds": seconds, **judged(u), **counts, "u": list(u)})
    write(
        args.out,
        f"{args.recording}: identification by several methods, one objective",
        rows,
        COLUMNS,
        note=f"{size} numbers, {len(windows)} windows; the cost at the start is "
        f"{start['cost']:.0f}. Errors are of {len(held_out)} test windows.",
        config={**dataclasses.asdict(args), "out": "", "horizon": grid.horizon},
        steps_per_evaluation=len(windows) * windows.ctrl.shape[1] * world.scene.substeps,
        start=start,
    )
    print(json.dumps({"recording": args.recording, "start": start, "methods": rows}))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
