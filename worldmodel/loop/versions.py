"""The versions of a world model, and the episodes that are played in them.

A version is a folder with a checkpoint, written atomically and read when the same stage runs again.
"""

import dataclasses
import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from worldmodel import runtime
from worldmodel.episodes.windows import History
from worldmodel.errors import InputError
from worldmodel.finetune.engines import ENGINES
from worldmodel.finetune.moved import compiled, packed
from worldmodel.model import Network, Parameters, Physics, WorldModel, init, saved
from worldmodel.model.ensemble import members, taking_turns
from worldmodel.model.world import make_step
from worldmodel.model.world import start as begun
from worldmodel.physics import parameters as physical
from worldmodel.runtime import checkpoint
from worldmodel.runtime.records import config_hash
from worldmodel.scene import Scene
from worldmodel.scene.names import joint_names
from worldmodel.tasks.play import FARTHEST, Played, Simulate, episodes, play
from worldmodel.tasks.play_c import simulate_in_c
from worldmodel.tasks.task import Task
from worldmodel.types import Episode, Goal, Policy, Start

# Episodes simulated at once on a device: a GPU takes for 8192 rollouts little longer than for 1024
# (experiments/results/gradients/cost_gpu).
BATCH, GPU_BATCH = 128, 4096
C_STANDS_IN = 1e-4  # [m, rad] difference from MJX over an episode
NAMED = 5  # episodes in one message


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


def refuse_unplayable(name: str, world: WorldModel) -> None:
    """Refuses a model whose correction moves the shown pose alone: what a policy measures in it,
    and does to it, would be those of its physics.

    Raises:
      LoopError: so it is.
    """
    if world.correction is not None and not world.correction.changes_state:
        raise LoopError(
            f"{name} has a {type(world.correction).__name__}, which moves the pose that a model "
            "predicts and not its state, so no policy can act in it; fit a network whose "
            "correction is a force or a velocity, or take the physics alone"
        )


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
        "config_hash": config_hash(settings),
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
    metadata = checkpoint.read_metadata(folder)
    # Of an ensemble, as many members as were kept.
    world = dataclasses.replace(world, network=Network(**metadata["network"]))
    parameters = saved.restore_parameters(folder, world, expected={"settings": settings})
    return Version(name, metadata["parent"], world, parameters, metadata["corrections"])


def first_version(directory: Path | str, world: WorldModel) -> Version:
    """Version 0: the numbers of the scene's MJCF; saved, or loaded where it was saved before."""
    directory = Path(directory)
    version = Version("v0", None, world, init(world, jax.random.key(0)), 0)
    settings = {"parent": None, "world": saved.describe(world)}
    finished = load_version(directory, "v0", world, settings)
    if finished is None:
        save_version(directory, version, settings)
    return finished or version


def physical_values(version: Version) -> dict[str, np.ndarray]:
    """A version's physical parameters in their own units."""
    return physical.values(version.world.scene, version.world.free, version.parameters["physics"])


def simulator(
    version: Version, task: Task, *, engine: str = "mjx", in_turn: bool = False
) -> Simulate:
    """A version as the world in which a batch of a task's episodes is played; compiled once for
    policies of one structure.

    Args:
      in_turn: whether the members of an ensemble take turns with the episodes; the first one plays
        all of them otherwise, so that plans are compared in one world.
      engine: ``mjx``; or ``c``, C MuJoCo with the version's numbers, many times faster on a CPU
        (``engine_difference`` says whether it may stand in).

    Raises:
      LoopError: C MuJoCo is to play a version with a network or without physics; or the version
        is one that ``refuse_unplayable`` refuses.
    """
    world = version.world
    refuse_unplayable(version.name, world)
    if engine == "c":
        if world.learns or not isinstance(world.base, Physics):
            raise LoopError(
                f"{version.name} is a {world.name} model, and C MuJoCo plays physics alone; "
                "simulate it with engine 'mjx'"
            )
        model = compiled(world)(packed(world, version.parameters["physics"]))
        return simulate_in_c(task, model, substeps=world.scene.substeps)
    if engine != "mjx":
        raise LoopError(f"engine '{engine}' is none of {', '.join(ENGINES)}")

    run = _player(world, task)

    def simulate(policy: Policy, start: Start, goal: Goal, key: jax.Array) -> Played:
        keys = jax.random.split(key, len(np.asarray(start.qpos)))
        rows = policy, start, goal, jax.random.key_data(keys)
        each = members(version.parameters)[: None if in_turn else 1]
        most = BATCH if jax.default_backend() == "cpu" else GPU_BATCH
        size = min(most, -(-len(keys) // len(each)))
        return taking_turns(run, size, each, *rows)

    return simulate


@functools.lru_cache(maxsize=8)
def _player(world: WorldModel, task: Task) -> Callable[..., Played]:
    """A batch of a task's episodes in a model, compiled once for all its versions."""

    @jax.jit
    def run(parameters: Parameters, policy: Any, start: Start, goal: Goal, data: Any) -> Played:
        def one(policy: Any, start: Start, goal: Goal, key: jax.Array) -> Played:
            history = History.without_past(start.qpos, start.qvel, world.scene.mj_model.nu)
            begin = begun(world, parameters, history)
            return play(task, make_step(world, parameters), policy, begin, goal, key)[1]

        return jax.vmap(one)(policy, start, goal, jax.random.wrap_key_data(data))

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
    """Synthetic episodes of a task, played in a version; the members of an ensemble take turns.

    Args:
      policy, start, goal: with a leading dimension, one of each per episode.
      key: of the policies and of the sensors' noise.
      engine: see ``simulator``.

    Returns:
      The episodes, as a robot would record them; their source is the version's name, their ids
      their places in the batch. One that diverges, in any joint or body, whether a sensor reports
      it or not, is not among them: a position or a command is not finite, or beyond ``FARTHEST``.
      What diverges is logged by name.

    Raises:
      LoopError: every episode diverges.
    """
    played = simulator(version, task, engine=engine, in_turn=True)(policy, start, goal, key)
    farthest, finite = np.asarray(played.farthest), np.isfinite(played.ctrl).all((1, 2))
    sound = finite & (farthest <= FARTHEST).all(1)
    kept = np.flatnonzero(sound)
    if len(kept) < len(sound):
        scene, apart = version.world.scene, np.flatnonzero(~sound)
        first = [f"{i} ({_diverged(scene, farthest[i])})" for i in apart[:NAMED]]
        first += ["…"] * (len(apart) > NAMED)
        what = f"{version.name} diverges in {len(apart)} of {len(sound)} episodes: "
        if not len(kept):
            remedy = "its parameters are not physical"
            if not finite.any():
                remedy = "look at the policy's actions, and at the task's 'command'"
            raise LoopError(f"{what}{', '.join(first)}; {remedy}")
        runtime.log(f"{what}{', '.join(first)}; they are omitted")
    rows = jax.tree.map(lambda x: np.asarray(x)[kept], (played, goal))
    out = episodes(task, *rows, source=version.name)
    return [dataclasses.replace(e, id=int(i)) for e, i in zip(out, kept, strict=True)]


def _diverged(scene: Scene, farthest: np.ndarray) -> str:
    """The joints, and the bodies that move freely, that diverge in an episode."""
    m, bad = scene.mj_model, np.flatnonzero(~(farthest <= FARTHEST))
    joints = np.unique(np.searchsorted(m.jnt_qposadr, bad, side="right") - 1)
    return ", ".join(joint_names(m)[j] for j in joints) or "its commands"
