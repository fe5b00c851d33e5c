"""What a synthetic toss is worth in real ones, on real recordings.

Question: how many recorded tosses is a world model's toss worth to a network that learns to predict
          tosses, before and after the model is fitted on a few of them, and net of these?
Command:  python -m experiments.tosses_alpha.versions --recording elbow_toss
          --out runs/alpha/elbow/versions
          python -m experiments.tosses_alpha.measure --recording elbow_toss --out runs/alpha/elbow
Runtime:  1.5 hours on one core in all; the same command resumes
Expected: one JSON line; OUT/table.json, table.md, rows.csv

Fixed before any mixture was trained: the sizes of ``Study``, weight 1, and one primary error, the
geometric mean of position, rotation and hinge error over their ballistic values (the body keeps its
velocity) at 16 frames on the replicate's test tosses. The claim is about the loop: every replicate
splits all tosses anew and fits its own versions. Changed after a look at results, and everything
trained anew after each: a training keeps the weights of the lowest primary error, not of the lowest
loss; that error is computed without cancellation; the oracles' windows are shuffled.

The controls decide whether to believe the rest: reality itself as the world model (v*) must come
out at 1, thinned reality at its share.
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
from scipy.stats import ttest_1samp

from experiments.alpha import CONTROL, cells_of, publish, summary
from experiments.recordings.problems import Problem
from experiments.recordings.source import read_recording
from experiments.tosses_alpha.learner import Learner, Recipe
from experiments.tosses_alpha.versions import (
    Study,
    errors_of,
    recorded,
    scored_windows,
    split,
    training_windows,
)
from worldmodel import runtime
from worldmodel.episodes.windows import Windows
from worldmodel.errors import InputError
from worldmodel.model import WorldModel, init
from worldmodel.runtime import files
from worldmodel.runtime.settings import claim
from worldmodel.trust import Row
from worldmodel.types import Episode

MODELS, SHAM = ("v0", "v1", "v2"), "v1-sham"
PAIRS = (("v1", "v0"), ("v2", "v1"), ("v2", "v0"), (SHAM, "v1"))
# Alpha of the oracles: so much of their tosses is fresh and real, the rest empty.
THEORY = {"thin25": "1/4", "thin75": "3/4"}


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    recording: str  # elbow_toss or cube_toss
    out: Path
    study: Study = dataclasses.field(default_factory=Study)
    recipe: Recipe = dataclasses.field(default_factory=Recipe)


def cells(study: Study) -> list[tuple[str, int, int]]:
    """(version, n, m): real-only sizes, the versions' grid, and the controls at the smallest n and
    largest m."""
    grid = cells_of(study.real, study.n, study.m, (*MODELS, CONTROL))
    return grid + [(version, study.n[0], study.m[-1]) for version in (SHAM, *THEORY)]


def windows_of(
    problem: Problem,
    study: Study,
    pool: list[Episode],
    tosses: Mapping[str, np.ndarray],
    cell: tuple[str, int, int],
) -> list[Windows]:
    """The windows of a cell's real tosses, and of its synthetic ones, from the arrays of
    ``versions``, where it has any."""
    version, n, m = cell
    real = [training_windows(study, pool[:n])]
    if not version:
        return real
    if version == CONTROL or version in THEORY:  # of reality, in no real set
        kept = m if version == CONTROL else round(int(version[4:]) / 100 * m)
        first = max(study.real)
        return [*real, training_windows(study, pool[first : first + kept])] if kept else real
    qpos, frames = tosses[f"{version}.qpos"][:m], tosses[f"{version}.frames"][:m]
    windows = training_windows(study, recorded(problem.scene(), qpos, frames))
    if version == "v2":  # its predictions are of the windows of all its tosses, in this order
        windows = dataclasses.replace(windows, target=tosses["v2.predicted"][: len(windows)])
    return [*real, windows]


def train_replicate(
    problem: Problem,
    args: Args,
    episodes: list[Episode],
    number: int,
    tosses: Mapping[str, np.ndarray],
    stop: Callable[[], bool],
) -> dict[str, Any]:
    """Primary errors: of all cells, and of the versions themselves, whose arrays are ``tosses``.

    Raises:
      FloatingPointError: the primary error of a training is not finite.
      Interrupted: a signal came.
    """
    study, recipe, scene = args.study, args.recipe, problem.scene()
    parts = split(study, episodes, number)
    world, channels = WorldModel.latent(scene, recipe.network), problem.channels(scene)
    untrained = init(world, jax.random.key(0))  # a body that keeps its velocity
    test, judged = (scored_windows(problem, part) for part in (parts.test, parts.validation))
    rows = np.resize(np.random.default_rng([number, 2]).permutation(len(judged)), study.judged)
    judged = judged.take(rows)
    ballistic = errors_of(world, untrained, test, channels)
    scale = errors_of(world, untrained, judged, channels)
    learner = Learner(world, channels, recipe, judged, scale, number)

    def primary(errors: Any) -> float:
        has = np.isfinite(ballistic)
        return float(np.exp(np.log(np.array(errors)[has] / ballistic[has]).mean()))

    shuffle = np.random.default_rng([number, 3])
    todo, done = cells(study), []
    for first in range(0, len(todo), recipe.together):
        if stop():
            raise runtime.Interrupted("stopped between two trainings; the same command resumes")
        group, sets = todo[first : first + recipe.together], []
        for cell in group:
            parts_of_it = windows_of(problem, study, parts.pool, tosses, cell)
            windows = jax.tree.map(lambda *x: np.concatenate(x), *parts_of_it)
            order = np.arange(len(windows))
            sets.append(windows.take(shuffle.permutation(order) if cell[0] in THEORY else order))
        for (version, n, m), parameters in zip(group, learner.train(sets), strict=True):
            error = primary(errors_of(world, parameters, test, channels))
            done.append({"version": version, "n": n, "m": m, "error": error})
        runtime.log(f"replicate {number + 1}/{study.replicates}  training {len(done)}/{len(todo)}")
    about = json.loads(str(tosses["about"]))
    direct = {name: primary(errors) for name, errors in about["direct"].items()}
    return {"cells": done, "direct": direct, "converged": about["converged"]}


def rows_of(name: str, args: Args, results: Sequence[Mapping[str, Any]]) -> list[Row]:
    """The trust tables of all replicates: the versions, and the oracles as a task of their own."""
    study = args.study
    spent = {"v0": study.first, "v1": study.first, SHAM: study.first, "v2": study.second}
    return [
        Row(
            task=task,
            recipe="latent model, weight 1",
            k=spent.get(cell["version"], 0),
            seed=seed,
            split="test",
            evaluations=study.test,
            steps=args.recipe.steps,
            **cell,
        )
        for task, names in ((name, (*MODELS, SHAM, CONTROL)), (f"{name}, oracles", THEORY))
        for seed, result in enumerate(results)
        for cell in result["cells"]
        if cell["version"] in ("", *names)
    ]


def baselines(results: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Primary errors of the models themselves, with 95 % t-intervals over the replicates: who has a
    simulator can predict with it."""
    rows = []
    for name in results[0]["direct"]:
        errors = [result["direct"][name] for result in results]
        low, high = ttest_1samp(errors, 0.0).confidence_interval()
        rows.append({"model": name, "error": np.mean(errors), "low": low, "high": high})
    return rows


