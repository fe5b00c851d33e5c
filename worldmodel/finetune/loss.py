"""Losses of an open-loop window: of its positions smooth and robust, in units of a reference's
errors; of a network's variances a likelihood."""

import jax
import jax.numpy as jnp

from worldmodel.episodes.errors import Channels, counted, squared_errors
from worldmodel.episodes.windows import Windows
from worldmodel.model.simulate import predict, predict_spread
from worldmodel.model.world import Parameters, WorldModel
from worldmodel.scene.tangent import measured_difference, measured_dofs


def window_loss(
    world: WorldModel,
    channels: Channels,
    huber: float,
    scale: jax.Array,
    parameters: Parameters,
    window: Windows,
) -> jax.Array:
    """Mean over the scored frames and the scene's groups of channels of a pseudo-Huber error.

    Where not every position was measured, the mean over the groups of each group's mean over the
    frames that measured it. 0, without a derivative, where no frame is scored or measured.

    Args:
      huber: errors below this multiple of ``scale`` count quadratically.
      scale: (3,) reference errors, position [m], rotation and joints [rad]; NaN where the
        scene has no such channel.
      window: one window (no leading dimension).
    """
    return position_loss(predict(world, parameters, window), channels, huber, scale, window)


def position_loss(
    predicted: jax.Array, channels: Channels, huber: float, scale: jax.Array, window: Windows
) -> jax.Array:
    """``window_loss`` of predicted positions (horizon, nq)."""
    squared = squared_errors(predicted, window.target, channels, window.measured)
    has = jnp.isfinite(scale)
    relative = jnp.where(has, squared / jnp.square(jnp.where(has, scale * huber, 1.0)), 0.0)
    robust = huber * (jnp.sqrt(1.0 + relative) - 1.0)
    if window.measured is None:
        frames = jnp.sum(window.scored)
        scored = jnp.where(window.scored[:, None], robust, 0.0)
        return jnp.sum(scored) / (jnp.maximum(frames, 1) * jnp.sum(has))
    counts = window.scored[:, None] & counted(channels, window.measured) & has
    frames = jnp.sum(counts, axis=0)
    groups = jnp.sum(jnp.where(counts, robust, 0.0), axis=0) / jnp.maximum(frames, 1)
    return jnp.sum(groups) / jnp.maximum(jnp.sum(frames > 0), 1)


def learned_loss(
    world: WorldModel,
    channels: Channels,
    huber: float,
    scale: jax.Array,
    unit: jax.Array,
    parameters: Parameters,
    window: Windows,
) -> jax.Array:
    """``window_loss`` of a member's poses, and of its variances the ``likelihood`` of these poses'
    errors, which no derivative passes into.

    Args as of ``window_loss``, and:
      unit: (nv,) [m, rad], a reference's errors.
      parameters: of one member.
    """
    predicted, variance = predict_spread(world, parameters, window)
    target, measured = jnp.asarray(window.target), window.measured
    error = measured_difference(world.scene, target, jax.lax.stop_gradient(predicted), measured)
    counts = jnp.broadcast_to(jnp.asarray(window.scored)[:, None], error.shape)
    if measured is not None:
        counts = counts & measured_dofs(world.scene, jnp.asarray(measured))
    spread = likelihood(error / unit, variance / jnp.square(unit), counts)
    return position_loss(predicted, channels, huber, scale, window) + spread


def likelihood(error: jax.Array, variance: jax.Array, counts: jax.Array) -> jax.Array:
    """The mean negative log-likelihood of normal errors, without its constant, where it counts; all
    (…, nv)."""
    each = 0.5 * (jnp.log(variance) + jnp.square(error) / variance)
    return jnp.sum(jnp.where(counts, each, 0.0)) / jnp.maximum(jnp.sum(counts), 1)
