"""A trajectory from a step and a policy, for any model."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel.types import Policy, State

Step = Callable[[State, jax.Array], State]  # parameters applied: step(state, action) -> state


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
      policy: observes the state (``types.Policy``).
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


def replay(ctrl: jax.Array | np.ndarray) -> Policy:
    """The policy that plays recorded controls back: (length, nu), row t held during step t."""
    return lambda observation, t, key: ctrl[t]
