"""World models fitted on a few corrections, and the tosses they generate, for ``measure``.

Question: what would a lab's world model, fitted on K real tosses and nothing else, generate?
Command:  python -m experiments.tosses_alpha.versions --recording elbow_toss
          --out runs/alpha/elbow/versions
Runtime:  one to three minutes per replicate on one core
Expected: OUT/000.npz, 001.npz, …, one per replicate, each written atomically

Each replicate runs in double precision, which a fit needs (the learner runs in single precision, so
in another process):

- v0: the sources' parameters; v1: physics fitted on the first K1 corrections by Gauss-Newton;
  v2: physics fitted on all K2, and a network regressed on its remaining error;
- v1-sham: physics fitted on K1 tosses that v0 generated from the same starts.

A version draws its starts, and measures the tracking noise, on the corrections it is charged with:
v0 on the first K1, since it needs starts too. A synthetic toss is recorded as a real one: noise on
the poses, velocities from them. A training window of v2 has v2's own prediction from that recording
as its future, since the network's corrections hold for that horizon.
"""

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.recordings.problems import Problem
from experiments.recordings.source import read_recording
from experiments.records import write_arrays
from experiments.tosses_alpha.study import (
    SHAM,
    STUDIES,
    Starts,
    Study,
    draw_starts,
    recorded,
    recorded_starts,
    scored_windows,
    split,
    tracked,
    tracking_noise,
    training_windows,
)
from worldmodel import runtime
from worldmodel.episodes.errors import episode_errors
from worldmodel.finetune.gauss_newton import identify
from worldmodel.finetune.regression import regress, regression_data, standards
from worldmodel.model import Displacement, Parameters, WorldModel, init
from worldmodel.model.ensemble import joined, make_predictor, make_simulator, members
from worldmodel.runtime.settings import claim
from worldmodel.types import Episode

BATCH = 64  # tosses, or windows, in one compiled call


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    recording: str
    out: Path  # folder versions of measure's --out
    study: str = "full"  # full or smoke


def fitted_physics(
    world: WorldModel,
    study: Study,
    tosses: list[Episode],
    seed: list[int],
    stop: Callable[[], bool],
) -> tuple[Parameters, dict[str, Any]]:
    """Physics fitted by Gauss-Newton from the sources' parameters, and how the fit ended.

    Args:
      tosses: corrections; ``study.windows`` of their windows are drawn.
      seed: of that draw.
    """
    windows = training_windows(study, tosses, first=1)
    rows = np.random.default_rng(seed).permutation(len(windows))[: study.windows]
    steps: list[dict[str, Any]] = []
    fitted = identify(
        world, windows.take(np.sort(rows)), study.identify, record=steps.append, stop=stop
    )
    fit = {
        "converged": fitted.converged,
        "costs": [row["cost"] for row in steps] + [fitted.cost],
        "to_go": steps[-1]["left"],  # deviations, before the last iteration
        "left_out": len(fitted.left_out),
    }
    return fitted.parameters, fit


def fitted_hybrid(
    hybrid: WorldModel,
    physics: Parameters,
    study: Study,
    tosses: list[Episode],
    seed: int,
    stop: Callable[[], bool],
) -> tuple[Parameters, float]:
    """Networks regressed on the fitted physics' remaining error, and the mean of their lowest
    validation errors relative to no network."""
    origin = init(hybrid, jax.random.key(seed)) | {"physics": physics["physics"]}
    kept = len(tosses) - study.held_out
    train, held_out = (
        regression_data(hybrid, origin, training_windows(study, part, first=1))
        for part in (tosses[:kept], tosses[kept:])
    )
    origin["network"]["norm"] = jax.tree.map(jnp.asarray, standards(hybrid, train))
    each, ratios = [], []
    for k, member in enumerate(members(origin)):
        rows: list[dict[str, Any]] = []
        config = dataclasses.replace(study.regression, seed=seed + 1000 * k)
        begin = member | {"physics": physics["physics"]}
        each.append(regress(hybrid, begin, train, held_out, config, record=rows.append, stop=stop))
        ratios.append(min(row["validation"] for row in rows))
    return joined(origin, each), float(np.mean(ratios))


