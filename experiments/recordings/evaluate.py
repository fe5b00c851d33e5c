"""Prediction error of a fitted model on a recording, by the recording's protocol.

Question: how wrong is a checkpoint on these episodes, H frames ahead or over whole episodes?
Command:  python -m experiments.recordings.evaluate --checkpoint DIR --recording FILE.npz
          --horizon 16        (or --whole)
Runtime:  about a minute on 2 cores; whole episodes of a large archive up to four
Expected: one JSON line: episodes, windows, skipped, position_m, rotation_rad, joint_rad, and
          under channels the error of every named body and joint
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from experiments.recordings.physics_statistics import named
from experiments.recordings.problems import Problem, find_problem
from worldmodel import runtime
from worldmodel.episodes.errors import (
    Channels,
    episode_errors,
    named_episode_errors,
    over_episodes,
)
from worldmodel.episodes.recording import load
from worldmodel.episodes.split import split
from worldmodel.episodes.windows import HISTORY
from worldmodel.errors import InputError
from worldmodel.model import Parameters, WorldModel, saved
from worldmodel.model.simulate import make_predictor
from worldmodel.runtime.checkpoint import CheckpointError

BATCH = 256


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    checkpoint: Path  # written by fit_physics, fit_hybrid or identify
    recording: Path  # an .npz of the layout of the checkpoint's recording
    horizon: int | None = None  # frames ahead; the recording's own when absent
    whole: bool = False  # whole episodes from their first frame
    split: str | None = None  # only train, validation or test episodes; all when absent


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A fit of a recording, read back from its checkpoint."""

    problem: Problem
    world: WorldModel
    parameters: Parameters
    metadata: dict[str, Any]

    @property
    def channels(self) -> Channels:
        """What is scored of its scene."""
        return self.problem.channels(self.world.scene)


def restore_fitted(directory: Path) -> Fitted:
    """Reads a checkpoint of fit_physics, fit_hybrid or identify.

    Raises:
      CheckpointError: absent, damaged, or not of a recording.
    """
    world, parameters, metadata = saved.restore(directory)
    if "recording" not in metadata:
        raise CheckpointError(f"{directory} is not of a recording; give a fit's 'checkpoint'")
    return Fitted(find_problem(metadata["recording"]), world, parameters, metadata)


def main(args: Args) -> int:
    """Evaluates; prints one JSON line."""
    runtime.configure()
    if args.whole and args.horizon is not None:
        raise InputError("give --horizon or --whole, not both")
    if args.horizon is not None and args.horizon < 1:
        raise InputError(f"--horizon {args.horizon}: at least one frame")
    fitted = restore_fitted(args.checkpoint)
    recording = fitted.problem.recording
    episodes = load(args.recording, recording)
    if args.split is not None:
        episodes = [e for e in episodes if split(e.id) == args.split]
        if not episodes:
            raise InputError(f"--split {args.split}: no such episodes in {args.recording}")
    horizon = None if args.whole else args.horizon or recording.windows.horizon
    windows, skipped = dataclasses.replace(recording.windows, horizon=horizon).cut(episodes)
    windows = windows.remembering(fitted.metadata.get("remember", HISTORY))  # as it was fitted
    predictor = make_predictor(fitted.world, min(BATCH, len(windows)))
    with runtime.compiling(f"and predicting {len(windows)} windows"):
        predicted = predictor(fitted.parameters, windows)
    bad = ~np.isfinite(predicted).all(axis=(1, 2))
    if bad.any():
        ids = sorted({str(episodes[e].id) for e in np.asarray(windows.episode)[bad]})
        raise InputError(f"{bad.sum()} predicted windows are not finite (episodes {ids[:8]})")
    error = episode_errors(predicted, windows, fitted.channels)
    apart = named_episode_errors(predicted, windows, fitted.channels)
    result = {"episodes": len(error), "windows": len(windows), "skipped": skipped}
    result |= named(over_episodes(error))
    means = {name: float(over_episodes(e)) for name, e in apart.items()}
    result |= {"channels": {k: e if np.isfinite(e) else None for k, e in means.items()}}
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.run(main, tyro.cli(Args, description=__doc__)))
