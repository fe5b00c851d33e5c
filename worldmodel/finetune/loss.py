"""The loss of an open-loop window: smooth, robust, in units of a reference's errors."""

import jax
import jax.numpy as jnp

from worldmodel.episodes.errors import Channels, counted, squared_errors
from worldmodel.episodes.windows import Windows
from worldmodel.model.simulate import predict
from worldmodel.model.world import Parameters, WorldModel


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
    frames that measured it; 0, without a derivative, where none did.

    Args:
      huber: errors below this multiple of ``scale`` count quadratically.
      scale: (3,) reference errors, position [m], rotation and joints [rad]; NaN where the
        scene has no such channel.
      window: one window (no leading dimension).
    """
    predicted = predict(world, parameters, window)
    squared = squared_errors(predicted, window.target, channels, window.measured)
    has = jnp.isfinite(scale)
    relative = jnp.where(has, squared / jnp.square(jnp.where(has, scale * huber, 1.0)), 0.0)
    robust = huber * (jnp.sqrt(1.0 + relative) - 1.0)
    if window.measured is None:
        frames = jnp.sum(window.scored)
        return jnp.sum(robust * window.scored[:, None]) / (frames * jnp.sum(has))
    counts = window.scored[:, None] & counted(channels, window.measured) & has
    frames = jnp.sum(counts, axis=0)
    groups = jnp.sum(jnp.where(counts, robust, 0.0), axis=0) / jnp.maximum(frames, 1)
    return jnp.sum(groups) / jnp.maximum(jnp.sum(frames > 0), 1)
