"""The network: an encoder of the past, a latent transition, and the corrections they give.

One latent vector per robot. The encoder computes it, once, from up to ``HISTORY`` past frames: it
holds what a single frame does not show, such as the noise of its velocity. The transition advances
it by one control step. Frames that do not exist are masked, and training masks frames at random,
so that starts without a history are part of the training (DreamerV3's recurrent state, Hafner et
al. 2023, without its categorical part and its images).

A network is an ensemble: members that differ in their initial weights and in the order of the
data, each with a latent vector of its own; their corrections are averaged (deep ensembles,
Lakshminarayanan et al. 2017).
"""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from worldmodel.episodes.windows import HISTORY, History
from worldmodel.model.features import change, features, rotations
from worldmodel.scene import Scene


@dataclasses.dataclass(frozen=True)
class Network:
    """Sizes of the network; static."""

    latent: int = 24
    width: int = 64
    members: int = 1

    def __post_init__(self) -> None:
        if min(self.latent, self.width, self.members) < 1:
            raise ValueError(f"{self}: give sizes of at least 1")

    def modules(self, nv: int) -> tuple[Any, Any]:
        """One member's ``Encoder`` and ``Transition``, for a scene with ``nv`` degrees of freedom
        (Flax types what ``apply`` returns as a union that no caller can take apart)."""
        return Encoder(self.latent, self.width, nv), Transition(self.latent, self.width, nv)


class Encoder(nn.Module):
    """History → latent, and a correction of the initial velocity."""

    latent: int
    width: int
    nv: int

    @nn.compact
    def __call__(self, now: jax.Array, past: jax.Array, known: jax.Array) -> tuple:
        """
        Args:
          now: (features,) of the start, standardised.
          past: (HISTORY − 1, changes) of the earlier frames, standardised.
          known: (HISTORY − 1,) bool.

        Returns:
          (latent,), (nv,) in units of one standard residual.
        """
        kept = jnp.where(known[:, None], past, 0.0)
        x = jnp.concatenate([now, kept.reshape(-1), known.astype(now.dtype)])
        x = nn.silu(_dense(self.width)(x))
        x = nn.silu(_dense(self.width)(x))
        return jnp.tanh(_dense(self.latent)(x)), _small(self.nv)(x)


class Transition(nn.Module):
    """Latent, present frame and the base step's change of velocity → next latent, correction."""

    latent: int
    width: int
    nv: int

    @nn.compact
    def __call__(self, latent: jax.Array, now: jax.Array, push: jax.Array) -> tuple:
        """
        Args:
          latent: (latent,).
          now: (features,) before the step, standardised.
          push: (nv,) change of velocity by the base step, standardised.

        Returns:
          (latent,), (nv,) in units of one standard residual.
        """
        x = jnp.concatenate([latent, now, push])
        x = nn.silu(_dense(self.width)(x))
        x = nn.silu(_dense(self.width)(x))
        keep = nn.sigmoid(_dense(self.latent)(x) + 2.0)  # initially keeps most of it
        return keep * latent + (1.0 - keep) * jnp.tanh(_dense(self.latent)(x)), _small(self.nv)(x)


def _dense(width: int) -> nn.Dense:
    return nn.Dense(width, param_dtype=float)


def _small(width: int) -> nn.Dense:
    """Its output starts at zero: an untrained hybrid model equals its physics."""
    return nn.Dense(width, param_dtype=float, kernel_init=nn.initializers.zeros)


