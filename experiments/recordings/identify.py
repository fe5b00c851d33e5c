"""Each physical number of a recording: its value, its interval, or that it is not identified.

Question: which parameters do the tosses identify, how well, and which only together?
Command:  python -m experiments.recordings.identify --recording elbow_toss --out runs/identified
Runtime:  three to ten minutes on 2 cores; --fit.engine mjx is the slower one on a CPU
Expected: one JSON line; OUT/table.md names every number with its 95 % interval and those that are
          not identified; the pairs that the data cannot tell apart are in table.json

Gauss-Newton (``worldmodel.identify``) on windows of *train* episodes; the intervals hold for the
windows used, the scene's structure and the priors of its parameters. The same command goes on after
Ctrl-C, SIGTERM or a kill, to the same numbers.
"""

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from experiments.recordings.source import read_recording
from experiments.records import write
from worldmodel import runtime
from worldmodel.finetune import gauss_newton
from worldmodel.finetune.gauss_newton import Identified, IdentifyConfig, Progress
from worldmodel.model import WorldModel
from worldmodel.physics import parameters as physical
from worldmodel.runtime.records import plain, write_arrays
from worldmodel.runtime.settings import claim

NOTE = (
    "Deviation: in widths of the number's prior; 1 where the data say nothing. A number is not "
    "identified above 0.7 or at its bound, and none is where the fit has not converged."
)
COLUMNS = {
    "number": "number",
    "unit": "unit",
    "value": "value:.5g",
    "from": "low:.4g",
    "to (95 %)": "high:.4g",
    "deviation": "deviation:.2f",
    "identified": "identified",
}


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    recording: str  # elbow_toss, cube_toss, square_drop or double_pendulum
    out: Path
    windows: int = 512  # at most, drawn by ``seed``
    horizon: int | None = None  # frames per window; the recording's own when absent
    seed: int = 0  # of the draw
    fit: IdentifyConfig = dataclasses.field(default_factory=lambda: IdentifyConfig(engine="c"))


def main(args: Args, stop: Callable[[], bool]) -> int:
    """Identifies; prints one JSON line."""
    runtime.configure()
    recording = read_recording(args.recording)
    problem, train = recording.problem, recording.part("train")
    horizon = problem.windows.horizon if args.horizon is None else args.horizon
    windows = recording.training_windows(horizon, args.windows, args.seed)
    world = WorldModel(problem.scene(), problem.free)
    settings = plain({k: v for k, v in dataclasses.asdict(args).items() if k != "out"})
    settings |= {"data": recording.digest}
    claim(args.out, settings)
    file = args.out / "progress.npz"
    fitted = gauss_newton.identify(
        world,
        windows,
        args.fit,
        progress=_read(file),
        keep=lambda progress: write_arrays(file, dataclasses.asdict(progress)),
        stop=stop,
    )
    if fitted.reason:
        runtime.log(f"nothing is identified: {fitted.reason}")
    rows = rows_of(world, fitted)
    labels = [row["number"] for row in rows]
    result = {
        "recording": problem.name,
        "windows": len(windows),
        "episodes": len(np.unique(windows.episode)),
        "left_out": [
            f"episode {train[o.episode].id} from frame {o.frame} ({o.reason})"
            for o in fitted.left_out
        ],
        "unconverged": len(fitted.unconverged),
        "iterations": fitted.iterations,
        "converged": fitted.converged,
        "reason": fitted.reason,
        "numbers": len(rows),
        "not_identified": [row["number"] for row in rows if row["identified"] != "identified"],
        "together": [(labels[i], labels[j], round(r, 3)) for i, j, r in fitted.together()],
        "by_episode": fitted.uncertainty.by_episode,
        "clusters": fitted.uncertainty.clusters,
    }
    write(
        args.out,
        f"{problem.name}: what the data say of each number",
        rows,
        COLUMNS,
        note=NOTE,
        result=result,
        unconverged_windows=fitted.unconverged,
        noise=fitted.noise,
        covariance=fitted.covariance,
        # An infinite one is null.
        freedom=[f if np.isfinite(f) else None for f in fitted.uncertainty.freedom],
        settings=settings,
    )
    print(json.dumps(result))
    return 0


def _read(file: Path) -> Progress | None:
    if not file.is_file():
        return None
    with np.load(file) as arrays:
        fields = {k: x.item() if x.ndim == 0 else x for k, x in arrays.items()}
    runtime.log(f"going on after iteration {fields['iteration']}")
    return Progress(**fields)


def rows_of(world: WorldModel, fitted: Identified) -> list[dict[str, Any]]:
    """A row per number, in its unit or in widths of its prior."""
    half = fitted.uncertainty.half_widths(np.eye(len(fitted.numbers)))
    kinds, bounds = {f.name: f.kind for f in world.free}, gauss_newton.intervals(world, fitted)
    rows = []
    for n, h in zip(fitted.numbers, half, strict=True):
        kind, interval = kinds[n.name], bounds[n.name]
        unit = physical.KINDS[kind].unit
        if kind != "inertia" and len(interval) == len(physical.KINDS[kind].width):
            value, low, high = interval[n.index]
        else:  # a turn, or a second moment: it moves several values
            unit, value, low, high = "prior widths", n.u, n.u - h, n.u + h
        known = n.identified and np.isfinite([low, high]).all()
        row = {"number": f"{n.name}[{n.index}]", "unit": unit, "value": value, "u": n.u}
        row |= {"low": low if known else None, "high": high if known else None}
        verdict = "identified" if n.identified else "at its bound" if n.at_bound else "not"
        rows.append(row | {"deviation": n.deviation, "identified": verdict})
    return rows


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
