"""The table of the learned half: hybrid, latent and fitted physics on the same episodes.

Question: does a learned half beat fitted physics on tosses that steered nothing, and what did it?
Command:  python -m experiments.recordings.hybrid_table --recording elbow_toss
          --physics experiments/results/recordings/elbow_toss/physics/seed{0,1}
          experiments/results/recordings/elbow_toss/physics --hybrid runs/elbow_hybrid/seed{0,1,2}
          --latent runs/elbow_latent/seed{0,1,2} --ablations no_history=runs/elbow_no_history/seed0
          --out experiments/results/recordings/elbow_toss/hybrid
Runtime:  ten to twenty minutes on 2 cores: a compilation per kind of model and horizon
Expected: one JSON line; elbow_toss: every ratio to the physics at 16 frames below 0.93 with an
          interval clear of 1, and the dealt corrections' at 1 or above

--physics are --out folders of fit_physics, one per seed; --hybrid, --latent and --ablations
NAME=DIR[,DIR] those of fit_hybrid. Each is compared with the physics that it started from, and
sees as much of the past as in its fit. Three rows come from the hybrid itself, unless it corrects
forces: *dealt* plays its own physics with the corrections of another window, *start_only* with
that of the initial velocity alone, *network_off* with none.

OUT gets table.json (everything), table.md and the figures (generated from it), and checkpoint
and metrics.jsonl of the seed that was best on *validation*, the other seeds' under seed<N>/;
these folders serve as --hybrid again.
"""

import dataclasses
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from experiments.recordings.hybrid_figures import draw
from experiments.recordings.hybrid_predictions import DEAL_SEED, Predict, lowest_corners, replayed
from experiments.recordings.hybrid_statistics import (
    curves,
    diverged,
    headline,
    horizon_block,
    read_metrics,
    remaining,
)
from experiments.recordings.hybrid_text import markdown
from experiments.recordings.physics_table import (
    Fit,
    command_line,
    grids,
    keep_checkpoints,
    kept_folders,
    read_fits,
    real_recording,
    restored,
    shown,
)
from experiments.recordings.problems import Problem, find_problem
from experiments.records import plain
from worldmodel import runtime
from worldmodel.commands.scores import BATCH
from worldmodel.episodes.split import split
from worldmodel.episodes.windows import Windows
from worldmodel.errors import InputError
from worldmodel.model import ConstantVelocity, Physics
from worldmodel.runtime.checkpoint import CheckpointError
from worldmodel.runtime.files import write_json, write_text

CONTROLS = ("dealt", "start_only", "network_off")
LENIENT = (*CONTROLS, "latent")  # rows that may diverge: their cell stays empty, with the reason
RESERVED = ("physics", "hybrid", *LENIENT)
BASES = {"hybrid": Physics, "latent": ConstantVelocity}  # of the rows that are of one kind

Group = dict[int, Fit]  # by the seed of the physics


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    recording: str  # elbow_toss, cube_toss, square_drop or double_pendulum
    physics: tuple[Path, ...]  # --out folders of fit_physics, one per seed
    hybrid: tuple[Path, ...]  # --out folders of fit_hybrid, one per seed
    out: Path  # folder for the table, the figures and the checkpoints
    latent: tuple[Path, ...] = ()  # --out folders of fit_hybrid --kind latent, one per seed
    ablations: tuple[str, ...] = ()  # NAME=DIR[,DIR]: further folders of fit_hybrid
    split: str = "test"  # test, validation or train episodes


def parse_ablations(given: Sequence[str]) -> dict[str, tuple[Path, ...]]:
    """``NAME=DIR[,DIR]`` → folders by name.

    Raises:
      InputError: not of that form, a name twice, or one that the table uses itself.
    """
    ablations: dict[str, tuple[Path, ...]] = {}
    for text in given:
        name, _, folders = text.partition("=")
        parts = tuple(Path(f) for f in folders.split(",") if f)
        if not name or not parts:
            raise InputError(f"--ablations {text}: give NAME=DIR or NAME=DIR,DIR")
        if name in RESERVED or name in ablations:
            why = "given twice" if name in ablations else "a row of the table already"
            raise InputError(f"--ablations {text}: '{name}' is {why}; choose another name")
        ablations[name] = parts
    return ablations