def init(network: Network, scene: Scene, key: jax.Array) -> dict[str, Any]:
    """Weights, and the constants that standardise inputs and outputs (neutral until fitted).

    Returns:
      ``{"weights": {"encoder": …, "transition": …}, "norm": {…}}``; weights (members, …).
    """
    m = scene.mj_model
    now = features(scene, jnp.asarray(m.qpos0), jnp.zeros(m.nv), jnp.zeros(m.nu))
    qpos, qvel = jnp.asarray(m.qpos0), jnp.zeros(m.nv)
    past = change(scene, rotations(scene, qpos), (qpos, qpos), (qvel, qvel))
    encoder, transition = network.modules(m.nv)

    def member(key: jax.Array) -> dict[str, Any]:
        first, second = jax.random.split(key)
        frames, known = jnp.zeros((HISTORY - 1, past.size)), jnp.zeros(HISTORY - 1, bool)
        return {
            "encoder": encoder.init(first, now, frames, known),
            "transition": transition.init(second, jnp.zeros(network.latent), now, jnp.zeros(m.nv)),
        }

    norm = {
        "now": (jnp.zeros(now.size), jnp.ones(now.size)),
        "past": (jnp.zeros(past.size), jnp.ones(past.size)),
        "push": (jnp.zeros(m.nv), jnp.ones(m.nv)),
        "residual": jnp.ones(m.nv),
    }
    return {"weights": jax.vmap(member)(jax.random.split(key, network.members)), "norm": norm}


def standardised(norm: tuple[jax.Array, jax.Array], x: jax.Array) -> jax.Array:
    """(x − mean) / deviation, clipped to ±5, near the training data. Values that are not finite
    count as the mean: the state still holds them, and the weights, which all windows of a batch
    share, get no gradient that is not finite from them."""
    mean, deviation = jax.lax.stop_gradient(norm)
    x = jnp.where(jnp.isfinite(x), x, mean)
    return jnp.clip((x - mean) / deviation, -5.0, 5.0)


def encode(
    network: Network, scene: Scene, parameters: Any, history: History
) -> tuple[jax.Array, jax.Array]:
    """History → the members' latent states and their mean correction of the initial velocity.

    Args:
      parameters: as of ``init``.

    Returns:
      (members, latent); (nv,) [m/s, rad/s], linear velocities of free bodies in their frames.
    """
    encoder, _ = network.modules(scene.mj_model.nv)
    now, past = history_features(scene, history)
    norm = parameters["norm"]
    z, g = jax.vmap(encoder.apply, (0, None, None, None))(
        parameters["weights"]["encoder"],
        standardised(norm["now"], now),
        standardised(norm["past"], past),
        jnp.asarray(history.known)[1:],
    )
    return z, g.mean(axis=0) * norm["residual"]


def advance(
    network: Network, scene: Scene, parameters: Any, z: jax.Array, now: jax.Array, push: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """One control step of the latent states, and the members' mean correction.

    Args:
      parameters: as of ``init``.
      z: (members, latent).
      now: (features,) before the step; push: (nv,) change of velocity by the base step, linear
        velocities of free bodies in their frames.

    Returns:
      (members, latent); (nv,) the correction, in units of velocity, in the same frames.
    """
    _, transition = network.modules(scene.mj_model.nv)
    norm = parameters["norm"]
    z, g = jax.vmap(transition.apply, (0, 0, None, None))(
        parameters["weights"]["transition"],
        z,
        standardised(norm["now"], now),
        standardised(norm["push"], push),
    )
    return z, finite_gradient(g.mean(axis=0)) * jax.lax.stop_gradient(norm["residual"])


@jax.custom_vjp
def finite_gradient(g: jax.Array) -> jax.Array:
    """``g``; a gradient that is not finite stops here. All windows of a batch share the weights,
    so that one contact that cannot be differentiated would spoil the gradient of all. The fit
    counts such windows by the gradient of the physics."""
    return g


finite_gradient.defvjp(
    lambda g: (g, None), lambda _, c: (jnp.where(jnp.isfinite(c).all(), c, 0.0),)
)


def history_features(scene: Scene, history: History) -> tuple[jax.Array, jax.Array]:
    """The encoder's inputs before standardising: (features,), (HISTORY − 1, changes)."""
    qpos, qvel, ctrl = (jnp.asarray(x) for x in (history.qpos, history.qvel, history.ctrl))
    now = features(scene, qpos[0], qvel[0], jnp.zeros_like(ctrl[0]))
    rotation = rotations(scene, qpos[0])
    past = jax.vmap(lambda q, v: change(scene, rotation, (qpos[0], q), (qvel[0], v)))
    return now, past(qpos[1:], qvel[1:])
