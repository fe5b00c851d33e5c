"""One resumable turn of the picture, for the stroke task:

    generate → train → deploy → capture → finetune

Every stage leaves its result in a folder, whole or not at all, and takes it from there when it
is run again. What reality plays comes in as captured episodes (``worldmodel.capture``).
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel import checkpoint, runtime
from worldmodel.capture import Captured
from worldmodel.dynamics import Parameters, WorldModel, init
from worldmodel.episodes.recordings import Channels
from worldmodel.finetune import FitConfig, fit
from worldmodel.physics import parameters as physical
from worldmodel.policies import stroke as task
from worldmodel.policies.demonstrator import Noise, Simulator, Table, demonstrate, make_table
from worldmodel.predict import Windows, cut_windows, make_simulator
from worldmodel.residuals import residuals, standards
from worldmodel.types import Episode, InputError

CHANNELS = Channels(position=(2, 3), joints=(0, 1))  # puck x, y; shoulder, elbow
# What one step of the learned half may add, in units of which it answers: joints and puck in the
# plane [rad/s, m/s]; nothing lifts the puck, and its yaw decides nothing.
RESIDUAL = np.array([0.1, 0.1, 0.02, 0.02, 0.0, 0.0])
BATCH = 128  # episodes simulated at once


class LoopError(InputError):
    """A stage that cannot be taken up: another configuration's, or a parent that is missing."""


@dataclasses.dataclass(frozen=True)
class Version:
    """One version of the world model."""

    name: str
    parent: str | None
    world: WorldModel
    parameters: Parameters
    corrections: int  # real corrections spent on it, its ancestors' included


def corrections(captured: Sequence[Captured]) -> Windows:
    """Captured episodes as windows to finetune on: whole, from rest."""
    if not captured:
        raise LoopError("no corrections to finetune on; deploy a policy first")
    episodes = [
        dataclasses.replace(c.episode, qvel=np.where(_first(c), 0.0, c.episode.qvel))
        for c in captured
    ]
    return cut_windows(episodes, [np.array([0])] * len(episodes), task.FRAMES)


def _first(captured: Captured) -> np.ndarray:
    return np.arange(len(captured.episode.qvel))[:, None] == 0


def finetune(
    directory: Path,
    parent: Version,
    name: str,
    kind: str,
    captured: Sequence[Captured],
    config: FitConfig,
    *,
    held_out: int,
    spent: int,
    record: Callable[[dict[str, Any]], None],
    stop: Callable[[], bool],
) -> Version:
    """Corrections → the next version, by gradient descent through the physics.

    Args:
      directory: of all versions; this one gets the folder ``name``.
      parent: whose parameters are started from.
      kind: physics, or hybrid: then the network is fitted too.
      captured: the corrections; the last ``held_out`` of them steer the stopping of a hybrid.
      spent: how many corrections this version has cost, ancestors included.

    Raises:
      LoopError: the parent's folder is missing, or ``name`` is there from another run.
    """
    here = directory / name
    if not (directory / parent.name / "checkpoint").is_dir():
        raise LoopError(
            f"{name} is to be finetuned from {parent.name}, which is not in {directory}; restore "
            "it, or start over in another folder"
        )
    world = dataclasses.replace(parent.world, kind=kind)
    settings = {
        "parent": parent.name,
        "kind": kind,
        "config": dataclasses.asdict(config),
        "corrections": [c.episode.qpos.sum().item() for c in captured],
        "held_out": held_out,
    }
    metadata = {"scene": world.scene.name, "config_hash": checkpoint.config_hash(settings)}
    found = load_version(directory, name, world, metadata["config_hash"])
    if found is not None:
        return found
    windows = corrections(captured)
    origin = init(world, jax.random.key(config.seed))
    origin["physics"] = parent.parameters["physics"]
    train, judged = windows, windows
    if kind == "hybrid":
        if parent.world.kind == "hybrid":
            origin["network"] = parent.parameters["network"]
        else:
            seen = standards(world, residuals(world, origin, _frames(captured))) | {
                "residual": RESIDUAL
            }
            origin["network"]["norm"] = jax.tree.map(jnp.asarray, seen)
        train = windows.take(np.arange(len(windows) - held_out))
        judged = windows.take(np.arange(len(windows) - held_out, len(windows)))
    state = fit(
        world,
        origin,
        CHANNELS,
        train,
        judged,
        config,
        here / "progress",
        metadata=metadata,
        record=record,
        stop=stop,
        start=origin,
    )
    version = Version(name, parent.name, world, state.best, spent)
    save_version(directory, version, settings | {"validation": float(state.best_error)})
    return version


