"""What a synthetic toss is worth in real ones, on real recordings.

Question: how many recorded tosses is a toss made by a world model worth, to a network that learns
          to predict them; before and after the model is fitted on a few of them, and net of these?
Command:  python -m experiments.tosses_alpha.measure --recording elbow_toss --out runs/alpha/elbow_toss
Runtime:  1.5 hours on one core; goes on where it stopped
Expected: one JSON line; OUT/report.html, alpha.md, measurement.json, rows.csv

Registered before any mixture was trained: the sizes of ``toss_study.FULL``; one primary error, the
geometric mean of position, rotation and hinge error over their ballistic values (the body keeps its
velocity) at 16 frames, on the replicate's test tosses; weight 1; the claim is "for the loop": every
replicate splits all tosses anew and fits its own versions. The three errors apart stand beside it.

The learner is the latent model (``toss_learner``), its recipe settled on real-only runs of three
splits. What was changed after a look, and everything trained anew each time (alpha.md says it too):
``toss_report.CHANGES``.

Versions and controls are made by ``toss_versions`` in a second process. Reality itself as the world
model (v*) must come out at 1, thinned reality at its share, duplicates at 0, dealt futures below 0;
else nothing else is to be believed.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro

from experiments.recordings.fit_physics import plain, protocol_windows, recording_file
from experiments.recordings.problems import Problem, find_problem
from experiments.tosses_alpha.learner import Learner
from experiments.tosses_alpha.report import ORACLES, publish
from experiments.tosses_alpha.study import CONTROLS, HORIZON, MODELS, STUDIES, Study, recorded, split, training_windows
from worldmodel import runtime
from worldmodel.reality.capture import write_whole
from worldmodel.model import WorldModel, init
from worldmodel.episodes.recording import load
from worldmodel.model.simulate import Windows, episode_errors, make_predictor
from worldmodel.trust.words import SELF
from worldmodel.errors import InputError
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
    found: list[Cell] = [("", n, 0) for n in study.real]
    found += [(version, n, m) for version in (*MODELS, SELF) for n in study.n for m in study.m]
    return found + [(version, study.n[0], study.m[-1]) for version in (*CONTROLS, *ORACLES)]


def synthetic(
    version: str, n: int, m: int, problem: Problem, study: Study, pool: list[Episode], made: Any
) -> Windows | None:
    """The windows that a version's first m tosses add; None: no rows."""
    recording = problem.recording
    fresh = pool[max(study.real) : max(study.real) + m]  # of reality, in no real set

    def of(tosses: list[Episode]) -> Windows:
        return training_windows(recording, study, tosses)

    if version.startswith("thin"):
        kept = round(int(version[4:]) / 100 * m)
        return of(fresh[:kept]) if kept else None
    if version == SELF:
        return of(fresh)
    if version == "copies":
        return of([pool[i % n] for i in range(m)])
    if version == "dealt":
        return dealt(of(fresh), np.random.default_rng(m))
    qpos, frames = made[f"{version}.qpos"], made[f"{version}.frames"]
    windows = of(recorded(problem.scene(), recording, qpos[:m], frames[:m]))
    if f"{version}.ahead" in made:  # made from all tosses, in this order
        future = made[f"{version}.ahead"][: len(windows)]
        windows = dataclasses.replace(windows, target=future)
    return windows


