"""Fits of a recording, read back from their checkpoints."""

import dataclasses
from pathlib import Path
from typing import Any

from experiments.recordings.problems import Problem, find_problem
from worldmodel.episodes.errors import Channels
from worldmodel.model import Parameters, WorldModel, saved
from worldmodel.runtime.checkpoint import CheckpointError


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
    """Reads a checkpoint of fit_physics or fit_hybrid.

    Raises:
      CheckpointError: absent, damaged, or not of a recording.
    """
    world, parameters, metadata = saved.restore(directory)
    if "recording" not in metadata:
        raise CheckpointError(f"{directory} is not of a recording; give a fit's 'checkpoint'")
    return Fitted(find_problem(metadata["recording"]), world, parameters, metadata)
