"""An autoregressive network without physics: a GRU that is trained on its own predictions.

The recipe is that of the Robotic World Model (Li, Krause and Hutter 2025, arXiv:2501.10100): two
GRU layers are warmed up on the recorded frames before a start and then fed with their own
predictions, each a Gaussian; the loss is summed over the rollout. Inputs are the features of
``worldmodel.model.features``, outputs are changes of velocity in the bodies' frames, so that the
network has the symmetries of the hybrid's: it does not depend on place or heading. The weight of
each error by its own predicted variance is that of the β-NLL (Seitzer et al. 2022,
arXiv:2203.09168), with soft bounds on the variance (Chua et al. 2018, arXiv:1805.12114).
"""

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from worldmodel.episodes.windows import Windows, known_frames
from worldmodel.model.features import features, rotations, to_body, to_world
from worldmodel.model.network import standardised
from worldmodel.scene import Scene
from worldmodel.scene.tangent import difference, integrate, measured_dofs
from worldmodel.types import Episode

BETA = 0.5  # of the β-NLL
BOUND = 10.0  # of the logarithm of a variance, whose unit is ``norm["speed"]``, either way

Parameters = dict[str, Any]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Stretch:
    """Windows with a past of any length, oldest frame first; the last one is the start."""

    qpos: Any  # (windows, memory, nq)
    qvel: Any  # (windows, memory, nv)
    past: Any  # (windows, memory − 1, nu) commands before the start
    known: Any  # (windows, memory) bool; an unknown frame repeats the start
    ctrl: Any  # (windows, horizon, nu)
    target: Any  # (windows, horizon, nq)
    velocity: Any  # (windows, horizon, nv)
    weight: Any  # (windows, horizon, 2 nv) 1 where the pose, then the velocity, is scored; else 0


class Cell(nn.Module):
    """One step of the network."""

    width: int
    nv: int

    @nn.compact
    def __call__(self, memory: tuple, x: jax.Array) -> tuple[tuple, tuple[jax.Array, jax.Array]]:
        """
        Args:
          memory: two vectors (width,).
          x: (features,), standardised.

        Returns:
          the next memory; (2 nv,) the mean change of the velocity, then what the pose moves beyond
          the new velocity, in standard ones; (2 nv,) the logarithm of the variances of pose and
          velocity after the step.
        """
        first, y = nn.GRUCell(self.width, param_dtype=float)(memory[0], x)
        second, y = nn.GRUCell(self.width, param_dtype=float)(memory[1], y)
        y = nn.silu(nn.Dense(self.width, param_dtype=float)(y))
        # Zero at first: an untrained network keeps the velocity.
        head = functools.partial(nn.Dense, param_dtype=float, kernel_init=nn.initializers.zeros)
        mean, spread = head(2 * self.nv)(y), head(2 * self.nv)(y)
        upper = BOUND - nn.softplus(BOUND - spread)
        return (first, second), (mean, nn.softplus(upper + BOUND) - BOUND)


def stretches(scene: Scene, episodes: Sequence[Episode], windows: Windows, memory: int) -> Stretch:
    """Windows that ``WindowGrid.cut`` cut out of the episodes, with up to ``memory`` frames of
    their past, the start included. What was not measured has no weight."""
    assert windows.frame is not None
    lengths = np.array([len(e.qpos) for e in episodes])
    offset = np.concatenate([[0], np.cumsum(lengths)])[np.asarray(windows.episode)]
    qpos, qvel, ctrl = (
        np.concatenate([getattr(e, name) for e in episodes]) for name in ("qpos", "qvel", "ctrl")
    )
    usable = np.concatenate([e.valid & known_frames(e) for e in episodes])
    lags = np.arange(memory)[::-1]
    at = np.asarray(windows.frame)[:, None] - lags
    rows = offset[:, None] + np.maximum(at, 0)
    known = (at >= 0) & (usable[rows] | (lags == 0))
    known = np.logical_and.accumulate(known[:, ::-1], axis=1)[:, ::-1]
    rows = np.where(known, rows, rows[:, -1:])

    after = np.asarray(windows.frame)[:, None] + np.arange(1, windows.target.shape[1] + 1)
    after = np.minimum(after, lengths[np.asarray(windows.episode)][:, None] - 1)
    velocity = qvel[offset[:, None] + after]
    scored, target = np.asarray(windows.scored)[..., None], np.asarray(windows.target)
    measured = np.isfinite(target) if windows.measured is None else np.asarray(windows.measured)
    counts = np.concatenate([measured_dofs(scene, measured), np.isfinite(velocity)], axis=2)
    return Stretch(
        qpos=qpos[rows],
        qvel=qvel[rows],
        past=ctrl[rows[:, :-1]],
        known=known,
        ctrl=np.asarray(windows.ctrl),
        # Filled, since a weight of 0 alone would let what is unknown, NaN, into the gradient.
        target=np.where(measured, target, qpos[rows[:, -1:]]),
        velocity=np.where(np.isfinite(velocity), velocity, qvel[rows[:, -1:]]),
        weight=(counts & scored).astype(float),
    )