def main(args: Args, stop: Callable[[], bool]) -> int:
    """Trains the replicates that are absent, measures, publishes; prints one JSON line."""
    # XLA's full optimisation halves the time of the learner's small matrix products.
    os.environ.setdefault("XLA_FLAGS", "--xla_backend_optimization_level=3")
    runtime.configure(x64=False)
    recording, study = read_recording(args.recording), args.study
    problem, episodes = recording.problem, recording.episodes
    folder, results = args.out / "replicates", []
    claim(folder, {"study": study, "recipe": args.recipe, "recording": recording.digest})
    for number in range(study.replicates):
        target = folder / f"{number:03d}.json"
        archived = args.out / "versions" / f"{number:03d}.npz"
        if not target.is_file() and not archived.is_file():
            raise InputError(
                f"{archived} is absent; run experiments.tosses_alpha.versions --recording "
                f"{args.recording} --out {archived.parent}"
            )
        if not target.is_file():
            with np.load(archived) as tosses:
                result = train_replicate(problem, args, episodes, number, {**tosses}, stop)
            files.write_json(target, result, indent=None)
        results.append(json.loads(target.read_text()))
    converged = [fit for result in results for fit in result["converged"].values()]
    table = publish(
        args.out,
        f"{problem.name}: what a synthetic toss replaces",
        rows_of(problem.name, args, results),
        pairs=PAIRS,
        theory=THEORY,
        pool=len(split(study, episodes, 0).pool),
        unit=("error / ballistic", 1.0),
        recording=problem.name,
        study=study,
        recipe=args.recipe,
        baselines=baselines(results),
        fits={"all": len(converged), "converged": sum(converged)},
    )
    line = {"recording": problem.name, "alpha": summary(table)}
    print(json.dumps(line | {"out": str(args.out)}))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
