"""The table of a real recording: published parameters, fitted ones and MuJoCo's default guess.

Question: by how much does fitting the physics through contact lower the error of prediction on
          episodes that steered nothing?
Command:  python -m experiments.recordings.physics_table --recording elbow_toss
          --fits runs/elbow_toss/seed0 runs/elbow_toss/seed1 runs/elbow_toss/seed2
          --out experiments/results/recordings/elbow_toss/physics
Runtime:  two to five minutes on 2 cores, mostly three compilations
Expected: one JSON line with the ratios of mean errors at the recording's own horizon and their
          intervals; elbow_toss: every ratio to the sources below 0.87

Each of --fits is an --out folder of fit_physics, one per seed. The folders that this script
leaves (OUT and OUT/seed<N>) serve as well, so a table can be made again from what is committed.
OUT gets table.json (everything), table.md and the figures (generated from it), fitted.xml and
the checkpoint of the seed that was best on *validation*, the other seeds' under seed<N>/.
"""

import dataclasses
import hashlib
import json
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from experiments.recordings.fitted import Fitted, restore_fitted
from experiments.recordings.physics_figures import draw
from experiments.recordings.physics_statistics import (
    error_curves,
    film,
    headline,
    horizon_table,
    markdown,
    parameter_rows,
)
from experiments.recordings.problems import Problem, find_problem
from worldmodel import runtime
from worldmodel._mujoco import mujoco
from worldmodel.commands.scores import BATCH
from worldmodel.episodes.split import split
from worldmodel.episodes.windows import WindowGrid, Windows
from worldmodel.errors import InputError
from worldmodel.model.simulate import make_predictor
from worldmodel.physics import parameters as physical
from worldmodel.physics.oracle import trajectory
from worldmodel.runtime.checkpoint import CheckpointError
from worldmodel.runtime.files import new_folder, write_json, write_text
from worldmodel.scene import parse_mjcf, write_mjcf
from worldmodel.types import Episode

LONG_FRAMES = 80  # the longer horizon of a toss, as in the published tables
LONG_SECONDS = 1.0  # of a recording without a body that flies

