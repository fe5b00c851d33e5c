"""``worldmodel deploy``: a policy on a robot; what comes back is captured, and never lost."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from worldmodel import loop, runtime
from worldmodel.commands import named
from worldmodel.commands.loop_options import DeployOptions
from worldmodel.commands.reading import digest
from worldmodel.commands.train import trials
from worldmodel.errors import InputError
from worldmodel.reality import Keyboard, Robot, RobotError, capture, dry_run
from worldmodel.reality.safety import Nobody
from worldmodel.runtime.settings import claim
from worldmodel.tasks import data_set
from worldmodel.tasks.task import Task
from worldmodel.types import Episode, Trial


def deploy(options: DeployOptions, stop: Callable[[], bool]) -> dict[str, Any]:
    """Plays a policy's episodes and writes them as a LeRobot data set; the same call goes on.

    Raises:
      InputError: references, policies or numbers that do not fit, or a folder of another run; the
        robot failed.
      Interrupted: ``stop`` returned True, or the person who watches stopped the robot.
    """
    policy, out = options.policy, options.out
    if not policy.is_dir():
        raise InputError(f"--policy {policy}: no such folder; `worldmodel train` makes one")
    task = named.task(options.task)
    robot, reference = named.robot(options.robot, options.task)
    wanted = trials(task, policy, options.episodes, options.seed)
    key = jax.random.fold_in(jax.random.key(options.seed), 1)
    if options.dry_run:
        episode = _named_failure(lambda: dry_run(robot, task, wanted[0], key, stop=stop))
        moved = np.abs(np.diff(episode.ctrl, axis=0)).max(axis=0, initial=0.0)
        names = task.sensors.actuators
        for name, low, high, step in zip(
            names, episode.ctrl.min(0), episode.ctrl.max(0), moved, strict=True
        ):
            runtime.log(f"{name}: would be sent {low:.4g} to {high:.4g}, {step:.3g} a step")
        return {"dry_run": True, "frames": len(episode.qpos), "late": episode.late}
    claimed = {"task": task.name, "policy": digest(policy), "robot": reference}
    claim(out, claimed | {"seed": options.seed, "episodes": options.episodes})
    if not (out / "corrections").is_dir():
        captured = on_robot(robot, task, options.watch, stop)(out / "captured", wanted, key)
        provenance = {"policy": str(policy), "provenance": runtime.provenance()}
        data_set.write(out / "corrections", task, captured, provenance)
    kept = data_set.read(out / "corrections", task)
    late = {"late": sum(e.late for e in kept)}
    return {"out": str(out / "corrections")} | loop.scores(task, kept) | late


def on_robot(robot: Robot, task: Task, watch: bool, stop: Callable[[], bool]) -> loop.Deploy:
    """How trials are played on a robot and captured, as a turn of the loop takes it.

    Args:
      watch: whether a person at the keyboard may stop it, and is asked whether it succeeded.
      stop: asked at every control step.
    """
    person = Keyboard() if watch else Nobody()

    def deployed(folder: Path, trials: Sequence[Trial], key: jax.Array) -> list[Episode]:
        return _named_failure(
            lambda: capture(folder, robot, task, trials, key, operator=person, stop=stop)
        )

    return deployed


def _named_failure(play: Callable[[], Any]) -> Any:
    try:
        return play()
    except RobotError as error:
        raise InputError(
            f"the robot failed: {error}; see to it, then run the same command to go on"
        ) from error
