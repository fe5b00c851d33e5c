"""A recording's episodes, from its file in the folder that WORLDMODEL_DATA names."""

import dataclasses
import hashlib
import os
from pathlib import Path

import numpy as np

from experiments.recordings.problems import Problem, find_problem
from worldmodel.episodes.split import split
from worldmodel.episodes.windows import Windows
from worldmodel.errors import InputError
from worldmodel.types import Episode


@dataclasses.dataclass(frozen=True)
class Recording:
    """A recording's episodes and their origin."""

    problem: Problem
    digest: str  # SHA-256 of the file
    episodes: list[Episode]

    def part(self, name: str) -> list[Episode]:
        """The episodes of a split: "train", "validation" or "test"."""
        return [e for e in self.episodes if split(e.id) == name]

    def train(self, count: int | None, seed: int) -> list[Episode]:
        """Train episodes, so many, drawn by the seed: more of them are those and others.

        Raises:
          InputError: it has fewer.
        """
        episodes = self.part("train")
        if count is not None and not 0 < count <= len(episodes):
            raise InputError(
                f"--episodes {count}: {self.problem.name} has {len(episodes)} train episodes"
            )
        drawn = np.random.default_rng(seed).permutation(len(episodes))[:count]
        return [episodes[i] for i in np.sort(drawn)]

    def training_windows(self, horizon: int | None, most: int, seed: int) -> Windows:
        """Windows of the *train* episodes, at most so many, drawn by the seed."""
        windows, _ = self.problem.training_grid(horizon).cut(self.part("train"))
        drawn = np.random.default_rng(seed).permutation(len(windows))[:most]
        return windows.take(np.sort(drawn))


def read_recording(name: str) -> Recording:
    """The recording of that name.

    Raises:
      InputError: no such recording is known, or WORLDMODEL_DATA is not set, or lacks it.
    """
    problem, data = find_problem(name), os.environ.get("WORLDMODEL_DATA")
    if not data:
        raise InputError(
            "WORLDMODEL_DATA is not set: set it to the folder with the recordings "
            f"({problem.name}.npz); docs/results/recordings.md says whose they are"
        )
    path = Path(data) / f"{problem.name}.npz"
    if not path.is_file():
        raise InputError(f"WORLDMODEL_DATA is {data}, but there is no {path.name} in it")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Recording(problem, digest, problem.episodes(path))
