"""Cloned policies: what they learn, what a row weighs, and what is refused."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from experiments.slide.turn import clone_policies, strokes_of
from worldmodel.errors import InputError
from worldmodel.policies.clone import CloneConfig, clone, restore, save
from worldmodel.runtime.checkpoint import CheckpointError, read_metadata
from worldmodel.tasks.slide import task

SHORT = CloneConfig(width=8, steps=60, learning_rate=1e-2, weight_decay=0.03)
Data = tuple[np.ndarray, np.ndarray]


def rule(rows: int, seed: int) -> Data:
    """Contexts, and a smooth map of them to strokes."""
    contexts = task.draw_contexts(rows, np.random.default_rng(seed)).table
    start, distance, direction = contexts.T
    speed = np.exp(-0.2 + 0.6 * distance + 0.5 * direction**2 - start)
    aside = 0.08 * np.sin(2.0 * direction) - 0.4 * start
    return contexts, np.column_stack([speed, direction + aside])


def played(weights: Any, contexts: np.ndarray, config: CloneConfig) -> np.ndarray:
    return strokes_of(weights, task.Contexts(*contexts.T), config)


def test_a_policy_learns_a_smooth_map() -> None:
    config = CloneConfig(width=32, steps=2000, learning_rate=5e-3, weight_decay=0.0)
    (weights,) = clone_policies([rule(200, 0)], [0], config)
    contexts, wanted = rule(200, 1)
    answered = played(weights, contexts, config)
    speed, turn = np.log(answered[:, 0] / wanted[:, 0]), answered[:, 1] - wanted[:, 1]
    # Without noise or weight decay only the optimiser is in the way: 3 and 2 per cent of how much
    # the answers vary remain.
    assert np.std(speed) < 0.1 * np.std(np.log(wanted[:, 0]))
    assert np.std(turn) < 0.1 * np.std(wanted[:, 1] - contexts[:, 2])
    assert abs(speed.mean()) < 0.01 and abs(turn.mean()) < 0.01


@pytest.fixture(scope="module")
def together() -> tuple[list[Data], list[Any]]:
    """Data sets of different sizes, cloned in one call."""
    data = [rule(5, 2), rule(30, 3), rule(12, 4)]
    return data, clone_policies(data, [7, 8, 9], SHORT)


def close(ours: Any, theirs: Any) -> None:
    """Equal to float32 rounding, which Adam, dividing by the gradient's size, can enlarge."""
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_each_policy_is_as_if_cloned_alone(together: tuple[list[Data], list[Any]]) -> None:
    data, policies = together
    for i in (0, 1):
        (alone,) = clone_policies([data[i]], [7 + i], SHORT)
        close(policies[i], alone)
    contexts = data[1][0]
    answers = [played(p, contexts, SHORT) for p in policies]
    assert np.abs(answers[0] - answers[1]).max() > 0.02  # they are different policies


def test_every_row_weighs_the_same(together: tuple[list[Data], list[Any]]) -> None:
    data, policies = together
    contexts, strokes = data[2]
    # Without decay, which counts rows: a prior that more of them outweigh.
    free = dataclasses.replace(SHORT, weight_decay=0.0)
    doubled = np.tile(contexts, (2, 1)), np.tile(strokes, (2, 1))
    (once,), (twice,) = (
        clone_policies([(contexts, strokes)], [9], free),
        clone_policies([doubled], [9], free),
    )
    close(once, twice)
    half = np.r_[0:12, 0:6]
    (weighted,) = clone_policies([(contexts[half], strokes[half])], [9], SHORT)
    moved = played(weighted, contexts, SHORT) - played(policies[2], contexts, SHORT)
    assert np.abs(moved).max() > 0.01  # half of the rows counted twice


def test_a_seed_gives_one_policy(together: tuple[list[Data], list[Any]]) -> None:
    data, policies = together
    same, other = clone_policies(data, [7, 8, 9], SHORT), clone_policies(data, [7, 8, 10], SHORT)
    for a, b in zip(jax.tree.leaves(policies), jax.tree.leaves(same), strict=True):
        np.testing.assert_array_equal(a, b)
    close(other[0], policies[0])
    contexts = data[2][0]
    changed = played(other[2], contexts, SHORT) - played(policies[2], contexts, SHORT)
    assert np.abs(changed).max() > 1e-3


def test_data_that_cannot_be_cloned_are_refused() -> None:
    observed, answered = np.ones((4, 3)), np.ones((4, 2))
    bad, wild = observed.copy(), answered.copy()
    bad[2, 1], wild[1, 1] = np.nan, np.inf
    for data in (
        (observed[:0], answered[:0]),
        (bad, answered),
        (observed, wild),
        (observed, answered[:3]),
    ):
        with pytest.raises(InputError, match="data set 1 of 2 is empty, not finite or of unequal"):
            clone([(observed, answered), data], [0, 1], SHORT)


def test_policies_are_kept_and_anothers_width_is_refused(
    together: tuple[list[Data], list[Any]], tmp_path: Path
) -> None:
    data, policies = together
    save(tmp_path / "policy", policies[1], SHORT, {"recipe": "test"})
    back = restore(tmp_path / "policy", 3, 2, SHORT)
    contexts = data[1][0]
    np.testing.assert_array_equal(
        played(back, contexts, SHORT), played(policies[1], contexts, SHORT)
    )
    described = read_metadata(tmp_path / "policy")
    assert described["recipe"] == "test"
    assert described["clone"] == dataclasses.asdict(SHORT)
    with pytest.raises(CheckpointError, match="leaf"):
        restore(tmp_path / "policy", 3, 2, dataclasses.replace(SHORT, width=9))
    with pytest.raises(CheckpointError, match="no checkpoint in"):
        restore(tmp_path / "nothing", 3, 2, SHORT)
