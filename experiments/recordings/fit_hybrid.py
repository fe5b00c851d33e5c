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
--fit.train physics the network; --remember 1 hides the past. The same command resumes after
Ctrl-C, SIGTERM or a kill.
"""

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from experiments.recordings.fitted import Fitted, restore_fitted
from experiments.recordings.source import read_recording
from experiments.records import append_row, plain
from worldmodel import runtime
from worldmodel.commands.scores import BATCH
from worldmodel.episodes.errors import Channels, episode_errors, over_episodes
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
    Parameters,
    Physics,
    Velocity,
    WorldModel,
    saved,
)
from worldmodel.model.ensemble import make_predictor
from worldmodel.runtime import checkpoint

COVARIANCE_WINDOWS = 512  # that say what the data leave open of the physics
# The values that the command line names.
BASES = {"hybrid": Physics(), "latent": ConstantVelocity()}
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
    remember: int = HISTORY  # frames of history that the encoder may see, the start included
    episodes: int | None = None  # use only the first N train episodes
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
    recording = read_recording(args.recording, args.out)
    problem, simulated = recording.problem, recording.simulated
    fitted = restore_fitted(args.physics)
    world = make_world(args, fitted.world)
    train = recording.part("train")[: args.episodes]
    validation = recording.part("validation")
    horizon = problem.windows.horizon if args.horizon is None else args.horizon
    grid = dataclasses.replace(problem.windows, horizon=horizon)
    data = HybridData(train, validation, problem.training_grid(grid.horizon), grid, args.remember)

    channels = problem.channels(world.scene)
    settings = {
        "args": plain(dataclasses.replace(args, out=Path(), physics=Path())),
        "physics": fitted.metadata["config_hash"],
        "data": recording.digest,
    }
    metadata: dict[str, Any] = {
        "scene": world.scene.name,
        "recording": problem.name,
        "simulated": simulated,
        "settings": settings,
        "config_hash": checkpoint.config_hash(settings),
        "train_ids": [plain(e.id) for e in train],
        "remember": args.remember,
    }
    covariance = None
    if isinstance(world.base, Physics):
        windows, _ = data.training.cut(train)
        rng = np.random.default_rng(args.fit.seed)
        rows = rng.choice(len(windows), size=min(COVARIANCE_WINDOWS, len(windows)), replace=False)
        doubt = uncertainty_at(
            fitted.world, fitted.parameters, windows.take(np.sort(rows)), IdentifyConfig(engine="c")
        )
        covariance = doubt.covariance
    guarded = plain(settings["args"])  # but for how long the fit runs
    guarded["fit"] = {k: v for k, v in guarded["fit"].items() if k not in LENGTH}
    hybrid = fit_hybrid(
        world,
        fitted.parameters,
        channels,
        data,
        args.regression,
        args.fit,
        args.out / "progress",
        covariance=covariance,
        metadata=metadata | {"settings": settings | {"args": guarded}},
        record=lambda row: append_row(args.out / "metrics.jsonl", row),
        stop=stop,
        engine=args.engine,
    )
    world, parameters = hybrid.world, hybrid.parameters
    result = {
        "recording": problem.name,
        "kind": args.kind,
        "remember": args.remember,
        "simulated": simulated,
        "seed": args.fit.seed,
        "members": world.network.members,
        "members_excluded": hybrid.excluded,
        "gate": np.asarray(parameters["network"]["gate"]).tolist(),
        "validation": relative_error(world, fitted, parameters, data, channels),
        "provenance": runtime.provenance(),
    }
    stored = {k: v for k, v in metadata.items() if k != "train_ids"} | {"result": result}
    protocol = dataclasses.replace(problem.protocol, remember=args.remember)
    target = args.out / "checkpoint"
    saved.save(target, 0, world, parameters, stored, keep=1, protocol=protocol)
    print(json.dumps(result | {"checkpoint": str(target)}))
    return 0


def relative_error(
    world: WorldModel,
    physics: Fitted,
    parameters: Parameters,
    data: HybridData,
    channels: Channels,
) -> float:
    """The validation error over that of the physics, the mean over groups."""
    windows = data.judged.cut(data.validation)[0].remembering(data.remember)
    batch = min(BATCH, len(windows))
    errors = [
        over_episodes(episode_errors(make_predictor(w, batch)(p, windows), windows, channels))
        for w, p in ((world, parameters), (physics.world, physics.parameters))
    ]
    return float(np.nanmean(errors[0] / errors[1]))


def make_world(args: Args, physics: WorldModel) -> WorldModel:
    """The model that is fitted: the physics, or a body that keeps its velocity, with a network.

    Raises:
      InputError: a latent model with another correction than of its velocity.
    """
    base = BASES[args.kind]
    correction = Velocity() if isinstance(base, ConstantVelocity) else Displacement()
    if args.correction is not None:
        correction = CORRECTIONS[args.correction]
    if isinstance(base, ConstantVelocity) and not isinstance(correction, Velocity):
        raise InputError(
            f"--correction {args.correction}: a latent model corrects its velocity; leave it out"
        )
    return dataclasses.replace(physics, base=base, correction=correction, network=args.network)


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
