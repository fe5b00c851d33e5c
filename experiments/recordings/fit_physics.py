"""Physical parameters of a real recording: least squares first, then descent through contact.

Question: how far does a contact simulator predict real hardware once its parameters are fitted?
Command:  python -m experiments.recordings.fit_physics --recording elbow_toss --out runs/elbow_toss
Runtime:  four to ten minutes on 2 cores, two of them compiling
Expected: validation error (relative to the sources' parameters) below 1; see the README's table

Gauss-Newton by differences of C MuJoCo, from several starts over growing windows
(``finetune.multi_start``), gives where Adam through MJX starts; the seed draws the starts and the
windows. Only *train* episodes are fitted, *validation* episodes stop the fit, *test* episodes are
not read. The same command resumes after Ctrl-C, SIGTERM or a kill, to the same numbers.
"""

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from experiments.recordings.source import read_recording
from worldmodel import runtime
from worldmodel.commands.scores import named
from worldmodel.finetune.adam import fit
from worldmodel.finetune.engines import make_engine
from worldmodel.finetune.moved import packed
from worldmodel.finetune.multi_start import PhysicsConfig, fit_physics
from worldmodel.model import WorldModel, init, saved
from worldmodel.physics import parameters as physical
from worldmodel.runtime.records import append_row, config_hash, plain
from worldmodel.runtime.settings import claim
from worldmodel.scene import write_mjcf


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line; an absent option takes the value of the recording's ``Problem``."""

    recording: str  # elbow_toss, cube_toss, square_drop or double_pendulum
    out: Path  # folder for checkpoint, progress, metrics and the fitted MJCF
    episodes: int | None = None  # so many train episodes, drawn by the seed; all when absent
    seed: int = 0  # of the start and of the order of windows
    starts: int = 3  # of the least squares, at most
    agreement: float = 0.01  # relative, of two starts that end them; 0: all of them are tried
    finalists: int = 1  # of the starts that were tried, that are fitted to all windows
    least_squares: int = 512  # windows of the least squares, at most
    steps: int | None = None  # Adam steps at most
    batch: int | None = None  # windows per step
    horizon: int | None = None  # frames per window
    checkpoint_every: int | None = None  # steps


def main(args: Args, stop: Callable[[], bool]) -> int:
    """Runs or resumes one fit; prints one JSON line."""
    runtime.configure()
    recording = read_recording(args.recording)
    problem, validation = recording.problem, recording.part("validation")
    names = ("seed", "steps", "batch", "checkpoint_every")
    given = {name: v for name in names if (v := getattr(args, name)) is not None}
    config = dataclasses.replace(problem.fit, **given)
    train = recording.train(args.episodes, config.seed)
    horizon = problem.windows.horizon if args.horizon is None else args.horizon
    train_windows, _ = problem.training_grid(horizon).cut(train)
    grid = dataclasses.replace(problem.windows, horizon=horizon)
    validation_windows, _ = grid.cut(validation)
    runtime.log(
        f"{problem.name}: {len(train)} train episodes, {len(train_windows)} windows of {horizon} "
        f"frames; {len(validation)} validation episodes, {len(validation_windows)} windows"
    )

    scene = problem.scene()
    world = WorldModel(scene, problem.free)
    least_squares = PhysicsConfig(
        starts=args.starts,
        agreement=args.agreement,
        finalists=args.finalists,
        windows=args.least_squares,
        seed=config.seed,
    )
    settings = {
        "problem": plain(problem),
        "horizon": horizon,
        "episodes": len(train),
        "data": recording.digest,
        "least_squares": plain(least_squares),
    }
    finished = settings | {"config": plain(config)}
    metadata = {
        "scene": scene.name,
        "recording": problem.name,
        "settings": settings,
        "config_hash": config_hash(finished),
    }
    claim(args.out / "least_squares", settings)
    start = fit_physics(
        world,
        train_windows,
        validation_windows,
        least_squares,
        args.out / "least_squares",
        config_hash=config_hash(settings),
        record=lambda row: append_row(args.out / "least_squares.jsonl", row),
        stop=stop,
    ).parameters
    state = fit(
        world,
        init(world, jax.random.key(args.seed)),
        problem.channels(scene),
        train_windows,
        validation_windows,
        config,
        args.out / "progress",
        metadata=metadata | {"train_ids": [plain(e.id) for e in train]},
        record=lambda row: append_row(args.out / "metrics.jsonl", row),
        stop=stop,
        start=start,
    )
    step, best = int(state.step), state.best["physics"]
    size = min(config.batch, len(validation_windows))
    values, engine = physical.values(scene, problem.free, best), make_engine(world, "mjx", size)
    held = np.zeros((len(validation_windows), 0))
    unconverged = engine.unconverged(packed(world, best), held, validation_windows)
    result = {
        "recording": problem.name,
        "seed": config.seed,
        "steps": step,
        "validation": float(state.best_error),
        "nonfinite": int(state.nonfinite),
        "unconverged": int(unconverged.sum()),
        "validation_start": named(np.asarray(state.scale)),
        "parameters": {name: value.tolist() for name, value in values.items()},
        "provenance": runtime.provenance(),
    }
    kept, target = metadata | {"settings": finished, "result": result}, args.out / "checkpoint"
    saved.save(target, step, world, state.best, kept, keep=1, protocol=problem.protocol)
    write_mjcf(args.out / "fitted.xml", physical.to_mjcf(scene, problem.free, best), scene.assets)
    print(json.dumps(result | {"checkpoint": str(target)}))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
