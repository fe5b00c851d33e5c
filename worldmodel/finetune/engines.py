"""Errors of predicted windows, and their derivatives in physics and start: two engines.

``mjx`` differentiates the simulator forward, one tangent per unknown, all of them and all windows
of a batch in one compiled call; its memory does not grow with the horizon. ``c`` makes C
MuJoCo's model anew for every difference and rolls all windows out on all cores. The unknowns are
the numbers of the free parameters, then, where starts are free, a shift of each window's start.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel import physics
from worldmodel._mujoco import mujoco
from worldmodel.episodes.windows import Windows
from worldmodel.errors import InputError
from worldmodel.finetune.moved import compiled, unpacked
from worldmodel.model import Physics, WorldModel, start
from worldmodel.model.calibration import as_logged, calibrated
from worldmodel.model.simulate import predict
from worldmodel.physics import parameters as physical
from worldmodel.runtime.devices import in_batches
from worldmodel.runtime.executables import cached_jit
from worldmodel.scene import Scene
from worldmodel.scene.replay import Replayer, controlled
from worldmodel.scene.tangent import integrate, measured_difference
from worldmodel.scene.unfinished import CONVERGED, Solves
from worldmodel.types import State

ENGINES = ("mjx", "c")
# Widths of the C engine's differences: forward ones in the numbers, since a central one costs twice
# as many rollouts, central ones in the starts. A contact is a fraction of a millimetre deep.
DIFFERENCE = 1e-4  # of a number [prior widths]
POSE_DIFFERENCE, RATE_DIFFERENCE = 1e-6, 1e-4  # of a start [m, rad], [m/s, rad/s]
# Tangents, windows times unknowns, in one compiled call: more are no faster, and on a CPU XLA
# (jaxlib 0.10.2) hangs at 4096 and more contact solves in one call.
TANGENTS = 512

OfWindows = Callable[[np.ndarray, np.ndarray, Windows], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Engine:
    """All take ``u`` (numbers,), ``shift`` (windows, 0 or 2 nv) and windows."""

    # → (windows, horizon, nv) predicted − recorded [m, rad]; 0 where not scored or not measured
    errors: OfWindows
    # → the same, and (windows, horizon, nv, numbers + shift) its derivative; ``width``
    # and ``central`` say over which differences of the numbers, where the engine takes any
    slopes: Callable[..., tuple[np.ndarray, np.ndarray]]
    # → (windows,) bool: whether a contact solve of a scored frame ran out of iterations, so that
    # its values are broken off, while their derivative is that of the optimum: the remaining Newton
    # step exceeds ``CONVERGED`` times the largest acceleration (or 1 m/s², rad/s²)
    unconverged: OfWindows


@functools.lru_cache(maxsize=16)
def make_engine(world: WorldModel, name: str, batch: int) -> Engine:
    """An engine for a physics model.

    Args:
      world: without a network.
      name: ``mjx`` or ``c``.
      batch: windows per compiled call at most (mjx).

    Raises:
      InputError: an unknown engine, or a model with a network or without physics.
      ParameterError: a parameter that the scene does not have.
    """
    physical.check(world.scene, world.free)
    if not isinstance(world.base, Physics):
        raise InputError(f"a {world.name} model has no physics to identify; give one with a base")
    if world.learns:
        raise InputError(
            f"a {world.name} model has weights; identify its physics: world.without_network()"
        )
    if name not in ENGINES:
        raise InputError(f"engine '{name}' is none of {', '.join(ENGINES)}")
    return _mjx(world, batch) if name == "mjx" else _c(world)


def _moved(world: WorldModel, window: Windows, shift: jax.Array) -> Windows:
    """A window whose start is shifted: its pose by the first half, its velocity by the second."""
    if not shift.shape[0]:
        return window
    nv, history = world.scene.mj_model.nv, window.history
    qpos = integrate(world.scene, jnp.asarray(history.qpos[0]), shift[:nv], 1.0)
    started = dataclasses.replace(
        history,
        qpos=jnp.asarray(history.qpos).at[0].set(qpos),
        qvel=jnp.asarray(history.qvel).at[0].add(shift[nv:]),
    )
    return dataclasses.replace(window, history=started)


def _error(world: WorldModel, predicted: jax.Array, window: Windows) -> jax.Array:
    error = measured_difference(world.scene, window.target, predicted, window.measured)
    return jnp.where(jnp.asarray(window.scored)[:, None], error, 0.0)


def _mjx(world: WorldModel, batch: int) -> Engine:
    def error_of(u: jax.Array, shift: jax.Array, window: Windows) -> jax.Array:
        parameters = {"physics": unpacked(world, u), "network": {}}
        return _error(world, predict(world, parameters, _moved(world, window, shift)), window)

    def twice(*x: Any) -> tuple[jax.Array, jax.Array]:
        error = error_of(*x)
        return error, error

    def both(u: jax.Array, shift: jax.Array, window: Windows) -> tuple[jax.Array, jax.Array]:
        slope, error = jax.jacfwd(twice, argnums=(0, 1), has_aux=True)(u, shift, window)
        return error, jnp.concatenate(slope, axis=-1)

    @cached_jit(world)
    def value(u: jax.Array, shift: jax.Array, windows: Windows) -> jax.Array:
        return jax.vmap(error_of, (None, 0, 0))(u, shift, windows)

    @cached_jit(world)
    def derivative(u: jax.Array, shift: jax.Array, windows: Windows) -> tuple:
        return jax.vmap(both, (None, 0, 0))(u, shift, windows)

    def errors(u: np.ndarray, shift: np.ndarray, windows: Windows) -> np.ndarray:
        return in_batches(value, batch, jnp.asarray(u), shift, windows)

    def slopes(
        u: np.ndarray,
        shift: np.ndarray,
        windows: Windows,
        width: float = DIFFERENCE,
        central: bool = False,
    ) -> tuple:
        del width, central  # the derivative is exact
        size = min(batch, max(1, TANGENTS // max(1, len(u) + shift.shape[1])))
        return in_batches(derivative, size, jnp.asarray(u), shift, windows)

    @cached_jit(world)
    def flag(u: jax.Array, shift: jax.Array, windows: Windows) -> jax.Array:
        return jax.vmap(functools.partial(_unconverged, world), (None, 0, 0))(u, shift, windows)

    def flags(u: np.ndarray, shift: np.ndarray, windows: Windows) -> np.ndarray:
        return in_batches(flag, batch, jnp.asarray(u), shift, windows)

    return Engine(errors, slopes, flags)


def _unconverged(world: WorldModel, u: jax.Array, shift: jax.Array, window: Windows) -> jax.Array:
    """Whether one window's prediction by MJX rests on a broken-off contact solve."""
    scene, numbers = world.scene, unpacked(world, u)
    model = physical.apply(scene, scene.mjx_model(), world.free, numbers)

    def frame(state: State, ctrl: jax.Array) -> tuple[State, jax.Array]:
        after, remaining = physics.solver_residuals(scene, model, state, ctrl)
        return after, ~(remaining <= CONVERGED).all()  # NaN is not

    window = calibrated(scene, world.free, numbers, _moved(world, window, shift))
    begin = start(world, {"physics": numbers, "network": {}}, window.history)
    _, bad = jax.lax.scan(frame, begin, jnp.asarray(window.ctrl, float))
    return (bad & window.scored).any()


