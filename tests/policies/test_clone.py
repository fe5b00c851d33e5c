"""Cloned policies: what they learn, what a row weighs, how they act, and what is refused."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from tests.helpers.small_tasks import Lift, Reach, wandering
from worldmodel.errors import InputError
from worldmodel.policies.clone import Clone, CloneConfig, Cloned, clone, examples, restore, save
from worldmodel.runtime.checkpoint import CheckpointError, read_metadata
from worldmodel.types import Episode

SHORT = CloneConfig(width=8, steps=60, learning_rate=1e-2, weight_decay=0.03)
REACH = Reach()


def rule(observed: np.ndarray) -> np.ndarray:
    """A smooth map from (…, 3) observations to (…, 1) actions."""
    position, velocity, target = np.moveaxis(observed, -1, 0)
    return np.tanh(target - position - 0.02 * velocity)[..., None]


def taught(count: int, seed: int) -> list[Episode]:
    """Episodes whose actions follow the rule."""
    out = []
    for e in wandering(REACH, count, seed):
        velocity = np.diff(e.qpos[:, 0], prepend=e.qpos[0, 0]) * REACH.scene.control_hz
        target = np.full(len(e.qpos), e.goal["target"])
        action = rule(np.stack([e.qpos[:, 0], velocity, target], axis=1))
        out.append(dataclasses.replace(e, action=action, intervention=None))
    return out


def answered(policy: Cloned, episodes: Sequence[Episode]) -> np.ndarray:
    observed = np.concatenate([examples(REACH, e, SHORT)[0] for e in episodes])
    return np.asarray(policy.actions(observed))[:, 0]


def wanted(episodes: Sequence[Episode]) -> np.ndarray:
    return np.concatenate([e.action[:-1] for e in episodes if e.action is not None])


def test_a_policy_learns_a_smooth_map() -> None:
    config = CloneConfig(width=32, steps=2000, learning_rate=5e-3, weight_decay=0.0)
    policy = Clone(config)(REACH, taught(30, 0), 0)
    fresh = taught(10, 1)
    off = answered(policy, fresh) - wanted(fresh)
    assert np.std(off) < 0.1 * np.std(wanted(fresh))
    assert abs(off.mean()) < 0.01


@pytest.fixture(scope="module")
def together() -> tuple[list[list[Episode]], list[Cloned]]:
    """Data sets of different sizes, cloned in one call."""
    data = [taught(1, 2), taught(6, 3), taught(2, 4)]
    return data, clone(REACH, data, [7, 8, 9], SHORT)


def close(ours: Any, theirs: Any) -> None:
    """Equal to float32 rounding, which Adam, dividing by the gradient's size, can enlarge."""
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_each_policy_is_as_if_cloned_alone(together: tuple) -> None:
    data, policies = together
    for i in (0, 1):
        close(policies[i], Clone(SHORT)(REACH, data[i], 7 + i))
    off = answered(policies[0], data[1]) - answered(policies[1], data[1])
    assert np.abs(off).max() > 0.02  # they are different policies


def test_every_row_weighs_the_same(together: tuple) -> None:
    data, policies = together
    # Without decay, which counts rows: a prior that more of them outweigh.
    free = dataclasses.replace(SHORT, weight_decay=0.0)
    once, twice = clone(REACH, [data[2], data[2] * 2], [9, 9], free)
    close(once, twice)
    (weighted,) = clone(REACH, [[*data[2], data[2][0]]], [9], SHORT)
    moved = answered(weighted, data[2]) - answered(policies[2], data[2])
    assert np.abs(moved).max() > 0.003  # one of two episodes counted twice


def test_a_seed_gives_one_policy(together: tuple) -> None:
    data, policies = together
    same, other = clone(REACH, data, [7, 8, 9], SHORT), clone(REACH, data, [7, 8, 10], SHORT)
    for a, b in zip(jax.tree.leaves(policies), jax.tree.leaves(same), strict=True):
        np.testing.assert_array_equal(a, b)
    close(other[0], policies[0])
    changed = answered(other[2], data[2]) - answered(policies[2], data[2])
    assert np.abs(changed).max() > 1e-3


def test_one_row_per_episode_is_the_recipe_of_full_batches() -> None:
    """The recipe, written out: raw observations, a row per episode, decay over their number, and
    actions in units of a tenth."""
    config = CloneConfig(standardise=False, first_frame=True, action_unit=(0.1,))
    data = taught(12, 5)
    policy = Clone(config)(REACH, data, 3)
    x = np.concatenate([examples(REACH, e, config)[0][:, 0] for e in data])
    y = np.concatenate([examples(REACH, e, config)[1][:, 0] for e in data])
    assert len(x) == 12

    class Reference(nn.Module):
        @nn.compact
        def __call__(self, x: jax.Array) -> jax.Array:
            x = nn.tanh(nn.Dense(32)(x))
            x = nn.tanh(nn.Dense(32)(x))
            return nn.Dense(1, kernel_init=nn.initializers.zeros)(x)

    schedule = optax.cosine_decay_schedule(5e-3, 150)
    optimiser = optax.adamw(schedule, weight_decay=30.0 / 12)
    weights = Reference().init(jax.random.key(3), x)
    weights = jax.tree.map(lambda w: w.astype(jnp.float32), weights)
    state = optimiser.init(weights)

    @jax.jit
    def step(weights: Any, state: Any) -> tuple:
        def loss(w: Any) -> jax.Array:
            return jnp.mean(jnp.square(jnp.asarray(Reference().apply(w, x)) - y / 0.1))

        updates, state = optimiser.update(jax.grad(loss)(weights), state, weights)
        return optax.apply_updates(weights, updates), state

    for _ in range(150):
        weights, state = step(weights, state)
    out = 0.1 * np.asarray(Reference().apply(weights, x))
    np.testing.assert_allclose(np.asarray(policy.actions(x[:, None]))[:, 0], out, atol=2e-5)


