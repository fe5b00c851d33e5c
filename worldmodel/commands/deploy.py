"""``worldmodel deploy``: a policy on a robot; what comes back is captured, and never lost."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from worldmodel import loop, runtime
from worldmodel.commands import named
from worldmodel.commands.reading import digest
from worldmodel.commands.train import trials
from worldmodel.errors import InputError
from worldmodel.reality import Keyboard, Robot, RobotError, capture, dry_run
from worldmodel.reality.safety import Nobody
from worldmodel.runtime.settings import claim
from worldmodel.tasks import data_set
from worldmodel.tasks.task import Task
from worldmodel.types import Episode, Trial


def deploy(
    task: str,
    policy: Path,
    robot: str | None,
    out: Path,
    *,
    episodes: int | None,
    seed: int,
    watch: bool,
    dry: bool,
    stop: Callable[[], bool],
) -> dict[str, Any]:
    """Plays a policy's episodes and writes them as a LeRobot data set; the same call goes on.

    Raises:
      InputError: references, policies or numbers that do not fit, or a folder of another run; the
        robot failed.
      Interrupted: ``stop`` returned True, or the person who watches stopped the robot.
    """
    if not policy.is_dir():
        raise InputError(f"--policy {policy}: no such folder; `worldmodel train` makes one")
    asked = named.task(task)
    machine = named.part(robot, task, "robot", "step")
    wanted = trials(asked, policy, episodes, seed)
    key = jax.random.fold_in(jax.random.key(seed), 1)
    if dry:
        episode = dry_run(machine, asked, wanted[0], key)
        moved = np.abs(np.diff(episode.ctrl, axis=0)).max(axis=0, initial=0.0)
        names = asked.sensors.actuators
        for name, low, high, step in zip(
            names, episode.ctrl.min(0), episode.ctrl.max(0), moved, strict=True
        ):
            runtime.log(f"{name}: would be sent {low:.4g} to {high:.4g}, {step:.3g} a step")
        return {"dry_run": True, "frames": len(episode.qpos), "late": episode.late}
    claim(out, {"task": asked.name, "policy": digest(policy), "seed": seed, "episodes": episodes})
    if not (out / "corrections").is_dir():
        captured = on_robot(machine, asked, watch, stop)(out / "captured", wanted, key)
        provenance = {"policy": str(policy), "provenance": runtime.provenance()}
        data_set.write(out / "corrections", asked, captured, provenance)
    kept = data_set.read(out / "corrections", asked)
    late = {"late": sum(e.late for e in kept)}
    return {"out": str(out / "corrections")} | loop.scores(asked, kept) | late


def on_robot(robot: Robot, task: Task, watch: bool, stop: Callable[[], bool]) -> loop.Deploy:
    """How trials are played on a robot and captured, as a turn of the loop takes it.

    Args:
      watch: whether a person at the keyboard may stop it, and is asked whether it succeeded.
      stop: asked at every control step.
    """
    person = Keyboard() if watch else Nobody()

    def deployed(folder: Path, trials: Sequence[Trial], key: jax.Array) -> list[Episode]:
        try:
            return capture(folder, robot, task, trials, key, operator=person, stop=stop)
        except RobotError as error:
            raise InputError(f"the robot failed: {error}") from error

    return deployed
