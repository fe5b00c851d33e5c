"""The loss of an open-loop window: smooth, robust, in units of a reference's errors."""

import jax
import jax.numpy as jnp

from worldmodel.dynamics import Parameters, WorldModel
from worldmodel.episodes.recordings import Channels
from worldmodel.predict import Windows, predict


def window_errors(predicted: jax.Array, target: jax.Array, channels: Channels) -> jax.Array:
    """Squared errors per frame, smooth everywhere: (…, 3) position [m²], rotation and joints
    [rad²]; 0 where the scene has no such channel.

    The rotation's is that of the chord, 4‖vec(q⁻¹ q̂)‖², equal to the angle's to third order.
    """
    position, angle, joints = (
        jnp.asarray(c, int) for c in (channels.position, channels.angle, channels.joints)
    )

    def squared(index: jax.Array) -> jax.Array:
        return jnp.square(predicted[..., index] - target[..., index])

    rotation = 2.0 * (1.0 - jnp.cos(predicted[..., angle] - target[..., angle])).sum(-1)
    if channels.quaternion:
        q = predicted[..., jnp.asarray(channels.quaternion)]
        p = target[..., jnp.asarray(channels.quaternion)]
        rotation = 4.0 * (1.0 - jnp.square(jnp.sum(q * p, axis=-1)))
    turned = 2.0 * (1.0 - jnp.cos(predicted[..., joints] - target[..., joints]))
    turned = turned.mean(-1) if channels.joints else jnp.zeros(predicted.shape[:-1])
    return jnp.stack([squared(position).sum(-1), rotation, turned], axis=-1)


def window_loss(
    world: WorldModel,
    channels: Channels,
    huber: float,
    scale: jax.Array,
    parameters: Parameters,
    window: Windows,
) -> jax.Array:
    """Mean over the scored frames and the scene's channels of a pseudo-Huber error.

    Args:
      huber: errors below this multiple of ``scale`` count quadratically.
      scale: (3,) errors of reference, position [m], rotation and joints [rad]; NaN where the
        scene has no such channel.
      window: one window (no leading dimension).
    """
    predicted = predict(world, parameters, window)
    squared = window_errors(predicted, window.target, channels)
    has = jnp.isfinite(scale)
    relative = jnp.where(has, squared / jnp.square(jnp.where(has, scale * huber, 1.0)), 0.0)
    robust = huber * (jnp.sqrt(1.0 + relative) - 1.0)
    frames = jnp.sum(window.scored)
    return jnp.sum(robust * window.scored[:, None]) / (frames * jnp.sum(has))
