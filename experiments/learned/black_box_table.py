"""The table of the black box: a network without physics, and fitted physics, on the same episodes.

Question: by how much is physics ahead of, or behind, a network that learned from the same episodes?
Command:  python -m experiments.learned.black_box_table --recording double_pendulum
          --physics experiments/results/recordings/double_pendulum/physics/seed{0,1}
          experiments/results/recordings/double_pendulum/physics
          --black-box runs/black_box/double_pendulum/seed{0,1,2}
          --out experiments/results/learned/black_box/double_pendulum
Runtime:  one to ten minutes on 2 cores: physics is compiled for each horizon
Expected: one JSON line with the ratios to physics at the recording's own horizon

--physics are --out folders of ``experiments.recordings.fit_physics``, --black-box and --memoryless
those of ``experiments.learned.black_box``, the latter with --config.memory 1; one per seed. OUT
gets table.json, table.md and figure.png.
"""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from experiments.recordings.figures import BLUE, GREY, ORANGE
from experiments.recordings.hybrid_predictions import predict
from experiments.recordings.source import Recording, read_recording
from experiments.recordings.tables import headline, publish, read_fits, refuse_diverged
from worldmodel import runtime
from worldmodel.commands.scores import BATCH
from worldmodel.episodes.windows import Windows
from worldmodel.errors import InputError

STYLES = {
    "physics": (BLUE, (0, (5, 2)), "fitted physics"),
    "memoryless": (GREY, (0, (1, 1.5)), "black box without a past"),
    "black_box": (ORANGE, "-", "black box"),
}


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    recording: str  # elbow_toss, cube_toss, square_drop or double_pendulum
    physics: tuple[Path, ...]  # --out folders of fit_physics, one per seed
    black_box: tuple[Path, ...]  # --out folders of black_box, one per seed
    out: Path  # folder for the table and the figure
    memoryless: tuple[Path, ...] = ()  # --out folders of black_box that hid the past
    split: Literal["test", "validation"] = "test"


def read_runs(folders: Sequence[Path], recording: Recording) -> dict[int, Path]:
    """The runs of one row: seed → folder.

    Raises:
      InputError: a folder without a result, of other data, or two of one seed.
    """
    runs: dict[int, Path] = {}
    for folder in folders:
        path = folder / "result.json"
        if not path.is_file():
            raise InputError(f"{path} does not exist; give the --out of a black_box that ended")
        result = json.loads(path.read_text())
        if result["simulated"] or result["data"] != recording.digest:
            raise InputError(
                f"{folder} learned from {result['recording']} in another file; run black_box on "
                f"the real {recording.problem.name} again"
            )
        if result["seed"] in runs:
            raise InputError(
                f"{folder} and {runs[result['seed']]} have both seed {result['seed']}; give one "
                "run per seed"
            )
        runs[result["seed"]] = folder
    return dict(sorted(runs.items()))


def read_predictions(folder: Path, part: str, windows: Windows, ids: Sequence[Any]) -> np.ndarray:
    """(windows, horizon, nq) what a run predicted of these windows.

    Args:
      ids: of the episodes that ``windows.episode`` counts.

    Raises:
      InputError: it predicted others.
    """
    frames = windows.target.shape[1]
    where = {
        "id": np.array([str(ids[e]) for e in np.asarray(windows.episode)]),
        "frame": np.asarray(windows.frame),
    }
    with np.load(folder / "predictions.npz", allow_pickle=False) as stored:
        for name in (f"{part}_{frames}", f"{part}_whole"):
            if f"{name}_qpos" in stored and all(
                np.array_equal(stored[f"{name}_{key}"], value) for key, value in where.items()
            ):
                return stored[f"{name}_qpos"]
    raise InputError(
        f"{folder} has no predictions of the {part} windows of {frames} frames; run black_box again"
    )


def main(args: Args) -> int:
    """Compares, writes OUT, prints one JSON line."""
    runtime.configure()
    recording = read_recording(args.recording)
    fits = read_fits(args.physics, args.recording)
    groups = {"black_box": read_runs(args.black_box, recording)}
    if args.memoryless:
        groups["memoryless"] = read_runs(args.memoryless, recording)

    def predictions(windows: Windows, ids: Sequence[Any]) -> dict[str, dict[int, np.ndarray]]:
        runtime.log(f"{windows.target.shape[1]} frames")
        batch = min(BATCH, len(windows))
        rows = {"physics": {f.seed: predict(f.fitted, windows, batch)[0] for f in fits}}
        for name, runs in groups.items():
            rows[name] = {
                seed: read_predictions(folder, args.split, windows, ids)
                for seed, folder in runs.items()
            }
        for name, by_seed in rows.items():
            for seed, predicted in by_seed.items():
                refuse_diverged(predicted, windows, f"{name}, seed {seed}", ids)
        return rows

    table = publish(
        args.out,
        recording,
        args.split,
        fits[0].fitted,
        predictions,
        lambda models: [(name, "physics") for name in models if name != "physics"],
        STYLES,
        fits=[{"seed": f.seed, "validation": f.validation} for f in fits],
        runs={
            name: [json.loads((folder / "result.json").read_text()) for folder in runs.values()]
            for name, runs in groups.items()
        },
    )
    line = headline(table, "physics", ["black_box", "memoryless"])
    print(json.dumps(line | {"out": str(args.out)}))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