def read_learned(name: str, folders: Sequence[Path], recording: str, physics: Group) -> Group:
    """The fits of one row with a network, by the seed of the physics that each started from.

    ``Fit.validation`` of a hybrid is relative to the parameters that its physics' is relative
    to, so that seeds compare: the product of both.

    Raises:
      CheckpointError: of another recording, kind or data, simulated, started from a physics that
        is not given or from one twice, or two that differ in more than their seeds.
    """
    origin = {f.fitted.metadata["config_hash"]: f for f in physics.values()}
    group: Group = {}
    for folder in folders:
        fitted = restored(folder, recording)
        meta, world = fitted.metadata, fitted.world
        if not (
            world.learns and isinstance(world.base, BASES.get(name, Physics | ConstantVelocity))
        ):
            raise CheckpointError(
                f"{name}: {folder} holds a model of kind {world.name}; give another"
            )
        start = origin.get(meta["settings"]["physics"])
        if start is None:
            raise CheckpointError(
                f"{name}: {folder} did not start from any of --physics; give the one it did"
            )
        if meta["settings"]["data"] != start.fitted.metadata["settings"]["data"]:
            raise CheckpointError(f"{name}: {folder} was fitted to other data than its physics")
        if start.seed in group:
            raise CheckpointError(
                f"{name}: {folder} and {group[start.seed].folder} started from the same physics "
                f"(seed {start.seed}); give one fit per seed"
            )
        validation = float(meta["result"]["validation"])
        validation *= start.validation if isinstance(world.base, Physics) else 1.0
        group[start.seed] = Fit(start.seed, validation, folder, fitted)
    first, *others = group.values()
    for f in others:
        if _but_seed(f.fitted.metadata) != _but_seed(first.fitted.metadata):
            raise CheckpointError(
                f"{name}: {f.folder} and {first.folder} differ in more than their seeds (network, "
                "correction, history or config); fit both with the same command"
            )
    return dict(sorted(group.items()))


def _but_seed(metadata: dict[str, Any]) -> dict[str, Any]:
    args = dict(metadata["settings"]["args"])
    for part in ("fit", "regression"):
        args[part] = {k: v for k, v in args[part].items() if k != "seed"}
    return args | {"remember": metadata["remember"]}


def predictions(
    groups: dict[str, Group], windows: Windows, ids: Sequence[Any]
) -> dict[str, dict[int, np.ndarray]]:
    """Every row's predictions at one horizon: model → seed → (windows, horizon, nq).

    Raises:
      InputError: a model that may not diverge did; it is named, and the episodes.
    """
    predict = Predict(min(BATCH, len(windows)))
    by_model: dict[str, dict[int, np.ndarray]] = {}
    for name, group in groups.items():
        for seed, fit in group.items():
            runtime.log(f"{windows.target.shape[1]} frames: {name}, seed {seed}")
            rows = {name: predict.model(fit.fitted, windows)}
            if name == "hybrid" and replayed(fit.fitted.world):
                rows |= predict.controls(fit.fitted, windows)
            for model, predicted in rows.items():
                lenient = model in LENIENT or isinstance(fit.fitted.world.base, ConstantVelocity)
                if not lenient:
                    refuse_diverged(predicted, windows, f"{model}, seed {seed}", ids)
                by_model.setdefault(model, {})[seed] = predicted
    return by_model


def refuse_diverged(predicted: np.ndarray, windows: Windows, who: str, ids: Sequence[Any]) -> None:
    """Raises InputError, naming model and episodes, where a scored frame is not finite."""
    bad = diverged(predicted, windows)
    if bad.any():
        named = sorted({str(ids[e]) for e in np.asarray(windows.episode)[bad]})
        raise InputError(
            f"{who}: {int(bad.sum())} of {len(bad)} windows are not finite (episodes {named[:8]}"
            f"{'…' if len(named) > 8 else ''}); fit it again with more steps per frame"
        )


