"""What only a compiled scene says: its distance from C MuJoCo, its speed, its live gradients."""

import math
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel import runtime
from worldmodel.commands.findings import MEND, NOTE, OK, Finding
from worldmodel.episodes.windows import History, known_frames
from worldmodel.errors import InputError
from worldmodel.model import WorldModel, init
from worldmodel.model.simulate import simulate
from worldmodel.physics import oracle
from worldmodel.scene import FreeParameter, Scene
from worldmodel.scene.tangent import difference
from worldmodel.types import Episode

STEPS = 100  # physics steps that are compared
ROBOTS = 64  # simulated at once for the speed
MARGIN = 1e-3  # of the motion, of a difference to C MuJoCo; below: the same engine


def deep(
    scene: Scene, free: tuple[FreeParameter, ...], episode: Episode | None
) -> tuple[list[Finding], dict[str, Any]]:
    """Compiles the scene in MJX: seconds to minutes.

    Args:
      scene: to compile.
      free: whose derivatives are taken.
      episode: whose start and commands are played; the MJCF's initial pose at rest when absent.

    Returns:
      Findings; and the numbers behind them: control steps compared, the largest difference of a
      position to C MuJoCo's after them and how far it moved [m, rad], seconds, physics steps per
      second of ``ROBOTS`` at once, the derivatives by each parameter.

    Raises:
      InputError: the episode has no frame in which every position and velocity is known.
    """
    m, count = scene.mj_model, math.ceil(STEPS / scene.substeps)
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
    speed = ROBOTS * count * scene.substeps / max(time.monotonic() - began, 1e-9)
    reference, _ = oracle.trajectory(m, qpos, qvel, ctrl, scene.substeps)
    error = float(np.abs(difference(scene, reference[-1], predicted[-1])).max())
    moved = float(np.abs(difference(scene, qpos, reference[-1])).max())

    weights = jnp.asarray(np.random.default_rng(0).normal(size=m.nv))

    def travelled(physics: dict) -> jax.Array:
        last = run(parameters | {"physics": physics}, history)[-1]
        return weights @ difference(scene, jnp.asarray(qpos), last)

    gradient_s, gradients = 0.0, {}
    if free:
        with runtime.compiling("the gradient"):
            began = time.monotonic()
            slopes = jax.block_until_ready(jax.jit(jax.grad(travelled))(parameters["physics"]))
            gradient_s = time.monotonic() - began
        gradients = {name: np.asarray(g).tolist() for name, g in slopes.items()}
    level = OK if error < max(MARGIN * moved, 1e-9) else MEND
    text = (
        f"{error:.2g} m or rad from C MuJoCo after {count} frames, in which it moves {moved:.2g}; "
        f"compiled in {compile_s:.0f} s (gradient {gradient_s:.0f} s), {speed:.3g} steps/s"
    )
    numbers = {"steps": count, "error": error, "moved": moved, "compile_s": compile_s}
    numbers |= {"steps_per_s": speed, "gradient_compile_s": gradient_s, "gradients": gradients}
    return [Finding(level, "forward", text), *_live(gradients)], numbers


def _live(gradients: dict[str, list[float]]) -> list[Finding]:
    """Which parameters have a derivative in the frames that were played."""
    broken = [name for name, slopes in gradients.items() if not np.isfinite(slopes).all()]
    dead = [name for name, slopes in gradients.items() if not np.any(slopes)]
    out = [Finding(MEND, "gradient", f"{name}: not finite") for name in broken]
    if dead:
        text = f"none in these frames, where nothing that they change happens: {', '.join(dead)}"
        out.append(Finding(NOTE, "gradient", text))
    text = f"{len(gradients) - len(dead)} of {len(gradients)} parameters have one"
    return [*out, Finding(OK, "gradient", text)]


def _played(
    scene: Scene, episode: Episode | None, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The start, and ``count`` commands from it on."""
    m = scene.mj_model
    if episode is None:
        low, high = m.actuator_ctrlrange.T
        rest = np.where(m.actuator_ctrllimited, np.clip(0.0, low, high), 0.0)
        return m.qpos0.copy(), np.zeros(m.nv), np.tile(rest, (count, 1))
    known = known_frames(episode)
    if not known.any():
        raise InputError(
            f"episode {episode.id}: no frame has every position and velocity, so nothing can be "
            "played from it; give what is not measured an `assumed` value in the columns"
        )
    first = int(np.argmax(known))
    rows = np.minimum(np.arange(first, first + count), len(episode.qpos) - 1)
    return episode.qpos[first], episode.qvel[first], np.nan_to_num(episode.ctrl[rows])
