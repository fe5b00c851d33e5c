"""Do the forecasts of an ensemble say how wrong they are?

Question: how often do an ensemble's intervals hold, and does its spread tell bad forecasts from
          good ones better than the number of the frame or the distance moved does?
Command:  python -m experiments.learned.calibration --forecasts FILE.npz --out DIR
Runtime:  seconds to a minute
Expected: before multipliers too narrow; with those of held-out episodes every coverage's interval
          holds its level, and CRPS is at most that of both baselines

FILE.npz holds ``horizon_hz`` [1/s], the rate of the frames, ``groups`` (nv,), the name of each
channel's group, as ``joint_rad``; and of ``validation`` and ``test`` each, as ``test.error``:

    error      (windows, horizon, nv) recorded − mean, in the tangent space of qpos [m, rad]
    deviation  (windows, horizon, nv) of the forecast [m, rad]
    members    (members, windows, horizon, nv) displacement since the start, by each member
    start      (windows,) the frame of its episode at which a window starts
    episode    (windows,) numbers or names
    scored     (windows, horizon) bool; measured (windows, horizon, nv) bool may stand beside it

Every spread is of the same means. The baselines know the frame's number, or how far the ensemble's
mean has moved from the start, which is what holding the last pose would be wrong by. All but the
first spread have multipliers of the validation episodes, and every figure is of the test episodes.
OUT gets table.json, table.md and figure.png.
"""

import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from experiments import records
from experiments.learned.calibration_figure import draw
from experiments.recordings.figures import CHANNELS
from experiments.recordings.statistics import ratio_t_interval
from worldmodel import runtime
from worldmodel.episodes import forecasts as scoring
from worldmodel.episodes.forecasts import LEVELS, Forecasts, multipliers
from worldmodel.errors import InputError, cause, near

RAW, CALIBRATED, STEP, MOVED = "ensemble", "with multipliers", "step index", "distance moved"


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    forecasts: Path  # .npz that a fit wrote
    out: Path  # folder for table.json, table.md and figure.png
    horizons: tuple[int, ...] = (1, 10, 50, 100)  # frames; those beyond the forecasts are left out


@dataclasses.dataclass(frozen=True)
class Part:
    """The forecasts of validation or test."""

    forecasts: Forecasts
    members: np.ndarray  # (members, windows, horizon, nv) displacement since the start
    start: np.ndarray  # (windows,) frame of the episode


def read(path: Path) -> tuple[dict[str, Part], list[str], float]:
    """The parts by name, the group of each channel, and the rate of the frames [1/s].

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
    parts = {name: _part(path, arrays, name) for name in ("validation", "test")}
    held, test = (part.forecasts.error.shape for part in parts.values())
    if held[1:] != test[1:] or test[2] != len(groups):
        raise InputError(
            f"{path}: validation.error {held}, test.error {test} and {len(groups)} groups differ; "
            "give both the same horizon and the channels of the groups"
        )
    return parts, groups, float(_array(path, arrays, "horizon_hz"))


def _part(path: Path, arrays: Mapping[str, np.ndarray], name: str) -> Part:
    error, deviation, members, start, episode, scored = (
        _array(path, arrays, f"{name}.{key}")
        for key in ("error", "deviation", "members", "start", "episode", "scored")
    )
    measured = arrays.get(f"{name}.measured", np.ones(error.shape, bool))
    if scored.shape != error.shape[:2] or measured.shape != error.shape:
        raise InputError(
            f"{path}: {name}.scored {scored.shape} or measured {measured.shape} does not fit "
            f"{name}.error {error.shape}"
        )
    if members.shape[1:] != error.shape or not np.isfinite(members).all():
        raise InputError(
            f"{path}: {name}.members {members.shape} are not finite, or do not fit {name}.error "
            f"{error.shape}; leave members that diverge out"
        )
    counts = scored.astype(bool)[..., None] & measured.astype(bool)
    return Part(Forecasts(error, deviation, episode, counts), members, start)


def _array(path: Path, arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    if name not in arrays:
        raise InputError(f"{path} has no array '{name}'; {near(name, arrays)}")
    return arrays[name]


def spreads(held: Part, test: Part, groups: list[str]) -> dict[str, Forecasts]:
    """The test forecasts with each spread; multipliers are those of the held-out part."""
    typical = [moved(part, groups) ** 2 for part in (held, test)]
    usual = typical[0].mean(axis=0)
    if not (usual > 0).all():
        _, channel = np.argwhere(~(usual > 0))[0]
        raise InputError(
            f"no forecast of group {groups[channel]} moves from the start; leave its channels out"
        )
    # Where little moves, the usual distance keeps the spread from vanishing.
    distance = [np.sqrt(squared + usual) for squared in typical]
    given = {
        CALIBRATED: (held.forecasts.deviation, test.forecasts.deviation),
        STEP: (np.ones_like(held.forecasts.error), np.ones_like(test.forecasts.error)),
        MOVED: (distance[0], distance[1]),
    }
    result = {RAW: test.forecasts}
    for name, (fitted, applied) in given.items():
        factors = multipliers(dataclasses.replace(held.forecasts, deviation=fitted), groups)
        forecasts = dataclasses.replace(test.forecasts, deviation=applied)
        result[name] = forecasts.scaled(*factors)
    return result


def moved(part: Part, groups: list[str]) -> np.ndarray:
    """How far the mean is from the start: (windows, horizon, nv), a group's root mean square."""
    squared = np.square(part.members.mean(axis=0))
    result = np.empty_like(squared)
    for group in dict.fromkeys(groups):
        members = [c for c, name in enumerate(groups) if name == group]
        result[..., members] = np.sqrt(squared[..., members].mean(axis=2, keepdims=True))
    return result