def measure(args: Args, problem: Problem, path: Path, groups: dict[str, Group]) -> dict[str, Any]:
    """The whole table: predicts with every model at every horizon."""
    hz = problem.control_hz
    episodes = [e for e in problem.episodes(path) if split(e.id) == args.split]
    ids = [plain(e.id) for e in episodes]
    some_fit = next(iter(groups["physics"].values())).fitted
    channels = some_fit.channels
    table: dict[str, Any] = {"horizons": []}
    for grid in grids(some_fit, episodes):
        horizon = grid.horizon
        windows, skipped = grid.cut(episodes)
        predicted = predictions(groups, windows, ids)
        head = {"frames": horizon, "seconds": None if horizon is None else horizon / hz}
        block = horizon_block(predicted, windows, channels)
        table["horizons"].append(head | {"skipped": skipped} | block)
        if horizon is not None:  # the longer one's is kept
            table["curves"] = curves(predicted, windows, channels)
        if horizon == problem.windows.horizon:
            starts = np.concatenate([grid.starts(e)[0] for e in episodes])
            lowest = lowest_corners(some_fit.world, windows)
            rest = remaining(predicted, windows, channels, starts, lowest)
            table["remaining"] = {"frames": horizon} | rest
    best = min(groups["hybrid"].values(), key=lambda f: f.validation)
    return {
        "recording": problem.name,
        "split": args.split,
        "control_hz": hz,
        "command": command(args),
        "data_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "split_ids_sha256": hashlib.sha256(json.dumps(ids).encode()).hexdigest(),
        "fitted_on_sha256": best.fitted.metadata["settings"]["data"],
        "seeds": sorted(groups["hybrid"]),
        "best_seed": best.seed,
        "deal_seed": DEAL_SEED,
        "fits": {name: [describe(f) for f in group.values()] for name, group in groups.items()},
        "provenance": runtime.provenance(),
    } | table


def describe(fit: Fit) -> dict[str, Any]:
    """A fit's own account: ``validation`` is comparable between the seeds of a row."""
    meta, world = fit.fitted.metadata, fit.fitted.world
    result = {k: v for k, v in meta["result"].items() if k != "parameters"}
    about = {"seed": fit.seed, "validation": fit.validation, "result": result}
    if world.learns:
        correction = type(world.correction).__name__.lower()
        network = dataclasses.asdict(world.network)
        about["world"] = {"kind": world.name, "network": network, "correction": correction}
        about["remember"] = meta["remember"]
    return about


def command(args: Args) -> str:
    """The command line."""
    arguments = ["--physics", *map(shown, args.physics), "--hybrid", *map(shown, args.hybrid)]
    arguments += ["--latent", *map(shown, args.latent)] if args.latent else []
    named = parse_ablations(args.ablations).items()
    arguments += ["--ablations"] if named else []
    arguments += [f"{name}={','.join(map(shown, folders))}" for name, folders in named]
    return command_line("hybrid_table", args, arguments)


def keep(group: Group, out: Path) -> None:
    """Checkpoint and metrics.jsonl of the best seed in ``out``, the others' under ``seed<N>``."""
    folders = kept_folders(list(group.values()), out)
    metrics = {seed: (f.folder / "metrics.jsonl").read_text() for seed, f in group.items()}
    for seed, text in metrics.items():
        folders[seed].mkdir(parents=True, exist_ok=True)
        write_text(folders[seed] / "metrics.jsonl", text)
    for stale in set(out.glob("seed*")) - {*folders.values()}:
        (stale / "metrics.jsonl").unlink(missing_ok=True)
    keep_checkpoints(list(group.values()), out)


def main(args: Args) -> int:
    """Measures, writes OUT, prints one JSON line."""
    runtime.configure()
    path = real_recording(args.recording, args.split)
    named = {"hybrid": args.hybrid} | ({"latent": args.latent} if args.latent else {})
    named |= parse_ablations(args.ablations)
    problem = find_problem(args.recording)
    groups = {"physics": {f.seed: f for f in read_fits(args.physics, args.recording)}}
    for name, folders in named.items():
        groups[name] = read_learned(name, folders, args.recording, groups["physics"])
    convergence = {
        name: {str(s): read_metrics(f.folder / "metrics.jsonl") for s, f in groups[name].items()}
        for name in ("hybrid", "latent")
        if name in groups
    }
    table = measure(args, problem, path, groups)
    table["convergence"] = convergence
    args.out.mkdir(parents=True, exist_ok=True)
    keep(groups["hybrid"], args.out)
    write_json(args.out / "table.json", table, indent=None)
    write_text(args.out / "table.md", markdown(table))
    for path in draw(table, args.out):
        runtime.log(f"wrote {path}")
    print(json.dumps(headline(table, args.out)))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.run(main, tyro.cli(Args, description=__doc__)))
