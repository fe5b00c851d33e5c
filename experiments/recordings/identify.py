"""Each physical number of a recording: its value, its interval, or that it is not identified.

Question: which parameters do the tosses identify, how well, and which only together?
Command:  python -m experiments.recordings.identify --recording elbow_toss --out runs/identified
Runtime:  three to ten minutes on 2 cores; --fit.engine mjx is the slower one on a CPU
Expected: one JSON line; OUT/identified.md names every number with its 95 % interval, those that
          are not identified, and the pairs that the data cannot tell apart

Gauss-Newton (``worldmodel.identify``) on windows of *train* episodes; the intervals hold for the
windows used, the scene's structure and the priors of its parameters. The same command resumes
after Ctrl-C, SIGTERM or a kill, to the same numbers. OUT also gets identified.json, the scene as
MJCF (identified.xml) and ``checkpoint``, which ``evaluate`` reads.
"""

import dataclasses
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from experiments.recordings.problems import find_problem
from experiments.recordings.source import recording_file
from experiments.records import append_row, plain, write_arrays
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
from worldmodel.runtime.files import write_json, write_text
from worldmodel.scene import write_mjcf
from worldmodel.types import Episode


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
    bounds = intervals(world, identified)
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
    detail = result | {
        "unconverged_windows": identified.unconverged.tolist(),
        "noise": identified.noise.tolist(),
        "u": [n.u for n in identified.numbers],
        "covariance": identified.covariance.tolist(),
        # An infinite number, and an interval of a fit that has not converged, is null.
        "freedom": [f if np.isfinite(f) else None for f in identified.uncertainty.freedom],
        "intervals": {
            name: [[x if np.isfinite(x) else None for x in row] for row in rows.tolist()]
            for name, rows in bounds.items()
        },
        "settings": settings,
        "provenance": runtime.provenance(),
    }
    metadata = {"recording": args.recording, "simulated": simulated, "settings": settings}
    metadata |= {"config_hash": config, "result": result}
    parameters = identified.parameters
    target, protocol = args.out / "checkpoint", problem.protocol
    step = identified.iterations
    saved.save(target, step, world, parameters, metadata, keep=1, protocol=protocol)
    mjcf = physical.to_mjcf(scene, problem.free, parameters["physics"])
    write_mjcf(args.out / "identified.xml", mjcf, scene.assets)
    write_json(args.out / "identified.json", detail)
    write_text(args.out / "identified.md", markdown(detail, identified, bounds))
    print(json.dumps(result))
    return 0


def markdown(detail: dict[str, Any], identified: Identified, bounds: dict[str, np.ndarray]) -> str:
    """The table of every number, the unidentified ones and the pairs."""
    about = detail["provenance"]
    doubt = identified.uncertainty
    spread = "of the noise alone, too narrow where an episode's frames err together"
    if doubt.clusters:
        unit = "episodes" if doubt.by_episode else "stretches of episodes"
        spread = f"of the scatter of {doubt.clusters} {unit} (jackknife, Student's t)"
    ended = "converged" if identified.converged else f"NOTHING IS IDENTIFIED: {identified.reason};"
    half = doubt.half_widths(np.eye(len(identified.numbers)))
    lines = [
        f"# {detail['recording']}: what the data say of each number",
        "",
        f"{detail['windows']} windows of {detail['episodes']} train episodes"
        f"{' (SIMULATED)' if detail['simulated'] else ''}; "
        f"{ended} after {identified.iterations} iterations; intervals {spread}. "
        f"Commit {about['commit'][:12]}, {about['date']}, {about['cpu']} ({about['cores']} cores).",
        "",
        f"Contact solves that ran out of the engine's iterations at these values: in "
        f"{detail['unconverged']} windows.",
        "",
        f"Windows left out: {', '.join(detail['left_out']) or 'none'}.",
        "",
        "Deviation: of the number in widths of its prior; 1 where the data say nothing. A number "
        "is *not identified* above 0.7, or at its bound; its interval, which says nothing, is "
        "in the JSON.",
        "",
        "| number | unit | value | 95 % interval | deviation | |",
        "|---|---|---|---|---|---|",
    ]
    kinds = {f.name: f.kind for f in find_problem(detail["recording"]).free}
    for n, h in zip(identified.numbers, half, strict=True):
        kind, rows = kinds[n.name], bounds[n.name]
        unit = physical.KINDS[kind].unit
        if kind != "inertia" and len(rows) == len(physical.KINDS[kind].width):
            value, low, high = rows[n.index]
            shown = f"{value:.5g} | " + (f"[{low:.4g}, {high:.4g}]" if n.identified else "")
        else:  # a turn, or a second moment: it moves several values
            unit, shown = (
                "prior widths",
                f"{n.u:.2f} | " + (f"±{h:.2f}" if n.identified else ""),
            )
        verdict = "" if n.identified else ("at its bound" if n.at_bound else "not identified")
        lines.append(f"| {n.name}[{n.index}] | {unit} | {shown} | {n.deviation:.2f} | {verdict} |")
    lines += ["", "Pairs that the data cannot tell apart (correlation beyond ±0.9):", ""]
    lines += [f"- {a} and {b}: {r:+.2f}" for a, b, r in detail["together"]] or ["- none"]
    return "\n".join(lines) + "\n"


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
    sys.exit(runtime.run(main, tyro.cli(Args, description=__doc__)))