def test_a_policy_looks_back_and_plays_its_chunks() -> None:
    config = dataclasses.replace(SHORT, history=3, chunk=2)
    policy = Clone(config)(REACH, taught(4, 6), 0)
    observed = np.random.default_rng(0).standard_normal((5, 3))
    key, actions = jax.random.key(0), []
    carry = policy.init(jnp.asarray(observed[0]), key)
    for row in observed:
        action, carry = policy.act(carry, jnp.asarray(row), key)
        actions.append(action)
    back = [observed[[0, 0, 0]], observed[[0, 1, 2]], observed[[2, 3, 4]]]
    chunks = np.concatenate([np.asarray(policy.actions(past)) for past in back])
    np.testing.assert_allclose(actions, chunks[:5], rtol=1e-6)


def test_rows_are_pasts_and_the_actions_to_come() -> None:
    (episode,) = taught(1, 7)
    x, y = examples(REACH, episode, dataclasses.replace(SHORT, history=3, chunk=4))
    assert x.shape == (20, 3, 3) and y.shape == (20, 4, 1)
    np.testing.assert_array_equal(x[0, 0], x[0, 2])
    np.testing.assert_array_equal(x[5, 0], x[3, 2])
    assert episode.action is not None
    np.testing.assert_allclose(y[3, :, 0], episode.action[3:7, 0], rtol=1e-6)
    np.testing.assert_allclose(y[18, :, 0], episode.action[[18, 19, 19, 19], 0], rtol=1e-6)
    rejected = dataclasses.replace(episode, valid=np.arange(21) != 4)
    assert len(examples(REACH, rejected, SHORT)[0]) == 19


def test_a_persons_commands_and_those_without_an_action_are_learned_from() -> None:
    (episode,) = taught(1, 8)
    person = np.zeros(21, bool)
    person[5] = True  # the command that is held from frame 5 on
    _, y = examples(REACH, dataclasses.replace(episode, intervention=person), SHORT)
    _, bare = examples(REACH, dataclasses.replace(episode, action=None), SHORT)
    np.testing.assert_allclose(bare[:, 0, 0], episode.ctrl[:-1, 0], rtol=1e-6)
    assert episode.action is not None
    mixed = np.where(np.arange(20) == 5, episode.ctrl[:-1, 0], episode.action[:-1, 0])
    np.testing.assert_allclose(y[:, 0, 0], mixed, rtol=1e-6)


def test_data_that_cannot_be_cloned_are_refused() -> None:
    (episode,) = taught(1, 9)
    with pytest.raises(InputError, match="data set 1 of 2 is empty"):
        clone(REACH, [[episode], []], [0, 1], SHORT)
    unseen = np.ones_like(episode.qpos, bool)
    unseen[4] = False
    with pytest.raises(InputError, match=r"not finite in 2 of 20 frames, first in 4; let"):
        clone(REACH, [[dataclasses.replace(episode, measured=unseen)]], [0], SHORT)
    with pytest.raises(InputError, match="history = 0; at least 1"):
        CloneConfig(history=0)
    with pytest.raises(InputError, match="chunk = 21, and the longest episode has 20 actions"):
        clone(REACH, [[episode]], [0], dataclasses.replace(SHORT, chunk=21))


def test_policies_are_kept_and_those_of_another_task_refused(
    together: tuple, tmp_path: Path
) -> None:
    data, policies = together
    save(tmp_path / "policy", policies[1], REACH, {"recipe": "test"})
    back = restore(tmp_path / "policy", REACH)
    np.testing.assert_array_equal(answered(back, data[1]), answered(policies[1], data[1]))
    assert jax.tree.structure(back) == jax.tree.structure(policies[1])
    assert read_metadata(tmp_path / "policy")["recipe"] == "test"
    lift = Lift()
    with pytest.raises(InputError, match="another observation than task 'lift'"):
        restore(tmp_path / "policy", lift)
    other = Reach()
    other.name = "pull"
    with pytest.raises(InputError, match="another task than 'pull': its task is reach"):
        restore(tmp_path / "policy", other)
    with pytest.raises(InputError, match=r"observes 3 numbers, the task gives it \(5,\)"):
        policies[1].init(jnp.zeros(5), jax.random.key(0))
    with pytest.raises(CheckpointError, match="no checkpoint"):
        restore(tmp_path / "other", REACH)


def test_units_of_another_number_of_actions_are_refused() -> None:
    with pytest.raises(InputError, match=r"action_unit = \(1.0, 2.0\) for 1 numbers"):
        clone(REACH, [taught(2, 5)], [0], CloneConfig(action_unit=(1.0, 2.0)))
