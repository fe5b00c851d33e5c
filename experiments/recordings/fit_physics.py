"""Physical parameters of a real recording, by gradient descent through contact.

Question: how far does a contact simulator predict real hardware once its parameters are fitted?
Command:  python -m experiments.recordings.fit_physics --recording elbow_toss --out runs/elbow_toss
Runtime:  four to ten minutes on 2 cores, two of them compiling
Expected: validation error (relative to the sources' parameters) below 1; see the README's table

With WORLDMODEL_DATA set to a folder with the recordings it fits the real one; otherwise it makes
a small recording itself, with C MuJoCo and hidden parameters, and says so. Only *train* episodes
are fitted, *validation* episodes stop the fit, *test* episodes are not read. The same command
resumes after Ctrl-C, SIGTERM or a kill, to the same numbers.
"""

import dataclasses
import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro

from experiments.recordings.problems import Problem, find_problem
from experiments.recordings.simulate import simulate
from worldmodel.runtime import checkpoint
from worldmodel import runtime
from worldmodel.model import WorldModel, init
from worldmodel.episodes.errors import split, whole_start, window_starts
from worldmodel.episodes.recording import Recording, load
from worldmodel.finetune.adam import FitState, fit
from worldmodel.finetune.engines import unconverged
from worldmodel.physics import parameters as physical
from worldmodel.model.simulate import Windows, cut_windows
from worldmodel.scene import Scene
from worldmodel.types import Episode

SIMULATED_EPISODES = 80


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line; what is left out comes from the recording's ``Problem``."""

    recording: str  # elbow_toss, cube_toss, square_drop or double_pendulum
    out: Path  # folder for checkpoint, progress, metrics and the fitted MJCF
    episodes: int | None = None  # use only the first N train episodes
    seed: int = 0  # of the start and of the order of windows
    steps: int | None = None  # Adam steps at most
    batch: int | None = None  # windows per step
    learning_rate: float | None = None  # in units of the prior's width
    horizon: int | None = None  # frames per window
    curriculum: tuple[int, ...] | None = None  # frames scored, in equal shares of the steps
    checkpoint_every: int | None = None  # steps


