"""The versions of a world model: played in, and finetuned on what a robot captured.

A version is a folder with a checkpoint, written atomically and read when the same stage runs again.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel import runtime
from worldmodel.episodes.errors import Channels
from worldmodel.episodes.windows import History, WindowGrid, Windows
from worldmodel.errors import InputError
from worldmodel.finetune.adam import FitConfig, fit
from worldmodel.finetune.engines import ENGINES
from worldmodel.finetune.moved import compiled, packed
from worldmodel.finetune.regression import regression_data, standards
from worldmodel.model import Parameters, Physics, WorldModel, init, saved
from worldmodel.model.simulate import in_batches
from worldmodel.model.world import make_step
from worldmodel.model.world import start as begun
from worldmodel.physics import parameters as physical
from worldmodel.runtime import checkpoint
from worldmodel.tasks.play import Played, Simulate, episodes, play
from worldmodel.tasks.play_c import simulate_in_c
from worldmodel.tasks.task import Task
from worldmodel.types import Episode, Goal, Policy, Start

WHOLE = WindowGrid(first=0, stride=1, horizon=None)  # what a fit predicts
FRAMES = WindowGrid(first=1, stride=1, horizon=1)  # what standardises a network
BATCH = 128  # episodes simulated at once
C_STANDS_IN = 1e-4  # [m, rad] difference from MJX over an episode


class LoopError(InputError):
    """A stage that cannot run: no corrections, no parent, or a model that cannot play."""


@dataclasses.dataclass(frozen=True)
class Version:
    """One version of the world model."""

    name: str
    parent: str | None
    world: WorldModel
    parameters: Parameters
    corrections: int  # real corrections spent on it, its ancestors' included


def finetune(
    directory: Path,
    parent: Version,
    name: str,
    world: WorldModel,
    corrections: Sequence[Episode],
    channels: Channels,
    config: FitConfig,
    *,
    residual: np.ndarray | None,
    held_out: int,
    spent: int,
    record: Callable[[dict[str, Any]], None],
    stop: Callable[[], bool],
    grid: WindowGrid = WHOLE,
) -> Version:
    """Corrections → the next version, by gradient descent through the physics.

    Args:
      directory: of all versions; this one gets the folder ``name``.
      parent: its parameters are the start.
      world: the next version's: the parent's world, or that with a correction, whose network is
        then fitted too.
      corrections: episodes that began at rest.
      channels: which positions are scored.
      config: of the fit.
      residual: (nv,) the unit of a new network's answers, see ``model.network``; by the
        corrections' own residuals when None.
      held_out: the last so many corrections steer the stopping where a network is fitted.
      spent: number of real corrections that this version has cost, ancestors' included.
      record: called with one row per step.
      stop: asked after each step; True saves and raises ``runtime.Interrupted``.
      grid: windows that are predicted; other than whole episodes start where nothing touches.

    Raises:
      LoopError: no corrections, or one that cannot be predicted; too few or too many held out; a
        parent with another network; a residual of another shape; the parent's folder is absent.
      CheckpointError: the folder ``name`` is of other corrections or settings, or damaged.
      FitError, Interrupted: see ``finetune.adam.fit``.
    """
    if not corrections:
        raise LoopError("no corrections to finetune on; deploy a policy first")
    unusable = [e.id for e in corrections if WHOLE.starts(e)[1]]
    if grid is WHOLE and unusable:
        raise LoopError(
            f"corrections {unusable} have a frame that is not valid, or one frame alone; cut them"
        )
    if world.learns and not 0 < held_out < len(corrections):
        raise LoopError(
            f"{held_out} of {len(corrections)} corrections are held out to stop the network's fit; "
            "hold out at least one, and leave one to fit"
        )
    nv = world.scene.mj_model.nv
    if residual is not None and np.shape(residual) != (nv,):
        raise LoopError(f"residual has the shape {np.shape(residual)}, not ({nv},)")
    parts = [(w.base, w.correction, w.network) for w in (parent.world, world) if w.learns]
    if len(parts) == 2 and parts[0] != parts[1]:
        raise LoopError(
            f"{name} is to go on with the network of {parent.name}, whose base, correction or "
            "sizes are others; finetune from a version without a network"
        )
    if not (directory / parent.name / "checkpoint").is_dir():
        raise LoopError(
            f"{name} is to be finetuned from {parent.name}, which is not in {directory}; restore "
            "it, or start over in another folder"
        )
    settings = {
        "parent": parent.name,
        "parameters": digest(*jax.tree.leaves(parent.parameters)),
        "world": saved.describe(world),
        "channels": repr(channels),
        "residual": None if residual is None else np.asarray(residual).tolist(),
        "config": dataclasses.asdict(config),
        "corrections": [digest(e.qpos, e.qvel, e.ctrl) for e in corrections],
        "held_out": held_out,
    }
    if grid is not WHOLE:
        settings["windows"] = dataclasses.asdict(grid)
    finished = load_version(directory, name, world, settings)
    if finished is not None:
        return finished
    windows = _cut(corrections, grid)
    origin = init(world, jax.random.key(config.seed))
    origin["physics"] = parent.parameters["physics"]
    train, judged = windows, windows
    if world.learns:
        if parent.world.learns:
            origin["network"] = parent.parameters["network"]
        else:
            frames, _ = FRAMES.cut(corrections)
            norm = standards(world, regression_data(world, origin, frames))
            norm |= {} if residual is None else {"residual": residual}
            origin["network"]["norm"] = jax.tree.map(jnp.asarray, norm)
        steering = np.asarray(windows.episode) >= len(corrections) - held_out
        train = windows.take(np.flatnonzero(~steering))
        judged = windows.take(np.flatnonzero(steering))
    state = fit(
        world,
        origin,
        channels,
        train,
        judged,
        config,
        directory / name / "progress",
        metadata={
            "scene": world.scene.name,
            "settings": {k: v for k, v in settings.items() if k != "config"},
        },
        record=record,
        stop=stop,
        start=origin,
    )
    version = Version(name, parent.name, world, state.best, spent)
    save_version(directory, version, settings, validation=float(state.best_error))
    return version


def _cut(corrections: Sequence[Episode], grid: WindowGrid) -> Windows:
    """Their windows: whole ones start at rest, others where no sensor reports a touch."""
    if grid is not WHOLE:
        touched = [e.contact is not None and e.contact.any(1) & e.fresh for e in corrections]
        corrections = [
            dataclasses.replace(e, fresh=e.fresh & ~t)
            for e, t in zip(corrections, touched, strict=True)
        ]
        starts, frames = sum(np.sum(t) for t in touched), sum(len(e.qpos) for e in corrections)
        runtime.log(f"no window starts in the {starts} of {frames} frames with a touch")
    return grid.cut(corrections)[0]


def digest(*arrays: Any) -> str:
    """Tells arrays apart by their numbers."""
    numbers = [np.ascontiguousarray(x, float) for x in arrays]
    text = b"".join(str(x.shape).encode() + x.tobytes() for x in numbers)
    return hashlib.sha256(text).hexdigest()[:16]


def save_version(
    directory: Path, version: Version, settings: dict[str, Any], **results: Any
) -> None:
    """Writes a version's checkpoint, atomically, with its parent, its settings and ``results``."""
    metadata = {
        "name": version.name,
        "parent": version.parent,
        "corrections": version.corrections,
        "settings": settings,
        "config_hash": checkpoint.config_hash(settings),
        "provenance": runtime.provenance(),
    }
    folder = directory / version.name / "checkpoint"
    saved.save(folder, 0, version.world, version.parameters, metadata | results)