def played(world: WorldModel, parameters: Parameters, starts: Starts) -> np.ndarray:
    """Poses of whole tosses: (tosses, frames, nq).

    Raises:
      FloatingPointError: a toss diverges.
    """
    steps, nu = int(starts.frames.max()) - 1, world.scene.mj_model.nu
    ctrl = np.zeros((len(starts.qpos), steps, nu))
    states = make_simulator(world, BATCH)(parameters, starts.qpos, ctrl, starts.qvel)
    if not np.isfinite(states.qpos).all():
        raise FloatingPointError(
            "a toss of a fitted version is not finite; fit it on more tosses or windows"
        )
    return np.asarray(states.qpos)


def replicate(
    problem: Problem,
    study: Study,
    episodes: list[Episode],
    number: int,
    stop: Callable[[], bool],
) -> dict[str, np.ndarray]:
    """All versions' tosses of one replicate: arrays by name, and ``about`` as JSON text.

    Raises:
      FloatingPointError: a fitted version diverges.
      Interrupted: ``stop`` returned True.
    """
    scene = problem.scene()
    channels = problem.channels(scene)
    world = WorldModel(scene, problem.free)
    hybrid = dataclasses.replace(world, correction=Displacement(), network=study.network)
    parts = split(study, episodes, number)
    first, every = parts.corrections[: study.first], parts.corrections
    v0 = init(world, jax.random.key(0))
    noise1, noise2 = tracking_noise(scene, first), tracking_noise(scene, every)
    most = max(study.m)
    fits: dict[str, dict[str, Any]] = {}

    def fitted(name: str, tosses: list[Episode], stream: int) -> Parameters:
        runtime.log(f"replicate {number}: {name}")
        parameters, fits[name] = fitted_physics(world, study, tosses, [number, stream], stop)
        return parameters

    v1 = fitted("v1", first, 11)
    v2 = fitted("v2", every, 12)
    v2_hybrid, ratio = fitted_hybrid(hybrid, v2, study, every, number, stop)
    same_starts = recorded_starts(first)
    v0_tosses = tracked(scene, played(world, v0, same_starts), noise1, [number, 13])
    sham = fitted(SHAM, recorded(scene, v0_tosses, same_starts.frames), 11)

    def starts(tosses: list[Episode]) -> Starts:
        rng = np.random.default_rng([number, 15])
        return draw_starts(scene, tosses, study.bandwidth, most, rng)

    near, wide = starts(first), starts(every)
    out: dict[str, np.ndarray] = {}
    for name, parameters, begun, noise in (
        ("v0", v0, near, noise1),
        ("v1", v1, near, noise1),
        ("v2", v2, wide, noise2),
        (SHAM, sham, near, noise1),
    ):
        qpos = tracked(scene, played(world, parameters, begun), noise, [number, 16])
        out[f"{name}.qpos"], out[f"{name}.frames"] = qpos, begun.frames
    windows = training_windows(study, recorded(scene, out["v2.qpos"], wide.frames))
    predicted = make_predictor(hybrid, BATCH)(v2_hybrid, windows)
    out["v2.predicted"] = tracked(scene, predicted, noise2, [number, 17])
    test = scored_windows(problem, parts.test)

    def direct(model: WorldModel, parameters: Parameters) -> list[float]:
        predicted = make_predictor(model, BATCH)(parameters, test)
        return episode_errors(predicted, test, channels).mean(axis=0).tolist()

    about = {
        "direct": {
            "v0": direct(world, v0),
            "v1": direct(world, v1),
            "v2-physics": direct(world, v2),
            "v2": direct(hybrid, v2_hybrid),
        },
        "regression": ratio,
        "fits": fits,
    }
    return out | {"about": np.array(json.dumps(about))}


def main(args: Args, stop: Callable[[], bool]) -> int:
    """Writes the replicates that are absent; returns the exit status."""
    runtime.configure()
    study = STUDIES[args.study]
    claim(args.out, {"study": study, "recording": args.recording})
    recording = read_recording(args.recording)
    problem, episodes = recording.problem, recording.episodes
    for number in range(study.replicates):
        target = args.out / f"{number:03d}.npz"
        if target.is_file():
            continue
        try:
            arrays = replicate(problem, study, episodes, number, stop)
        except FloatingPointError as error:
            runtime.log(f"replicate {number}: {error}")
            return 1
        write_arrays(target, arrays, compressed=True)
    return 0


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
