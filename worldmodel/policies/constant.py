"""The policy whose action is always the same."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from worldmodel.types import Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Constant:
    """A ``Policy`` of one action; a batch of them has a leading dimension."""

    action: Array  # (action,) in [−1, 1]
    traceable = True

    def init(self, observation: Any, key: Any) -> Any:
        """It carries nothing."""
        del observation, key
        return ()

    def act(self, carry: Any, observation: Any, key: Any) -> tuple[Array, Any]:
        """The action."""
        del observation, key
        return jnp.asarray(self.action), carry
