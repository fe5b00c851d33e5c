"""Do the forecasts of an ensemble say how wrong they are?

Question: how often do an ensemble's intervals hold, and does its spread tell bad forecasts from
          good ones better than the number of the frame or the distance moved does?
Command:  python -m experiments.learned.calibration --forecasts FILE.npz --out DIR
Runtime:  seconds to a minute
Expected: with multipliers of held-out episodes most coverages' intervals hold their levels; CRPS
          against the ensemble's own and both baselines says what that costs

FILE.npz is what ``forecast_file.write`` leaves; ``forecast_file`` says what it holds. Every spread
is of the same means. The baselines know the frame's number, or how far the ensemble's mean has
moved from the start, which is what holding the last pose would be wrong by. All but the first
spread have multipliers of the validation episodes, and every figure is of the test episodes.
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
from experiments.learned.forecast_file import Part, read
from experiments.recordings.figures import CHANNELS
from experiments.recordings.statistics import ratio_t_interval
from worldmodel import runtime
from worldmodel.episodes import forecasts as scoring
from worldmodel.episodes.forecasts import LEVELS, Forecasts, fit_multipliers
from worldmodel.errors import InputError

RAW, CALIBRATED, STEP, MOVED = "ensemble", "with multipliers", "step index", "distance moved"


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    forecasts: Path  # .npz that a fit wrote
    out: Path  # folder for table.json, table.md and figure.png
    horizons: tuple[int, ...] = (1, 10, 50, 100)  # frames; those beyond the forecasts are left out


def spreads(held: Part, test: Part) -> dict[str, Forecasts]:
    """The test forecasts of one group with each spread; multipliers are of the held-out part.

    Raises:
      InputError: nothing moves at a horizon, or ``fit_multipliers`` refuses the group.
    """
    squared = [np.square(part.mean).mean(axis=2, keepdims=True) for part in (held, test)]
    usual = squared[0].mean(axis=0)
    if not (usual > 0).all():
        raise InputError("no forecast moves from the start")
    # Where little moves, the usual distance keeps the spread from vanishing.
    distance = [np.sqrt(s + usual) * np.ones(held.mean.shape[2]) for s in squared]
    given = {
        CALIBRATED: (held.forecasts.deviation, test.forecasts.deviation),
        STEP: (np.ones_like(held.forecasts.error), np.ones_like(test.forecasts.error)),
        MOVED: (distance[0], distance[1]),
    }
    result = {RAW: test.forecasts}
    for name, (fitted, applied) in given.items():
        same = [0] * held.mean.shape[2]
        mended = fit_multipliers(dataclasses.replace(held.forecasts, deviation=fitted), same)
        result[name] = mended.applied(dataclasses.replace(test.forecasts, deviation=applied))
    return result


def rows(
    group: str, by_spread: Mapping[str, Forecasts], horizons: list[int | None]
) -> list[records.Row]:
    """A row for each horizon (None: all frames together) and spread."""
    result = []
    for frames in horizons:
        steps = slice(None) if frames is None else [frames - 1]
        parts = {name: f.part(steps, slice(None)) for name, f in by_spread.items()}
        reference = _crps(parts[STEP])
        for name, part in parts.items():
            row = {"group": group, "frames": frames, "spread": name} | scoring.scores(part)
            alike = frames is not None and np.isfinite(part.freedom).all()
            row["freedom"] = float(np.ravel(part.freedom)[0]) if alike else None
            spread = scoring.sizes(part.deviation, part.counts)
            size = scoring.sizes(part.error, part.counts)
            row["rank_correlation"] = scoring.rank_correlation(spread, size)
            row["over_step_index"] = None
            if name != STEP and len(reference) > 1:
                row["over_step_index"] = np.array(ratio_t_interval(_crps(part), reference))
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
    held, test, groups, hz = read(args.forecasts)
    reach = test.mean.shape[1]
    horizons = [h for h in args.horizons if 1 <= h <= reach]
    if len(horizons) < len(args.horizons):
        runtime.log(f"the forecasts reach {reach} frames; horizons beyond are left out")
    measured, shown = [], []
    for group in dict.fromkeys(groups):
        channels = [c for c, name in enumerate(groups) if name == group]
        own = test.of(channels)
        try:
            by_spread = spreads(held.of(channels), own)
        except InputError as error:
            runtime.log(f"group {group} is left out: {error}")
            continue
        measured += rows(group, by_spread, [*horizons, None])
        shown.append((group, own, by_spread[RAW], by_spread[CALIBRATED]))
    if not shown:
        raise InputError(f"{args.forecasts}: no group is left; see above")
    about = {
        "forecasts": args.forecasts,
        "horizon_hz": hz,
        "members": len(test.members),
        "held_out_episodes": len(np.unique(held.forecasts.episode)),
    }
    title = f"Calibration of the forecasts of {len(test.members)} members"
    records.write(args.out, title, measured, COLUMNS, note=NOTE, **about)
    draw(args.out / "figure.png", shown, hz)
    right = {}
    for name in (RAW, CALIBRATED, STEP, MOVED):
        cells = [r["coverage"] for r in measured if r["spread"] == name and r["frames"]]
        verdicts = [level["right"] for cell in cells for level in cell.values()]
        right[name] = [sum(map(bool, verdicts)), len(verdicts)]
    print(json.dumps({"right": right, "out": str(args.out)}))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