def _frames(captured: Sequence[Captured]) -> Windows:
    episodes = [c.episode for c in captured]
    return cut_windows(episodes, [np.arange(1, task.FRAMES)] * len(episodes), 1)


def save_version(directory: Path, version: Version, settings: dict[str, Any]) -> None:
    """Writes a version's checkpoint, atomically, with parent, kind, scene and settings."""
    world = version.world
    metadata = {
        "name": version.name,
        "parent": version.parent,
        "corrections": version.corrections,
        "scene": world.scene.name,
        "mjcf": world.scene.mjcf,
        "control_hz": world.scene.control_hz,
        "substeps": world.scene.substeps,
        "free": [dataclasses.asdict(f) for f in world.free],
        "world": {
            "kind": world.kind,
            "network": dataclasses.asdict(world.network),
            "correction": world.correction,
        },
        "settings": settings,
        "config_hash": checkpoint.config_hash(
            {k: v for k, v in settings.items() if k != "validation"}
        ),
        "provenance": runtime.provenance(),
    }
    checkpoint.save(directory / version.name / "checkpoint", 0, version.parameters, metadata)


def load_version(directory: Path, name: str, world: WorldModel, config_hash: str) -> Version | None:
    """A version that an earlier run finished; None where there is none.

    Raises:
      CheckpointError: damaged, or made with other settings.
    """
    here = directory / name / "checkpoint"
    if checkpoint.latest(here) is None:
        return None
    like = init(world, jax.random.key(0))
    parameters, metadata = checkpoint.restore(here, like, config_hash=config_hash)
    return Version(name, metadata["parent"], world, parameters, metadata["corrections"])


def physical_values(version: Version) -> dict[str, np.ndarray]:
    """A version's physical parameters in their own units."""
    return physical.values(version.world.scene, version.world.free, version.parameters["physics"])


def first_version(directory: Path, world: WorldModel) -> Version:
    """Version 0: the scene as its MJCF has it."""
    version = Version("v0", None, world, init(world, jax.random.key(0)), 0)
    settings = {"parent": None, "kind": world.kind}
    found = load_version(directory, "v0", world, checkpoint.config_hash(settings))
    if found is None:
        save_version(directory, version, settings)
    return found or version


def simulator(version: Version) -> Simulator:
    """A version as the demonstrator program sees it."""
    play = make_simulator(version.world, BATCH)
    return lambda qpos, ctrl: np.asarray(play(version.parameters, qpos, ctrl).qpos)


def generate(
    version: Version, episodes: int, noise: Noise, rng: np.random.Generator
) -> tuple[Table, list[Captured]]:
    """The demonstrator program, run in a world model: plans, errs, plays.

    Returns:
      What it planned with, and the episodes, as a robot without noise would have reported them.
    """
    table = make_table(simulator(version))
    contexts = task.draw_contexts(episodes, rng)
    strokes = demonstrate(table, contexts, noise, rng)
    ctrl = task.play(contexts.start, strokes)
    play = make_simulator(version.world, BATCH)
    states = play(version.parameters, task.initial_qpos(contexts.start, strokes), ctrl)
    held = np.concatenate([ctrl, ctrl[:, -1:]], axis=1)
    frames = held.shape[1]
    made = []
    for i in range(episodes):
        episode = Episode(
            id=i,
            time=np.arange(frames) / task.CONTROL_HZ,
            qpos=np.asarray(states.qpos[i]),
            qvel=np.asarray(states.qvel[i]),
            ctrl=held[i],
            valid=np.ones(frames, bool),
            fresh=np.ones(frames, bool),
        )
        if not np.isfinite(episode.qpos).all():
            raise LoopError(f"{version.name} diverges on the stroke {strokes[i]}; it is no model")
        active = np.asarray(states.contacts.active[i])
        made.append(Captured(episode, active, contexts.table[i], strokes[i]))
    return table, made