def load_version(
    directory: Path, name: str, world: WorldModel, settings: dict[str, Any]
) -> Version | None:
    """A version that an earlier run finished; None where there is none.

    Raises:
      CheckpointError: damaged, or of other settings.
    """
    folder = directory / name / "checkpoint"
    if checkpoint.latest(folder) is None:
        return None
    parameters = saved.restore_parameters(folder, world, expected={"settings": settings})
    metadata = checkpoint.read_metadata(folder)
    return Version(name, metadata["parent"], world, parameters, metadata["corrections"])


def first_version(directory: Path, world: WorldModel) -> Version:
    """Version 0: the numbers of the scene's MJCF; saved, or loaded where it was saved before."""
    version = Version("v0", None, world, init(world, jax.random.key(0)), 0)
    settings = {"parent": None, "world": saved.describe(world)}
    finished = load_version(directory, "v0", world, settings)
    if finished is None:
        save_version(directory, version, settings)
    return finished or version


def physical_values(version: Version) -> dict[str, np.ndarray]:
    """A version's physical parameters in their own units."""
    return physical.values(version.world.scene, version.world.free, version.parameters["physics"])


def simulator(version: Version, task: Task, *, engine: str = "mjx") -> Simulate:
    """A version as the world in which a batch of a task's episodes is played; compiled once for
    policies of one structure.

    Args:
      engine: ``mjx``; or ``c``, C MuJoCo with the version's numbers, many times faster on a CPU
        (``engine_difference`` says whether it may stand in).

    Raises:
      LoopError: C MuJoCo is to play a version with a network or without physics.
    """
    world = version.world
    if engine == "c":
        if world.learns or not isinstance(world.base, Physics):
            raise LoopError(
                f"{version.name} is a {world.name} model, and C MuJoCo plays physics alone; "
                "simulate it with engine 'mjx'"
            )
        return simulate_in_c(task, compiled(world)(packed(world, version.parameters["physics"])))
    if engine != "mjx":
        raise LoopError(f"engine '{engine}' is none of {', '.join(ENGINES)}")

    run = _player(world, task)

    def simulate(policy: Policy, start: Start, goal: Goal, key: jax.Array) -> Played:
        keys = jax.random.split(key, len(np.asarray(start.qpos)))
        rows = policy, start, goal, jax.random.key_data(keys)

        def batch(policy: Any, start: Start, goal: Goal, data: jax.Array) -> Played:
            wrapped = jax.random.wrap_key_data(data)
            return run(version.parameters, policy, start, goal, wrapped)

        return in_batches(batch, min(BATCH, len(keys)), *rows)

    return simulate


