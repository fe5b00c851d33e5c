"""Whole-loop replicates: the rows that policies are trained on."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from experiments.alpha import CONTROL
from experiments.slide import study as slide
from experiments.slide.measurement import table_rows
from experiments.slide.reality import commands, draw_hidden
from experiments.slide.replicate_cells import MODELS, THEORY, cells_of, training_set
from experiments.slide.replicates import DESIGN, SMOKE, Design, measure_cells, rows_of
from experiments.slide.turn import draw, key
from worldmodel import trust
from worldmodel.tasks.slide import task
from worldmodel.types import Episode

STUDY = DESIGN.study


def drawn(count: int, seed: int) -> list[Episode]:
    """Episodes of random strokes; the arm follows its commands, the puck lies still."""
    (start, goal), rng = draw(count, key(seed)), np.random.default_rng(seed)
    action = np.stack([rng.uniform(-0.3, 0.6, count), rng.uniform(-0.1, 0.1, count)], axis=1)
    ctrl = commands(action, goal)
    episodes = []
    for i in range(count):
        qpos = np.repeat(start.qpos[i : i + 1], len(ctrl[i]), axis=0)
        qpos[1:, :2] = ctrl[i, :-1]
        episodes.append(
            Episode.regular(
                i,
                task.CONTROL_HZ,
                qpos=qpos,
                qvel=np.zeros_like(qpos),
                ctrl=ctrl[i],
                contact=np.zeros((len(qpos), 1), bool),
                goal={name: value[i] for name, value in goal.items()},
                action=np.repeat(action[i : i + 1], len(qpos), axis=0),
            )
        )
    return episodes


def strokes(episodes: list[Episode]) -> np.ndarray:
    """(episodes, 5) goals and actions."""
    rows = []
    for episode in episodes:
        assert episode.action is not None
        rows.append([*(episode.goal[name] for name in task.GOAL), *episode.action[0]])
    return np.array(rows)


REAL = drawn(48, 0)
POOLS = {name: drawn(24, i) for i, name in enumerate((CONTROL, *MODELS), 1)}


def test_the_grid_is_whole() -> None:
    cells = cells_of(STUDY)
    assert len(set(cells)) == len(cells) == 6 + 6 * (len(MODELS) + 1 + len(THEORY))
    assert min(STUDY.real) < min(STUDY.n) and max(STUDY.n) + max(STUDY.m) < max(STUDY.real)
    assert set(STUDY.n) <= set(STUDY.real)


@pytest.mark.parametrize("cell", cells_of(STUDY))
def test_the_real_ones_come_first_and_are_all_there(cell: tuple[str, int, int]) -> None:
    name, n, m = cell
    pooled = training_set(*cell, REAL, POOLS)
    assert pooled[:n] == REAL[:n]
    added = {"thin33": m // 3, "thin67": 2 * m // 3}.get(name, m)
    assert len(pooled) == n + added


@pytest.mark.parametrize(("name", "share"), [("thin33", 1 / 3), ("thin67", 2 / 3)])
def test_thinned_episodes_are_fresh_and_exactly_so_many(name: str, share: float) -> None:
    for m in STUDY.m:
        fresh = training_set(name, 6, m, REAL, POOLS)[6:]
        assert len(fresh) == pytest.approx(share * m)
        assert fresh == POOLS[CONTROL][: len(fresh)]
    with pytest.raises(ValueError, match="of 7 episodes is no whole number"):
        training_set(name, 6, 7, REAL, POOLS)


def test_duplicates_add_nothing_and_permuted_strokes_fit_no_goal() -> None:
    duplicates = strokes(training_set("duplicates", 6, 18, REAL, POOLS))
    assert (np.unique(duplicates, axis=0, return_counts=True)[1] == 4).all()
    permuted = strokes(training_set("permuted", 6, 12, REAL, POOLS)[6:])
    whole = strokes(POOLS[CONTROL][:12])
    assert (permuted[:, :3] == whole[:, :3]).all() and not (permuted[:, 3:] == whole[:, 3:]).any()
    assert (np.sort(permuted[:, 3:], axis=0) == np.sort(whole[:, 3:], axis=0)).all()


def test_a_row_is_the_mean_over_trainings() -> None:
    """Each training has contexts of its own; nothing is shared between them but reality."""

    class ThisProcess:
        map = staticmethod(lambda f, jobs, chunksize: map(f, jobs))

    study = dataclasses.replace(SMOKE.study, recipe=dataclasses.replace(STUDY.recipe, steps=2))
    hidden = draw_hidden(slide.PILOT_SEED)
    judged = [draw(2, key(9, r))[1] for r in range(2)]
    real, pools = drawn(24, 0), {name: drawn(6, i) for i, name in enumerate(POOLS)}

    def rows(trainings: int, first: int) -> list[dict[str, Any]]:
        mine = real[12 * first :]
        synthetic = {name: pool[3 * first :] for name, pool in pools.items()}
        design = Design(dataclasses.replace(study), trainings)
        workers: Any = ThisProcess()
        return measure_cells(0, design, hidden, mine, synthetic, judged[first:], workers)

    both, one = rows(2, 0), rows(1, 0)
    assert [(r["version"], r["n"], r["m"]) for r in both] == cells_of(study)
    other = np.array([2 * b["error"] - o["error"] for b, o in zip(both, one, strict=True)])
    assert (other > 0).all()  # the second training's by itself
    assert not np.allclose(other, [o["error"] for o in one], rtol=0.01)


SPENT = {name: 0 for name in ("", CONTROL, *MODELS, *THEORY)} | {"v1": 6, "v2": 12}


def test_tables_pass_the_check_and_count_what_was_played() -> None:
    rows = [{"version": v, "n": n, "m": m, "seed": 0, "error": 0.1} for v, n, m in cells_of(STUDY)]
    table = table_rows(rows, SPENT, recipe=DESIGN.recipe, evaluations=160, steps=STUDY.recipe.steps)
    assert {row.evaluations for row in table} == {160} and {row.k for row in table} == {0, 6, 12}
    with pytest.raises(trust.TableError, match="one seed"):
        trust.measure(table)
    by_task = rows_of(DESIGN, [{"rows": rows, "spent": SPENT}])
    versions = {
        task: {r.version for r in by_task if r.task == task} for task in ("slide", "slide, oracles")
    }
    assert versions == {"slide": {"", CONTROL, *MODELS}, "slide, oracles": {"", CONTROL, *THEORY}}