def rows(
    by_spread: Mapping[str, Forecasts], groups: list[str], horizons: list[int | None]
) -> list[records.Row]:
    """A row for each group, horizon (None: all frames together) and spread."""
    result = []
    for group in dict.fromkeys(groups):
        channels = [c for c, name in enumerate(groups) if name == group]
        for frames in horizons:
            steps = slice(None) if frames is None else [frames - 1]
            parts = {name: f.part(steps, channels) for name, f in by_spread.items()}
            reference = _crps(parts[STEP])
            for name, part in parts.items():
                size = scoring.sizes(part.error, part.counts)
                spread = scoring.sizes(part.deviation, part.counts)
                row = {"group": group, "frames": frames, "spread": name} | scoring.scores(part)
                alike = frames is not None and np.isfinite(part.freedom).all()
                row["freedom"] = float(np.ravel(part.freedom)[0]) if alike else None
                row["rank_correlation"] = scoring.rank_correlation(spread, size)
                row["over_step_index"] = None
                if name != STEP and len(reference) > 1:
                    ratio = ratio_t_interval(_crps(part), reference)
                    row["over_step_index"] = [float(x) for x in ratio]
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


def _over(row: records.Row) -> str | None:
    if row["over_step_index"] is None:
        return None
    ratio, low, high = row["over_step_index"]
    return f"{ratio:.3f} [{low:.3f}, {high:.3f}]"


COLUMNS: records.Columns = {
    "group": lambda r: CHANNELS[r["group"]][0],
    "frames": lambda r: "all" if r["frames"] is None else r["frames"],
    "spread": "spread",
    **{f"{level:.0%}": lambda r, level=level: _covered(r, level) for level in LEVELS},
    "CRPS": _crps_cell,
    "/ step index": _over,
    "NLL": "nll:.2f",
    "t": lambda r: None if r["freedom"] is None else f"{r['freedom']:.1f}",
    "spread / error": "spread_over_error:.2f",
    "rank": lambda r: None if r["rank_correlation"] is None else f"{r['rank_correlation']:.2f}",
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
    parts, groups, hz = read(args.forecasts)
    held, test = parts["validation"], parts["test"]
    reach = test.forecasts.error.shape[1]
    horizons = [h for h in args.horizons if 1 <= h <= reach]
    if len(horizons) < len(args.horizons):
        runtime.log(f"the forecasts reach {reach} frames; horizons beyond are left out")
    by_spread = spreads(held, test, groups)
    measured = rows(by_spread, groups, [*horizons, None])
    about = {
        "forecasts": args.forecasts,
        "horizon_hz": hz,
        "members": len(test.members),
        "held_out_episodes": len(np.unique(held.forecasts.episode)),
    }
    title = f"Calibration of the forecasts of {len(test.members)} members"
    records.write(args.out, title, measured, COLUMNS, note=NOTE, **about)
    shown = test.members, test.start, by_spread[RAW], by_spread[CALIBRATED]
    draw(args.out / "figure.png", *shown, groups, hz)
    right = {}
    for name in by_spread:
        cells = [r["coverage"] for r in measured if r["spread"] == name and r["frames"]]
        verdicts = [level["right"] for cell in cells for level in cell.values()]
        right[name] = [sum(map(bool, verdicts)), len(verdicts)]
    print(json.dumps({"right": right, "out": str(args.out)}))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
