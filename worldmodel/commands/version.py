"""The model in a folder, and the version of the world model that a command plays a task in."""

import warnings
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from worldmodel.errors import InputError
from worldmodel.loop import Version
from worldmodel.loop.versions import digest, refuse_unplayable
from worldmodel.model import (
    Displacement,
    Force,
    Parameters,
    Physics,
    Velocity,
    WorldModel,
    init,
    saved,
)
from worldmodel.runtime.settings import CLAIMED
from worldmodel.scene import SceneWarning
from worldmodel.tasks import sensors
from worldmodel.tasks.task import Task

Engine = Literal["c", "mjx"] | None
CORRECTIONS = {"displacement": Displacement(), "velocity": Velocity(), "force": Force()}


def restored(model: Path) -> tuple[WorldModel, Parameters, dict[str, Any]]:
    """The model, its parameters and its metadata, of a checkpoint, or of the fit or version whose
    folder holds one.

    Raises:
      InputError: no such folder, or one whose run has not ended.
      CheckpointError: no model in it.
    """
    if not model.is_dir():
        raise InputError(f"model {model}: no such folder; give that of a version or a fit")
    folder = model / "checkpoint" if (model / "checkpoint").is_dir() else model
    if folder == model and (model / CLAIMED).is_file():
        raise InputError(f"model {model}: its run has not ended; give its command again")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SceneWarning)  # whoever made it has logged it
        return saved.restore(folder)


def version_of(task: Task, model: Path | None, name: str | None = None) -> Version:
    """The version in a folder, or the task's own scene with the MJCF's numbers.

    Args:
      model: folder of a version, or of a fit of the task's robot.
      name: in place of its own.

    Raises:
      InputError: no such folder, or a model of another robot or rate than the task's.
      LoopError: see ``loop.versions.refuse_unplayable``.
      CheckpointError: no model in it.
    """
    if model is None:
        world = WorldModel(task.scene, task.free)
        return Version(name or "v0", None, world, init(world, jax.random.key(0)), 0)
    world, parameters, metadata = restored(model)
    refuse_unplayable(f"--model {model}", world)
    for what, theirs, ours in (
        ("control_hz", world.scene.control_hz, task.scene.control_hz),
        ("sensors", sensors.all_sensors(world.scene), sensors.all_sensors(task.scene)),
    ):
        if theirs != ours:
            raise InputError(
                f"--model {model}: its {what} {theirs} are not those of task '{task.name}', {ours}"
                "; fit the MJCF of the task at its rate"
            )
    for kind in ("joints", "objects", "touch", "forces"):
        ours, theirs = (sensors.places(s, task.sensors) for s in (task.scene, world.scene))
        if not np.array_equal(getattr(ours, kind), getattr(theirs, kind)):
            raise InputError(
                f"--model {model}: it has the {kind} that task '{task.name}' measures in another "
                "order than the task's MJCF; fit that MJCF"
            )
    spent = int(metadata.get("corrections", 0))
    own = str(metadata.get("name", "fitted"))
    return Version(name or own, metadata.get("parent"), world, parameters, spent)


def chosen_engine(world: WorldModel, engine: str | None) -> str:
    """C MuJoCo where a model is physics alone, MJX otherwise, unless one is asked for."""
    alone = isinstance(world.base, Physics) and not world.learns
    return engine or ("c" if alone else "mjx")


def described(task: Task, version: Version) -> dict[str, Any]:
    """What tells a run by its task and version, as JSON."""
    return {
        "task": task.name,
        "scene": task.scene.digest,
        "version": version.name,
        "parameters": digest(*jax.tree.leaves(version.parameters)),
    }
