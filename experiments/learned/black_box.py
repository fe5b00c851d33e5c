"""The black box: what a network without physics predicts of a recording, as physics' opponent.

Question: how far does a network get that a careful engineer trains on the same episodes, without
          any physics?
Command:  python -m experiments.learned.black_box --recording double_pendulum
          --out runs/black_box/double_pendulum/seed0 --seed 0
Runtime:  ten to thirty minutes on 2 cores: eight trials, then the fit with the best setting
Expected: one JSON line; double_pendulum: a test error of the joints at 0.5 s of 3 to 5 degrees

The network and its recipe are in ``experiments.learned.gru``. The trials change one setting at a
time and keep what lowers the error on the validation windows; --tuned RUN takes the choice of a
former run, for other seeds. --config.memory 1 hides the past, --members 3 fits an ensemble, whose
mean predicts.

OUT gets metrics.jsonl, a row for each validation; result.json, with every trial; and
predictions.npz, which ``experiments.learned.black_box_table`` compares with physics: of the
validation and the test windows at each horizon, ``<part>_<frames>_qpos`` (windows, frames, nq) and
``_deviation`` (windows, frames, nv) [m, rad]; ``_id`` and ``_frame`` say where a window starts.
forecasts.npz is for ``experiments.learned.calibration``. Ctrl-C ends a run; the same command starts
again.
"""

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.learned.forecast_file import groups_of
from experiments.learned.gru import Parameters
from experiments.learned.training import Config, Data, fit, predict
from experiments.recordings.source import Recording, read_recording
from experiments.recordings.tables import grids
from experiments.records import append_row, plain, write_arrays
from worldmodel import runtime
from worldmodel.commands.scores import named
from worldmodel.episodes.errors import episode_errors, over_episodes
from worldmodel.episodes.windows import Windows
from worldmodel.errors import InputError
from worldmodel.model.ensemble import Forecast
from worldmodel.runtime.files import write_json
from worldmodel.scene import Scene
from worldmodel.scene.tangent import displacements, measured_dofs

# What each trial after the first, the given setting, changes of the best so far.
CHANGES: tuple[dict[str, Any], ...] = (
    {"rollout": 40},
    {"rollout": 100},
    {"learning_rate": 2e-3},
    {"learning_rate": 1e-2},
    {"noise": 0.1},
    {"width": 64},
    {"memory": 12},
)
PARTS = ("validation", "test")

Record = Callable[[dict[str, Any]], None]
Stop = Callable[[], bool]


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    recording: str  # elbow_toss, cube_toss, square_drop or double_pendulum
    out: Path  # folder for the predictions, the result and the metrics
    seed: int = 0
    members: int = 1  # of the ensemble
    trial_steps: int = 300  # of a trial; 0 fits with --config as it is
    tuned: Path | None = None  # --out of a run whose choice is taken instead of trials
    config: Config = dataclasses.field(default_factory=Config)


def main(args: Args, stop: Stop) -> int:
    """Tries, fits, predicts; writes OUT and prints one JSON line."""
    runtime.configure(x64=False)
    recording = read_recording(args.recording, args.out)
    data = make_data(recording)
    rows = args.out / "metrics.jsonl"
    rows.unlink(missing_ok=True)
    config, trials = tuned(args.tuned) if args.tuned else (args.config, [])
    if args.trial_steps and not args.tuned:
        config, trials = tune(
            data, config, args.trial_steps, lambda row: append_row(rows, row), stop
        )
    members, validation = [], []
    for member in range(args.members):
        seed = args.seed * args.members + member
        parameters, error = fit(
            data,
            config,
            seed,
            record=lambda row, member=member: append_row(rows, {"member": member} | row),
            stop=stop,
        )
        members.append(parameters)
        validation.append(error)
    arrays, forecasts, errors = evaluate(recording, data, members, config.memory)
    write_arrays(args.out / "predictions.npz", arrays)
    write_arrays(args.out / "forecasts.npz", forecasts)
    result = {
        "recording": recording.problem.name,
        "simulated": recording.simulated,
        "data": recording.digest,
        "seed": args.seed,
        "members": args.members,
        "validation": validation,
        "config": plain(config),
        "trials": trials,
        "errors": errors,
        "provenance": runtime.provenance(),
    }
    write_json(args.out / "result.json", result)
    print(json.dumps(result | {"out": str(args.out)}))
    return 0


