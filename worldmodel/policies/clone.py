"""Behaviour cloning: observations → answers, for every data set of a study in one vmapped call.

The recipe is one function of the pooled rows: each row weighs 1, real or synthetic; the number
of steps is the same for every data set. A policy is a small MLP; its task scales observations and
answers to order one.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from worldmodel.errors import InputError
from worldmodel.runtime import checkpoint


@dataclasses.dataclass(frozen=True)
class CloneConfig:
    """How policies are trained; the same for every data set."""

    width: int = 32
    steps: int = 150  # full-batch Adam steps
    learning_rate: float = 5e-3  # falls to zero (cosine)
    weight_decay: float = 30.0  # divided by the number of rows: a prior that data outweigh


class MLP(nn.Module):
    """Observation → answer, zero before training."""

    width: int
    size: int  # of the answer

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.tanh(nn.Dense(self.width)(x))
        x = nn.tanh(nn.Dense(self.width)(x))
        return nn.Dense(self.size, kernel_init=nn.initializers.zeros)(x)


def clone(
    data: Sequence[tuple[np.ndarray, np.ndarray]], seeds: Sequence[int], config: CloneConfig
) -> list[Any]:
    """One policy per data set.

    Args:
      data: per policy, observations (rows, observed) and answers (rows, answered).
      seeds: per policy, of its initial weights.

    Returns:
      Weights, one pytree per policy.

    Raises:
      InputError: an empty data set, or numbers that are not finite.
    """
    for i, (observed, answered) in enumerate(data):
        good = len(observed) and len(answered) == len(observed)
        if not (good and np.isfinite(observed).all() and np.isfinite(answered).all()):
            raise InputError(
                f"data set {i} of {len(data)} is empty, not finite or of unequal lengths; give one "
                "finite answer per observation"
            )
    most = max(len(observed) for observed, _ in data)
    x = np.zeros((len(data), most, data[0][0].shape[1]), np.float32)
    y = np.zeros((len(data), most, data[0][1].shape[1]), np.float32)
    weight = np.zeros((len(data), most), np.float32)
    for i, (observed, answered) in enumerate(data):
        rows = len(observed)
        x[i, :rows], y[i, :rows], weight[i, :rows] = observed, answered, 1.0 / rows
    module = MLP(config.width, y.shape[2])
    schedule = optax.cosine_decay_schedule(config.learning_rate, config.steps)

    def train(x: jax.Array, y: jax.Array, weight: jax.Array, seed: jax.Array) -> Any:
        decay = config.weight_decay * jnp.max(weight)  # a row weighs one over their number
        optimiser = optax.adamw(schedule, weight_decay=decay)

        def loss(weights: Any) -> jax.Array:
            return jnp.sum(weight[:, None] * jnp.square(jnp.asarray(module.apply(weights, x)) - y))

        def step(carry: tuple, _: None) -> tuple[tuple, None]:
            weights, state = carry
            updates, state = optimiser.update(jax.grad(loss)(weights), state, weights)
            return (optax.apply_updates(weights, updates), state), None

        weights = module.init(jax.random.key(seed), x[0])
        weights = jax.tree.map(lambda w: w.astype(jnp.float32), weights)
        (weights, _), _ = jax.lax.scan(
            step, (weights, optimiser.init(weights)), length=config.steps
        )
        return weights

    trained = jax.jit(jax.vmap(train))(x, y, weight, np.asarray(seeds))
    leaves, structure = jax.tree.flatten(jax.tree.map(np.asarray, trained))
    return [jax.tree.unflatten(structure, [leaf[i] for leaf in leaves]) for i in range(len(data))]


def answer(weights: Any, observed: np.ndarray, size: int, config: CloneConfig) -> np.ndarray:
    """A policy's answers: (rows, observed) → (rows, size)."""
    module = MLP(config.width, size)
    return np.asarray(module.apply(weights, jnp.asarray(observed, jnp.float32)), np.float64)


def save(directory: Path, weights: Any, config: CloneConfig, metadata: dict[str, Any]) -> None:
    """Writes one policy, atomically."""
    metadata = metadata | {"clone": dataclasses.asdict(config)}
    checkpoint.save(directory, 0, weights, metadata, keep=1)


def restore(directory: Path, observed: int, size: int, config: CloneConfig) -> Any:
    """Reads one policy that observes ``observed`` and answers ``size`` numbers.

    Raises:
      CheckpointError: absent, damaged, or a policy of another observation or width.
    """
    like = MLP(config.width, size).init(jax.random.key(0), jnp.zeros(observed, jnp.float32))
    like = jax.tree.map(lambda w: w.astype(jnp.float32), like)
    return checkpoint.restore(directory, like)[0]
