"""A trajectory from a step: the combinator. Which model the step runs is the caller's choice."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from worldmodel.types import State

Step = Callable[[State, jax.Array], State]  # parameters applied: step(state, action) -> state
Policy = Callable[[State, jax.Array, jax.Array], jax.Array]  # policy(state, t, key) -> action


def rollout(
    step: Step,
    policy: Policy,
    state: State,
    length: int,
    key: jax.Array,
    *,
    keep: tuple[str, ...] = (),
) -> tuple[State, jax.Array]:
    """Runs a policy for ``length`` control steps. One robot: a batch is the caller's ``vmap``.

    Args:
      step: one control step.
      policy: maps the state, the step's index and a key to an action.
      state: where to start.
      length: number of control steps (static).
      key: the policy's randomness.
      keep: names (``jax.ad_checkpoint.checkpoint_name``) of intermediate values that a backward
        pass keeps; everything else inside a step is computed again, so memory is one state and
        those values per step.

    Returns:
      states, (length, …) each leaf, after each step; actions, (length, nu).
    """

    def body(state: State, x: tuple[jax.Array, jax.Array]) -> tuple[State, tuple]:
        action = policy(state, *x)
        state = step(state, action)
        return state, (state, action)

    body = jax.checkpoint(body, policy=jax.checkpoint_policies.save_only_these_names(*keep))
    _, (states, actions) = jax.lax.scan(
        body, state, (jnp.arange(length), jax.random.split(key, length))
    )
    return states, actions


def replay(ctrl: jax.Array) -> Policy:
    """The policy that plays recorded controls back: (length, nu), row t held during step t."""
    return lambda state, t, key: ctrl[t]
