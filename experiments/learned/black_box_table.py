"""The table of the black box: a network without physics, and fitted physics, on the same episodes.

Question: by how much is physics ahead of, or behind, a network that learned from the same episodes?
Command:  python -m experiments.learned.black_box_table --recording double_pendulum
          --physics experiments/results/recordings/double_pendulum/physics/seed{0,1}
          experiments/results/recordings/double_pendulum/physics
          --black-box runs/black_box/double_pendulum/seed{0,1,2}
          --out experiments/results/learned/black_box/double_pendulum
Runtime:  one to ten minutes on 2 cores: physics is compiled for each horizon
Expected: one JSON line with the ratios to physics at the recording's own horizon

--physics are --out folders of ``experiments.recordings.fit_physics``, --black-box those of
``experiments.learned.black_box``; one per seed.
"""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from experiments.recordings.fitted import read_fits
from experiments.recordings.source import Recording, read_recording
from experiments.recordings.statistics import BySeed
from experiments.recordings.tables import SHORTER, headline, publish
from worldmodel import runtime
from worldmodel.episodes.windows import Windows
from worldmodel.errors import InputError


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    recording: str  # elbow_toss, cube_toss, square_drop or double_pendulum
    physics: tuple[Path, ...]  # --out folders of fit_physics, one per seed
    black_box: tuple[Path, ...]  # --out folders of black_box, one per seed
    out: Path  # folder for the table


def read_run(folder: Path, recording: Recording) -> dict[str, Any]:
    """The result.json of a run.

    Raises:
      InputError: none is there, or one of other data.
    """
    path = folder / "result.json"
    if not path.is_file():
        raise InputError(f"{path} does not exist; give the --out of a black_box that ended")
    result = json.loads(path.read_text())
    if result["data"] != recording.digest:
        raise InputError(
            f"{folder} learned from {result['recording']} in another file; run black_box on this "
            f"{recording.problem.name} again"
        )
    return result


def main(args: Args) -> int:
    """Compares, writes OUT, prints one JSON line."""
    runtime.configure()
    recording, fits = read_recording(args.recording), read_fits(args.physics, args.recording)
    runs = [read_run(folder, recording) for folder in args.black_box]
    by_seed = dict(zip((run["seed"] for run in runs), args.black_box, strict=True))
    if len(by_seed) < len(runs):
        raise InputError(f"a seed twice in {[run['seed'] for run in runs]}; give one run each")

    def predictions(windows: Windows) -> dict[str, BySeed]:
        learned, frames = {}, str(windows.target.shape[1])
        for seed, folder in sorted(by_seed.items()):
            with np.load(folder / "predictions.npz") as stored:
                learned[seed] = stored[frames]
        physics = {seed: fitted.predict(windows) for seed, fitted in fits.items()}
        return {"physics": physics, "black_box": learned}

    table = publish(
        args.out,
        recording,
        next(iter(fits.values())),
        predictions,
        [("black_box", "physics")],
        shorter=SHORTER,
        fits=[{"seed": seed, "validation": fitted.validation} for seed, fitted in fits.items()],
        runs={"black_box": runs},
    )
    print(json.dumps(headline(table, "physics", ["black_box"]) | {"out": str(args.out)}))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
