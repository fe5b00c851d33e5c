"""Do the forecasts of an ensemble say how wrong they are?

Question: how often do an ensemble's intervals hold, and does its spread tell bad forecasts from
          good ones better than the number of the frame or the distance moved does?
Command:  python -m experiments.learned.calibration --recording double_pendulum
          --model experiments/results/recordings/double_pendulum/hybrid/checkpoint
          --out experiments/results/learned/calibration/double_pendulum
Runtime:  two to five minutes, mostly compiling
Expected: with multipliers of held-out episodes most coverages' intervals hold their levels; CRPS
          against the ensemble's own and both baselines says what that costs

Every spread is of the same means. The baselines know the frame's number, or how far the ensemble's
mean has moved from the start, which is what holding the last pose would be wrong by. All but the
first spread have multipliers of the validation episodes, and every figure is of the test episodes.
"""

import dataclasses
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from experiments import records
from experiments.recordings.fitted import restore_fitted
from experiments.recordings.source import read_recording
from experiments.recordings.statistics import ratio_t_interval
from experiments.recordings.tables import CHANNELS
from worldmodel import runtime
from worldmodel._mujoco import mujoco
from worldmodel.commands.scores import BATCH
from worldmodel.episodes import forecasts as scoring
from worldmodel.episodes.forecasts import LEVELS, Forecasts, fit_multipliers
from worldmodel.episodes.windows import Windows
from worldmodel.errors import InputError
from worldmodel.model import Parameters, WorldModel
from worldmodel.model.ensemble import make_forecaster
from worldmodel.scene import Scene
from worldmodel.scene.tangent import difference, measured_difference, measured_dofs

RAW, CALIBRATED, STEP, MOVED = "ensemble", "with multipliers", "step index", "distance moved"
HORIZONS = (1, 10, 50, 100)  # frames; those beyond the forecasts are left out
NEUTRAL = {"floor": 0.0, "widening": 1.0, "freedom": np.inf}  # of a model's own multipliers


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    recording: str  # elbow_toss, cube_toss, square_drop or double_pendulum
    model: Path  # checkpoint of fit_hybrid
    out: Path  # folder for the table


@dataclasses.dataclass(frozen=True)
class Part:
    """The forecasts of validation or test."""

    forecasts: Forecasts
    moved: np.ndarray  # (windows, horizon, nv) [m, rad] displacement of the mean since the start

    def of(self, channels: Sequence[int]) -> "Part":
        """Some degrees of freedom."""
        own = self.forecasts.part(slice(None), channels)
        return Part(own, self.moved[..., channels])


def forecast(world: WorldModel, parameters: Parameters, windows: Windows) -> Part:
    """What a model says of windows, without its own multipliers."""
    scene, network = world.scene, parameters["network"]
    neutral = {k: jnp.full_like(network[k], v) for k, v in NEUTRAL.items() if k in network}
    forecaster = make_forecaster(world, min(BATCH, len(windows)))
    given = forecaster(parameters | {"network": network | neutral}, windows)
    target, first = np.asarray(windows.target), np.asarray(windows.qpos)[:, None]
    start = np.broadcast_to(first, target.shape)
    counts = np.broadcast_to(np.asarray(windows.scored)[..., None], given.deviation.shape)
    if windows.measured is not None:
        counts = counts & measured_dofs(scene, np.asarray(windows.measured))
    error = -measured_difference(scene, target, given.mean, windows.measured)
    forecasts = Forecasts(error, given.deviation, np.asarray(windows.episode), counts)
    return Part(forecasts, np.nanmean(difference(scene, start, given.members), axis=0))


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


def spreads(held: Part, test: Part) -> dict[str, Forecasts]:
    """The test forecasts of one group with each spread; multipliers are of the held-out part.

    Raises:
      InputError: nothing moves at a horizon, or ``fit_multipliers`` refuses the group.
    """
    squared = [np.square(part.moved).mean(axis=2, keepdims=True) for part in (held, test)]
    usual = squared[0].mean(axis=0)
    if not (usual > 0).all():
        raise InputError("no forecast moves from the start")
    # Where little moves, the usual distance keeps the spread from vanishing.
    distance = [np.sqrt(s + usual) * np.ones(held.moved.shape[2]) for s in squared]
    given = {
        CALIBRATED: (held.forecasts.deviation, test.forecasts.deviation),
        STEP: (np.ones_like(held.moved), np.ones_like(test.moved)),
        MOVED: (distance[0], distance[1]),
    }
    result = {RAW: test.forecasts}
    for name, (fitted, applied) in given.items():
        same = [0] * held.moved.shape[2]
        mended = fit_multipliers(dataclasses.replace(held.forecasts, deviation=fitted), same)
        result[name] = mended.applied(dataclasses.replace(test.forecasts, deviation=applied))
    return result


