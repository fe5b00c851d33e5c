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
NAME=DIR[,DIR] those of fit_hybrid. Each is compared with the physics that it started from. A hybrid
that displaces the pose has three rows more: *dealt* plays its own physics with the corrections of
another window, *start_only* with that of the initial velocity alone, *network_off* with none.

OUT gets table.json, table.md and the checkpoint of the seed that was best on *validation*, the
other seeds' under seed<N>/; for another OUT these folders serve again.
"""

import dataclasses
import functools
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.recordings.fitted import Fitted, Group, read_fits
from experiments.recordings.source import read_recording
from experiments.recordings.statistics import BySeed, holm
from experiments.recordings.tables import SHORTER, headline, keep_checkpoints, publish
from worldmodel import runtime
from worldmodel.commands.scores import BATCH
from worldmodel.episodes.windows import Windows
from worldmodel.errors import InputError
from worldmodel.model import Displacement, Parameters, Physics, WorldModel, start
from worldmodel.model.ensemble import make_forecaster, make_predictor, mean_pose, members
from worldmodel.scene.tangent import displaced, displacements

CONTROLS = ("dealt", "start_only", "network_off")
DEAL_SEED = 0
WORSE = 0.05  # p after Holm's correction below which a cell counts as above the physics


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    recording: str  # elbow_toss, cube_toss, square_drop or double_pendulum
    physics: tuple[Path, ...]  # --out folders of fit_physics, one per seed
    hybrid: tuple[Path, ...]  # --out folders of fit_hybrid, one per seed
    out: Path  # folder for the table and the checkpoints
    latent: tuple[Path, ...] = ()  # --out folders of fit_hybrid --kind latent, one per seed
    ablations: tuple[str, ...] = ()  # NAME=DIR[,DIR]: further folders of fit_hybrid


def folders_of(args: Args) -> dict[str, tuple[Path, ...]]:
    """The folders of fit_hybrid by the name of their row.

    Raises:
      InputError: an ablation not of the form ``NAME=DIR[,DIR]``, or of a name in use.
    """
    folders = {"hybrid": args.hybrid} | ({"latent": args.latent} if args.latent else {})
    for text in args.ablations:
        name, _, listed = text.partition("=")
        parts = tuple(Path(f) for f in listed.split(",") if f)
        if not name or not parts:
            raise InputError(f"--ablations {text}: give NAME=DIR or NAME=DIR,DIR")
        if name in ("physics", "latent", *CONTROLS, *folders):
            raise InputError(f"--ablations {text}: '{name}' is another row; choose another name")
        folders[name] = parts
    return folders


def validation(fitted: Fitted, physics: Fitted) -> float:
    """The error of a fit on the validation windows, such that seeds compare: a hybrid's is relative
    to its physics', whose own is relative to the sources' parameters."""
    return fitted.validation * (physics.validation if isinstance(fitted.world.base, Physics) else 1)


def predictions(groups: dict[str, Group], windows: Windows) -> Mapping[str, BySeed]:
    """Every row's predictions at one horizon: model → seed → (windows, horizon, nq)."""
    by_model: dict[str, dict] = {}
    for name, group in groups.items():
        for seed, fitted in group.items():
            runtime.log(f"{windows.target.shape[1]} frames: {name}, seed {seed}")
            forecaster = make_forecaster(fitted.world, min(BATCH, len(windows)))
            forecast = forecaster(fitted.parameters, windows)
            rows = {name: forecast.mean}
            if name == "hybrid" and isinstance(fitted.world.correction, Displacement):
                rows |= controls(fitted.world, fitted.parameters, windows, forecast.members)
            for model, positions in rows.items():
                by_model.setdefault(model, {})[seed] = positions
    return by_model


