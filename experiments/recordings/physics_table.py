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
leaves (OUT and OUT/seed<N>) serve as well, for another OUT: a table can be made again from what is
committed.
Rows: ``default``, the measured shape and MuJoCo's default for everything else; ``sources``, the
published parameters, both in C MuJoCo; ``sources_scene``, the same in MJX, where the fits start;
``fitted``; and ``exported``, the fits written as MJCF and run by C MuJoCo. OUT gets table.json,
table.md, fitted.xml and the checkpoint of the seed that was best on *validation*, the
other seeds' under seed<N>/.
"""

import dataclasses
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.recordings.fitted import Group, read_fits
from experiments.recordings.problems import Problem
from experiments.recordings.source import read_recording
from experiments.recordings.tables import headline, keep_checkpoints, publish
from worldmodel import runtime
from worldmodel._mujoco import mujoco
from worldmodel.commands.scores import BATCH
from worldmodel.episodes.windows import Windows
from worldmodel.model.ensemble import make_predictor
from worldmodel.physics import parameters as physical
from worldmodel.scene import parse_mjcf, write_mjcf
from worldmodel.scene.replay import replayed

PAIRS = [("fitted", reference) for reference in ("sources", "default", "sources_scene")]


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    recording: str  # elbow_toss, cube_toss, square_drop or double_pendulum
    fits: tuple[Path, ...]  # --out folders of fit_physics, one per seed
    out: Path  # folder for the table and the checkpoints


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


def predictions(
    problem: Problem, fits: Group, windows: Windows
) -> dict[str, dict[int, np.ndarray]]:
    """Every row's predictions at one horizon: model → seed → (windows, horizon, nq)."""
    world = next(iter(fits.values())).world
    scene, free = world.scene, world.free
    in_mjx = make_predictor(world, min(BATCH, len(windows)))

    def c(mjcf: str | Path, substeps: int, assets: Mapping[str, bytes] | None = None) -> np.ndarray:
        model = compile_in_c(mjcf, 1 / (problem.control_hz * substeps), assets)
        return replayed(model, substeps, windows.qpos, windows.qvel, windows.ctrl)

    def mjx(parameters: Any) -> np.ndarray:
        return in_mjx({"physics": parameters, "network": {}}, windows)

    def exported(parameters: Any) -> np.ndarray:
        return c(physical.to_mjcf(scene, free, parameters), scene.substeps, scene.assets)

    same = {
        "default": c(problem.default_mjcf, problem.source_substeps),
        "sources": c(problem.mjcf, problem.source_substeps),
        "sources_scene": mjx(physical.zeros(free)),
    }
    own = {seed: fitted.parameters["physics"] for seed, fitted in fits.items()}
    return {name: dict.fromkeys(fits, rows) for name, rows in same.items()} | {
        "fitted": {seed: mjx(parameters) for seed, parameters in own.items()},
        "exported": {seed: exported(parameters) for seed, parameters in own.items()},
    }


def main(args: Args) -> int:
    """Measures, writes OUT, prints one JSON line."""
    runtime.configure()
    recording = read_recording(args.recording)
    problem, fits = recording.problem, read_fits(args.fits, args.recording)
    validation = {seed: fitted.validation for seed, fitted in fits.items()}
    best = keep_checkpoints(fits, validation, args.out)
    world, physics = fits[best].world, fits[best].parameters["physics"]
    table = publish(
        args.out,
        recording,
        fits[best],
        lambda windows: predictions(problem, fits, windows),
        PAIRS,
        substeps={"sources": problem.source_substeps, "fitted": world.scene.substeps},
        fits=[{"seed": seed, "validation": error} for seed, error in validation.items()],
        best_seed=best,
    )
    fitted_mjcf = physical.to_mjcf(world.scene, world.free, physics)
    write_mjcf(args.out / "fitted.xml", fitted_mjcf, world.scene.assets)
    print(json.dumps(headline(table, "sources", ["fitted"]) | {"out": str(args.out)}))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