def make_data(recording: Recording) -> Data:
    """What the network learns from: the training episodes, judged on the validation windows of the
    recording's own horizon and of the longer one."""
    problem, scene = recording.problem, recording.problem.scene()
    channels, validation = problem.channels(scene), recording.part("validation")
    judged = [g for g in grids(problem, channels, validation) if g.horizon is not None]
    return Data(scene, channels, recording.part("train"), validation, problem.training_grid, judged)


def tune(
    data: Data, config: Config, steps: int, record: Record, stop: Stop
) -> tuple[Config, list[dict[str, Any]]]:
    """The best of short fits: each of ``CHANGES`` is kept where validation improves.

    Returns:
      the chosen config, as long as the given one; what every trial changed and its validation.
    """
    best, lowest, trials = config, np.inf, []
    for index, change in enumerate(({}, *CHANGES)):
        trial = dataclasses.replace(best, **change)
        _, error = fit(
            data,
            dataclasses.replace(trial, steps=steps),
            0,
            record=lambda row, index=index: record({"trial": index} | row),
            stop=stop,
        )
        if error < lowest:
            best, lowest = trial, error
        trials.append({"change": change, "steps": steps, "validation": error})
        runtime.log(f"trial {index}: {change or 'as given'}, validation {error:.4f}")
    return best, trials


def tuned(folder: Path) -> tuple[Config, list[dict[str, Any]]]:
    """The config that a former run chose, and its trials.

    Raises:
      InputError: no result there.
    """
    path = folder / "result.json"
    if not path.is_file():
        raise InputError(f"{path} does not exist; give the --out of a run that ended")
    result = json.loads(path.read_text())
    return Config(**result["config"]), result["trials"]


def evaluate(
    recording: Recording, data: Data, members: Sequence[Parameters], memory: int
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, Any]]:
    """Predictions of the validation and test windows at every horizon, those of the longest fixed
    one as forecasts, and the errors: part → horizon → channel."""
    problem, scene = recording.problem, data.scene
    arrays: dict[str, np.ndarray] = {}
    forecasts = {"horizon_hz": np.array(scene.control_hz), "groups": np.array(groups_of(scene))}
    errors: dict[str, Any] = {}
    for part in PARTS:
        episodes = recording.part(part)
        for grid in grids(problem, data.channels, episodes):
            windows, _ = grid.cut(episodes)
            predicted = predict(scene, members, episodes, windows, memory)
            name = f"{part}_{grid.horizon or 'whole'}"
            ids = np.array([str(episodes[e].id) for e in np.asarray(windows.episode)])
            arrays |= {f"{name}_qpos": predicted.mean, f"{name}_deviation": predicted.deviation}
            arrays |= {f"{name}_id": ids, f"{name}_frame": np.asarray(windows.frame)}
            error = over_episodes(episode_errors(predicted.mean, windows, data.channels))
            errors.setdefault(part, {})[str(grid.horizon or "whole")] = named(error)
            if grid.horizon is not None:  # the longer one's are kept
                forecasts |= forecast(scene, part, predicted, windows)
    return arrays, forecasts, errors


def forecast(
    scene: Scene, part: str, predicted: Forecast, windows: Windows
) -> dict[str, np.ndarray]:
    """Predictions of one part as ``experiments.learned.calibration`` reads them."""
    target = np.asarray(windows.target)
    known = np.isfinite(target) if windows.measured is None else np.asarray(windows.measured)
    start = np.broadcast_to(np.asarray(windows.qpos)[:, None], target.shape)
    arrays = {
        "error": displacements(scene, predicted.mean, np.where(known, target, predicted.mean)),
        "deviation": predicted.deviation,
        "members": np.stack([displacements(scene, start, qpos) for qpos in predicted.members]),
        "start": np.asarray(windows.frame),
        "episode": np.asarray(windows.episode),
        "scored": np.asarray(windows.scored),
        "measured": measured_dofs(scene, known),
    }
    return {f"{part}.{name}": array for name, array in arrays.items()}


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
