"""PPO: it learns, goes on to the same numbers, and its policy is Brax's."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brax.training.acme import running_statistics
from brax.training.agents.ppo import losses, networks
from brax.training.agents.ppo import train as brax_ppo

from tests.helpers.sliding_cart import cart_env
from tests.helpers.small_tasks import Lift, Reach
from worldmodel.errors import InputError
from worldmodel.policies import actor
from worldmodel.policies.ppo import PPOConfig, policy_of, train
from worldmodel.runtime import Interrupted, checkpoint

SMALL = PPOConfig(
    steps=40_000, environments=32, unroll=10, batch=32, minibatches=4, updates=8, width=16
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, actor.Actor, list[Any]]:
    """A run, a copy of its folder after its second epoch, its policy and its rows."""
    folder = tmp_path_factory.mktemp("ppo")
    epochs = iter(range(1, 9))

    def copy() -> bool:
        if next(epochs) == 2:
            shutil.copytree(folder / "whole", folder / "half")
        return False

    policy, rows = train(cart_env(), SMALL, folder / "whole", seed=3, stop=copy)
    return folder / "whole", folder / "half", policy, rows


def test_it_learns(run: tuple) -> None:
    rows = run[3]
    assert [row["steps"] for row in rows] == [10_240, 20_480, 30_720, 40_960]
    assert rows[-1]["return"] > 0.5 * rows[0]["return"]  # of costs: half as much


def test_a_run_that_was_ended_goes_on_to_the_same_numbers(run: tuple) -> None:
    whole, half, policy, rows = run
    assert [row["steps"] for row in checkpoint.read_metadata(half / "training")["curve"]] == [
        10_240,
        20_480,
    ]
    again, resumed = train(cart_env(), SMALL, half, seed=3)
    assert [row["return"] for row in resumed] == [row["return"] for row in rows]
    for a, b in zip(jax.tree.leaves(policy), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)
    finished, former = train(cart_env(), SMALL, whole, seed=3)  # nothing is left to do
    assert former == rows
    np.testing.assert_array_equal(finished.actions(np.ones(3)), policy.actions(np.ones(3)))


def test_a_run_of_another_task_or_configuration_is_refused(run: tuple) -> None:
    whole = run[0]
    with pytest.raises(checkpoint.CheckpointError, match=r"ppo.discount was 0.98 and is 0.9;"):
        train(cart_env(), dataclasses.replace(SMALL, discount=0.9), whole, seed=3)
    with pytest.raises(checkpoint.CheckpointError, match=r"seed was 3 and is 4"):
        train(cart_env(), SMALL, whole, seed=4)
    other = Reach()
    other.name = "pull"
    with pytest.raises(InputError, match=r"PPO in .* another task than 'pull': its task is reach"):
        train(cart_env(other), SMALL, whole, seed=3)
    with pytest.raises(InputError, match=r"lacks \['lift', 'jaw', .*'velocity.jaw'.* 'touch.jaw-"):
        actor.restore(whole / "policy", Lift())
    with pytest.raises(InputError, match=r"observes 3 numbers, the task gives it \(16,\)"):
        run[2].init(jnp.zeros(16), jax.random.key(0))


def test_a_run_of_another_reward_is_refused_however_it_became_another(run: tuple) -> None:
    class Rewritten(Reach):
        price = 1.0

        def reward(self, before, action, after, goal):
            """The same, in other words."""
            off = after.joints[0] - goal["target"]
            return -jnp.square(off) if self.price == 1.0 else -self.price * jnp.square(off)

        def failed(self, measured, goal):
            return jnp.zeros((), bool)

    task = Rewritten()
    task.name = "reach"
    assert train(cart_env(task), SMALL, run[0], seed=3)[1] == run[3]
    task.price = 2.0
    with pytest.raises(checkpoint.CheckpointError, match=r"another run: code.reward has other con"):
        train(cart_env(task), SMALL, run[0], seed=3)


@pytest.mark.slow  # its quick substitute is the run that was ended, which goes on alike
def test_it_stops_between_epochs_when_it_is_asked_to(tmp_path: Path) -> None:
    with pytest.raises(Interrupted, match="saved after 10240 steps"):
        train(cart_env(), SMALL, tmp_path, seed=3, stop=lambda: True)


def training_state(seed: int) -> tuple[Any, Any]:
    """Networks of Brax, and a state of them with its leading dimension of devices."""
    rng = np.random.default_rng(seed)
    brax_networks = networks.make_ppo_networks(
        3,
        2,
        preprocess_observations_fn=running_statistics.normalize,
        policy_hidden_layer_sizes=(8, 8, 8),
    )
    policy = brax_networks.policy_network.init(jax.random.PRNGKey(seed))
    statistics = running_statistics.RunningStatisticsState(
        mean=jnp.asarray(rng.normal(size=3)),
        std=jnp.asarray(rng.uniform(0.5, 2.0, 3)),
        count=jnp.zeros(()),
        summed_variance=jnp.ones(3),
    )
    parameters = losses.PPONetworkParams(policy=policy, value=policy)
    state = brax_ppo.TrainingState((), parameters, statistics, jnp.zeros(()))
    return brax_networks, jax.tree.map(lambda x: jnp.asarray(x)[None], state)


def test_its_policy_is_the_mode_of_braxs() -> None:
    theirs, state = training_state(1)
    one = jax.tree.map(lambda x: x[0], state)
    infer = networks.make_inference_fn(theirs)
    answer = infer((one.normalizer_params, one.params.policy), deterministic=True)
    seen = np.random.default_rng(2).normal(size=(50, 3))
    expected, _ = answer(seen, jax.random.PRNGKey(0))
    ours = policy_of(state)
    np.testing.assert_allclose(ours.actions(seen), expected, atol=1e-6)
    action, carry = ours.act(ours.init(seen[0], jax.random.key(0)), seen[0], jax.random.key(0))
    np.testing.assert_allclose(action, expected[0], atol=1e-6)
    assert carry == ()


def test_weights_that_are_not_finite_are_refused() -> None:
    broken = jax.tree.map(lambda x: x * jnp.nan, training_state(1)[1])
    with pytest.raises(InputError, match="not finite; lower its learning rate"):
        policy_of(broken)


def test_configurations_that_cannot_run_are_refused() -> None:
    with pytest.raises(InputError, match="passes = 0; give a number from 1 on"):
        PPOConfig(passes=0)
    for name, value in (("discount", 5.0), ("trace", float("nan"))):
        with pytest.raises(InputError, match=f"Config: {name} = {value}; .* from 0 to 1"):
            dataclasses.replace(SMALL, **{name: value})
    with pytest.raises(InputError, match=r"batch \* minibatches = 2048 is no multiple of .* = 100"):
        PPOConfig(environments=100)
