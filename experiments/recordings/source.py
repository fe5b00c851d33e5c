"""Where a recording comes from: the real file, or a simulated stand-in where there is none."""

import os
from pathlib import Path

from experiments.recordings.problems import Problem
from experiments.recordings.simulate import simulate
from worldmodel import runtime

SIMULATED_EPISODES = 80


def recording_file(problem: Problem, out: Path) -> tuple[Path, bool]:
    """The recording's file, and whether it is simulated because there is none.

    Args:
      out: folder for a simulated one.

    Raises:
      FileNotFoundError: WORLDMODEL_DATA is set to a folder that lacks the recording.
    """
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
