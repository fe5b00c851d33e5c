"""Whole-loop replicates: the rows that policies are trained on, and a page that follows them."""

import copy
import dataclasses
from typing import Any

import numpy as np
import pytest

from experiments.slide import study as slide
from experiments.slide.measurement import table_rows
from experiments.slide.reality import commands, draw_hidden
from experiments.slide.replicate_cells import MODELS, ORACLES, cells_of, training_set
from experiments.slide.replicate_report import answers, page, verdicts
from experiments.slide.replicates import DESIGN, SMOKE, Design, measure_cells, tables
from experiments.slide.turn import draw, key
from worldmodel import trust
from worldmodel.tasks.slide import task
from worldmodel.trust.phrases import CONTROL
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
    assert len(set(cells)) == len(cells) == 6 + 6 * (len(MODELS) + 1 + len(ORACLES))
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


ALPHAS = {"v0": -0.1, "v1": 0.9, "v1-sham": -0.1, "v2": 0.9, CONTROL: 1.0}
ALPHAS |= {"thin33": 1 / 3, "thin67": 2 / 3, "duplicates": 0.0, "permuted": -0.4}
SPENT = {name: 0 for name in ("", *ALPHAS)} | {"v1": 6, "v2": 12}


def document(alphas: dict[str, float]) -> dict[str, Any]:
    """A measurement of planted alphas: the error falls as the root of the episodes."""
    rng = np.random.default_rng(1)  # one seed in twenty has a 95 % interval that misses
    done = []
    for s in range(STUDY.seeds):
        rows = []
        for version, n, m in cells_of(STUDY):
            count = max(n + alphas[version] * m, 3.2) if m else n
            error = 0.3 * count**-0.5 * float(np.exp(0.03 * rng.standard_normal()))
            rows.append({"version": version, "n": n, "m": m, "seed": s, "error": error})
        done.append({"rows": rows, "spent": SPENT})
    measured = [m for rows in tables(DESIGN, done) for m in trust.measure(rows)]
    hidden = {"friction": 1.2, "mass": 1.0, "damping": 0.9}
    return trust.document(measured) | {
        "reality": "held-out simulation",
        "hidden_seed": 21,
        "smoke": False,
        "command": "none",
        "config": {"trainings": 20, "hidden": hidden},
        "provenance": {"commit": "0" * 12},
        "physics": [{"v0": {"friction:puck": [0.2, 0.1]}}, {"v0": {"friction:puck": [0.4, 0.1]}}],
    }


@pytest.fixture(scope="module")
def planted() -> dict[str, Any]:
    return document(ALPHAS)


def test_the_answers_follow_the_numbers(planted: dict[str, Any]) -> None:
    lines = answers(planted["tasks"][0])
    assert lines[0].startswith("The control v* holds")
    first, second, whole, sham = lines[1:]
    assert first.startswith("v0 → v1: yes;") and "gross α rises in every cell" in first
    assert second.startswith("v1 → v2: in no cell;") and "falls in every cell" in second
    assert "refuted in every cell" in second and "gross α rises in no cell" in second
    assert whole.startswith("v0 → v2: in ") and "refuted in no cell" not in whole
    assert "v1-sham is above v0's in no cell" in sham and "above v1-sham's in every cell" in sham
    oracles = verdicts(planted["tasks"][1])
    assert len(oracles) == len(ORACLES) and all(": as theory has it." in v for v in oracles)


def test_what_fails_is_stated() -> None:
    shifted = document(ALPHAS | {CONTROL: 0.5, "thin33": 0.6, "duplicates": 0.3, "permuted": 0.1})
    lines = answers(shifted["tasks"][0])
    assert lines[0].startswith("The control v* does not hold")
    assert lines[1].startswith("Nothing below should be believed yet")
    assert lines[2].startswith("v0 → v1: not to be answered without the control;")
    wrong = ["NOT as theory" in text for text in verdicts(shifted["tasks"][1])]
    assert wrong == [True, False, True, True]


def test_the_page_is_whole(planted: dict[str, Any]) -> None:
    text = page(planted)
    assert text.count("\n## ") == 7 and "smoke" not in text
    rows = [line for line in text.splitlines() if line.startswith(("| v", "| thin", "| dup"))]
    assert len({row.count("|") for row in rows if "measured" in row}) == 1
    assert "| v0 | friction:puck[0] | 0.3 | 0.14 |" in text
    smoke = page(copy.deepcopy(planted) | {"smoke": True})
    assert "its numbers mean nothing" in smoke


def test_tables_pass_the_check_and_count_what_was_played() -> None:
    rows = [{"version": v, "n": n, "m": m, "seed": 0, "error": 0.1} for v, n, m in cells_of(STUDY)]
    table = table_rows(rows, SPENT, recipe=DESIGN.recipe, evaluations=160, steps=STUDY.recipe.steps)
    assert {row.evaluations for row in table} == {160} and {row.k for row in table} == {0, 6, 12}
    with pytest.raises(trust.TableError, match="one seed"):
        trust.measure(table)
