"""Fits of a recording, read back from their checkpoints."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.recordings.problems import Problem, find_problem
from worldmodel.commands.scores import BATCH
from worldmodel.episodes.errors import Channels
from worldmodel.episodes.windows import Windows
from worldmodel.model import Parameters, WorldModel, saved
from worldmodel.model.ensemble import make_predictor
from worldmodel.runtime.checkpoint import CheckpointError

Group = dict[int, "Fitted"]  # fits that differ in their seed alone, by that of their physics


@dataclasses.dataclass(frozen=True)
class Fitted:
    """A fit of a recording, read back from its checkpoint."""

    directory: Path
    problem: Problem
    world: WorldModel
    parameters: Parameters
    metadata: dict[str, Any]

    @property
    def channels(self) -> Channels:
        """What is scored of its scene."""
        return self.problem.channels(self.world.scene)

    def predict(self, windows: Windows) -> np.ndarray:
        """(windows, horizon, nq) what it predicts."""
        predictor = make_predictor(self.world, min(BATCH, len(windows)))
        return predictor(self.parameters, windows)

    @property
    def validation(self) -> float:
        """Its error on the validation windows, relative to what it began from."""
        return float(self.metadata["result"]["validation"])


def restore_fitted(directory: Path) -> Fitted:
    """Reads a checkpoint of fit_physics or fit_hybrid.

    Raises:
      CheckpointError: absent, damaged, or not of a recording.
    """
    world, parameters, metadata = saved.restore(directory)
    if "recording" not in metadata:
        raise CheckpointError(f"{directory} is not of a recording; give a fit's 'checkpoint'")
    problem = find_problem(metadata["recording"])
    return Fitted(directory, problem, world, parameters, metadata)


def read_fits(folders: Sequence[Path], recording: str, *, physics: Group | None = None) -> Group:
    """Fits of one recording, one per seed.

    Args:
      folders: --out folders of fit_physics; of fit_hybrid where ``physics`` is given.
      physics: what those of fit_hybrid started from, each from another.

    Raises:
      CheckpointError: a folder without a fit, of another recording or kind, a seed twice, a hybrid
        of a physics that is not given, or two that differ in more than their seeds.
    """
    seeds = {f.metadata["config_hash"]: seed for seed, f in (physics or {}).items()}
    group: Group = {}
    for folder in folders:
        fitted = restore_fitted(folder / "checkpoint")
        if fitted.metadata["recording"] != recording:
            of = fitted.metadata["recording"]
            raise CheckpointError(f"{folder} was fitted to {of}, not to {recording}")
        if fitted.world.learns != (physics is not None):
            kind = "a network" if fitted.world.learns else "no network"
            raise CheckpointError(f"{folder} has {kind}; give the folder of another fit")
        settings = fitted.metadata["settings"]
        if physics is None:
            seed = settings["config"]["seed"]
        elif settings["physics"] in seeds:
            seed = seeds[settings["physics"]]
        else:
            raise CheckpointError(f"{folder} did not start from any of --physics; give its own")
        if seed in group:
            raise CheckpointError(f"{folder}: seed {seed} twice; give one fit per seed")
        group[seed] = fitted
    first, *others = group.values()
    for other in others:
        if _but_seed(first) != _but_seed(other):
            raise CheckpointError(
                f"{other.directory} and {first.directory} differ in more than their seeds; fit "
                "both with the same command"
            )
    return dict(sorted(group.items()))


def _but_seed(fitted: Fitted) -> Any:
    """The settings of a fit, without its seeds and the physics that it started from."""

    def of(value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {k: of(v) for k, v in value.items() if k not in ("seed", "physics")}

    return of(fitted.metadata["settings"]), fitted.metadata["mjcf"]
