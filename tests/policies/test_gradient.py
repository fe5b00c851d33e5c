"""Policies by gradients: the derivative, its clipping, the critics' targets, learning, resuming."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brax import envs
from brax.training.acme import running_statistics
from jax.flatten_util import ravel_pytree

from tests.helpers.sliding_cart import cart_env, keys
from tests.helpers.small_tasks import Reach
from worldmodel.errors import InputError
from worldmodel.loop.environment import environment
from worldmodel.loop.versions import Version
from worldmodel.model import WorldModel, init
from worldmodel.policies import actor
from worldmodel.policies.brax_env import TaskEnv
from worldmodel.policies.gradient import GradientConfig, Learner, Method, Window, train
from worldmodel.runtime import Interrupted, checkpoint
from worldmodel.tasks.swing_up.task import SwingUp

SMALL = GradientConfig(
    steps=20_000, environments=32, horizon=8, updates=20, width=16, entropy=1e-4, learning_rate=2e-2
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, actor.Actor, list[Any]]:
    """A run, copies of its folder after its second and third epoch, its policy and its rows."""
    folder = tmp_path_factory.mktemp("gradient")
    epochs = iter(range(1, 9))

    def copy() -> bool:
        if (number := next(epochs)) in (2, 3):
            shutil.copytree(folder / "whole", folder / f"after_{number}")
        return False

    policy, rows = train(cart_env(), SMALL, folder / "whole", seed=3, stop=copy)
    return folder / "after_2", folder / "after_3", policy, rows


def test_it_learns(run: tuple) -> None:
    policy, rows = run[2:]
    assert [row["steps"] for row in rows] == [5120, 10_240, 15_360, 20_480]
    # At rest the cart is 0.4 m² from its targets on average, for 20 steps; a policy that commands
    # the target itself returns −0.12 and one that overshoots more.
    assert rows[-1]["return"] > -0.1
    assert [row["not_finite"] for row in rows] == [0, 0, 0, 0]
    np.testing.assert_array_equal(np.sign(policy.actions(np.eye(3))[[0, 2], 0]), [-1.0, 1.0])


def test_a_run_that_was_ended_goes_on_to_the_same_numbers(run: tuple) -> None:
    two, three, _, rows = run
    assert len(checkpoint.read_metadata(two / "training")["curve"]) == 2
    with pytest.raises(Interrupted, match="saved after 15360 steps"):
        train(cart_env(), SMALL, two, seed=3, stop=lambda: True)
    curve = checkpoint.read_metadata(two / "training")["curve"]
    assert [row["return"] for row in curve] == [row["return"] for row in rows[:3]]
    policies = [actor.restore(place / "policy", Reach()) for place in (two, three)]
    for a, b in zip(*map(jax.tree.leaves, policies), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(checkpoint.CheckpointError, match=r"gradient.horizon was 8 and is 4;"):
        train(cart_env(), dataclasses.replace(SMALL, horizon=4), three, seed=3)


def differentiated(env: TaskEnv, state: Any, actions: Any) -> tuple[Any, Any]:
    """The derivative of the sum of rewards of one environment, and central differences of it."""

    def total(actions: Any) -> Any:
        def one(state: Any, action: Any) -> tuple[Any, Any]:
            state = env.step(state, action)
            return state, state.reward

        return jax.lax.scan(one, state, actions)[1].sum()

    size, width = actions.size, 1e-5
    moved = width * np.eye(size).reshape(size, *actions.shape)
    values = jax.jit(jax.vmap(total))(np.concatenate([actions + moved, actions - moved]))
    return jax.jit(jax.grad(total))(actions), (values[:size] - values[size:]) / (2.0 * width)


@pytest.mark.slow  # its quick substitute is the test after it, in a model without MJX
def test_the_derivative_of_an_environment_is_that_of_its_rewards() -> None:
    task = SwingUp()
    world = WorldModel(task.scene, task.free)
    env = environment(Version("v0", None, world, init(world, jax.random.key(0)), 0), task)
    state = jax.jit(env.reset)(keys(4, 1)[0])
    actions = np.random.default_rng(0).uniform(-0.9, 0.9, (8, 1))
    exact, differences = differentiated(env, state, actions)
    assert np.abs(differences).max() > 0.01
    np.testing.assert_allclose(exact[:, 0], differences, rtol=1e-5, atol=1e-9)


def test_nothing_passes_through_a_reset() -> None:
    env = cart_env()
    state = jax.jit(env.reset)(keys(4, 1)[0])
    state = state.replace(info=state.info | {"steps": jnp.asarray(17.0)})  # of 20
    actions = np.random.default_rng(0).uniform(-0.9, 0.9, (6, 1))
    exact, differences = differentiated(env, state, actions)
    np.testing.assert_allclose(exact[:, 0], differences, rtol=1e-5, atol=1e-9)

    def later(first: Any) -> Any:
        one = state
        for action in [jnp.reshape(first, (1,)), *actions[1:4]]:
            one = env.step(one, action)
        return one.reward

    assert jax.jit(jax.grad(later))(0.3) == 0.0


def begun(env: TaskEnv, config: GradientConfig) -> tuple[Method, Any, Any]:
    method = Method(env, config)
    return method, *jax.jit(method.init)(jax.random.PRNGKey(1))


def test_each_environments_gradient_is_shortened_before_the_mean() -> None:
    config = dataclasses.replace(SMALL, environments=5, minibatches=1, max_norm=2.0)
    method, learner, states = begun(cart_env(), config)
    key = jax.random.PRNGKey(2)
    mean, out, *_ = jax.jit(method.gradient)(learner, states, key)
    one = jax.jit(jax.grad(method.loss, has_aux=True))
    expected, norms = [], []
    for i, key_ in enumerate(jax.random.split(key, 5)):
        state = jax.tree.map(lambda x, i=i: x[i], states)
        each = one(learner.policy, learner, state, key_)[0]
        norms.append(float(jnp.linalg.norm(ravel_pytree(each)[0])))
        expected.append(jax.tree.map(lambda x, n=norms[-1]: x * min(1.0, 2.0 / n) / 5, each))
    assert min(norms) < 2.0 < max(norms)
    jax.tree.map(
        lambda got, *rows: np.testing.assert_allclose(got, sum(rows), rtol=1e-4, atol=1e-7),
        mean,
        *expected,
    )
    assert out == 0


class Cornered(Reach):
    """The derivative of its reward is no number where the cart stands still."""

    def reward(self, before, action, after, goal):
        moved = after.joints[0] - before.joints[0]
        return -jnp.sqrt(jnp.where(goal["target"] > 0.0, jnp.square(action[0]), 0.0 * moved))


def test_gradients_that_are_no_numbers_are_left_out_and_counted(tmp_path: Path) -> None:
    config = dataclasses.replace(SMALL, environments=16, minibatches=1)
    method, learner, states = begun(cart_env(Cornered()), config)
    mean, out, *_ = jax.jit(method.gradient)(learner, states, jax.random.PRNGKey(2))
    assert 0 < out < 16
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(mean))
    assert any(np.abs(x).max() > 0.0 for x in jax.tree.leaves(mean))

    class Always(Cornered):
        def reset(self, key):
            start, goal = super().reset(key)
            return start, {"target": -jnp.abs(goal["target"])}

    with pytest.raises(InputError, match="no gradient of an epoch is finite; look at the task's"):
        train(cart_env(Always()), config, tmp_path)


@dataclasses.dataclass(frozen=True)
class Script:
    """An environment that plays given rows, whatever the action; an action adds to the reward."""

    observed: Any  # (steps + 1, 3)
    reached: Any  # (steps, 3)
    reward: Any  # (steps,), as the next three
    ended: Any
    failed: Any
    diverged: Any
    observation_size, action_size = 3, 2

    def begin(self) -> envs.State:
        zero = jnp.zeros(())
        metrics = {"failed": zero, "diverged": zero}
        info = {"episode_done": zero, "last_observation": self.reached[0]}
        return envs.State(jnp.zeros((), int), self.observed[0], zero, zero, metrics, info)

    def step(self, state: envs.State, action: Any) -> envs.State:
        at = state.pipeline_state
        return state.replace(
            pipeline_state=at + 1,
            obs=self.observed[at + 1],
            reward=self.reward[at] + action.sum(),
            info={"episode_done": 1.0 * self.ended[at], "last_observation": self.reached[at]},
            metrics={"failed": 1.0 * self.failed[at], "diverged": 1.0 * self.diverged[at]},
        )


def script() -> Script:
    """Of eight steps: one episode ends by time, one fails and one diverges, and one goes on."""
    rng = np.random.default_rng(5)
    ended, failed, diverged = np.zeros((3, 8), bool)
    ended[[1, 3, 5]], failed[3], diverged[5] = True, True, True
    rows = rng.normal(size=(9, 3)), rng.normal(size=(8, 3)), rng.normal(size=8)
    return Script(*map(jnp.asarray, (*rows, ended, failed, diverged)))


def scripted(env: Script, **settings: Any) -> tuple[Method, Learner]:
    """A method on it, with a policy and targets other than those that it starts with."""
    method = Method(env, dataclasses.replace(SMALL, **settings))  # pyright: ignore
    one, two, three = jax.random.split(jax.random.PRNGKey(1), 3)
    critics = jax.vmap(method.critic.init)(jax.random.split(two, 2))
    targets = jax.vmap(method.critic.init)(jax.random.split(three, 2))
    seen = running_statistics.init_state(jnp.zeros(3))
    policy = method.network.init(one)
    adam = method.adam.init(policy), method.adam.init(critics)
    return method, Learner(policy, policy, critics, targets, *adam, seen)


def test_the_policy_that_is_kept_is_an_average_of_the_last() -> None:
    env = script()
    method, learner = scripted(env, averaging=0.25)
    states = jax.tree.map(lambda x: jnp.stack([x] * SMALL.environments), env.begin())
    average = jax.tree.map(np.array, learner.average)
    update = jax.jit(method.update)
    # The first is none of its own, and the mean is plain while that is the shorter memory.
    for key, share in zip(
        jax.random.split(jax.random.PRNGKey(3), 6),
        (1, 1 / 2, 1 / 3, 1 / 4, 1 / 4, 1 / 4),
        strict=True,
    ):
        learner, _, out = update(learner, states, key)
        assert out == 0
        average = jax.tree.map(
            lambda a, b, share=share: (1 - share) * a + share * b, average, learner.policy
        )
    for a, b in zip(*map(jax.tree.leaves, (learner.average, average)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)
    moved = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), learner.policy, learner.average)
    assert max(jax.tree.leaves(moved)) > 1e-3


def test_the_loss_is_the_discounted_return_of_each_episode_with_its_entropy() -> None:
    env = script()
    method, learner = scripted(env, discount=0.9, entropy=0.3)
    key = jax.random.PRNGKey(2)
    loss = jax.jit(method.loss)(learner.policy, learner, env.begin(), key)[0]

    value = np.asarray(method.values(learner.normaliser, learner.targets, env.reached)).mean(0)
    total, discount = 0.0, 1.0
    for t, noise in enumerate(jax.random.split(key, 8)):
        asked = method.network.apply(learner.normaliser, learner.policy, env.observed[t])
        middle, width = np.asarray(asked[:2]), np.log1p(np.exp(np.asarray(asked[2:]))) + 1e-3
        normal = np.asarray(jax.random.normal(noise, (2,)))
        action = np.tanh(middle + width * normal)
        density = np.exp(-0.5 * normal**2) / np.sqrt(2.0 * np.pi) / width / (1.0 - action**2)
        gained = env.reward[t] + action.sum() - 0.3 * np.log(density).sum()
        if t == 5:  # it diverged
            total += discount * value[t]
        else:
            total += discount * gained
            discount *= 0.9
            if t in (1, 7):  # the time was over; the window is
                total += discount * value[t]
        if t in (1, 3, 5):
            discount = 1.0
    np.testing.assert_allclose(loss, -total / 8, rtol=1e-9)


def test_targets_are_lambda_returns_that_end_with_their_episodes() -> None:
    env = script()
    method, learner = scripted(env, discount=0.9, trace=0.7)
    rows = Window(
        *(env.observed[:8], env.reward, env.reached, env.ended, env.failed, env.diverged),
        weight=jnp.ones(8),
    )
    value = np.asarray(method.values(learner.normaliser, learner.targets, env.reached)).min(0)

    def back(t: int, n: int) -> float:
        """The return of steps t to n and the value after them."""
        if t == 5:
            return value[t]  # it diverged
        if t == 3:
            return float(env.reward[t])  # it failed
        return float(env.reward[t]) + 0.9 * (value[t] if t == n else back(t + 1, n))

    def expected(t: int) -> float:
        """The mixture of n-step returns, by its definition."""
        steps = [back(t, n) for n in range(t, next(u for u in (1, 3, 5, 7) if u >= t) + 1)]
        weights = [0.3 * 0.7**k for k in range(len(steps) - 1)] + [0.7 ** (len(steps) - 1)]
        return float(np.dot(weights, steps))

    np.testing.assert_allclose(
        method.targets(learner, rows), [expected(t) for t in range(8)], rtol=1e-9
    )


def test_configurations_that_cannot_run_are_refused() -> None:
    with pytest.raises(InputError, match="horizon = 0; give a number from 1 on"):
        GradientConfig(horizon=0)
    for name, value in (("discount", 5.0), ("trace", 3.0), ("following", 2.0), ("trace", -0.1)):
        with pytest.raises(InputError, match=f"Config: {name} = {value}; .* from 0 to 1"):
            dataclasses.replace(SMALL, **{name: value})
    with pytest.raises(InputError, match=r"betas = \(0.7, 1.0\); .* from 0 on and below 1"):
        GradientConfig(betas=(0.7, 1.0))
    with pytest.raises(InputError, match=r"environments \* horizon = 96 is no multiple of .* = 64"):
        GradientConfig(environments=3, minibatches=64)
