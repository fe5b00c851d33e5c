"""The network: an encoder of the past, a latent transition, and the corrections they give.

One latent vector per robot. The encoder computes it, once, from up to ``HISTORY`` past frames: it
holds what a single frame does not show, such as the noise of its velocity. The transition advances
it by one control step. Frames that do not exist are masked, and training masks frames at random,
so that starts without a history are part of the training (DreamerV3's recurrent state, Hafner et
al. 2023, without its categorical part and its images).

What is here is one member of an ensemble (``model.ensemble``). A second network gives the variance
that every step adds to the predicted pose, its logarithm softly bounded (PETS, Chua et al. 2018):
of one number for each joint, and two for each free body, its place and its rotation, so that it
does not depend on a heading. It sees what the transition sees, and no derivative of its likelihood
reaches the rest: on a real arm one network with one loss for both (β-NLL, Seitzer et al. 2022)
predicted 5 to 10 % worse (a prototype, one seed).
"""

import dataclasses
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from worldmodel.episodes.windows import HISTORY, History
from worldmodel.model.features import change, features, layout, rotations
from worldmodel.scene import Scene

LOG_VARIANCE = (-12.0, 4.0)  # bounds of a step's, in units of ``norm["spread"]`` squared
GATE_STEPS = 2 ** np.arange(13) - 1  # control steps since the start at which a gate has its values


@dataclasses.dataclass(frozen=True)
class Network:
    """Sizes of the network; static."""

    latent: int = 24  # 0: without a memory
    width: int = 64
    members: int = 1  # of the ensemble; each has its own weights and physics

    def __post_init__(self) -> None:
        if self.latent < 0 or min(self.width, self.members) < 1:
            raise ValueError(f"{self}: give a width and members of at least 1, a latent from 0 on")

    def modules(self, scene: Scene) -> tuple[Any, Any, Any]:
        """``Encoder``, ``Transition`` and ``Spread`` for a scene (Flax types what ``apply`` returns
        as a union that no caller can take apart)."""
        nv, count = scene.mj_model.nv, int(blocks(scene).max(initial=-1)) + 1
        sizes = self.latent, self.width, nv
        return Encoder(*sizes), Transition(*sizes), Spread(self.width, count)


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
        g = _small(self.nv)(x)
        return (jnp.tanh(_dense(self.latent)(x)) if self.latent else x[:0]), g


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
        g = _small(self.nv)(x)
        if not self.latent:
            return latent, g
        keep = nn.sigmoid(_dense(self.latent)(x) + 2.0)  # initially keeps most of it
        return keep * latent + (1.0 - keep) * jnp.tanh(_dense(self.latent)(x)), g


class Spread(nn.Module):
    """What the transition sees → the logarithm of the variance that the step adds, (count,)."""

    width: int
    count: int

    @nn.compact
    def __call__(self, latent: jax.Array, now: jax.Array, push: jax.Array) -> jax.Array:
        """The arguments are those of ``Transition``."""
        x = jax.lax.stop_gradient(jnp.concatenate([latent, now, push]))
        x = nn.silu(_dense(self.width)(x))
        low, high = LOG_VARIANCE
        log = high - nn.softplus(high - _small(self.count)(x))
        return low + nn.softplus(log - low)


def _dense(width: int) -> nn.Dense:
    return nn.Dense(width, param_dtype=float)


def _small(width: int) -> nn.Dense:
    """Its output starts at zero: an untrained hybrid model equals its physics."""
    return nn.Dense(width, param_dtype=float, kernel_init=nn.initializers.zeros)


@functools.lru_cache(maxsize=64)
def blocks(scene: Scene) -> np.ndarray:
    """(nv,) which number of a step's variance each degree of freedom has."""
    where, block = layout(scene), np.zeros(scene.mj_model.nv, int)
    for i, (_, v) in enumerate(where.free):
        block[v : v + 3], block[v + 3 : v + 6] = 2 * i, 2 * i + 1
    for i, (_, v) in enumerate((*where.hinges, *where.slides)):
        block[v] = 2 * len(where.free) + i
    return block


