"""What a synthetic toss is worth in real ones, on real recordings.

Question: how many recorded tosses is a world model's toss worth to a network that learns to predict
          tosses, before and after the model is fitted on a few of them, and net of these?
Command:  python -m experiments.tosses_alpha.versions --recording elbow_toss
          --out runs/alpha/elbow/versions
          python -m experiments.tosses_alpha.measure --recording elbow_toss --out runs/alpha/elbow
Runtime:  1.5 hours on one core in all; the same command resumes
Expected: one JSON line; OUT/table.json, table.md, figure.png, rows.csv

Fixed before any mixture was trained: the sizes of ``study.FULL``, weight 1, and one primary error,
the geometric mean of position, rotation and hinge error over their ballistic values (the body keeps
its velocity) at 16 frames on the replicate's test tosses. The claim is about the loop: every
replicate splits all tosses anew and fits its own versions. Changed after a look at results, and
everything trained anew after each: a training keeps the weights of the lowest primary error, not of
the lowest loss; that error is computed without cancellation; the oracles' windows are shuffled.

The learner is the latent model (``learner``). The controls decide whether to believe the rest:
reality itself as the world model (v*) must come out at 1, thinned reality at its share.
"""

import dataclasses
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.alpha import CONTROL, Cell, cells_of, publish, summary
from experiments.recordings.problems import Problem
from experiments.recordings.source import read_recording
from experiments.recordings.statistics import mean_interval
from experiments.slide.measurement import table_rows
from experiments.tosses_alpha.learner import Learner
from experiments.tosses_alpha.study import (
    MODELS,
    SHAM,
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
from worldmodel.model.ensemble import make_predictor
from worldmodel.runtime import files
from worldmodel.runtime.settings import claim
from worldmodel.trust import Row
from worldmodel.types import Episode

BATCH = 512  # windows predicted at once
PAIRS = (("v1", "v0"), ("v2", "v1"), ("v2", "v0"), (SHAM, "v1"))
# Alpha of the oracles: so much of their tosses is fresh and real, the rest empty. Copies of the n
# and tosses with the futures of others ended at the floor of the curve, where no alpha can be read.
THEORY = {"thin25": "1/4", "thin75": "3/4"}


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    recording: str  # elbow_toss or cube_toss
    out: Path
    study: str = "full"  # full or smoke


def cells(study: Study) -> list[Cell]:
    """Real-only sizes, the versions' grid, and the controls at the smallest n and largest m."""
    grid = cells_of(study.real, study.n, study.m, (*MODELS, CONTROL))
    return grid + [(version, study.n[0], study.m[-1]) for version in (SHAM, *THEORY)]


def synthetic(
    version: str,
    m: int,
    problem: Problem,
    study: Study,
    pool: list[Episode],
    tosses: Mapping[str, np.ndarray],
) -> Windows | None:
    """The windows that a version's first m tosses add.

    Args:
      tosses: arrays of ``versions``, by name.

    Returns:
      None where they add no window.
    """
    if version == CONTROL or version in THEORY:  # of reality, in no real set
        kept = m if version == CONTROL else round(int(version[4:]) / 100 * m)
        first = max(study.real)
        return training_windows(study, pool[first : first + kept]) if kept else None
    qpos, frames = tosses[f"{version}.qpos"][:m], tosses[f"{version}.frames"][:m]
    windows = training_windows(study, recorded(problem.scene(), qpos, frames))
    if version == "v2":  # its predictions are of the windows of all its tosses, in this order
        windows = dataclasses.replace(windows, target=tosses["v2.predicted"][: len(windows)])
    return windows


def train_replicate(
    problem: Problem,
    study: Study,
    episodes: list[Episode],
    number: int,
    tosses: Mapping[str, np.ndarray],
    stop: Callable[[], bool],
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
    for first in range(0, len(todo), study.recipe.together):
        if stop():
            raise runtime.Interrupted("stopped between two trainings; the same command resumes")
        group, sets = todo[first : first + study.recipe.together], []
        for version, n, m in group:
            windows = training_windows(study, parts.pool[:n])
            more = synthetic(version, m, problem, study, parts.pool, tosses) if m else None
            if more is not None:
                windows = jax.tree.map(lambda *x: np.concatenate(x), windows, more)
            if version in THEORY:
                windows = windows.take(shuffle.permutation(len(windows)))
            sets.append(windows)
        for (version, n, m), parameters in zip(group, learner.train(sets), strict=True):
            ratio = (errors(parameters, test) / ballistic)[has]
            done.append({"version": version, "n": n, "m": m, "errors": ratio.tolist()})
        of = f"replicate {number + 1}/{study.replicates}"
        runtime.log(f"{of}  training {len(done)}/{len(todo)}")
    return {"cells": done, "ballistic": ballistic[has].tolist()}


def rows_of(problem: Problem, study: Study, results: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The trust tables of the primary error: the versions, and the oracles as a task of their own.

    Args:
      results: of ``train_replicate``.
    """
    spent = dict.fromkeys(("", CONTROL, *THEORY), 0) | {"v2": study.second}
    spent |= dict.fromkeys(("v0", "v1", SHAM), study.first)
    models, tables = (*MODELS, SHAM, CONTROL), []
    for task, names in ((problem.name, models), (f"{problem.name}, oracles", THEORY)):
        rows = [
            cell | {"seed": seed, "error": float(np.exp(np.log(cell["errors"]).mean()))}
            for seed, result in enumerate(results)
            for cell in result["cells"]
            if cell["version"] in ("", *names)
        ]
        tables += table_rows(
            rows,
            spent,
            task=task,
            recipe="latent model, weight 1",
            evaluations=study.test,
            steps=study.recipe.steps,
        )
    return tables


def baselines(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Errors of the models themselves over the ballistic ones, with 95 % t-intervals over the
    replicates: who has a simulator can predict with it."""
    rows = []
    for name in results[0]["about"]["direct"]:
        errors = np.array([np.exp(np.log(r["about"]["direct"][name]).mean()) for r in results])
        error, low, high = map(float, mean_interval(errors))
        rows.append({"model": name, "error": error, "low": low, "high": high})
    return rows


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


def main(args: Args, stop: Callable[[], bool]) -> int:
    """Trains the replicates that are absent, measures, publishes; prints one JSON line."""
    # XLA's full optimisation halves the time of the learner's small matrix products.
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=3")
    runtime.configure(x64=False)
    recording, study = read_recording(args.recording), STUDIES[args.study]
    problem, episodes = recording.problem, recording.episodes
    folder = args.out / "replicates"
    claim(folder, {"study": study, "recording": recording.digest})
    for number in range(study.replicates):
        target = folder / f"{number:03d}.json"
        if target.is_file():
            continue
        archived = args.out / "versions" / f"{number:03d}.npz"
        if not archived.is_file():
            raise InputError(
                f"{archived} is absent; run experiments.tosses_alpha.versions --recording "
                f"{args.recording} --study {args.study} --out {archived.parent}"
            )
        with np.load(archived) as archive:
            tosses = {name: archive[name] for name in archive.files}
        result = train_replicate(problem, study, episodes, number, tosses, stop)
        files.write_json(target, result, indent=None)
    results = [result_of(args.out, number) for number in range(study.replicates)]
    fits = [fit for result in results for fit in result["about"]["fits"].values()]
    table = publish(
        args.out,
        f"{problem.name}: what a synthetic toss replaces",
        rows_of(problem, study, results),
        pairs=PAIRS,
        theory=THEORY,
        pool=len(split(study, episodes, 0).pool),
        unit=("error / ballistic", 1.0),
        recording=problem.name,
        study=study,
        baselines=baselines(results),
        fits={"all": len(fits), "converged": sum(fit["converged"] for fit in fits)},
        regression=[result["about"]["regression"] for result in results],
    )
    line = {"recording": problem.name, "alpha": summary(table)}
    print(json.dumps(line | {"out": str(args.out)}))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
