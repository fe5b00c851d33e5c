"""Where a recording comes from: the real file, or a simulated stand-in where there is none."""

import dataclasses
import hashlib
import os
from pathlib import Path

from experiments.recordings.problems import Problem, find_problem
from experiments.recordings.simulate import simulate
from worldmodel import runtime
from worldmodel.episodes.split import split
from worldmodel.errors import InputError
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


def read_recording(name: str, out: Path | None = None) -> Recording:
    """The recording of that name, in the folder WORLDMODEL_DATA.

    Args:
      out: folder of the run, for a simulated one where WORLDMODEL_DATA is not set; made when
        absent. None where a simulated one answers nothing.

    Raises:
      InputError: no such recording is known, or it must be real and WORLDMODEL_DATA is not set.
      FileNotFoundError: the folder lacks it.
    """
    problem, data = find_problem(name), os.environ.get("WORLDMODEL_DATA")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    if data:
        path = Path(data) / f"{problem.name}.npz"
        if not path.is_file():
            raise FileNotFoundError(
                f"WORLDMODEL_DATA is {data}, but there is no {path.name} in it; "
                "correct it, or unset it to run on a simulated recording"
            )
    elif out is None:
        raise InputError(
            "WORLDMODEL_DATA is not set: set it to the folder with the real recordings "
            f"({problem.name}.npz); a table of simulated ones answers nothing"
        )
    else:
        path = out / f"simulated_{problem.name}.npz"
        runtime.log(
            "WORLDMODEL_DATA is not set: this run fits a SIMULATED recording, made with C MuJoCo "
            "and hidden parameters"
        )
        if not path.is_file():
            simulate(problem, episodes=SIMULATED_EPISODES, seed=0, out=path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Recording(problem, not data, digest, problem.episodes(path))