def init(network: Network, scene: Scene, key: jax.Array) -> dict[str, Any]:
    """Weights of one member: ``{"encoder": …, "transition": …, "spread": …}``."""
    m = scene.mj_model
    norm = neutral(scene)
    now, past = (jnp.zeros(norm[name][0].size) for name in ("now", "past"))
    encoder, transition, spread = network.modules(scene)
    first, second, third = jax.random.split(key, 3)
    seen = jnp.zeros(network.latent), now, jnp.zeros(m.nv)
    frames, known = jnp.zeros((HISTORY - 1, past.size)), jnp.zeros(HISTORY - 1, bool)
    return {
        "encoder": encoder.init(first, now, frames, known),
        "transition": transition.init(second, *seen),
        "spread": spread.init(third, *seen),
    }


def neutral(scene: Scene) -> dict[str, Any]:
    """Constants that standardise inputs and outputs, until they are measured: pairs of a mean and a
    deviation, and units."""
    m = scene.mj_model
    now = features(scene, jnp.asarray(m.qpos0), jnp.zeros(m.nv), jnp.zeros(m.nu))
    qpos, qvel = jnp.asarray(m.qpos0), jnp.zeros(m.nv)
    past = change(scene, rotations(scene, qpos), (qpos, qpos), (qvel, qvel))
    return {
        "now": (jnp.zeros(now.size), jnp.ones(now.size)),
        "past": (jnp.zeros(past.size), jnp.ones(past.size)),
        "push": (jnp.zeros(m.nv), jnp.ones(m.nv)),
        "residual": jnp.ones(m.nv),  # of a correction
        "spread": jnp.ones(m.nv),  # [m, rad] of the deviation that a step adds to the pose
    }


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
    """History → the latent state and a correction of the initial velocity.

    Args:
      parameters: ``{"weights": …, "norm": …}`` of one member.

    Returns:
      (latent,); (nv,) [m/s, rad/s], linear velocities of free bodies in their frames.
    """
    encoder, _, _ = network.modules(scene)
    now, past = history_features(scene, history)
    norm = parameters["norm"]
    z, g = encoder.apply(
        parameters["weights"]["encoder"],
        standardised(norm["now"], now),
        standardised(norm["past"], past),
        jnp.asarray(history.seen)[1:],
    )
    return z, g * norm["residual"]


def advance(
    network: Network, scene: Scene, parameters: Any, z: jax.Array, now: jax.Array, push: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """One control step of the latent state, and what it gives.

    Args:
      parameters: ``{"weights": …, "norm": …}`` of one member.
      z: (latent,).
      now: (features,) before the step; push: (nv,) change of velocity by the base step, linear
        velocities of free bodies in their frames.

    Returns:
      (latent,); (nv,) the correction, in units of velocity, in the same frames; (nv,) the variance
      [m², rad²] that the step adds to the pose.
    """
    _, transition, spread = network.modules(scene)
    norm, weights = jax.lax.stop_gradient(parameters["norm"]), parameters["weights"]
    seen = z, standardised(norm["now"], now), standardised(norm["push"], push)
    log = spread.apply(weights["spread"], *seen)
    z, g = transition.apply(weights["transition"], *seen)
    variance = jnp.square(norm["spread"]) * jnp.exp(log)[blocks(scene)]
    return z, finite_gradient(g) * norm["residual"], variance


def gate_at(gate: jax.Array, step: jax.Array) -> jax.Array:
    """The gate at a control step since the start: linear in the logarithm between its values at
    ``GATE_STEPS``, and the last of them beyond."""
    return jnp.interp(jnp.log2(step + 1.0), jnp.arange(float(len(GATE_STEPS))), gate)


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
    qpos, qvel = jnp.asarray(history.qpos), jnp.asarray(history.qvel)
    now = features(scene, qpos[0], qvel[0], None)
    rotation = rotations(scene, qpos[0])
    past = jax.vmap(lambda q, v: change(scene, rotation, (qpos[0], q), (qvel[0], v)))
    return now, past(qpos[1:], qvel[1:])