def dealt(windows: Windows, rng: np.random.Generator) -> Windows:
    """Each window with the future of another, moved to where its own start stands."""
    other = rng.permutation(len(windows))
    here, there = windows.qpos, windows.qpos[other]
    future = np.asarray(windows.target)[other].copy()
    future[..., :3] += (here - there)[:, None, :3]
    turn = _product(here[:, 3:7], there[:, 3:7] * np.array([1.0, -1.0, -1.0, -1.0]))
    future[..., 3:7] = _product(turn[:, None], future[..., 3:7])
    future[..., 7:] += (here - there)[:, None, 7:]
    return dataclasses.replace(windows, target=future)


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of quaternions wxyz."""
    w, v, s, u = a[..., :1], a[..., 1:], b[..., :1], b[..., 1:]
    real = w * s - (v * u).sum(-1, keepdims=True)
    return np.concatenate([real, w * u + s * v + np.cross(v, u)], axis=-1)


def joined(parts: list[Windows]) -> Windows:
    """All windows of the parts, in their order."""
    return jax.tree.map(lambda *x: np.concatenate(x), *parts)


def train_replicate(
    problem: Problem,
    study: Study,
    episodes: list[Episode],
    number: int,
    made: Any,
    provenance: dict[str, Any],
    interrupt: runtime.Interrupt,
) -> dict[str, Any]:
    """All cells of a replicate: errors over the ballistic ones, (channels,) each."""
    recording, parts = problem.recording, split(study, episodes, number)
    world = WorldModel(problem.scene(), kind="latent", network=study.recipe.network)
    predict = make_predictor(world, BATCH)
    still = init(world, jax.random.key(0))
    test, _ = protocol_windows(parts.test, recording, HORIZON)
    judged, _ = protocol_windows(parts.validation, recording, HORIZON)
    rows = np.resize(np.random.default_rng([number, 2]).permutation(len(judged)), study.judged)
    judged = judged.take(rows)

    def errors(parameters: Any, windows: Windows) -> np.ndarray:
        return episode_errors(predict(parameters, windows), windows, recording.channels).mean(0)

    ballistic = errors(still, test)
    has = np.isfinite(ballistic)
    learner = Learner(
        world, recording.channels, study.recipe, judged, errors(still, judged), number
    )
    shuffle = np.random.default_rng([number, 3])
    todo, found = cells(study), []
    began = time.monotonic()
    for first in range(0, len(todo), study.recipe.together):
        if interrupt.requested:
            raise runtime.Interrupted("stopped between two trainings; the same command goes on")
        group, sets = todo[first : first + study.recipe.together], []
        for version, n, m in group:
            real = training_windows(recording, study, parts.pool[:n])
            more = synthetic(version, n, m, problem, study, parts.pool, made) if m else None
            windows = joined([real, more]) if more is not None else real
            if version in ORACLES:  # else with its draws ``copies`` is the real set, to the bit
                windows = windows.take(shuffle.permutation(len(windows)))
            sets.append(windows)
        for (version, n, m), parameters in zip(group, learner.train(sets), strict=True):
            ratio = (errors(parameters, test) / ballistic)[has]
            found.append({"version": version, "n": n, "m": m, "errors": ratio.tolist()})
        done = len(found)
        rate = done / (time.monotonic() - began)
        runtime.log(
            f"replicate {number + 1}/{study.replicates}  training {done}/{len(todo)}  "
            f"{(len(todo) - done) / rate:.0f} s left in it"
        )
    return {
        "cells": found,
        "ballistic": ballistic[has].tolist(),
        "seconds": time.monotonic() - began,
        "provenance": provenance,
    }


@contextlib.contextmanager
def making_versions(args: Args) -> Iterator[subprocess.Popen]:
    """``toss_versions`` in a second process, in double precision."""
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    command = [sys.executable, "-m", "experiments.tosses_alpha.versions", "--recording", args.recording]
    command += ["--out", str(args.out), "--study", args.study]
    process = subprocess.Popen(command, env=environment)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def wait_for(path: Path, process: subprocess.Popen, interrupt: runtime.Interrupt) -> None:
    """Until the file is there.

    Raises:
      InputError: the process ended without it.
      Interrupted: a signal came.
    """
    while not path.is_file():
        if interrupt.requested:
            raise runtime.Interrupted("stopped while versions are fitted; run it again")
        if process.poll() is not None and not path.is_file():
            raise InputError(f"the versions' process ended without {path}; see above")
        time.sleep(1.0)


def result_of(out: Path, number: int) -> dict[str, Any]:
    """A replicate's errors, and ``about`` its versions; their own over the ballistic ones too."""
    result = json.loads((out / "replicates" / f"{number:03d}.json").read_text())
    with np.load(out / "versions" / f"{number:03d}.npz", allow_pickle=False) as archive:
        about = json.loads(str(archive["about"]))
    ballistic = np.array(result["ballistic"])
    for name, errors in about["direct"].items():
        has = np.isfinite(errors)
        about["direct"][name] = (np.array(errors)[has] / ballistic).tolist()
    return result | {"about": about}


def remember(out: Path, study: Study, recording: Path) -> None:
    """Writes what the folder's replicates are of.

    Raises:
      InputError: they are of another study or of other recordings.
    """
    digest = hashlib.sha256(recording.read_bytes()).hexdigest()
    of = json.dumps({"study": plain(study), "recording": digest}, indent=1, sort_keys=True)
    path = out / "study.json"
    if path.is_file() and path.read_text() != of:
        raise InputError(
            f"{out} holds replicates of other sizes, settings or recordings (see {path}); "
            "give another --out or move it away"
        )
    write_whole(path, of.encode())


def main(args: Args) -> int:
    """Trains what is not trained yet, measures, publishes; one JSON line."""
    # The learner is all small matrix products: XLA's full optimisation halves their time.
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=3")
    runtime.configure(x64=False)
    problem, study = find_problem(args.recording), STUDIES[args.study]
    folder = args.out / "replicates"
    folder.mkdir(parents=True, exist_ok=True)
    path, simulated = recording_file(problem.recording, args.out)
    remember(args.out, study, path)
    episodes = load(path, problem.recording)
    provenance = runtime.provenance()
    with runtime.Interrupt() as interrupt, making_versions(args) as process:
        try:
            for number in range(study.replicates):
                target = folder / f"{number:03d}.json"
                if target.is_file():
                    continue
                versions = args.out / "versions" / f"{number:03d}.npz"
                wait_for(versions, process, interrupt)
                with np.load(versions, allow_pickle=False) as archive:
                    made = {name: archive[name] for name in archive.files}
                found = train_replicate(
                    problem, study, episodes, number, made, provenance, interrupt
                )
                write_whole(target, json.dumps(found).encode())
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
