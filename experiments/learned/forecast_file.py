"""The forecasts of an ensemble as a file, which ``calibration`` reads.

Question: none; it gives the calibration what it scores.
Command:  python -m experiments.learned.forecast_file --recording double_pendulum
          --model experiments/results/recordings/double_pendulum/hybrid/checkpoint --out FILE.npz
Runtime:  a minute, mostly compiling
Expected: one JSON line

An .npz with ``horizon_hz`` [1/s], the rate of the frames, ``groups`` (nv,), the name of each degree
of freedom's group, as ``joint_rad``; and of ``validation`` and ``test`` each, as ``test.error``:

    error      (windows, horizon, nv) recorded − mean, in the tangent space of qpos [m, rad]
    deviation  (windows, horizon, nv) of the forecast, before any multiplier [m, rad]
    members    (members, windows, horizon, nv) displacement since the start; NaN where one diverged
    start      (windows,) the frame of its episode at which a window starts
    episode    (windows,) numbers or names
    scored     (windows, horizon) bool; measured (windows, horizon, nv) bool may stand beside it
"""

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from experiments.recordings.figures import CHANNELS
from experiments.recordings.fitted import restore_fitted
from experiments.recordings.source import read_recording
from worldmodel import runtime
from worldmodel._mujoco import mujoco
from worldmodel.episodes.forecasts import Forecasts
from worldmodel.episodes.windows import Windows
from worldmodel.errors import InputError, cause, near
from worldmodel.model import Parameters, WorldModel
from worldmodel.model.ensemble import make_forecaster
from worldmodel.runtime.records import write_arrays
from worldmodel.scene import Scene
from worldmodel.scene.tangent import difference, measured_difference, measured_dofs

BATCH = 256  # windows predicted at once
NEUTRAL = {"floor": 0.0, "widening": 1.0, "freedom": np.inf}  # of a model's own multipliers


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    recording: str  # elbow_toss, cube_toss, square_drop or double_pendulum
    model: Path  # checkpoint of fit_hybrid
    out: Path  # .npz
    horizon: int | None = None  # frames; the recording's own when absent


@dataclasses.dataclass(frozen=True)
class Part:
    """The forecasts of validation or test."""

    forecasts: Forecasts
    members: np.ndarray  # (members, windows, horizon, nv) displacement since the start
    start: np.ndarray  # (windows,) frame of the episode

    @property
    def mean(self) -> np.ndarray:
        """(windows, horizon, nv) over the members that are finite."""
        finite = np.isfinite(self.members)
        total = np.where(finite, self.members, 0.0).sum(axis=0)
        return total / np.maximum(finite.sum(axis=0), 1)

    def of(self, channels: Sequence[int]) -> "Part":
        """Some degrees of freedom."""
        forecasts = self.forecasts.part(slice(None), channels)
        return Part(forecasts, self.members[..., channels], self.start)


def write(
    path: Path, world: WorldModel, parameters: Parameters, validation: Windows, test: Windows
) -> None:
    """Forecasts of windows of one horizon, without the model's own multipliers, as a file."""
    groups = groups_of(world.scene)
    arrays = {"horizon_hz": np.array(world.scene.control_hz), "groups": np.array(groups)}
    for name, windows in (("validation", validation), ("test", test)):
        part = _forecast(world, parameters, windows)
        arrays |= {f"{name}.{key}": values for key, values in part.items()}
    write_arrays(path, arrays, compressed=True)


def groups_of(scene: Scene) -> list[str]:
    """(nv,) the group of each degree of freedom, by the kind of its joint."""
    kinds = mujoco.mjtJoint
    of = {
        kinds.mjJNT_FREE: ["position_m"] * 3 + ["rotation_rad"] * 3,
        kinds.mjJNT_BALL: ["rotation_rad"] * 3,
        kinds.mjJNT_SLIDE: ["position_m"],
        kinds.mjJNT_HINGE: ["joint_rad"],
    }
    return [group for kind in scene.mj_model.jnt_type for group in of[kinds(kind)]]


