"""The learned half on a real recording: what a network adds to fitted physics.

Question: how much of what fitted contact physics gets wrong does a network learn from the same
          episodes?
Command:  python -m experiments.recordings.fit_hybrid --recording elbow_toss --out runs/elbow_hybrid
          --physics experiments/results/recordings/elbow_toss/physics/seed0/checkpoint
Runtime:  five to ten minutes on 2 cores, two of them compiling
Expected: elbow_toss, validation error relative to the fitted physics below 0.93

First the network is regressed on what open-loop physics gets wrong (a minute), then network and
physics are fitted together through windows. --kind latent fits the network alone, without
physics, on the same data. --fit.train network freezes the physics in the second stage,
--fit.train physics the network. The same command resumes after Ctrl-C, SIGTERM or a kill.
"""

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from experiments.recordings.fitted import restore_fitted
from experiments.recordings.source import read_recording
from worldmodel import runtime
from worldmodel.episodes.errors import episode_errors, over_episodes
from worldmodel.episodes.windows import HISTORY
from worldmodel.errors import InputError
from worldmodel.finetune.adam import FitConfig
from worldmodel.finetune.gauss_newton import uncertainty_at
from worldmodel.finetune.hybrid import THROUGH_WINDOWS, HybridData, fit_hybrid
from worldmodel.finetune.least_squares import IdentifyConfig
from worldmodel.finetune.regression import RegressionConfig
from worldmodel.finetune.settings import LENGTH
from worldmodel.model import (
    ConstantVelocity,
    Displacement,
    Force,
    Network,
    Physics,
    Velocity,
    WorldModel,
    saved,
)
from worldmodel.runtime.records import append_row, config_hash, plain

COVARIANCE_WINDOWS = 512  # that say what the data leave open of the physics
# As the command line names them.
CORRECTIONS = {"displacement": Displacement(), "velocity": Velocity(), "force": Force()}


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    recording: str  # elbow_toss, cube_toss, square_drop or double_pendulum
    physics: Path  # checkpoint of fit_physics: the physics to start from
    out: Path  # folder for checkpoint, progress and metrics
    kind: Literal["hybrid", "latent"] = "hybrid"
    # when absent, of a hybrid the displacement and of a latent model the velocity
    correction: Literal["displacement", "velocity", "force"] | None = None
    episodes: int | None = None  # so many train episodes, drawn as its physics'; all if absent
    horizon: int | None = None  # frames per window; the recording's own when absent
    # Of a force or velocity, what its network is fitted through: the simulator, or the physics
    # linearised along the windows by C MuJoCo.
    engine: Literal["mjx", "c"] = "mjx"
    network: Network = dataclasses.field(default_factory=lambda: Network(members=5))
    regression: RegressionConfig = dataclasses.field(default_factory=RegressionConfig)
    fit: FitConfig = THROUGH_WINDOWS


def main(args: Args, stop: Callable[[], bool]) -> int:
    """Runs or resumes one fit; prints one JSON line."""
    runtime.configure()
    args.out.mkdir(parents=True, exist_ok=True)
    recording, fitted = read_recording(args.recording), restore_fitted(args.physics)
    problem, world = recording.problem, make_world(args, fitted.world)
    train = recording.train(args.episodes, fitted.metadata["result"]["seed"])
    horizon = problem.windows.horizon if args.horizon is None else args.horizon
    data = HybridData(
        train,
        recording.part("validation"),
        problem.training_grid(horizon),
        dataclasses.replace(problem.windows, horizon=horizon),
        HISTORY,
    )
    covariance = None
    if isinstance(world.base, Physics):
        windows, _ = data.training.cut(train)
        rng = np.random.default_rng(args.fit.seed)
        rows = rng.choice(len(windows), size=min(COVARIANCE_WINDOWS, len(windows)), replace=False)
        covariance = uncertainty_at(
            fitted.world, fitted.parameters, windows.take(np.sort(rows)), IdentifyConfig(engine="c")
        ).covariance
    settings = {
        "args": plain(dataclasses.replace(args, out=Path(), physics=Path())),
        "physics": fitted.metadata["config_hash"],
        "data": recording.digest,
    }
    metadata: dict[str, Any] = {
        "scene": world.scene.name,
        "recording": problem.name,
        "settings": settings,
        "config_hash": config_hash(settings),
    }
    # How long the fit runs may change.
    lasting = {k: v for k, v in settings["args"]["fit"].items() if k not in LENGTH}
    guarded = settings | {"args": settings["args"] | {"fit": lasting}}
    hybrid = fit_hybrid(
        world,
        fitted.parameters,
        fitted.channels,
        data,
        args.regression,
        args.fit,
        args.out / "progress",
        covariance=covariance,
        metadata=metadata | {"settings": guarded, "train_ids": [plain(e.id) for e in train]},
        record=lambda row: append_row(args.out / "metrics.jsonl", row),
        stop=stop,
        engine=args.engine,
    )
    world, parameters = hybrid.world, hybrid.parameters
    windows = data.judged.cut(data.validation)[0]
    errors = [
        over_episodes(episode_errors(one.predict(windows), windows, fitted.channels))
        for one in (dataclasses.replace(fitted, world=world, parameters=parameters), fitted)
    ]
    result = {
        "recording": problem.name,
        "kind": args.kind,
        "seed": args.fit.seed,
        "members": world.network.members,
        "members_excluded": hybrid.excluded,
        "gate": np.asarray(parameters["network"]["gate"]).tolist(),
        "validation": float(np.nanmean(errors[0] / errors[1])),
        "provenance": runtime.provenance(),
    }
    target, kept = args.out / "checkpoint", metadata | {"result": result}
    saved.save(target, 0, world, parameters, kept, keep=1, protocol=problem.protocol)
    print(json.dumps(result | {"checkpoint": str(target)}))
    return 0


def make_world(args: Args, physics: WorldModel) -> WorldModel:
    """The model that is fitted: the physics, or a body that keeps its velocity, with a network.

    Raises:
      InputError: a latent model with another correction than of its velocity.
    """
    latent = args.kind == "latent"
    name = args.correction or ("velocity" if latent else "displacement")
    if latent and name != "velocity":
        raise InputError(f"--correction {name}: a latent model corrects its velocity; leave it out")
    base, correction = ConstantVelocity() if latent else Physics(), CORRECTIONS[name]
    return dataclasses.replace(physics, base=base, correction=correction, network=args.network)


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
