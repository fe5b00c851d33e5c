"""What only a compiled scene says: its distance from C MuJoCo, its speed, its live gradients."""

import dataclasses
import math
import time

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel import runtime
from worldmodel.episodes.windows import History
from worldmodel.errors import InputError
from worldmodel.model import WorldModel, init
from worldmodel.model.simulate import simulate
from worldmodel.physics import oracle
from worldmodel.scene import FreeParameter, Scene
from worldmodel.scene.tangent import difference
from worldmodel.types import Episode

STEPS = 100  # physics steps that are compared
ROBOTS = 64  # simulated at once for the speed


@dataclasses.dataclass(frozen=True)
class Deep:
    """Measured in MJX."""

    steps: int  # control steps compared
    error: float  # largest difference of a position to C MuJoCo's after them [m, rad]
    moved: float  # largest change of a position meanwhile
    compile_s: float
    steps_per_s: float  # physics steps, of ``ROBOTS`` at once
    gradient_compile_s: float
    gradients: dict[str, list[float]]  # parameter → derivative by each of its numbers


def deep(scene: Scene, free: tuple[FreeParameter, ...], episode: Episode | None) -> Deep:
    """Compiles the scene in MJX: seconds to minutes.

    Args:
      scene: to compile.
      free: whose derivatives are taken.
      episode: whose start and commands are played; the MJCF's initial pose at rest when absent.

    Raises:
      InputError: the episode has no frame in which every position and velocity is known.
    """
    m = scene.mj_model
    count = math.ceil(STEPS / scene.substeps)
    qpos, qvel, ctrl = _played(scene, episode, count)
    world = WorldModel(scene, free)
    parameters = init(world, jax.random.key(0))
    history = History.without_past(jnp.asarray(qpos), jnp.asarray(qvel), m.nu)

    def run(parameters: dict, history: History) -> jax.Array:
        return simulate(world, parameters, history, jnp.asarray(ctrl)).qpos

    many = jax.tree.map(lambda x: jnp.broadcast_to(x, (ROBOTS, *x.shape)), history)
    forward = jax.jit(jax.vmap(run, (None, 0)))
    with runtime.compiling(f"{count} control steps of {ROBOTS} robots"):
        began = time.monotonic()
        predicted = np.asarray(forward(parameters, many))[0]
        compile_s = time.monotonic() - began
    began = time.monotonic()
    jax.block_until_ready(forward(parameters, many))
    steps = ROBOTS * count * scene.substeps / max(time.monotonic() - began, 1e-9)
    reference, _ = oracle.trajectory(m, qpos, qvel, ctrl, scene.substeps)

    weights = jnp.asarray(np.random.default_rng(0).normal(size=m.nv))

    def moved(physics: dict) -> jax.Array:
        last = run(parameters | {"physics": physics}, history)[-1]
        return weights @ difference(scene, jnp.asarray(qpos), last)

    gradient_s, gradients = 0.0, {}
    if free:
        with runtime.compiling("the gradient"):
            began = time.monotonic()
            slopes = jax.block_until_ready(jax.jit(jax.grad(moved))(parameters["physics"]))
            gradient_s = time.monotonic() - began
        gradients = {name: np.asarray(g).tolist() for name, g in slopes.items()}
    return Deep(
        steps=count,
        error=float(np.abs(difference(scene, reference[-1], predicted[-1])).max()),
        moved=float(np.abs(difference(scene, qpos, reference[-1])).max()),
        compile_s=compile_s,
        steps_per_s=steps,
        gradient_compile_s=gradient_s,
        gradients=gradients,
    )


def _played(
    scene: Scene, episode: Episode | None, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    m = scene.mj_model
    if episode is None:
        low, high = m.actuator_ctrlrange.T
        rest = np.where(m.actuator_ctrllimited, np.clip(0.0, low, high), 0.0)
        return m.qpos0.copy(), np.zeros(m.nv), np.tile(rest, (count, 1))
    known = np.isfinite(episode.qpos).all(1) & np.isfinite(episode.qvel).all(1)
    if not known.any():
        raise InputError(
            f"episode {episode.id}: no frame has every position and velocity, so nothing can be "
            "played from it; give what is not measured an `assumed` value in the columns"
        )
    first = int(np.argmax(known))
    rows = np.minimum(np.arange(first, first + count), len(episode.qpos) - 1)
    return episode.qpos[first], episode.qvel[first], np.nan_to_num(episode.ctrl[rows])
