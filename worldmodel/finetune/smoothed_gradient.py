"""The gradient of a loss averaged over noise in its argument: E f(x + σ ε).

Two estimates of one number. The first-order one averages ∇f; stiff contact makes its variance
explode, and where f jumps it is wrong by what the jumps contribute. The zeroth-order one needs
values alone and is unbiased, but noisy. They are blended coordinate by coordinate in
inverse proportion to their errors (Suh et al., ICML 2022, "Do differentiable simulators give
better policy gradients?", who take the variances alone and bound the bias by a constant; here a
disagreement beyond the noise of both counts as the first-order one's bias).
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

DEVIATIONS = 3.0  # of their difference, beyond which the two estimates disagree


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class GradientEstimate:
    """Estimates of one gradient, each like the argument."""

    gradient: Any  # the blend
    first: Any  # mean of the gradients
    zeroth: Any  # antithetic, of values
    weight: Any  # of the first-order one in the blend, 0 to 1
    nonfinite: jax.Array  # () samples excluded


def smoothed_gradient(
    loss: Callable[[Any], jax.Array],
    x: Any,
    key: jax.Array,
    *,
    sigma: float,
    samples: int,
) -> GradientEstimate:
    """Estimates the gradient of the smoothed loss from ``samples`` antithetic pairs.

    Args:
      loss: a scalar function of a pytree; called at x ± σ ε under ``vmap``, with its gradient.
      x: the point.
      key: of ε, standard normal.
      sigma: σ of every coordinate, above 0; scale ``x`` where one does not fit all.
      samples: pairs, at least 2. One whose value or gradient is not finite is excluded and
        counted; with fewer than 2 others the estimates are NaN.

    Raises:
      ValueError: fewer than 2 samples, or a ``sigma`` that is not above 0.
    """
    if samples < 2:
        raise ValueError(f"{samples} samples have no variance; take at least 2")
    if not sigma > 0:
        raise ValueError(f"sigma {sigma} smooths nothing; give a number above 0")
    flat, unravel = ravel_pytree(x)
    noise = jax.random.normal(key, (samples, flat.size), flat.dtype)

    def at(point: jax.Array) -> tuple[jax.Array, jax.Array]:
        return jax.value_and_grad(lambda p: loss(unravel(p)))(point)

    points = jnp.stack([flat + sigma * noise, flat - sigma * noise])
    values, gradients = jax.vmap(jax.vmap(at))(points)
    good = jnp.isfinite(values).all(0) & jnp.isfinite(gradients).all((0, 2))
    count = good.sum()

    def mean_and_variance(rows: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Of the samples' mean; (size,) each."""
        rows = jnp.where(good[:, None], rows, 0.0)
        mean = rows.sum(0) / count
        square = jnp.where(good[:, None], jnp.square(rows - mean), 0.0).sum(0)
        variance = square / ((count - 1) * count)
        return jnp.where(count > 1, mean, jnp.nan), variance

    first, first_variance = mean_and_variance(gradients.mean(0))
    slope = 0.5 * (values[0] - values[1])[:, None] * noise / sigma
    zeroth, zeroth_variance = mean_and_variance(slope)
    apart = jnp.square(first - zeroth)
    bias = jnp.maximum(apart - DEVIATIONS**2 * (first_variance + zeroth_variance), 0.0)
    wrong = first_variance + bias + zeroth_variance
    weight = jnp.where(wrong > 0, zeroth_variance / jnp.where(wrong > 0, wrong, 1.0), 1.0)
    blend = zeroth + weight * (first - zeroth)
    return GradientEstimate(
        unravel(blend), unravel(first), unravel(zeroth), unravel(weight), samples - count
    )