def _c(world: WorldModel) -> Engine:
    scene = world.scene
    model_at = compiled(world)

    def seen(u: jax.Array, window: Windows, shift: jax.Array) -> Windows:
        return calibrated(scene, world.free, unpacked(world, u), _moved(world, window, shift))

    def missed(u: jax.Array, predicted: jax.Array, window: Windows) -> jax.Array:
        logged = as_logged(scene, world.free, unpacked(world, u), predicted)
        return _error(world, logged, window)

    begun = jax.jit(jax.vmap(seen, (None, 0, 0)))
    compare = jax.jit(jax.vmap(missed, (None, 0, 0)))

    def at(u: np.ndarray) -> Replayer:
        return Replayer(model_at(u))

    def play(replayer: Replayer, u: np.ndarray, shift: np.ndarray, windows: Windows) -> np.ndarray:
        begin = begun(u, windows, shift)
        states = replayer.states(
            np.asarray(begin.history.qpos)[:, 0], np.asarray(begin.history.qvel)[:, 0]
        )
        memory = replayer.memory(len(windows), scene.substeps, begin.past)
        played, _ = replayer.play(states, np.asarray(begin.ctrl), scene.substeps, memory)
        predicted = played[:, scene.substeps - 1 :: scene.substeps, replayer.qpos]
        return np.asarray(compare(u, predicted, windows))

    def errors(u: np.ndarray, shift: np.ndarray, windows: Windows) -> np.ndarray:
        return play(at(u), u, shift, windows)

    def slopes(
        u: np.ndarray,
        shift: np.ndarray,
        windows: Windows,
        width: float = DIFFERENCE,
        central: bool = False,
    ) -> tuple:
        error = errors(u, shift, windows)
        columns = []
        for step in width * np.eye(len(u)):
            before = errors(u - step, shift, windows) if central else error
            change = errors(u + step, shift, windows) - before
            columns.append(change / (width * (1.0 + central)))
        replayer = at(u)
        widths = np.repeat([POSE_DIFFERENCE, RATE_DIFFERENCE], shift.shape[1] // 2)
        for half, step in zip(widths, np.diag(widths), strict=True):
            further = play(replayer, u, shift + step, windows)
            change = further - play(replayer, u, shift - step, windows)
            columns.append(change / (2.0 * half))
        return error, np.stack(columns, axis=-1) if columns else np.zeros((*error.shape, 0))

    def flags(u: np.ndarray, shift: np.ndarray, windows: Windows) -> np.ndarray:
        return _broken_off(scene, at(u), begun(u, windows, shift))

    return Engine(errors, slopes, flags)


def _broken_off(scene: Scene, replayer: Replayer, windows: Windows) -> np.ndarray:
    """(windows,) bool by C MuJoCo: where its solver stopped at its last iteration, it solves again
    with many times as many, and the change is the remaining step."""
    model = replayer.model
    solves, data = Solves(model), mujoco.MjData(model)
    remembered = replayer.memory(len(windows), scene.substeps, windows.past)
    bad = np.zeros(len(windows), bool)
    columns = windows.qpos, windows.qvel, windows.ctrl, windows.scored
    rows = zip(*map(np.asarray, columns), remembered, strict=True)
    for window, (qpos, qvel, ctrl, scored, memory) in enumerate(rows):
        mujoco.mj_resetData(model, data)
        data.qpos[:], data.qvel[:] = qpos, qvel
        frames = np.flatnonzero(scored).max(initial=-1) + 1
        for _ in controlled(model, data, ctrl[:frames], scene.substeps, memory):
            if not solves.remaining(data) <= CONVERGED:  # NaN is not
                bad[window] = True
                break
            mujoco.mj_step(model, data)
    return bad
