"""A trajectory from a step and a policy, for any model."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from worldmodel.types import Policy

Step = Callable[[Any, jax.Array], Any]  # parameters applied: step(state, action) -> state


def rollout(
    step: Step,
    policy: Policy,
    state: Any,
    length: int,
    key: jax.Array,
    *,
    keep: tuple[str, ...] = (),
) -> tuple[Any, jax.Array]:
    """Runs a policy for ``length`` control steps. One robot: a batch is the caller's ``vmap``.

    Args:
      step: one control step.
      policy: observes the state.
      state: where to start; a pytree.
      length: number of control steps (static).
      key: the policy's randomness.
      keep: names (``jax.ad_checkpoint.checkpoint_name``) of intermediate values that a backward
        pass keeps; everything else inside a step is computed again, so memory is one state and
        those values per step.

    Returns:
      states, (length, …) each leaf, after each step; actions, (length, action).
    """

    def body(x: tuple, key: jax.Array) -> tuple[tuple, tuple]:
        state, carry = x
        action, carry = policy.act(carry, state, key)
        state = step(state, action)
        return (state, carry), (state, action)

    keys = jax.random.split(key, length + 1)
    body = jax.checkpoint(body, policy=jax.checkpoint_policies.save_only_these_names(*keep))
    _, out = jax.lax.scan(body, (state, policy.init(state, keys[0])), keys[1:])
    return out


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Replay:
    """The policy that plays recorded actions back; after the last one that one is held."""

    actions: Any  # (length, action); row t in step t
    traceable = True

    def init(self, observation: Any, key: Any) -> Any:
        """The step."""
        del observation, key
        return jnp.zeros((), int)

    def act(self, carry: Any, observation: Any, key: Any) -> tuple[Any, Any]:
        """The recorded action."""
        del observation, key
        return jnp.asarray(self.actions)[carry], carry + 1


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Constant:
    """The policy whose action is always the same; a batch of them has a leading dimension."""

    action: Any  # (action,)
    traceable = True

    def init(self, observation: Any, key: Any) -> Any:
        """It carries nothing."""
        del observation, key
        return ()

    def act(self, carry: Any, observation: Any, key: Any) -> tuple[Any, Any]:
        """The action."""
        del observation, key
        return jnp.asarray(self.action), carry