def controls(
    world: WorldModel, parameters: Parameters, windows: Windows, poses: np.ndarray
) -> dict[str, np.ndarray]:
    """The rows ``CONTROLS`` of a hybrid: (windows, horizon, nq) each.

    A displacement leaves the physics alone, so what the network added is how far the hybrid's poses
    are from its physics, begun at the corrected velocity.

    Args:
      poses: (members, windows, horizon, nq) that its members predict.
    """
    scene, order = world.scene, deal(len(windows), DEAL_SEED)
    physics = make_predictor(world.without_network(), min(BATCH, len(windows)))
    own: dict[str, list[np.ndarray]] = {name: [] for name in CONTROLS}
    for member, predicted in zip(members(parameters), poses, strict=True):
        alone = {"physics": member["physics"], "network": {}}
        first = np.asarray(_correct_start(world)(member, windows))
        start_only = physics(alone, _begun(windows, first))
        added = displacements(scene, start_only, predicted)
        other = physics(alone, _begun(windows, first[order]))
        own["dealt"].append(displaced(scene, other, added[order]))
        own["start_only"].append(start_only)
        own["network_off"].append(physics(alone, windows))
    return {name: mean_pose(scene, np.stack(rows))[0] for name, rows in own.items()}


def deal(count: int, seed: int) -> np.ndarray:
    """(count,) whose correction each window gets: one cycle, so none keeps its own."""
    order, source = np.random.default_rng(seed).permutation(count), np.empty(count, int)
    source[order] = np.roll(order, 1)
    return source


@functools.cache
def _correct_start(world: WorldModel) -> Callable[[Parameters, Windows], jax.Array]:
    """(windows, nv) [m/s, rad/s] what a member adds to the recorded initial velocities."""

    def one(parameters: Parameters, window: Windows) -> jax.Array:
        return start(world, parameters, window.history).qvel - window.qvel

    return jax.jit(jax.vmap(one, (None, 0)))


def _begun(windows: Windows, first: np.ndarray) -> Windows:
    """The windows with changed initial velocities."""
    qvel = np.array(windows.history.qvel)
    qvel[:, 0] += first
    return dataclasses.replace(windows, history=dataclasses.replace(windows.history, qvel=qvel))


def main(args: Args) -> int:
    """Measures, writes OUT, prints one JSON line."""
    runtime.configure()
    recording, physics = read_recording(args.recording), read_fits(args.physics, args.recording)
    groups = {"physics": physics} | {
        name: read_fits(folders, args.recording, physics=physics)
        for name, folders in folders_of(args).items()
    }
    if any(isinstance(f.world.base, Physics) for f in groups.get("latent", {}).values()):
        raise InputError("--latent: a fit has physics; give the folders of --kind latent")
    hybrids = groups["hybrid"]
    errors = {seed: validation(fitted, physics[seed]) for seed, fitted in hybrids.items()}
    best = keep_checkpoints(hybrids, errors, args.out)
    models = (*groups, *CONTROLS)
    table = publish(
        args.out,
        recording,
        hybrids[best],
        lambda windows: predictions(groups, windows),
        [(m, r) for r in ("physics", "hybrid") for m in models if m not in ("physics", r)],
        shorter=SHORTER,
        remark=never_worse,
        seeds=sorted(hybrids),
        best_seed=best,
        deal_seed=DEAL_SEED,
        fits={
            name: [describe(seed, fitted, physics[seed]) for seed, fitted in group.items()]
            for name, group in groups.items()
        },
    )
    line = headline(table, "physics", ["hybrid", "dealt", "latent"])
    print(json.dumps(line | {"best_seed": best, "out": str(args.out)}))
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


def describe(seed: int, fitted: Fitted, physics: Fitted) -> dict[str, Any]:
    """A fit's own account: ``validation`` is comparable between the seeds of a row."""
    error = fitted.validation if fitted is physics else validation(fitted, physics)
    result = {k: v for k, v in fitted.metadata["result"].items() if k != "parameters"}
    about = {"seed": seed, "validation": error, "result": result}
    if fitted.world.learns:
        about["args"] = fitted.metadata["settings"]["args"]
    return about


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
