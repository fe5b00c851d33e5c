"""A trained policy without memory: a network whose answer is within [−1, 1]."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel.errors import InputError
from worldmodel.policies.contract import check, contract
from worldmodel.runtime import checkpoint
from worldmodel.tasks.task import Task
from worldmodel.types import Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Actor:
    """tanh of a network with swish between its layers; of a policy that explores, its mode."""

    layers: tuple[tuple[Array, Array], ...]  # (in, out) and (out,) of each layer
    centre: Array  # (observed,) of the observations that it was trained on
    scale: Array  # (observed,)
    traceable = True

    def init(self, observation: Array, key: Array) -> Any:
        """It carries nothing.

        Raises:
          InputError: an observation of another size.
        """
        del key
        if jnp.shape(observation) != jnp.shape(self.centre):
            raise InputError(
                f"the policy observes {jnp.size(self.centre)} numbers, the task gives it "
                f"{jnp.shape(observation)}; train one on this task"
            )
        return ()

    def act(self, carry: Any, observation: Array, key: Array) -> tuple[Array, Any]:
        """The action."""
        del key
        return self.actions(observation), carry

    def actions(self, observations: Array) -> Array:
        """Observations (…, observed) → actions (…, action) within [−1, 1]."""
        x = ((jnp.asarray(observations) - self.centre) / self.scale).astype(jnp.float32)
        for kernel, bias in self.layers[:-1]:
            x = jax.nn.swish(x @ kernel + bias)
        kernel, bias = self.layers[-1]
        return jnp.tanh(x @ kernel + bias).astype(float)


def save(directory: Path, policy: Actor, task: Task, metadata: dict[str, Any]) -> None:
    """Writes one policy, atomically, with the task's contract."""
    sizes = [np.shape(kernel)[0] for kernel, _ in policy.layers] + [task.action_size]
    described = metadata | {"contract": contract(task), "actor": sizes}
    checkpoint.save(directory, 0, policy, described, keep=1)


def restore(directory: Path, task: Task) -> Actor:
    """Reads a policy for a task.

    Raises:
      CheckpointError: absent, damaged, not such a policy.
      InputError: a policy of another task, or of one that observes or commands something else; the
        message names each number that one of the two lacks.
    """
    metadata = checkpoint.read_metadata(directory)
    sizes = metadata.get("actor")
    if not isinstance(sizes, list):
        raise checkpoint.CheckpointError(
            f"{directory} is no policy of PPO or of gradients; train one there"
        )
    check(metadata["contract"], task, f"{directory}")
    zeros = [np.zeros(n, np.float32) for n in sizes]
    layers = tuple(
        (np.zeros((a, b), np.float32), zeros[i + 1])
        for i, (a, b) in enumerate(itertools.pairwise(sizes))
    )
    return checkpoint.restore(directory, Actor(layers, zeros[0], zeros[0]))[0]
