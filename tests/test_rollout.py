"""The combinator is a loop, with the same gradient whatever it keeps."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.ad_checkpoint import checkpoint_name

from worldmodel.rollout import Constant, Replay, rollout
from worldmodel.types import Contacts, State


def state(x: float) -> State:
    zeros = jnp.zeros(1)
    contacts = Contacts(zeros, zeros, zeros)
    names = ("qvel", "act", "qacc_warmstart", "latent", "correction", "variance", "drive")
    others = dict.fromkeys(names, zeros)
    return State(qpos=jnp.array([x]), time=jnp.zeros(()), contacts=contacts, **others)


def step(gain: jax.Array, s: State, action: jax.Array) -> State:
    moved = checkpoint_name(jnp.sin(gain * s.qpos), "moved") + action
    return dataclasses.replace(s, qpos=moved, time=s.time + 1)


def test_rollout_is_a_loop() -> None:
    actions = jnp.linspace(0, 1, 5)[:, None]
    states, played = rollout(
        lambda s, a: step(jnp.array(1.3), s, a), Replay(actions), state(0.4), 5, jax.random.key(0)
    )
    here, path = state(0.4), []
    for a in actions:
        here = step(jnp.array(1.3), here, a)
        path.append(here.qpos)
    np.testing.assert_allclose(states.qpos, jnp.stack(path), rtol=1e-14)
    np.testing.assert_array_equal(played, actions)


def test_policy_sees_the_state_what_it_carried_and_its_own_key() -> None:
    class Counting:
        traceable = True

        def init(self, observation: State, key: jax.Array) -> jax.Array:
            return observation.time

        def act(self, carry: jax.Array, observation: State, key: jax.Array) -> tuple:
            action = observation.qpos * 0 + observation.time + 10 * carry + jax.random.uniform(key)
            return action, carry + 1

    _, actions = rollout(
        lambda s, a: step(jnp.array(0.0), s, a), Counting(), state(0.0), 4, jax.random.key(1)
    )
    noise = np.asarray(actions[:, 0]) - 11 * np.arange(4)
    assert len(set(noise.tolist())) == 4
    assert ((noise >= 0) & (noise < 1)).all()


def test_gradient_does_not_depend_on_what_is_kept() -> None:
    def loss(gain: float | jax.Array, keep: tuple[str, ...]) -> jax.Array:
        states, _ = rollout(
            lambda s, a: step(jnp.asarray(gain), s, a),
            Replay(jnp.zeros((6, 1))),
            state(0.7),
            6,
            jax.random.key(0),
            keep=keep,
        )
        return jnp.sum(states.qpos)

    bare, kept = (jax.grad(loss)(1.1, keep) for keep in ((), ("moved",)))
    np.testing.assert_allclose(bare, kept, rtol=1e-14)
    h = 1e-6
    difference = (loss(1.1 + h, ()) - loss(1.1 - h, ())) / (2 * h)
    np.testing.assert_allclose(bare, difference, rtol=1e-8)


def test_a_constant_policy_is_a_replay_of_one_action() -> None:
    action = jnp.array([0.3])

    def play(policy: Constant | Replay) -> State:
        advance = lambda s, a: step(jnp.array(1.3), s, a)  # noqa: E731
        return rollout(advance, policy, state(0.4), 4, jax.random.key(0))[0]

    once, again = play(Constant(action)), play(Replay(jnp.tile(action, (4, 1))))
    np.testing.assert_array_equal(once.qpos, again.qpos)
    slope, expected = jax.jacfwd(lambda a: play(Constant(a)).qpos[-1])(action), 0.0
    for qpos in (0.4, *np.asarray(once.qpos[:-1, 0])):  # a step is sin(1.3 q) + action
        expected = 1.0 + 1.3 * np.cos(1.3 * qpos) * expected
    assert float(slope[0, 0]) == pytest.approx(expected, rel=1e-12)
