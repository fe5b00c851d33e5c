"""What a synthetic toss is worth in real ones, on real recordings.

Question: how many recorded tosses is a world model's toss worth to a network that learns to predict
          tosses, before and after the model is fitted on a few of them, and net of these?
Command:  python -m experiments.tosses_alpha.measure --recording elbow_toss --out runs/alpha/elbow
Runtime:  1.5 hours on one core; the same command resumes
Expected: one JSON line; OUT/report.html, alpha.md, measurement.json, rows.csv

Fixed before any mixture was trained: the sizes of ``study.FULL``, weight 1, and one primary error,
the geometric mean of position, rotation and hinge error over their ballistic values (the body keeps
its velocity) at 16 frames on the replicate's test tosses; alpha.md also shows each error apart. The
claim is about the loop: every replicate splits all tosses anew and fits its own versions. Later
changes, after each of which everything was trained anew: ``report.CHANGES``.

The learner is the latent model (``learner``). A second process (``versions``) makes the synthetic
tosses. The controls decide whether to believe the rest: reality itself as the world model (v*) must
come out at 1, thinned reality at its share, duplicates at 0, dealt futures below 0.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro

from experiments.recordings.problems import Problem, find_problem
from experiments.recordings.source import recording_file
from experiments.records import plain
from experiments.slide.turn import claim
from experiments.tosses_alpha.learner import Learner
from experiments.tosses_alpha.report import ORACLES, publish
from experiments.tosses_alpha.study import (
    CONTROLS,
    MODELS,
    STUDIES,
    Study,
    recorded,
    scored_windows,
    split,
    training_windows,
)
from worldmodel import runtime
from worldmodel.episodes.errors import episode_errors
from worldmodel.episodes.windows import Windows
from worldmodel.errors import InputError
from worldmodel.model import WorldModel, init
from worldmodel.model.simulate import make_predictor
from worldmodel.runtime import files
from worldmodel.trust.phrases import CONTROL
from worldmodel.types import Episode

BATCH = 512  # windows predicted at once
Cell = tuple[str, int, int]  # version, n, m


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    recording: str  # elbow_toss or cube_toss
    out: Path
    study: str = "full"  # full or smoke


def cells(study: Study) -> list[Cell]:
    """Real-only sizes, the versions' grid, and the controls at the smallest n and largest m."""
    grid: list[Cell] = [("", n, 0) for n in study.real]
    grid += [(version, n, m) for version in (*MODELS, CONTROL) for n in study.n for m in study.m]
    return grid + [(version, study.n[0], study.m[-1]) for version in (*CONTROLS, *ORACLES)]


def synthetic(
    version: str,
    n: int,
    m: int,
    problem: Problem,
    study: Study,
    pool: list[Episode],
    tosses: Mapping[str, np.ndarray],
) -> Windows | None:
    """The windows that a version's first m tosses add to the first n of the pool.

    Args:
      tosses: arrays of ``versions``, by name.

    Returns:
      None where they add no window.
    """
    fresh = pool[max(study.real) : max(study.real) + m]  # of reality, in no real set
    if version.startswith("thin"):
        kept = round(int(version[4:]) / 100 * m)
        return training_windows(study, fresh[:kept]) if kept else None
    if version == CONTROL:
        return training_windows(study, fresh)
    if version == "copies":
        return training_windows(study, [pool[i % n] for i in range(m)])
    if version == "dealt":
        return dealt(training_windows(study, fresh), np.random.default_rng(m))
    qpos, frames = tosses[f"{version}.qpos"][:m], tosses[f"{version}.frames"][:m]
    windows = training_windows(study, recorded(problem.scene(), qpos, frames))
    if version == "v2":  # its predictions are of the windows of all its tosses, in this order
        windows = dataclasses.replace(windows, target=tosses["v2.predicted"][: len(windows)])
    return windows


