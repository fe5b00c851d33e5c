"""World models fitted on a few corrections, and the tosses they make; ``trust_recording`` calls it.

Question: what would a lab's world model, fitted on K real tosses and nothing else, generate?
Command:  python -m experiments.tosses_alpha.versions --recording elbow_toss --out runs/alpha/elbow_toss
Runtime:  one to three minutes per replicate on one core
Expected: OUT/versions/000.npz, 001.npz, …, one per replicate, each whole or not there

Per replicate, in double precision (a fit needs it; the learner, another process, does not):

- v0: the sources' parameters; v1: physics fitted on the first K1 corrections by Gauss-Newton;
  v2: physics fitted on all K2, and a network on what it leaves;
- v1-sham: physics fitted on K1 tosses that v0 itself made from the same starts;
- v1-worst: physics fitted on the K1 of the K2 that v0 predicts worst;
- v1-quiet, v1-loud: v1 without tracking noise and with twice as much;
- v1-leak: v1 from starts of the whole pool.

A version draws its starts, and measures the tracking noise, on the corrections that it cost (v0 on
the first K1: it needs starts too; v1-worst on all K2, of which it was chosen). A synthetic toss is
recorded as a real one: noise on the poses, velocities from them. Of v2 a training window's future
is its own prediction from that recording, since its corrections hold for that horizon.
"""

import dataclasses
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro

from experiments.recordings.fit_physics import protocol_windows, recording_file
from experiments.recordings.problems import Problem, find_problem
from experiments.tosses_alpha.study import HORIZON, STUDIES, Split, Starts, Study, draw_starts, recorded, recorded_starts, split, tracked, tracking_noise, training_windows
from worldmodel import runtime
from worldmodel.reality.capture import write_whole
from worldmodel.model import Parameters, WorldModel, init
from worldmodel.episodes.recording import load
from worldmodel.finetune.gauss_newton import identify
from worldmodel.physics import parameters as physical
from worldmodel.model.simulate import Windows, episode_errors, make_predictor, make_simulator
from worldmodel.finetune.regression import regress, residuals
from worldmodel.types import Episode

BATCH = 64  # tosses, or windows, in one compiled call


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    recording: str
    out: Path
    study: str = "full"  # full or smoke


def fitted_physics(
    world: WorldModel,
    study: Study,
    tosses: list[Episode],
    problem: Problem,
    seed: list[int],
    stop: Callable[[], bool],
) -> tuple[Parameters, dict[str, Any]]:
    """Gauss-Newton on windows drawn from the corrections, from the sources' parameters; and how
    far it came."""
    windows = training_windows(problem.recording, study, tosses, first=1)
    rows = np.random.default_rng(seed).permutation(len(windows))[: study.windows]
    steps: list[dict[str, Any]] = []
    found = identify(
        world, windows.take(np.sort(rows)), study.identify, record=steps.append, stop=stop
    )
    fit = {
        "converged": found.converged,
        "costs": [row["cost"] for row in steps] + [found.cost],
        "to_go": steps[-1]["left"],  # deviations, before the last iteration
        "left_out": len(found.left_out),
    }
    return found.parameters, fit


def fitted_hybrid(
    hybrid: WorldModel,
    physics: Parameters,
    study: Study,
    tosses: list[Episode],
    problem: Problem,
    seed: int,
    stop: Callable[[], bool],
) -> tuple[Parameters, float]:
    """The network by regression on what the fitted physics leaves; its lowest validation ratio."""
    origin = init(hybrid, jax.random.key(seed)) | {"physics": physics["physics"]}
    kept = len(tosses) - study.held_out
    learnt, held = (
        residuals(hybrid, origin, training_windows(problem.recording, study, part, first=1))
        for part in (tosses[:kept], tosses[kept:])
    )
    rows: list[dict[str, Any]] = []
    config = dataclasses.replace(study.regression, seed=seed)
    found = regress(hybrid, origin, learnt, held, config, record=rows.append, stop=stop)
    return found, min(row["validation"] for row in rows)


def worst(world: WorldModel, tosses: list[Episode], count: int, problem: Problem) -> list[Episode]:
    """The tosses that version 0 predicts worst, all errors relative to their mean."""
    windows, _ = protocol_windows(tosses, problem.recording, HORIZON)
    parameters = {"physics": physical.zeros(world.free), "network": {}}
    predicted = make_predictor(world, BATCH)(parameters, windows)
    error = episode_errors(predicted, windows, problem.recording.channels)
    relative = np.nansum(error / error.mean(axis=0), axis=1)
    return [tosses[i] for i in np.sort(np.argsort(-relative)[:count])]


def played(world: WorldModel, parameters: Parameters, starts: Starts) -> np.ndarray:
    """Poses of whole tosses, as physics moves them: (tosses, frames, nq)."""
    nothing = np.zeros((len(starts.qpos), int(starts.frames.max()) - 1, world.scene.mj_model.nu))
    states = make_simulator(world, BATCH)(parameters, starts.qpos, nothing, starts.qvel)
    if not np.isfinite(states.qpos).all():
        raise FloatingPointError("a fitted version diverges on a toss; it is no model")
    return np.asarray(states.qpos)


