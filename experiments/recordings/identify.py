"""Each physical number of a recording: its value, its interval, or that it is not identified.

Question: which parameters do the tosses identify, how well, and which only together?
Command:  python -m experiments.recordings.identify --recording elbow_toss --out runs/identified
Runtime:  three to ten minutes on 2 cores; --fit.engine mjx is the slower one on a CPU
Expected: one JSON line; OUT/table.md names every number with its 95 % interval and those that are
          not identified; the pairs that the data cannot tell apart are in table.json

Gauss-Newton (``worldmodel.identify``) on windows of *train* episodes; the intervals hold for the
windows used, the scene's structure and the priors of its parameters. The same command resumes
after Ctrl-C, SIGTERM or a kill, to the same numbers. OUT also gets the scene as MJCF
(identified.xml) and ``checkpoint``, which ``evaluate`` reads.
"""

import dataclasses
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from experiments.recordings.problems import find_problem
from experiments.recordings.source import recording_file
from experiments.records import append_row, plain, write, write_arrays
from worldmodel import runtime
from worldmodel.episodes.split import split
from worldmodel.errors import InputError
from worldmodel.finetune.gauss_newton import (
    Identified,
    IdentifyConfig,
    Progress,
    identify,
    intervals,
)
from worldmodel.finetune.outliers import LeftOut
from worldmodel.model import WorldModel, saved
from worldmodel.physics import parameters as physical
from worldmodel.runtime import checkpoint
from worldmodel.scene import write_mjcf
from worldmodel.types import Episode

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


def main(args: Args) -> int:
    """Identifies; prints one JSON line; returns the exit status."""
    runtime.configure()
    problem = find_problem(args.recording)
    args.out.mkdir(parents=True, exist_ok=True)
    path, simulated = recording_file(problem, args.out)
    train = [e for e in problem.episodes(path) if split(e.id) == "train"]
    horizon = problem.windows.horizon if args.horizon is None else args.horizon
    windows, _ = problem.training_grid(horizon).cut(train)
    drawn = np.random.default_rng(args.seed).permutation(len(windows))[: args.windows]
    windows = windows.take(np.sort(drawn))
    scene = problem.scene()
    world = WorldModel(scene, problem.free)
    settings = plain({k: v for k, v in dataclasses.asdict(args).items() if k != "out"})
    settings |= {"data": hashlib.sha256(path.read_bytes()).hexdigest()}
    config = checkpoint.config_hash(settings)
    kept = args.out / "progress.npz"
    with runtime.Interrupt() as interrupt:
        try:
            identified = identify(
                world,
                windows,
                args.fit,
                progress=_read(kept, config),
                keep=lambda p: write_arrays(kept, {"config": config} | dataclasses.asdict(p)),
                record=lambda row: append_row(args.out / "metrics.jsonl", row),
                stop=lambda: interrupt.requested,
            )
        except runtime.Interrupted as stopped:
            runtime.log(str(stopped))
            return interrupt.exit_status
    if identified.reason:
        runtime.log(f"nothing is identified: {identified.reason}")
    labels = [f"{n.name}[{n.index}]" for n in identified.numbers]
    result: dict[str, Any] = {
        "recording": args.recording,
        "simulated": simulated,
        "windows": len(windows),
        "episodes": len(np.unique(windows.episode)),
        "left_out": [_named(o, train) for o in identified.left_out],
        "unconverged": len(identified.unconverged),
        "iterations": identified.iterations,
        "converged": identified.converged,
        "reason": identified.reason,
        "numbers": len(labels),
        "not_identified": [
            label for label, n in zip(labels, identified.numbers, strict=True) if not n.identified
        ],
        "together": [(labels[i], labels[j], round(r, 3)) for i, j, r in identified.together()],
        "by_episode": identified.uncertainty.by_episode,
        "clusters": identified.uncertainty.clusters,
    }
    metadata = {"recording": args.recording, "simulated": simulated, "settings": settings}
    metadata |= {"config_hash": config, "result": result}
    parameters = identified.parameters
    target, protocol = args.out / "checkpoint", problem.protocol
    step = identified.iterations
    saved.save(target, step, world, parameters, metadata, keep=1, protocol=protocol)
    mjcf = physical.to_mjcf(scene, problem.free, parameters["physics"])
    write_mjcf(args.out / "identified.xml", mjcf, scene.assets)
    publish(args, result, identified, intervals(world, identified), settings)
    print(json.dumps(result))
    return 0


def publish(
    args: Args,
    result: dict[str, Any],
    identified: Identified,
    bounds: dict[str, np.ndarray],
    settings: dict[str, Any],
) -> None:
    """Writes table.json and table.md: a row per number, in its unit or in widths of its prior."""
    doubt = identified.uncertainty
    half = doubt.half_widths(np.eye(len(identified.numbers)))
    kinds = {f.name: f.kind for f in find_problem(args.recording).free}
    rows = []
    for n, h in zip(identified.numbers, half, strict=True):
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
    write(
        args.out,
        f"{args.recording}{' (SIMULATED)' * result['simulated']}: what the data say of each number",
        rows,
        COLUMNS,
        note=NOTE,
        result=result,
        unconverged_windows=identified.unconverged,
        noise=identified.noise,
        covariance=identified.covariance,
        # An infinite one is null.
        freedom=[f if np.isfinite(f) else None for f in doubt.freedom],
        settings=settings,
    )


def _named(out: LeftOut, episodes: list[Episode]) -> str:
    return f"episode {episodes[out.episode].id} from frame {out.frame} ({out.reason})"


def _read(path: Path, config: str) -> Progress | None:
    if not path.is_file():
        return None
    with np.load(path) as arrays:
        if str(arrays["config"]) != config:
            raise InputError(
                f"{path} belongs to other settings or data; give another --out, or delete it"
            )
        fields = {k: arrays[k] for k in arrays.files if k != "config"}
    runtime.log(f"going on after iteration {fields['iteration']}")
    fields |= {name: x.item() for name, x in fields.items() if x.ndim == 0}
    return Progress(**fields)


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
