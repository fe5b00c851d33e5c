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

import tyro

from experiments.recordings.problems import Problem, find_problem
from worldmodel import runtime
from worldmodel.commands.scores import score
from worldmodel.episodes.errors import Channels
from worldmodel.episodes.split import split
from worldmodel.episodes.windows import HISTORY
from worldmodel.errors import InputError
from worldmodel.model import Parameters, WorldModel, saved
from worldmodel.runtime.checkpoint import CheckpointError


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
    problem = fitted.problem
    episodes = problem.episodes(args.recording)
    if args.split is not None:
        episodes = [e for e in episodes if split(e.id) == args.split]
        if not episodes:
            raise InputError(f"--split {args.split}: no such episodes in {args.recording}")
    horizon = None if args.whole else args.horizon or problem.windows.horizon
    grid = dataclasses.replace(problem.windows, horizon=horizon)
    remember = fitted.metadata.get("remember", HISTORY)  # as it was fitted
    result = score(
        fitted.world, fitted.parameters, fitted.channels, episodes, grid, remember=remember
    )
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.run(main, tyro.cli(Args, description=__doc__)))