Predictor = Callable[[Windows], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    recording: str  # elbow_toss, cube_toss, square_drop or double_pendulum
    fits: tuple[Path, ...]  # --out folders of fit_physics, one per seed
    out: Path  # folder for the table, the figures and the checkpoints
    split: str = "test"  # test, validation or train episodes


@dataclasses.dataclass(frozen=True)
class Fit:
    """One seed's fit."""

    seed: int
    validation: float  # error on the validation windows, relative to the sources' parameters
    folder: Path
    fitted: Fitted


def predict_in_c(model: mujoco.MjModel, substeps: int, windows: Windows) -> np.ndarray:
    """Open-loop prediction in C MuJoCo, every window from a fresh ``MjData``.

    Args:
      model: compiled; its timestep is that of a substep.
      substeps: physics steps per frame; a frame's controls are held over them.
      windows: whatever lies past an episode's end (not ``scored``) is predicted too.

    Returns:
      (windows, horizon, nq).

    Raises:
      InputError: the simulation of a window diverged. Without the switch below MuJoCo would
        start it again from its initial pose and go on as if nothing had happened.
    """
    before = model.opt.disableflags
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
    try:
        arrays = (np.asarray(x) for x in (windows.qpos, windows.qvel, windows.ctrl))
        starts = zip(*arrays, strict=True)
        predicted = np.stack([trajectory(model, *s, substeps=substeps)[0] for s in starts])
    finally:
        model.opt.disableflags = before
    _refuse_nonfinite(predicted, windows, "C MuJoCo")
    return predicted


def compile_in_c(
    mjcf: str | Path, timestep: float, assets: Mapping[str, bytes] | None = None
) -> mujoco.MjModel:
    """An MJCF file or text as plain C MuJoCo compiles it, with that timestep [s].

    The solver gets MuJoCo's own limits where the MJCF's are lower: 8 iterations of the line
    search, enough for MJX, leave C short of the minimum on some contacts and would make the
    sources' parameters look worse than they are (elbow, joints: by 3 %).
    """
    spec = parse_mjcf(mjcf, assets)
    spec.option.timestep = timestep
    spec.option.iterations = max(spec.option.iterations, 100)
    spec.option.ls_iterations = max(spec.option.ls_iterations, 50)
    return spec.compile()


def read_fits(folders: Sequence[Path], recording: str) -> list[Fit]:
    """The fits of one recording, by seed.

    Raises:
      CheckpointError: a folder without a fit, of another recording, of simulated data, or two
        that differ in more than their seeds.
    """
    fits = []
    for folder in folders:
        fitted = restored(folder, recording)
        meta = fitted.metadata
        if fitted.world.learns:
            raise CheckpointError(f"{folder} has a network; give the folder of fit_physics")
        validation = float(meta["result"]["validation"])
        fits.append(Fit(meta["settings"]["config"]["seed"], validation, folder, fitted))
    fits.sort(key=lambda f: f.seed)
    if len({f.seed for f in fits}) < len(fits):
        raise CheckpointError(f"--fits: a seed twice in {[f.seed for f in fits]}; one fit each")
    for f in fits[1:]:
        if _but_seed(f.fitted.metadata) != _but_seed(fits[0].fitted.metadata):
            raise CheckpointError(
                f"{f.folder} and {fits[0].folder} differ in more than their seeds (scene, free "
                "parameters, config or data); fit both with the same command"
            )
    return fits


def restored(folder: Path, recording: str) -> Fitted:
    """The fit in a folder, of the real recording; else CheckpointError."""
    fitted = restore_fitted(folder / "checkpoint")
    of, simulated = fitted.metadata["recording"], fitted.metadata.get("simulated")
    if of != recording or simulated:
        what = f"{'a simulated ' if simulated else ''}{of}"
        raise CheckpointError(f"{folder} was fitted to {what}, not to the real {recording}")
    return fitted


def make_models(problem: Problem, fits: Sequence[Fit], batch: int) -> dict[str, Predictor]:
    """Every row of the table as a predictor: ``default``, ``sources``, ``sources_scene``,
    ``fitted<seed>``, ``exported<seed>``; those in MJX compile once for ``batch`` windows."""
    substeps, hz = problem.source_substeps, problem.control_hz
    world = fits[0].fitted.world
    scene, free = world.scene, world.free
    in_mjx = make_predictor(world, batch)

    def c(mjcf: str | Path, substeps: int, assets: Mapping[str, bytes] | None = None) -> Predictor:
        model = compile_in_c(mjcf, 1.0 / (hz * substeps), assets)
        return lambda windows: predict_in_c(model, substeps, windows)

    def mjx(parameters: physical.Parameters) -> Predictor:
        def run(windows: Windows) -> np.ndarray:
            predicted = in_mjx({"physics": parameters, "network": {}}, windows)
            _refuse_nonfinite(predicted, windows, "MJX")
            return predicted

        return run

    models = {"default": c(problem.default_mjcf, substeps), "sources": c(problem.mjcf, substeps)}
    models["sources_scene"] = mjx(physical.zeros(free))
    for f in fits:
        models[f"fitted{f.seed}"] = mjx(f.fitted.parameters["physics"])
    for f in fits:
        text = physical.to_mjcf(scene, free, f.fitted.parameters["physics"])
        models[f"exported{f.seed}"] = c(text, scene.substeps, scene.assets)
    return models


def measure(args: Args, problem: Problem, path: Path, fits: Sequence[Fit]) -> dict[str, Any]:
    """The whole table: predicts with every model at every horizon."""
    hz = problem.control_hz
    episodes = [e for e in problem.episodes(path) if split(e.id) == args.split]
    best = min(fits, key=lambda f: f.validation)
    world, channels = best.fitted.world, best.fitted.channels
    seeds = [f.seed for f in fits]
    table: dict[str, Any] = {"horizons": []}
    for grid in grids(best.fitted, episodes):
        horizon = grid.horizon
        windows, skipped = grid.cut(episodes)
        models = make_models(problem, fits, min(BATCH, len(windows)))
        predicted = {}
        for name, model in models.items():
            runtime.log(f"{horizon or 'whole'}: {name}, {len(windows)} windows")
            predicted[name] = model(windows)
        measured = horizon_table(predicted, windows, channels, seeds)
        head = {"frames": horizon, "seconds": None if horizon is None else horizon / hz}
        table["horizons"].append(head | {"skipped": skipped} | measured)
        if horizon is not None:  # the longer one's is kept
            table["curves"] = error_curves(predicted, windows, channels, seeds)
        # The last horizon measured is the longest: that film is kept.
        table["film"] = film(predicted, windows, episodes, channels, best.seed, hz)
    return {
        "recording": problem.name,
        "split": args.split,
        "control_hz": hz,
        "command": command(args),
        "data_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "fitted_on_sha256": fits[0].fitted.metadata["settings"]["data"],
        "substeps": {"sources": problem.source_substeps, "fitted": world.scene.substeps},
        "fits": [{"seed": f.seed, "validation": f.validation} for f in fits],
        "best_seed": best.seed,
        "provenance": runtime.provenance(),
        "parameters": parameter_rows(
            world.scene, world.free, [f.fitted.parameters["physics"] for f in fits]
        ),
    } | table


def grids(fitted: Fitted, episodes: Sequence[Episode]) -> list[WindowGrid]:
    """The recording's own horizon, a longer one where an episode lasts so long, and whole tosses:
    an arm that is driven has none, since minutes ahead nothing is predictable."""
    problem = fitted.problem
    flies = bool(fitted.channels.position)
    longer = LONG_FRAMES if flies else round(LONG_SECONDS * problem.control_hz)
    horizons = [problem.windows.horizon]
    if any(len(e.qpos) > longer + problem.windows.first for e in episodes):
        horizons.append(longer)
    else:
        runtime.log(f"no episode is long enough for {longer} frames; left out")
    horizons += [None] if flies else []
    return [dataclasses.replace(problem.windows, horizon=h) for h in horizons]


def command(args: Args) -> str:
    """The command line."""
    return command_line("physics_table", args, ["--fits", *map(shown, args.fits)])


def command_line(script: str, args: Any, folders: Sequence[str]) -> str:
    """The command line of a script that writes a table, from ``args`` and its options' folders."""
    options = ["--recording", args.recording, *folders, "--out", shown(args.out)]
    options += ["--split", args.split] if args.split != "test" else []
    return f"python -m experiments.recordings.{script} " + shlex.join(options)


def shown(path: Path) -> str:
    """A folder as a command shows it: outside the working directory only its last two names."""
    path = Path(os.path.relpath(path)) if path.is_absolute() else path
    return str(Path(*path.parts[-2:]) if ".." in path.parts else path)


def real_recording(recording: str, part: str) -> Path:
    """The file of a real recording.

    Raises:
      InputError: ``part`` is no split, or WORLDMODEL_DATA is not set.
    """
    if part not in ("test", "validation", "train"):
        raise InputError(f"--split {part}: give test, validation or train")
    data = os.environ.get("WORLDMODEL_DATA")
    if not data:
        raise InputError(
            "WORLDMODEL_DATA is not set: set it to the folder with the real recordings "
            f"({recording}.npz); a table of simulated ones answers nothing"
        )
    return Path(data) / f"{recording}.npz"


def kept_folders(fits: Sequence[Fit], out: Path) -> dict[int, Path]:
    """Where each seed's fit is kept: the best on *validation* in ``out``, others in ``seed<N>``."""
    best = min(fits, key=lambda f: f.validation)
    return {f.seed: out if f is best else out / f"seed{f.seed}" for f in fits}


def keep_checkpoints(fits: Sequence[Fit], out: Path) -> None:
    """Copies each fit's checkpoint to its kept folder, also where it stands in another of them.

    A kill at any moment leaves every checkpoint somewhere: ``out`` is replaced last, and what is
    kept elsewhere by then is removed after that.
    """
    folders = kept_folders(fits, out)
    with tempfile.TemporaryDirectory() as copies:
        for f in fits:
            shutil.copytree(f.folder / "checkpoint", Path(copies) / str(f.seed))
        for seed in sorted(folders, key=lambda s: folders[s] == out):
            with new_folder(folders[seed] / "checkpoint", replace=True) as folder:
                shutil.copytree(Path(copies) / str(seed), folder, dirs_exist_ok=True)
    for stale in set(out.glob("seed*")) - {*folders.values()}:
        shutil.rmtree(stale / "checkpoint", ignore_errors=True)
        if not any(stale.iterdir()):
            stale.rmdir()


def main(args: Args) -> int:
    """Measures, writes OUT, prints one JSON line."""
    runtime.configure()
    path = real_recording(args.recording, args.split)
    problem = find_problem(args.recording)
    fits = read_fits(args.fits, args.recording)
    table = measure(args, problem, path, fits)
    args.out.mkdir(parents=True, exist_ok=True)
    keep_checkpoints(fits, args.out)
    best = min(fits, key=lambda f: f.validation).fitted
    fitted_mjcf = physical.to_mjcf(best.world.scene, best.world.free, best.parameters["physics"])
    write_mjcf(args.out / "fitted.xml", fitted_mjcf, best.world.scene.assets)
    write_json(args.out / "table.json", table, indent=None)
    write_text(args.out / "table.md", markdown(table))
    for path in draw(table, problem.mjcf, args.out):
        runtime.log(f"wrote {path}")
    print(json.dumps(headline(table, args.out)))
    return 0


def _but_seed(metadata: dict[str, Any]) -> dict[str, Any]:
    settings = dict(metadata["settings"])
    settings["config"] = {k: v for k, v in settings["config"].items() if k != "seed"}
    wanted = ("mjcf", "free", "substeps", "control_hz")
    return settings | {k: metadata[k] for k in wanted}


def _refuse_nonfinite(predicted: np.ndarray, windows: Windows, where: str) -> None:
    bad = ~np.isfinite(predicted).all(axis=(1, 2))
    if bad.any():
        episodes = sorted(set(np.asarray(windows.episode)[bad].tolist()))
        raise InputError(
            f"{int(bad.sum())} of {len(predicted)} windows diverged in {where} (episodes at index "
            f"{episodes[:8]}); take more steps per frame"
        )


if __name__ == "__main__":
    sys.exit(runtime.run(main, tyro.cli(Args, description=__doc__)))