def dealt(windows: Windows, rng: np.random.Generator) -> Windows:
    """Each window with the future of another, moved to its own start."""
    other = rng.permutation(len(windows))
    here, there = windows.qpos, windows.qpos[other]
    future = np.asarray(windows.target)[other].copy()
    future[..., :3] += (here - there)[:, None, :3]
    turn = _product(here[:, 3:7], there[:, 3:7] * np.array([1.0, -1.0, -1.0, -1.0]))
    future[..., 3:7] = _product(turn[:, None], future[..., 3:7])
    future[..., 7:] += (here - there)[:, None, 7:]
    return dataclasses.replace(windows, target=future)


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(…, 4) product of quaternions wxyz."""
    w, v, s, u = a[..., :1], a[..., 1:], b[..., :1], b[..., 1:]
    real = w * s - (v * u).sum(-1, keepdims=True)
    return np.concatenate([real, w * u + s * v + np.cross(v, u)], axis=-1)


def train_replicate(
    problem: Problem,
    study: Study,
    episodes: list[Episode],
    number: int,
    tosses: Mapping[str, np.ndarray],
    provenance: dict[str, Any],
    interrupt: runtime.Interrupt,
) -> dict[str, Any]:
    """All cells of a replicate: errors over the ballistic ones, (channels,) each.

    Args:
      tosses: arrays of ``versions``, by name.

    Raises:
      FloatingPointError: the primary error of a training is not finite.
      Interrupted: a signal came.
    """
    scene, parts = problem.scene(), split(study, episodes, number)
    world, channels = WorldModel.latent(scene, study.recipe.network), problem.channels(scene)
    predict = make_predictor(world, BATCH)
    untrained = init(world, jax.random.key(0))  # a body that keeps its velocity
    test = scored_windows(problem, parts.test)
    judged = scored_windows(problem, parts.validation)
    rows = np.resize(np.random.default_rng([number, 2]).permutation(len(judged)), study.judged)
    judged = judged.take(rows)

    def errors(parameters: Any, windows: Windows) -> np.ndarray:
        return episode_errors(predict(parameters, windows), windows, channels).mean(0)

    ballistic = errors(untrained, test)
    has = np.isfinite(ballistic)
    learner = Learner(world, channels, study.recipe, judged, errors(untrained, judged), number)
    shuffle = np.random.default_rng([number, 3])
    todo, done = cells(study), []
    began = time.monotonic()
    for first in range(0, len(todo), study.recipe.together):
        if interrupt.requested:
            raise runtime.Interrupted("stopped between two trainings; the same command resumes")
        group, sets = todo[first : first + study.recipe.together], []
        for version, n, m in group:
            windows = training_windows(study, parts.pool[:n])
            more = synthetic(version, n, m, problem, study, parts.pool, tosses) if m else None
            if more is not None:
                windows = jax.tree.map(lambda *x: np.concatenate(x), windows, more)
            if version in ORACLES:  # unshuffled, ``copies`` would repeat the real set's draws
                windows = windows.take(shuffle.permutation(len(windows)))
            sets.append(windows)
        for (version, n, m), parameters in zip(group, learner.train(sets), strict=True):
            ratio = (errors(parameters, test) / ballistic)[has]
            done.append({"version": version, "n": n, "m": m, "errors": ratio.tolist()})
        rate = len(done) / (time.monotonic() - began)
        runtime.log(
            f"replicate {number + 1}/{study.replicates}  training {len(done)}/{len(todo)}  "
            f"{(len(todo) - len(done)) / rate:.0f} s to its end"
        )
    return {
        "cells": done,
        "ballistic": ballistic[has].tolist(),
        "seconds": time.monotonic() - began,
        "provenance": provenance,
    }


@contextlib.contextmanager
def versions_process(args: Args) -> Iterator[subprocess.Popen]:
    """``versions`` in a second process, in double precision."""
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    command = [sys.executable, "-m", "experiments.tosses_alpha.versions"]
    command += ["--recording", args.recording, "--out", str(args.out), "--study", args.study]
    process = subprocess.Popen(command, env=environment)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def wait_for(path: Path, process: subprocess.Popen, interrupt: runtime.Interrupt) -> None:
    """Returns when the file is there.

    Raises:
      InputError: the process ended without it.
      Interrupted: a signal came.
    """
    while not path.is_file():
        if interrupt.requested:
            raise runtime.Interrupted("stopped while versions are fitted; the same command resumes")
        if process.poll() is not None and not path.is_file():
            raise InputError(
                f"the process that makes the versions ended without {path}; mend its error above"
            )
        time.sleep(1.0)


def result_of(out: Path, number: int) -> dict[str, Any]:
    """A replicate's errors, and ``about`` its versions, whose errors are over the ballistic too."""
    result = json.loads((out / "replicates" / f"{number:03d}.json").read_text())
    with np.load(out / "versions" / f"{number:03d}.npz", allow_pickle=False) as archive:
        about = json.loads(str(archive["about"]))
    ballistic = np.array(result["ballistic"])
    for name, errors in about["direct"].items():
        has = np.isfinite(errors)
        about["direct"][name] = (np.array(errors)[has] / ballistic).tolist()
    return result | {"about": about}


def main(args: Args) -> int:
    """Trains the replicates that are absent, measures, publishes; prints one JSON line."""
    # XLA's full optimisation halves the time of the learner's small matrix products.
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=3")
    runtime.configure(x64=False)
    problem, study = find_problem(args.recording), STUDIES[args.study]
    folder = args.out / "replicates"
    folder.mkdir(parents=True, exist_ok=True)
    path, simulated = recording_file(problem, args.out)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    claim(args.out, {"study": plain(study), "recording": digest})
    episodes = problem.episodes(path)
    provenance = runtime.provenance()
    with runtime.Interrupt() as interrupt, versions_process(args) as process:
        try:
            for number in range(study.replicates):
                target = folder / f"{number:03d}.json"
                if target.is_file():
                    continue
                versions = args.out / "versions" / f"{number:03d}.npz"
                wait_for(versions, process, interrupt)
                with np.load(versions, allow_pickle=False) as archive:
                    tosses = {name: archive[name] for name in archive.files}
                result = train_replicate(
                    problem, study, episodes, number, tosses, provenance, interrupt
                )
                files.write_json(target, result, indent=None)
        except runtime.Interrupted as stopped:
            runtime.log(str(stopped))
            return interrupt.exit_status
    results = [result_of(args.out, number) for number in range(study.replicates)]
    command = f"python -m experiments.tosses_alpha.measure --recording {args.recording} --out DIR"
    command += f" --study {args.study}" if args.study != "full" else ""
    pool = len(split(study, episodes, 0).pool)
    print(json.dumps(publish(args.out, problem, study, results, pool, simulated, command)))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.run(main, tyro.cli(Args, description=__doc__)))