def init(scene: Scene, episodes: Sequence[Episode], width: int, key: jax.Array) -> Parameters:
    """Weights, and the constants that standardise inputs and outputs, from training episodes.

    An untrained network keeps the velocity. Constants: ``now`` (mean, deviation) of the features;
    ``output`` (2 nv,) deviations of a frame's change of velocity and of what the pose moves beyond
    the new velocity [m/s, rad/s]; ``speed`` (nv,) deviation of the velocity [m/s, rad/s].
    """
    pairs = []
    for e in episodes:  # of a frame and the one after
        usable = e.valid & known_frames(e)
        rows = np.flatnonzero(usable[:-1] & usable[1:])
        pairs.append((e.qpos[rows], e.qvel[rows], e.ctrl[rows], e.qpos[rows + 1], e.qvel[rows + 1]))

    @jax.jit
    @jax.vmap
    def measure(qpos: Any, qvel: Any, ctrl: Any, later: Any, velocity: Any) -> tuple:
        rotation = rotations(scene, qpos)
        moved = difference(scene, qpos, later) * scene.control_hz
        body = [to_body(scene, rotation, x) for x in (velocity - qvel, moved - velocity, qvel)]
        return features(scene, qpos, qvel, ctrl), *body

    columns = (jnp.asarray(np.concatenate(column)) for column in zip(*pairs, strict=True))
    now, *others = measure(*columns)
    scale, push, slip, speed = (  # 1 where a column is constant
        jnp.where(x.std(axis=0) > 1e-6, x.std(axis=0), 1.0) for x in (now, *others)
    )
    memory, cell = jnp.zeros(width), Cell(width, scene.mj_model.nv)
    return {
        "weights": cell.init(key, (memory, memory), now[0]),
        "norm": {
            "now": (now.mean(axis=0), scale),
            "output": jnp.concatenate([push, slip]),
            "speed": speed,
        },
    }


def rollout(
    scene: Scene, parameters: Parameters, stretch: Stretch
) -> tuple[tuple[jax.Array, ...], tuple[jax.Array, ...]]:
    """What the network predicts of one window (no leading dimension).

    Returns:
      One frame on from each frame of the past, and then from the start on with its own predictions:
      (frames, nq) and (frames, nv) mean positions and velocities; (frames, 2 nv) logarithms of the
      variances of pose and velocity, in units of (``speed`` / control rate, ``speed``). The first
      of both has memory − 1 frames, the second horizon.
    """
    norm, nv = parameters["norm"], scene.mj_model.nv
    width = parameters["weights"]["params"]["Dense_0"]["bias"].size
    cell: Any = Cell(width, nv)

    def inputs(qpos: jax.Array, qvel: jax.Array, ctrl: jax.Array) -> jax.Array:
        return standardised(norm["now"], features(scene, qpos, qvel, ctrl))

    def moved(qpos: jax.Array, qvel: jax.Array, mean: jax.Array) -> tuple[jax.Array, jax.Array]:
        rotation, change = rotations(scene, qpos), mean * norm["output"]
        push, slip = (to_world(scene, rotation, x) for x in (change[:nv], change[nv:]))
        qvel = qvel + push
        return integrate(scene, qpos, qvel + slip, 1.0 / scene.control_hz), qvel

    def remember(memory: tuple, frame: tuple[jax.Array, jax.Array]) -> tuple[tuple, tuple]:
        x, known = frame
        after, out = cell.apply(parameters["weights"], memory, x)
        return jax.tree.map(lambda a, b: jnp.where(known, a, b), after, memory), out

    def step(carry: tuple, ctrl: jax.Array) -> tuple[tuple, tuple]:
        memory, qpos, qvel = carry
        memory, (mean, spread) = cell.apply(parameters["weights"], memory, inputs(qpos, qvel, ctrl))
        qpos, qvel = moved(qpos, qvel, mean)
        return (memory, qpos, qvel), (qpos, qvel, spread)

    nothing, past = jnp.zeros(width), (stretch.qpos[:-1], stretch.qvel[:-1])
    seen = jax.vmap(inputs)(*past, stretch.past), stretch.known[:-1]
    memory, (mean, spread) = jax.lax.scan(remember, (nothing, nothing), seen)
    start = memory, stretch.qpos[-1], stretch.qvel[-1]
    return (*jax.vmap(moved)(*past, mean), spread), jax.lax.scan(step, start, stretch.ctrl)[1]


def loss(scene: Scene, parameters: Parameters, stretch: Stretch) -> jax.Array:
    """β-NLL of one window: the mean over its frames, and that of one frame on from each frame of
    its past."""
    speed = parameters["norm"]["speed"]

    def likelihood(predicted: tuple, qpos: Any, qvel: Any, weight: Any) -> jax.Array:
        spread = predicted[2]
        pose = difference(scene, qpos, predicted[0]) * scene.control_hz / speed
        error = jnp.concatenate([pose, (predicted[1] - qvel) / speed], axis=-1)
        terms = 0.5 * (spread + jnp.square(error) * jnp.exp(-spread))
        terms = terms * jax.lax.stop_gradient(jnp.exp(BETA * spread))
        return jnp.sum(terms * weight) / jnp.maximum(jnp.sum(weight), 1.0)

    one, own = rollout(scene, parameters, stretch)
    known = jnp.broadcast_to(stretch.known[:-1, None], one[2].shape)
    return likelihood(one, stretch.qpos[1:], stretch.qvel[1:], known) + likelihood(
        own, stretch.target, stretch.velocity, stretch.weight
    )