def replicate(
    problem: Problem,
    study: Study,
    episodes: list[Episode],
    number: int,
    provenance: dict[str, Any],
    stop: Callable[[], bool],
) -> dict[str, np.ndarray]:
    """All versions' tosses of one replicate: arrays by name, and ``about`` as JSON text.

    Raises:
      FloatingPointError: a fitted version diverges.
      Interrupted: ``stop`` said so.
    """
    recording, scene = problem.recording, problem.scene()
    world = WorldModel(scene, problem.free)
    hybrid = dataclasses.replace(world, kind="hybrid", correction="displacement")
    hybrid = dataclasses.replace(hybrid, network=study.network)
    parts: Split = split(study, episodes, number)
    first, all_ = parts.corrections[: study.first], parts.corrections
    v0: Parameters = {"physics": physical.zeros(world.free), "network": {}}
    noise1, noise2 = tracking_noise(scene, first), tracking_noise(scene, all_)
    most = max(study.m)

    def log(what: str) -> None:
        runtime.log(f"replicate {number}: {what}")

    def fitted(name: str, tosses: list[Episode], stream: int) -> Parameters:
        log(name)
        found, fits[name] = fitted_physics(world, study, tosses, problem, [number, stream], stop)
        return found

    fits: dict[str, dict[str, Any]] = {}
    v1 = fitted("v1", first, 11)
    v2 = fitted("v2", all_, 12)
    both, ratio = fitted_hybrid(hybrid, v2, study, all_, problem, number, stop)
    again = recorded_starts(first)
    fake = tracked(scene, played(world, v0, again), noise1, [number, 13])
    sham = fitted("v1-sham", recorded(scene, recording, fake, again.frames), 11)
    hard = fitted("v1-worst", worst(world, all_, study.first, problem), 14)

    def starts(tosses: list[Episode]) -> Starts:
        rng = np.random.default_rng([number, 15])
        return draw_starts(scene, recording, tosses, study.bandwidth, most, rng)

    near, wide, leak = starts(first), starts(all_), starts(parts.pool)
    out: dict[str, np.ndarray] = {}
    for name, parameters, begun, noise in (
        ("v0", v0, near, noise1),
        ("v1", v1, near, noise1),
        ("v2", v2, wide, noise2),
        ("v1-sham", sham, near, noise1),
        ("v1-worst", hard, wide, noise2),
        ("v1-quiet", v1, near, 0.0 * noise1),
        ("v1-loud", v1, near, 2.0 * noise1),
        ("v1-leak", v1, leak, noise1),
    ):
        qpos = tracked(scene, played(world, parameters, begun), noise, [number, 16])
        out[f"{name}.qpos"], out[f"{name}.frames"] = qpos, begun.frames
    tosses = recorded(scene, recording, out["v2.qpos"], wide.frames)
    windows: Windows = training_windows(recording, study, tosses)
    ahead = make_predictor(hybrid, BATCH)(both, windows)
    out["v2.ahead"] = tracked(scene, ahead, noise2, [number, 17])
    test, _ = protocol_windows(parts.test, recording, HORIZON)

    def direct(model: WorldModel, parameters: Parameters) -> list[float]:
        predicted = make_predictor(model, BATCH)(parameters, test)
        return episode_errors(predicted, test, recording.channels).mean(axis=0).tolist()

    def values(parameters: Parameters) -> dict[str, list[float]]:
        found = physical.values(scene, world.free, parameters["physics"])
        return {name: value.tolist() for name, value in found.items()}

    about = {
        "replicate": number,
        "direct": {
            "v0": direct(world, v0),
            "v1": direct(world, v1),
            "v2-physics": direct(world, v2),
            "v2": direct(hybrid, both),
        },
        "noise": noise1.tolist(),
        "regression": ratio,
        "fits": fits,
        "provenance": provenance,
        "parameters": {
            name: values(p)
            for name, p in (("v1", v1), ("v2", v2), ("v1-sham", sham), ("v1-worst", hard))
        },
    }
    return out | {"about": np.array(json.dumps(about))}


def main(args: Args) -> int:
    """Makes what is not made yet; returns the exit status."""
    runtime.configure()
    problem, study = find_problem(args.recording), STUDIES[args.study]
    folder = args.out / "versions"
    folder.mkdir(parents=True, exist_ok=True)
    path, _ = recording_file(problem.recording, args.out)
    episodes = load(path, problem.recording)
    provenance = runtime.provenance()
    with runtime.Interrupt() as interrupt:
        for number in range(study.replicates):
            target = folder / f"{number:03d}.npz"
            if target.is_file():
                continue
            try:
                arrays = replicate(
                    problem, study, episodes, number, provenance, lambda: interrupt.requested
                )
            except runtime.Interrupted:
                return interrupt.exit_status
            except FloatingPointError as error:
                runtime.log(f"replicate {number}: {error}")
                return 1
            buffer = io.BytesIO()
            np.savez_compressed(buffer, allow_pickle=False, **arrays)
            write_whole(target, buffer.getvalue())
    return 0


if __name__ == "__main__":
    sys.exit(runtime.run(main, tyro.cli(Args, description=__doc__)))
