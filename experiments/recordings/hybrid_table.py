"""The table of the learned half: hybrid, latent and fitted physics on the same episodes.

Question: does a learned half beat fitted physics on tosses that steered nothing, and what did it?
Command:  python -m experiments.recordings.hybrid_table --recording elbow_toss
          --physics experiments/results/recordings/elbow_toss/physics/seed{0,1}
          experiments/results/recordings/elbow_toss/physics --hybrid runs/elbow_hybrid/seed{0,1,2}
          --latent runs/elbow_latent/seed{0,1,2} --ablations no_history=runs/elbow_no_history/seed0
          --out experiments/results/recordings/elbow_toss/hybrid
Runtime:  ten to twenty minutes on 2 cores: a compilation per kind of model and horizon
Expected: one JSON line; elbow_toss: every ratio to the physics at 16 frames below 0.95, and the
          dealt corrections' at 1 or above

--physics are --out folders of fit_physics, one per seed; --hybrid, --latent and --ablations
NAME=DIR[,DIR] those of fit_hybrid. Each is compared with the physics that it started from, and
sees as much of the past as in its fit. Three rows come from the hybrid itself, unless it corrects
forces: *dealt* plays its own physics with the corrections of another window, *start_only* with
that of the initial velocity alone, *network_off* with none.

OUT gets table.json, table.md, figure.png and the checkpoint of the seed that was best on
*validation*, the other seeds' under seed<N>/; for another OUT these folders serve again.
"""

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from experiments.recordings.figures import BLUE, GREEN, GREY, ORANGE
from experiments.recordings.hybrid_predictions import DEAL_SEED, controls, predict
from experiments.recordings.source import read_recording
from experiments.recordings.statistics import holm
from experiments.recordings.tables import (
    Fit,
    headline,
    keep_checkpoints,
    publish,
    read_fits,
    refuse_different,
    refuse_diverged,
    restored,
)
from worldmodel import runtime
from worldmodel.commands.scores import BATCH
from worldmodel.episodes.windows import Windows
from worldmodel.errors import InputError
from worldmodel.model import ConstantVelocity, Physics
from worldmodel.runtime.checkpoint import CheckpointError

STYLES = {
    "physics": (BLUE, (0, (5, 2)), "fitted physics"),
    "dealt": (GREY, (0, (1, 1.5)), "corrections dealt to other windows"),
    "latent": (ORANGE, (0, (4, 2, 1, 2)), "latent (network alone)"),
    "hybrid": (GREEN, "-", "hybrid"),
}
CONTROLS = ("dealt", "start_only", "network_off")
LENIENT = (*CONTROLS, "latent")  # rows that may diverge: their cell stays empty, with the reason
RESERVED = ("physics", "hybrid", *LENIENT)
BASES = {"hybrid": Physics, "latent": ConstantVelocity}  # of the rows that are of one kind

SHORTER = (1, 10, 16, 50)  # frames, further horizons
WORSE = 0.05  # p after Holm's correction below which a cell counts as above the physics

Group = dict[int, Fit]  # by the seed of the physics


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    recording: str  # elbow_toss, cube_toss, square_drop or double_pendulum
    physics: tuple[Path, ...]  # --out folders of fit_physics, one per seed
    hybrid: tuple[Path, ...]  # --out folders of fit_hybrid, one per seed
    out: Path  # folder for the table, the figure and the checkpoints
    latent: tuple[Path, ...] = ()  # --out folders of fit_hybrid --kind latent, one per seed
    ablations: tuple[str, ...] = ()  # NAME=DIR[,DIR]: further folders of fit_hybrid
    split: Literal["test", "validation", "train"] = "test"


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
    refuse_different([*group.values()], _but_seed)
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
    batch = min(BATCH, len(windows))
    by_model: dict[str, dict[int, np.ndarray]] = {}
    for name, group in groups.items():
        for seed, fit in group.items():
            runtime.log(f"{windows.target.shape[1]} frames: {name}, seed {seed}")
            positions, own = predict(fit.fitted, windows, batch)
            rows = {name: positions}
            if name == "hybrid" and own is not None:
                rows |= controls(fit.fitted, windows, own, batch)
            for model, predicted in rows.items():
                lenient = model in LENIENT or isinstance(fit.fitted.world.base, ConstantVelocity)
                if not lenient:
                    refuse_diverged(predicted, windows, f"{model}, seed {seed}", ids)
                by_model.setdefault(model, {})[seed] = predicted
    return by_model


def pairs(models: Sequence[str]) -> list[tuple[str, str]]:
    """What is compared: every model with the physics and with the hybrid."""
    return [(m, r) for r in ("physics", "hybrid") for m in models if m not in ("physics", r)]


def main(args: Args) -> int:
    """Measures, writes OUT, prints one JSON line."""
    runtime.configure()
    recording = read_recording(args.recording)
    named = {"hybrid": args.hybrid} | ({"latent": args.latent} if args.latent else {})
    named |= parse_ablations(args.ablations)
    groups = {"physics": {f.seed: f for f in read_fits(args.physics, args.recording)}}
    for name, folders in named.items():
        groups[name] = read_learned(name, folders, args.recording, groups["physics"])
    hybrids = list(groups["hybrid"].values())
    best = keep_checkpoints(hybrids, args.out)
    table = publish(
        args.out,
        recording,
        args.split,
        best.fitted,
        lambda windows, ids: predictions(groups, windows, ids),
        pairs,
        STYLES,
        shorter=SHORTER,
        remark=never_worse,
        seeds=sorted(groups["hybrid"]),
        best_seed=best.seed,
        deal_seed=DEAL_SEED,
        fits={name: [describe(f) for f in group.values()] for name, group in groups.items()},
    )
    line = headline(table, "physics", ["hybrid", "dealt", "latent"])
    print(json.dumps(line | {"best_seed": best.seed, "out": str(args.out)}))
    return 0


def never_worse(rows: Sequence[dict[str, Any]]) -> str:
    """Whether the hybrid errs more than its physics in any cell, all cells of the table at once."""
    cells = {
        (row["frames"], channel): compared["p_above"]
        for row in rows
        if row["model"] == "hybrid"
        for channel, compared in row["over"]["physics"].items()
    }
    adjusted = holm([*cells.values()])
    worse = [
        f"{channel} at {frames or 'the end'}"
        for (frames, channel), p in zip(cells, adjusted, strict=True)
        if p < WORSE
    ]
    return (
        f"Hybrid above physics (paired t, Holm over {len(cells)} cells, smallest p "
        f"{min(adjusted):.2g}): {', '.join(worse) or 'none'}."
    )


def describe(fit: Fit) -> dict[str, Any]:
    """A fit's own account: ``validation`` is comparable between the seeds of a row."""
    result = {k: v for k, v in fit.fitted.metadata["result"].items() if k != "parameters"}
    about = {"seed": fit.seed, "validation": fit.validation, "result": result}
    if fit.fitted.world.learns:
        about["args"] = fit.fitted.metadata["settings"]["args"]
    return about


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