@functools.lru_cache(maxsize=8)
def _player(world: WorldModel, task: Task) -> Callable[..., Played]:
    """A batch of a task's episodes in a model, compiled once for all its versions."""

    @jax.jit
    def run(parameters: Parameters, policy: Any, start: Start, goal: Goal, keys: Any) -> Played:
        def one(policy: Any, start: Start, goal: Goal, key: jax.Array) -> Played:
            history = History.without_past(start.qpos, start.qvel, world.scene.mj_model.nu)
            begin = begun(world, parameters, history)
            return play(task, make_step(world, parameters), policy, begin, goal, key)[1]

        return jax.vmap(one)(policy, start, goal, keys)

    return run


def engine_difference(
    version: Version, task: Task, policy: Policy, start: Start, goal: Goal, key: jax.Array
) -> float:
    """The largest difference of what MJX and C MuJoCo measure in a batch of episodes, of a joint
    or an object's pose [m, rad, 1]: up to ``C_STANDS_IN``, C MuJoCo may play a version's."""
    mjx, c = (
        simulator(version, task, engine=engine)(policy, start, goal, key).measured
        for engine in ENGINES
    )
    differences = [
        np.abs(np.asarray(getattr(mjx, name)) - np.asarray(getattr(c, name))).max(initial=0.0)
        for name in ("joints", "objects")
    ]
    return float(np.max(differences))  # NaN where one diverges


def generate(
    version: Version,
    task: Task,
    policy: Policy,
    start: Start,
    goal: Goal,
    key: jax.Array,
    *,
    engine: str = "mjx",
) -> list[Episode]:
    """Synthetic episodes of a task, played in a version.

    Args:
      policy, start, goal: with a leading dimension, one of each per episode.
      key: of the policies and of the sensors' noise.
      engine: see ``simulator``.

    Returns:
      The episodes, as a robot would record them; their source is the version's name.

    Raises:
      LoopError: an episode that is not finite.
    """
    played = simulator(version, task, engine=engine)(policy, start, goal, key)
    finite = np.isfinite(played.ctrl).all((1, 2)) & np.isfinite(played.measured.joints).all((1, 2))
    if not finite.all():
        raise LoopError(
            f"{version.name} diverges in {int((~finite).sum())} of {len(finite)} episodes, first "
            f"in episode {int(np.argmin(finite))}; its parameters are not physical"
        )
    return episodes(task, played, goal, source=version.name)
