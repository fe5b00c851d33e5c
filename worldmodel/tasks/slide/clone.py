"""Behaviour cloning: contexts → strokes, for every data set of a study in one vmapped call.

The recipe is one function of the pooled rows: each row weighs 1, real or synthetic; the number
of steps is the same for every data set. A policy is a small MLP that answers the logarithm of
the speed and how far the direction departs from the target's.
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

from worldmodel import checkpoint
from worldmodel.policies.stroke import Contexts
from worldmodel.types import InputError

CENTRE = np.array([0.0, 0.8, 0.0])  # of the contexts
WIDTH = np.array([0.15, 0.4, 0.8])


@dataclasses.dataclass(frozen=True)
class CloneConfig:
    """How policies are trained; the same for every data set."""

    width: int = 32
    steps: int = 150  # full-batch Adam steps
    learning_rate: float = 5e-3  # falls to zero (cosine)
    weight_decay: float = 30.0  # divided by the number of rows: a prior that data outweigh


class _Policy(nn.Module):
    width: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.tanh(nn.Dense(self.width)(x))
        x = nn.tanh(nn.Dense(self.width)(x))
        return nn.Dense(2, kernel_init=nn.initializers.zeros)(x)


def _observe(contexts: np.ndarray) -> np.ndarray:
    return ((contexts - CENTRE) / WIDTH).astype(np.float32)


def _label(contexts: np.ndarray, strokes: np.ndarray) -> np.ndarray:
    """What the network should answer, of order one: log speed, departure of the direction."""
    return np.stack(
        [np.log(strokes[:, 0]) / 0.5, (strokes[:, 1] - contexts[:, 2]) / 0.1], axis=1
    ).astype(np.float32)


def clone(
    data: Sequence[tuple[np.ndarray, np.ndarray]], seeds: Sequence[int], config: CloneConfig
) -> list[Any]:
    """One policy per data set.

    Args:
      data: per policy, contexts (rows, 3) and strokes (rows, 2).
      seeds: per policy, of its initial weights.

    Returns:
      Weights, one pytree per policy.

    Raises:
      InputError: an empty data set, or numbers that are not finite.
    """
    most = max(len(contexts) for contexts, _ in data)
    x, y = np.zeros((len(data), most, 3), np.float32), np.zeros((len(data), most, 2), np.float32)
    weight = np.zeros((len(data), most), np.float32)
    for i, (contexts, strokes) in enumerate(data):
        rows = len(contexts)
        good = rows and len(strokes) == rows and (np.asarray(strokes)[:, 0] > 0).all()
        if not (good and np.isfinite(contexts).all() and np.isfinite(strokes).all()):
            raise InputError(
                f"data set {i} of {len(data)} is empty, not finite, or has strokes without speed; "
                "nothing can be cloned"
            )
        x[i, :rows], y[i, :rows] = _observe(contexts), _label(contexts, strokes)
        weight[i, :rows] = 1.0 / rows
    module = _Policy(config.width)
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


def act(weights: Any, contexts: Contexts, config: CloneConfig) -> np.ndarray:
    """A policy's strokes: (episodes, 2) speed [m/s], direction [rad]."""
    table = contexts.table
    answer = np.asarray(
        _Policy(config.width).apply(weights, jnp.asarray(_observe(table))), np.float64
    )
    return np.stack([np.exp(0.5 * answer[:, 0]), table[:, 2] + 0.1 * answer[:, 1]], axis=1)


def save(directory: Path, weights: Any, config: CloneConfig, metadata: dict[str, Any]) -> None:
    """Writes one policy, atomically."""
    metadata = metadata | {"observation": 3, "clone": dataclasses.asdict(config)}
    checkpoint.save(directory, 0, weights, metadata, keep=1)


def restore(directory: Path, config: CloneConfig) -> Any:
    """Reads one policy.

    Raises:
      CheckpointError: missing, damaged, or a policy of another observation or width.
    """
    module = _Policy(config.width)
    like = module.init(jax.random.key(0), jnp.zeros(3, jnp.float32))
    like = jax.tree.map(lambda w: w.astype(jnp.float32), like)
    return checkpoint.restore(directory, like)[0]