def by_group(held: Part, test: Part, groups: Sequence[str]) -> dict[str, dict[str, Forecasts]]:
    """The ``spreads`` of each group, of which ``groups`` names that of each degree of freedom; one
    that cannot be mended is left out."""
    result = {}
    for group in dict.fromkeys(groups):
        channels = [c for c, name in enumerate(groups) if name == group]
        try:
            result[group] = spreads(held.of(channels), test.of(channels))
        except InputError as error:
            runtime.log(f"group {group} is left out: {error}")
    return result


def rows(grouped: Mapping[str, dict[str, Forecasts]], horizons: Sequence[int]) -> list[records.Row]:
    """A row for each group, horizon [frames] (None: all frames together) and spread."""
    result = []
    for group, by_spread in grouped.items():
        for frames in (*horizons, None):
            steps = slice(None) if frames is None else [frames - 1]
            parts = {name: f.part(steps, slice(None)) for name, f in by_spread.items()}
            for name, part in parts.items():
                row = {"group": group, "frames": frames, "spread": name} | scoring.scores(part)
                alike = frames is not None and np.isfinite(part.freedom).all()
                row["freedom"] = float(np.ravel(part.freedom)[0]) if alike else None
                spread = scoring.sizes(part.deviation, part.counts)
                size = scoring.sizes(part.error, part.counts)
                row["rank_correlation"] = scoring.rank_correlation(spread, size)
                row["over_step_index"] = None
                crps, reference = _crps(part), _crps(parts[STEP])
                if name != STEP and len(reference) > 1:
                    row["over_step_index"] = np.array(ratio_t_interval(crps, reference))
                result.append(row)
    return result


def _crps(part: Forecasts) -> np.ndarray:
    """(episodes,)."""
    return scoring.by_episode(part.each(scoring.crps), part)


def _covered(row: records.Row, level: float) -> str:
    cell = row["coverage"][str(level)]
    if cell["right"] is None:
        return f"{cell['share']:.2f}"
    off = "" if cell["right"] else " !"
    return f"{cell['share']:.2f} [{cell['low']:.2f}, {cell['high']:.2f}]{off}"


def _crps_cell(row: records.Row) -> str:
    _, unit, factor = CHANNELS[row["group"]]
    return f"{factor * row['crps']:.3g} {unit}"


COLUMNS: records.Columns = {
    "group": lambda r: CHANNELS[r["group"]][0],
    "frames": lambda r: "all" if r["frames"] is None else r["frames"],
    "spread": "spread",
    **{f"{level:.0%}": lambda r, level=level: _covered(r, level) for level in LEVELS},
    "CRPS": _crps_cell,
    "/ step index": lambda r: records.with_interval(r["over_step_index"]),
    "NLL": "nll:.2f",
    "t": "freedom:.1f",
    "spread / error": "spread_over_error:.2f",
    "rank": "rank_correlation:.2f",
}
NOTE = (
    "Coverage of the central intervals, with its 95 % interval over episodes; ! where that does "
    "not hold the level. That interval knows nothing of the multipliers' own error: with as many "
    "validation as test episodes it rejects one in six of the right ones. t: degrees of freedom, "
    "none for the normal distribution. Rank: Spearman's correlation of spread and error over "
    "windows; of all frames, over windows and frames."
)


def main(args: Args) -> int:
    """Scores every spread; prints one JSON line: how many coverages are right, of how many."""
    runtime.configure()
    recording, fitted = read_recording(args.recording), restore_fitted(args.model)
    world, grid = fitted.world, recording.problem.windows
    if not world.learns:
        raise InputError(f"--model {args.model} has no network; give a checkpoint of fit_hybrid")
    held, test = (
        forecast(world, fitted.parameters, grid.cut(recording.part(part))[0])
        for part in ("validation", "test")
    )
    horizons = [h for h in HORIZONS if h <= test.moved.shape[1]]
    grouped = by_group(held, test, groups_of(world.scene))
    measured = rows(grouped, horizons)
    members = world.network.members
    records.write(
        args.out,
        f"Calibration of the forecasts of {members} members",
        measured,
        COLUMNS,
        note=NOTE,
        model=args.model,
        horizon_hz=world.scene.control_hz,
        members=members,
        held_out_episodes=len(np.unique(held.forecasts.episode)),
    )
    right = {}
    for name in (RAW, CALIBRATED, STEP, MOVED):
        cells = [r["coverage"] for r in measured if r["spread"] == name and r["frames"]]
        verdicts = [level["right"] for cell in cells for level in cell.values()]
        right[name] = [sum(map(bool, verdicts)), len(verdicts)]
    print(json.dumps({"right": right, "out": str(args.out)}))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