def _forecast(world: WorldModel, parameters: Parameters, windows: Windows) -> dict[str, np.ndarray]:
    scene, network = world.scene, parameters["network"]
    network = network | {
        name: jnp.full_like(network[name], value)
        for name, value in NEUTRAL.items()
        if name in network
    }
    forecaster = make_forecaster(world, min(BATCH, len(windows)))
    forecast = forecaster(parameters | {"network": network}, windows)
    target, first = np.asarray(windows.target), np.asarray(windows.qpos)[:, None]
    start = np.zeros(len(windows), int) if windows.frame is None else np.asarray(windows.frame)
    arrays = {
        "error": -measured_difference(scene, target, forecast.mean, windows.measured),
        "deviation": forecast.deviation,
        "members": difference(scene, np.broadcast_to(first, target.shape), forecast.members),
        "start": start,
        "episode": np.asarray(windows.episode),
        "scored": np.asarray(windows.scored),
    }
    if windows.measured is not None:
        arrays["measured"] = measured_dofs(scene, np.asarray(windows.measured))
    return arrays


def read(path: Path) -> tuple[Part, Part, list[str], float]:
    """Validation, test, the group of each degree of freedom, and the rate of the frames [1/s].

    Raises:
      InputError: no such file, an array that it has not, or shapes that do not belong together.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as .npz: {cause(error)}") from error
    groups = [str(name) for name in _array(path, arrays, "groups")]
    unknown = [name for name in groups if name not in CHANNELS]
    if unknown:
        raise InputError(f"{path}: group '{unknown[0]}' is none of {', '.join(CHANNELS)}")
    parts = [_part(path, arrays, name) for name in ("validation", "test")]
    held, test = (part.forecasts.error.shape for part in parts)
    if held[1:] != test[1:] or test[2] != len(groups):
        raise InputError(
            f"{path}: validation.error {held}, test.error {test} and {len(groups)} groups differ; "
            "give both the same horizon and the channels of the groups"
        )
    return parts[0], parts[1], groups, float(_array(path, arrays, "horizon_hz"))


def _part(path: Path, arrays: Mapping[str, np.ndarray], name: str) -> Part:
    error, deviation, members, start, episode, scored = (
        _array(path, arrays, f"{name}.{key}")
        for key in ("error", "deviation", "members", "start", "episode", "scored")
    )
    measured = arrays.get(f"{name}.measured", np.ones(error.shape, bool))
    for key, shape, wanted in (
        ("scored", scored.shape, error.shape[:2]),
        ("measured", measured.shape, error.shape),
        ("members", members.shape[1:], error.shape),
        ("start", start.shape, error.shape[:1]),
    ):
        if shape != wanted:
            raise InputError(f"{path}: {name}.{key} does not fit {name}.error {error.shape}")
    counts = scored.astype(bool)[..., None] & measured.astype(bool)
    return Part(Forecasts(error, deviation, episode, counts), members, start)


def _array(path: Path, arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    if name not in arrays:
        raise InputError(f"{path} has no array '{name}'; {near(name, arrays)}")
    return arrays[name]


def main(args: Args) -> int:
    """Writes the file; prints one JSON line; returns the exit status.

    Raises:
      InputError: a model without a network, which says nothing of its errors.
    """
    runtime.configure()
    recording, fitted = read_recording(args.recording), restore_fitted(args.model)
    if not fitted.world.learns:
        raise InputError(f"--model {args.model} has no network; give a checkpoint of fit_hybrid")
    grid = recording.problem.windows
    grid = dataclasses.replace(grid, horizon=args.horizon or grid.horizon)
    remember = fitted.metadata["remember"]
    validation, test = (
        grid.cut(recording.part(name))[0].remembering(remember) for name in ("validation", "test")
    )
    write(args.out, fitted.world, fitted.parameters, validation, test)
    counts = {"validation": len(validation), "test": len(test)}
    print(json.dumps({"out": str(args.out), "windows": counts}))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
