"""The measured part of the loop: every policy of every cell, and the results from them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from experiments.alpha import CONTROL, cells_of
from experiments.slide.reality import commands, final_places, simulator, slide_task
from experiments.slide.turn import Turn, draw, key
from worldmodel import loop, runtime, trust
from worldmodel.policies.clone import Cloned, clone
from worldmodel.runtime.files import write_json
from worldmodel.runtime.records import plain
from worldmodel.tasks import sensors
from worldmodel.tasks.play import Simulate
from worldmodel.tasks.slide.expert import EXACT
from worldmodel.tasks.slide.task import PUCK, at_rest, target
from worldmodel.types import Array, Episode, Goal

CONTEXTS = 5  # the stream of random numbers of the contexts that policies are judged in


def misses(goal: Goal, places: np.ndarray) -> np.ndarray:
    """(contexts,) [m] how far from its target the puck came to rest."""
    return np.linalg.norm(places - target(goal), axis=1)


def places_of(one: Turn, policies: Sequence[Cloned], goal: Goal) -> Iterator[np.ndarray]:
    """Where each policy takes the puck in each of these contexts, (contexts, 2) [m], in reality; it
    decides on its stroke by the goal alone."""
    task, none = slide_task(), key(0)
    unseen = sensors.blank(task.sensors)

    def stroke(policy: Cloned, goal: Goal) -> Array:
        observation = task.observe(unseen, goal)
        return policy.act(policy.init(observation, none), observation, none)[0]

    stacked = jax.tree.map(lambda *x: np.stack(x), *policies)
    strokes = jax.vmap(jax.vmap(stroke, (None, 0)), (0, None))
    actions = np.asarray(jax.jit(strokes)(stacked, goal))
    jobs = ((one.hidden, qpos_of(goal), commands(a, goal)) for a in actions)
    return one.workers.map(final_places, jobs, chunksize=4)


def qpos_of(goal: Goal) -> np.ndarray:
    """(contexts, nq) where episodes of these goals start."""
    return np.asarray(at_rest(goal["start"]).qpos)


def play_policies(
    one: Turn, demos: list[Episode], pools: Mapping[str, list[Episode]]
) -> list[dict[str, Any]]:
    """Every policy of every cell and replicate, a row each with its mean miss [m].

    Real-only sizes are nested within a replicate; nothing is shared between replicates.

    Args:
      demos: in reality.
      pools: synthetic episodes by version, the control's among them.
    """
    study = one.study
    _, goal = draw(study.contexts, one.key(CONTEXTS))
    cells = cells_of(study.real, study.n, study.m, list(pools))
    each, most = max(study.real), max(study.m)
    folder = one.out / "replicates"
    folder.mkdir(exist_ok=True)
    todo = [s for s in range(study.seeds) if not (folder / f"{s:03d}.json").is_file()]
    if todo:
        data, seeds = [], []
        for s in todo:
            real = demos[s * each : (s + 1) * each]
            for version, n, m in cells:
                synthetic = pools[version][s * most : (s + 1) * most] if m else []
                data.append(real[:n] + synthetic[:m])
                seeds.append(s)
        with runtime.compiling(f"and training {len(data)} policies in one call"):
            policies = clone(slide_task(), data, seeds, study.recipe)
        places = places_of(one, policies, goal)
        for done, s in enumerate(todo, 1):
            played = [
                {"version": version, "n": n, "m": m, "error": misses(goal, next(places)).mean()}
                for version, n, m in cells
            ]
            write_json(folder / f"{s:03d}.json", plain(played), indent=None)
            runtime.log(f"replicate {done} of {len(todo)}")
            if one.stop():
                one.workers.shutdown(cancel_futures=True)
                raise runtime.Interrupted("stopped between two replicates; run the same command")
    rows = []
    for s in range(study.seeds):
        for row in json.loads((folder / f"{s:03d}.json").read_text()):
            rows.append(row | {"seed": s})
    return rows


def loop_rows(one: Turn, rows: Sequence[Mapping[str, Any]]) -> list[trust.Row]:
    """The long table of one turn: a row is one policy's mean over the study's contexts."""
    spent = {name: v.corrections for name, v in one.versions.items()} | {CONTROL: 0, "": 0}
    return [
        trust.Row(
            task="slide",
            recipe="cloned, weight 1",
            **row,
            k=spent[row["version"]],
            split="test",
            evaluations=one.study.contexts,
            steps=one.study.recipe.steps,
        )
        for row in rows
    ]


def described(one: Turn, direct: loop.Version, play: Simulate) -> dict[str, Any]:
    """Versions, with how far [m] each puts the puck on average from where reality does, and the
    baseline without a policy, for table.json.

    Args:
      direct, play: the version that is planned in, for the baseline, and what plays it.
    """
    start, goal = draw(one.study.contexts, one.key(CONTEXTS))
    planned = EXACT.plan(play, start, goal, key(0))
    job = one.hidden, qpos_of(goal), commands(planned.action, goal)
    best = misses(goal, final_places(job))
    half = 1.96 * best.std(ddof=1) / np.sqrt(len(best))
    strokes = EXACT.act(one.table, goal, key(0))

    def ends(simulate: Simulate) -> np.ndarray:
        return np.asarray(simulate(strokes, start, goal, key(0)).measured.joints)[:, -1, PUCK]

    real = ends(simulator(one.hidden))
    apart = {n: np.linalg.norm(ends(s) - real, axis=1).mean() for n, s in one.players.items()}
    return {
        "versions": [
            {
                "name": name,
                "parent": version.parent,
                "kind": version.world.name,
                "corrections": version.corrections,
                "prediction_m": apart[name],
                "parameters": loop.physical_values(version),
            }
            for name, version in one.versions.items()
        ],
        "direct": {
            "version": direct.name,
            "episodes": direct.corrections,
            "error_m": best.mean(),
            "low": best.mean() - half,
            "high": best.mean() + half,
        },
    }
