"""Where a recording comes from: the real file, or a simulated stand-in where there is none."""

import dataclasses
import hashlib
import os
from pathlib import Path

from experiments.recordings.problems import Problem, find_problem
from experiments.recordings.simulate import simulate
from worldmodel import runtime
from worldmodel.episodes.split import split
from worldmodel.types import Episode

SIMULATED_EPISODES = 80


@dataclasses.dataclass(frozen=True)
class Recording:
    """A recording's episodes and their origin."""

    problem: Problem
    simulated: bool
    digest: str  # SHA-256 of the file
    episodes: list[Episode]

    def part(self, name: str) -> list[Episode]:
        """The episodes of a split: "train", "validation" or "test"."""
        return [e for e in self.episodes if split(e.id) == name]


def read_recording(name: str, out: Path) -> Recording:
    """The recording of that name, simulated where WORLDMODEL_DATA is not set.

    Args:
      out: folder for a simulated one; made when absent.

    Raises:
      InputError: no such recording is known.
      FileNotFoundError: WORLDMODEL_DATA is set to a folder that lacks it.
    """
    problem = find_problem(name)
    out.mkdir(parents=True, exist_ok=True)
    path, simulated = _file(problem, out)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Recording(problem, simulated, digest, problem.episodes(path))


def _file(problem: Problem, out: Path) -> tuple[Path, bool]:
    data = os.environ.get("WORLDMODEL_DATA")
    if data:
        path = Path(data) / f"{problem.name}.npz"
        if not path.is_file():
            raise FileNotFoundError(
                f"WORLDMODEL_DATA is {data}, but there is no {path.name} in it; "
                "correct it, or unset it to run on a simulated recording"
            )
        return path, False
    path = out / f"simulated_{problem.name}.npz"
    runtime.log(
        "WORLDMODEL_DATA is not set: this run fits a SIMULATED recording, made with C MuJoCo "
        "and hidden parameters"
    )
    if not path.is_file():
        simulate(problem, episodes=SIMULATED_EPISODES, seed=0, out=path)
    return path, True