def main(args: Args) -> int:
    """Runs or resumes one fit; prints one JSON line; returns the exit status."""
    runtime.configure()
    problem = find_problem(args.recording)
    overrides = {"seed": args.seed, "steps": args.steps, "batch": args.batch}
    overrides |= {"learning_rate": args.learning_rate, "checkpoint_every": args.checkpoint_every}
    overrides |= {"curriculum": args.curriculum}
    given = {k: v for k, v in overrides.items() if v is not None}
    config = dataclasses.replace(problem.fit, **given)
    horizon = args.horizon or problem.recording.horizon

    args.out.mkdir(parents=True, exist_ok=True)
    path, simulated = recording_file(problem.recording, args.out)
    episodes = load(path, problem.recording)
    train = [e for e in episodes if split(e.id) == "train"][: args.episodes]
    validation = [e for e in episodes if split(e.id) == "validation"]
    train_windows = training_windows(train, problem, horizon)
    validation_windows = protocol_windows(validation, problem.recording, horizon)[0]
    runtime.log(
        f"{problem.recording.name}{' (SIMULATED, hidden parameters)' if simulated else ''}: "
        f"{len(train)} train episodes, {len(train_windows)} windows of {horizon} frames; "
        f"{len(validation)} validation episodes, {len(validation_windows)} windows"
    )

    scene = problem.scene()
    world = WorldModel(scene, problem.free)
    settings = {
        "problem": plain(problem),
        "config": plain(config),
        "horizon": horizon,
        "episodes": len(train),
        "data": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    metadata = model_metadata(problem, scene, simulated) | {
        "settings": settings,
        "config_hash": checkpoint.config_hash(settings),
        "train_ids": [plain(e.id) for e in train],
    }
    rows = args.out / "metrics.jsonl"
    with runtime.Interrupt() as interrupt:
        try:
            state = fit(
                world,
                init(world, jax.random.key(args.seed)),
                problem.recording.channels,
                train_windows,
                validation_windows,
                config,
                args.out / "progress",
                metadata=metadata,
                record=lambda row: append_row(rows, row),
                stop=lambda: interrupt.requested,
            )
        except runtime.Interrupted as stopped:
            runtime.log(str(stopped))
            return interrupt.exit_status
    best = {"physics": state.best["physics"], "network": {}}
    size = min(config.batch, len(validation_windows))
    broken_off = int(unconverged(world, best, validation_windows, size).sum())
    runtime.log(
        f"contact solves ran out of iterations in {broken_off} of {len(validation_windows)} "
        "validation windows; their gradient is as if they had converged"
    )
    result = finish(args.out, problem, state, metadata | {"unconverged": broken_off})
    print(json.dumps(result))
    return 0


def model_metadata(problem: Problem, scene: Scene, simulated: bool) -> dict[str, Any]:
    """What a checkpoint of fitted physics says of its model."""
    return {
        "scene": scene.name,
        "recording": problem.recording.name,
        "simulated": simulated,
        "mjcf": scene.mjcf,
        "control_hz": scene.control_hz,
        "substeps": scene.substeps,
        "free": [dataclasses.asdict(f) for f in problem.free],
        "dtype": "float64",
    }


def recording_file(recording: Recording, out: Path) -> tuple[Path, bool]:
    """The recording's file, and whether it is simulated because there is none."""
    data = os.environ.get("WORLDMODEL_DATA")
    if data:
        path = Path(data) / f"{recording.name}.npz"
        if not path.is_file():
            raise FileNotFoundError(
                f"WORLDMODEL_DATA is {data}, but there is no {path.name} in it; "
                "correct it, or unset it to run on a simulated recording"
            )
        return path, False
    path = out / f"simulated_{recording.name}.npz"
    runtime.log(
        "WORLDMODEL_DATA is not set: this run fits a SIMULATED recording, made with C MuJoCo "
        "and hidden parameters"
    )
    if not path.is_file():
        simulate(recording, episodes=SIMULATED_EPISODES, seed=0, out=path)
    return path, True


def training_windows(episodes: list[Episode], problem: Problem, horizon: int) -> Windows:
    """Every ``train_stride``-th frame starts a window; rejected frames are left out."""
    dense = dataclasses.replace(problem.recording, first=1, stride=problem.train_stride)
    return protocol_windows(episodes, dense, horizon)[0]


def protocol_windows(
    episodes: list[Episode], recording: Recording, horizon: int | None
) -> tuple[Windows, int]:
    """Windows by the recording's protocol, and how many were skipped; None: whole episodes."""
    longest = max(len(e.qpos) for e in episodes) - 1 if episodes else 0
    starts, skipped = [], 0
    for episode in episodes:
        if horizon is None:
            found, left_out = whole_start(episode.valid)
        else:
            found, left_out = window_starts(recording, horizon, episode.valid, episode.fresh)
        starts.append(found)
        skipped += left_out
    return cut_windows(episodes, starts, longest if horizon is None else horizon), skipped


def finish(
    out: Path, problem: Problem, state: FitState, metadata: dict[str, Any]
) -> dict[str, Any]:
    """Writes the fitted parameters: ``checkpoint/`` (small), ``fitted.xml``, ``fit.json``."""
    scene = problem.scene()
    best = state.best["physics"]
    values = physical.values(scene, problem.free, best)
    result = {
        "recording": problem.recording.name,
        "simulated": metadata["simulated"],
        "seed": metadata["settings"]["config"]["seed"],
        "steps": int(state.step),
        "validation": float(state.best_error),
        "nonfinite": int(state.nonfinite),
        "unconverged": metadata["unconverged"],
        "validation_start": {
            name: _number(x)
            for name, x in zip(
                ("position_m", "rotation_rad", "joint_rad"), np.asarray(state.scale), strict=True
            )
        },
        "parameters": {name: value.tolist() for name, value in values.items()},
        "checkpoint": str(out / "checkpoint"),
    }
    result |= {"provenance": runtime.provenance()}
    kept = {k: v for k, v in metadata.items() if k != "train_ids"}
    kept |= {"result": {k: v for k, v in result.items() if k != "checkpoint"}}
    checkpoint.save(out / "checkpoint", int(state.step), best, kept, keep=1)
    write(out / "fitted.xml", physical.to_mjcf(scene, problem.free, best))
    write(out / "fit.json", json.dumps(result, indent=1) + "\n")
    return result


def append_row(path: Path, row: dict[str, Any]) -> None:
    """One row per step; a resumed run writes the steps since its checkpoint again."""
    with path.open("a") as file:
        file.write(json.dumps(row) + "\n")


def write(path: Path, text: str) -> None:
    """A text file, whole or not at all."""
    temporary = path.with_suffix(path.suffix + ".tmp")
    temporary.write_text(text)
    temporary.replace(path)


def _number(x: float) -> float | None:
    return float(x) if np.isfinite(x) else None


def plain(value: Any) -> Any:
    """Dataclasses, tuples and NumPy scalars as JSON has them."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    return value.item() if isinstance(value, np.generic) else value


if __name__ == "__main__":
    sys.exit(runtime.run(main, tyro.cli(Args, description=__doc__)))
