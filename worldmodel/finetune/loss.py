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

    # Sines, not 1 − cosines: near zero these round to less than nothing in single precision.
    def chord(index: jax.Array) -> jax.Array:
        return jnp.square(2.0 * jnp.sin(0.5 * (predicted[..., index] - target[..., index])))

    rotation = chord(angle).sum(-1)
    if channels.quaternion:
        p, q = (x[..., jnp.asarray(channels.quaternion)] for x in (target, predicted))
        vector = p[..., :1] * q[..., 1:] - q[..., :1] * p[..., 1:]
        vector -= jnp.cross(p[..., 1:], q[..., 1:])
        rotation = 4.0 * jnp.square(vector).sum(-1)
    turned = jnp.zeros(predicted.shape[:-1])
    if channels.joints:
        turned = chord(joints).mean(-1)
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
