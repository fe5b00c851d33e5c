"""A task as an environment of Brax: its episodes, starts, members, ends; Brax's own trainers."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brax.training.agents.apg import networks as apg_networks
from brax.training.agents.apg import train as apg
from brax.training.agents.ppo import networks as ppo_networks
from brax.training.agents.ppo import train as ppo

from tests.helpers.sliding_cart import TASK, cart_env, keys, step
from tests.helpers.small_tasks import Reach
from worldmodel.errors import InputError
from worldmodel.policies.brax_env import TaskEnv
from worldmodel.rollout import Replay
from worldmodel.tasks.errors import TaskError
from worldmodel.tasks.play import play


def run(env: TaskEnv, actions: np.ndarray, seed: int = 0) -> tuple[Any, Any]:
    """The first state and those after each row of actions, (steps, environments, action)."""
    first = jax.jit(env.reset)(keys(seed, actions.shape[1]))

    def one(state: Any, action: Any) -> tuple[Any, Any]:
        state = env.step(state, action)
        return state, state

    return first, jax.jit(lambda s, a: jax.lax.scan(one, s, a)[1])(first, actions)


def test_an_episode_is_the_one_that_play_plays() -> None:
    env = cart_env()
    actions = np.random.default_rng(0).uniform(-0.9, 0.9, (25, 2, 1))
    first, states = run(env, actions)
    advance = functools.partial(step, jnp.asarray(0.5))

    def plays(robot: Any, rows: Any) -> Any:
        begun = TASK, advance, Replay(rows), robot.state, robot.goal, jax.random.key(0)
        measured = play(*begun)[1].measured
        return measured, jax.vmap(lambda m: TASK.observe(m, robot.goal))(measured)

    rows = np.swapaxes(actions[:20], 0, 1)
    measured, observed = jax.jit(jax.vmap(plays))(first.pipeline_state, rows)
    for i in range(2):
        np.testing.assert_allclose(first.obs[i], observed[i, 0], atol=1e-12)
        np.testing.assert_allclose(states.obs[:19, i], observed[i, 1:20], atol=1e-12)
        at = np.asarray(measured.joints[i, 1:, 0])
        rewards = -np.square(at - float(first.pipeline_state.goal["target"][i]))
        np.testing.assert_allclose(states.reward[:20, i], rewards, atol=1e-12)
        totals = states.info["episode_metrics"]
        np.testing.assert_allclose(totals["sum_reward"][19, i], rewards.sum(), atol=1e-12)
        np.testing.assert_allclose(states.info["last_return"][19, i], rewards.sum(), atol=1e-12)
    over = np.arange(25) == 19
    info = states.info
    for name in ("truncation", "time_out", "episode_done"):
        np.testing.assert_array_equal(info[name][:, 0], over)
    np.testing.assert_array_equal(states.done[:, 0], over)
    np.testing.assert_array_equal(info["steps"][:, 0], np.arange(25) % 20 + 1)
    np.testing.assert_array_equal(info["episode_metrics"]["length"][:, 0], np.arange(25) % 20 + 1)
    assert np.isnan(info["last_return"][18, 0])


def test_each_episode_begins_anew_in_the_pool() -> None:
    env = cart_env(pool=3)
    _, states = run(env, np.zeros((81, 40, 1)))
    begun = np.asarray(states.obs)[19::20, :, [0, 2]].reshape(-1, 2)  # place and target
    assert len(np.unique(np.round(begun, 9), axis=0)) == 3
    changes = np.diff(begun.reshape(4, 40, 2), axis=0) != 0
    assert 0.5 < changes.any(-1).mean() < 0.83  # two of three draws are of another start


def test_each_episode_runs_in_a_member_that_is_drawn() -> None:
    gains = jnp.array([0.1, 0.2, 0.4])
    env = cart_env(gain=gains, members=3)
    first, states = run(env, np.full((21, 300, 1), 0.9))
    members = np.asarray(first.pipeline_state.member)
    assert np.bincount(members, minlength=3).min() > 60
    moved = np.asarray(states.obs[0, :, 0] - first.obs[:, 0])
    np.testing.assert_allclose(moved, gains[members] * (0.9 - first.obs[:, 0]), atol=1e-12)
    again = np.asarray(states.pipeline_state.member)[20]
    assert 0.5 < (again != members).mean() < 0.83
    with pytest.raises(InputError, match=r"leading dimensions \[\(3,\)\] for 2 members"):
        cart_env(gain=gains, members=2)


def test_an_episode_that_diverges_ends_and_is_counted_by_name() -> None:
    env = cart_env(gain=1.0)  # the cart goes where it is commanded
    actions = np.full((3, 4, 1), -0.5)
    actions[1, 1], actions[1, 2] = 1.5, np.nan  # the cart is lost; no action
    first, states = run(env, actions)
    assert np.isfinite(states.obs).all() and np.isfinite(states.reward).all()
    ended = np.zeros((3, 4), bool)
    ended[1, 1:3] = True
    np.testing.assert_array_equal(states.done, ended)
    np.testing.assert_array_equal(states.info["truncation"], ended)
    assert not states.info["time_out"].any()
    np.testing.assert_array_equal(states.metrics["diverged"], ended)
    np.testing.assert_array_equal(states.reward[1, 1:3], 0.0)
    np.testing.assert_array_equal(states.info["steps"][:, 1], [1, 2, 1])
    assert env.divergences(jax.tree.map(lambda x: x[-1], states)) == {"x": 2}
    assert env.divergences(first) == {}


class Short(Reach):
    """It is lost left of −0.6, and its reward is not a number right of 0.6."""

    def failed(self, measured, goal):
        return measured.joints[0] < -0.6

    def reward(self, before, action, after, goal):
        return jnp.where(after.joints[0] > 0.6, jnp.nan, 1.0)


def test_a_failed_episode_is_no_truncation_and_a_reward_that_is_no_number_is_named() -> None:
    env = cart_env(Short())
    _, states = run(env, np.stack([np.full((4, 1), -1.0), np.full((4, 1), 0.9)], axis=1))
    done = np.asarray(states.done)
    first = done.argmax(0)
    assert done.any(0).all()
    assert states.metrics["failed"][first[0], 0] == 1.0
    assert states.info["truncation"][first[0], 0] == 0.0
    assert states.metrics["failed"][first[1], 1] == 0.0
    assert states.info["truncation"][first[1], 1] == 1.0
    assert set(env.divergences(jax.tree.map(lambda x: x[-1], states))) == {"reward"}


def test_actions_and_tasks_that_cannot_be_played_are_refused() -> None:
    env = cart_env()
    state = jax.jit(env.reset)(keys(0, 2))
    for bad, shown in ((np.array([[0.0], [1.2]]), "1.2"), (np.full((2, 1), np.nan), "nan")):
        with pytest.raises(InputError, match=rf"outside \[-1, 1\], such as {shown}"):
            env.step(state, bad)
    with pytest.raises(TaskError, match=r"action has the shape \(2,\); task 'reach' takes \(1,\)"):
        env.step(state, np.zeros((2, 2)))

    class Unseen(Reach):
        def observe(self, measured, goal):
            return jnp.log(measured.joints)  # of a place, which may be negative

    with pytest.raises(InputError, match=r"not finite, in observation \(\d+ of 1024 starts\)"):
        cart_env(Unseen())


def test_noise_differs_between_environments_and_steps() -> None:
    class Noisy(Reach):
        def sense(self, state, key):
            exact = super().sense(state, key)
            noise = 0.01 * jax.random.normal(key, exact.joints.shape)
            return dataclasses.replace(exact, joints=exact.joints + noise)

    env = cart_env(Noisy())
    _, states = run(env, np.zeros((5, 2, 1)))
    noise = np.asarray(states.obs[..., 0] - states.pipeline_state.state.qpos[..., 0])
    assert len(np.unique(np.round(noise, 12))) == 10 and 0.002 < noise.std() < 0.03


def test_it_may_be_one_environment_too() -> None:
    env = cart_env()
    state = jax.jit(env.reset)(keys(0, 1)[0])
    assert np.shape(state.obs) == (3,) and np.shape(state.done) == ()
    after = jax.jit(env.step)(state, np.array([0.2]))
    expected = 0.5 * (state.obs[0] + 0.2)
    assert float(after.obs[0]) == pytest.approx(float(expected), abs=1e-12)


OPTIONS: dict[str, Any] = {"wrap_env": False, "episode_length": 20, "num_envs": 16}


@pytest.mark.slow  # its quick substitute is ``test_ppo``, without Brax's evaluations
def test_brax_ppo_runs_on_it_unmodified() -> None:
    factory = functools.partial(
        ppo_networks.make_ppo_networks,
        policy_hidden_layer_sizes=(8,),
        value_hidden_layer_sizes=(8,),
    )
    sizes = {"unroll_length": 5, "batch_size": 16, "num_minibatches": 1, "num_eval_envs": 4}
    make, parameters, metrics = ppo.train(
        cart_env(), 160, num_evals=2, network_factory=factory, **OPTIONS, **sizes
    )
    action, _ = make(parameters, deterministic=True)(jnp.zeros((3, 3)), jax.random.PRNGKey(0))
    assert action.shape == (3, 1) and np.isfinite(action).all()
    assert metrics["eval/avg_episode_length"] == 20.0
    assert metrics["eval/episode_diverged"] == metrics["eval/episode_failed"] == 0.0


@pytest.mark.slow  # its quick substitute is ``test_ppo``, on the same environment
def test_brax_apg_runs_on_it_unmodified_and_learns() -> None:
    factory = functools.partial(apg_networks.make_apg_networks, hidden_layer_sizes=(16,))
    returns: list[float] = []
    apg.train(
        cart_env(),
        policy_updates=100,
        horizon_length=20,
        num_evals=3,
        num_eval_envs=64,
        learning_rate=1e-2,
        network_factory=factory,
        progress_fn=lambda _, m: returns.append(float(m["eval/episode_reward"])),
        **OPTIONS,
    )
    # At rest the cart is 0.4 m² from its targets on average; a policy that knows them, nearly 0.
    assert returns[-1] > 0.5 * returns[0] and returns[-1] > -2.0
