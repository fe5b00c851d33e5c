"""The learner whose real episodes are counted: the latent model on pooled windows.

One recipe serves every cell: the same network, steps, batch and schedule; real and synthetic
windows weigh the same. Training keeps the weights whose primary error was lowest on the replicate's
validation tosses, which all cells share.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from worldmodel.episodes.errors import Channels, squared_errors
from worldmodel.episodes.windows import HISTORY, Windows
from worldmodel.finetune.loss import window_loss
from worldmodel.finetune.regression import regression_data, standards
from worldmodel.model import Network, Parameters, WorldModel, init
from worldmodel.model.ensemble import members
from worldmodel.model.network import GATE_STEPS
from worldmodel.model.simulate import predict

NETWORK = Network(latent=24, width=64)
ROWS = 4096  # windows of a training are padded to a multiple


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How every cell is trained."""

    network: Network = NETWORK
    steps: int = 500
    batch: int = 32  # windows per step
    learning_rate: float = 3e-3  # falls to zero (cosine)
    weight_decay: float = 0.1
    huber: float = 0.3  # in units of the ballistic error
    validate_every: int = 50  # steps
    together: int = 11  # trainings in one compiled call


@dataclasses.dataclass(frozen=True)
class Learner:
    """What every cell of a replicate shares."""

    world: WorldModel  # a latent model
    channels: Channels
    recipe: Recipe
    judged: Windows  # of validation episodes; another number of them compiles anew
    scale: np.ndarray  # (3,) ballistic errors on them; NaN where the scene has no such channel
    seed: int  # initial weights and draws, the same for every cell

    def train(self, sets: Sequence[Windows]) -> list[Parameters]:
        """The best parameters of one training on each set of windows: one compiled call, whose
        arrays are padded to one size; each training draws from its own rows only.

        Args:
          sets: 1 to ``recipe.together`` of them.

        Raises:
          ValueError: no set, or too many.
          FloatingPointError: the primary error of a training is not finite.
        """
        count, rows = len(sets), self.recipe.together
        if not 0 < count <= rows:
            raise ValueError(f"{count} trainings; this call takes 1 to {rows}")
        sets = [*sets, *[sets[-1]] * (rows - count)]
        size = ROWS * -(-max(map(len, sets)) // ROWS)
        fresh = members(init(self.world, jax.random.key(self.seed)))[0]
        # Each network's inputs are standardised by the first frames of its own training windows.
        frames = [regression_data(self.world, fresh, windows.cut(1)) for windows in sets]
        norms = [standards(self.world, each) for each in frames]
        padded = [w.take(np.minimum(np.arange(size), len(w) - 1)) for w in sets]
        weights, errors = _trainer(self.world, self.channels, self.recipe)(
            fresh["network"]["weights"],
            jax.tree.map(lambda *x: np.stack(x), *norms),
            jax.tree.map(lambda *x: np.stack(x), *padded),
            jnp.array([len(w) for w in sets]),
            self.judged,
            self.scale,
            jax.random.key(self.seed),
        )
        bad = ~np.isfinite(errors)
        if bad[:count].any():
            raise FloatingPointError(
                f"training {int(bad.argmax())} of {count}: the primary error is {errors[bad][0]}; "
                "are its windows finite?"
            )
        each = (jax.tree.map(lambda x, i=i: x[i], weights) for i in range(count))
        return [_parameters(own, norm) for own, norm in zip(each, norms, strict=False)]


def _parameters(weights: Any, norm: Any) -> Parameters:
    gate = np.ones(len(GATE_STEPS), np.float32)
    return {"physics": {}, "network": {"weights": weights, "norm": norm, "gate": gate}}


@functools.lru_cache(maxsize=4)
def _trainer(world: WorldModel, channels: Channels, recipe: Recipe) -> Callable[..., Any]:
    """Many trainings in one compiled call: (weights, norms, windows, rows, judged, scale, key) → of
    each the weights that were best on ``judged``, and their primary error there."""
    schedule = optax.cosine_decay_schedule(recipe.learning_rate, recipe.steps)
    optimiser = optax.adamw(schedule, weight_decay=recipe.weight_decay)
    one = functools.partial(window_loss, world, channels, recipe.huber)

    def train(
        fresh: Any,
        norm: Any,
        data: Windows,
        count: jax.Array,
        judged: Windows,
        scale: jax.Array,
        key: jax.Array,
    ) -> Any:
        def loss(weights: Any, batch: Windows) -> jax.Array:
            each = jax.vmap(one, (None, None, 0))(scale, _parameters(weights, norm), batch)
            return jnp.mean(each)

        def judge(weights: Any) -> jax.Array:
            """The primary error."""
            parameters = _parameters(weights, norm)
            predicted = jax.vmap(lambda w: predict(world, parameters, w))(judged)
            error = jnp.sqrt(squared_errors(predicted, judged.target, channels))
            mean = jnp.mean(error, axis=(0, 1), where=judged.scored[..., None])
            has = jnp.isfinite(scale)
            logs = jnp.where(has, jnp.log(jnp.where(has, mean / scale, 1.0)), 0.0)
            return jnp.exp(jnp.sum(logs) / jnp.sum(has))

        def step(carry: tuple, key: jax.Array) -> tuple[tuple, None]:
            weights, state = carry
            pick, forget = jax.random.split(key)
            batch = data.take(jax.random.randint(pick, (recipe.batch,), 0, count))
            shown = jax.random.randint(forget, (recipe.batch,), 1, HISTORY + 1)
            known = batch.history.known & (jnp.arange(HISTORY) < shown[:, None])
            history = dataclasses.replace(batch.history, known=known)
            gradient = jax.grad(loss)(weights, dataclasses.replace(batch, history=history))
            updates, state = optimiser.update(gradient, state, weights)
            return (optax.apply_updates(weights, updates), state), None

        def block(carry: tuple, keys: jax.Array) -> tuple[tuple, None]:
            weights, state, best, lowest = carry
            (weights, state), _ = jax.lax.scan(step, (weights, state), keys)
            error = judge(weights)
            best = jax.tree.map(lambda new, old: jnp.where(error < lowest, new, old), weights, best)
            return (weights, state, best, jnp.minimum(error, lowest)), None

        keys = jax.random.split(key, (recipe.steps // recipe.validate_every, recipe.validate_every))
        carry = (fresh, optimiser.init(fresh), fresh, judge(fresh))
        return jax.lax.scan(block, carry, keys)[0][2:]

    return jax.jit(jax.vmap(train, (None, 0, 0, 0, None, None, None)))
