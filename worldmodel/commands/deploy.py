"""``worldmodel deploy``: a policy on a robot; what comes back is captured, and never lost."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro

from worldmodel import loop, runtime
from worldmodel.commands import named
from worldmodel.commands.reading import digest
from worldmodel.commands.train import trials
from worldmodel.errors import InputError
from worldmodel.reality import Keyboard, Robot, RobotError, capture
from worldmodel.reality import dry_run as play_dry
from worldmodel.reality.safety import Nobody
from worldmodel.runtime.settings import check_options, claim
from worldmodel.tasks import data_set
from worldmodel.tasks.task import Task
from worldmodel.types import Episode, Trial


def deploy(
    task: tyro.conf.Positional[str],
    policy: Path,
    out: Path,
    robot: str | None = None,
    episodes: int | None = None,
    seed: int = 1,
    watch: bool = False,
    operator: str | None = None,
    dry_run: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Plays a policy on a robot and captures every episode; the same command goes on after a stop.

    Args:
      task: file.py:name or package.module:name.
      policy: folder of train.
      out: folder for the episodes: captured, a file each, and corrections, a LeRobot data set.
      robot: as the task is named; 'robot' of the task's file when absent.
      episodes: to play; 8 of a cloned policy and all of a plan when absent.
      seed: of starts and goals.
      watch: whether Enter stops the robot, and you are asked whether an episode succeeded.
      operator: the person who may take over, as the task is named, such as a teleoperator.
      dry_run: everything but sending, for one episode.
      stop: asked at every control step.

    Raises:
      InputError: references, policies or numbers that do not fit, or a folder of another run; the
        robot failed.
      Interrupted: ``stop`` returned True, or the person who watches stopped the robot.
    """
    check_options(episodes=episodes)
    if not policy.is_dir():
        raise InputError(f"--policy {policy}: no such folder; `worldmodel train` makes one")
    asked = named.task(task)
    machine, reference = named.robot(robot, task)
    with named.contract(asked):
        wanted = trials(asked, policy, episodes, seed)
        key = jax.random.fold_in(jax.random.key(seed), 1)
        if dry_run:
            episode = _named_failure(lambda: play_dry(machine, asked, wanted[0], key, stop=stop))
            moved = np.abs(np.diff(episode.ctrl, axis=0)).max(axis=0, initial=0.0)
            limits = zip(episode.ctrl.min(0), episode.ctrl.max(0), moved, strict=True)
            for name, (low, high, step) in zip(asked.sensors.actuators, limits, strict=True):
                runtime.log(f"{name}: would be sent {low:.4g} to {high:.4g}, {step:.3g} a step")
            return {"dry_run": True, "frames": len(episode.qpos), "late": episode.late}
        claimed = {"task": asked.name, "policy": digest(policy), "robot": reference}
        claim(out, claimed | {"seed": seed, "episodes": episodes})
        if not (out / "corrections").is_dir():
            captured = on_robot(machine, asked, watch, operator, stop)(
                out / "captured", wanted, key
            )
            provenance = {"policy": str(policy), "provenance": runtime.provenance()}
            data_set.write(out / "corrections", asked, captured, provenance)
        else:
            runtime.log(f"{out} holds these episodes already; nothing is played")
        kept = data_set.read(out / "corrections", asked)
        late = {"late": sum(e.late for e in kept)}
        return {"out": str(out / "corrections")} | loop.scores(asked, kept) | late


def on_robot(
    robot: Robot, task: Task, watch: bool, operator: str | None, stop: Callable[[], bool]
) -> loop.Deploy:
    """How trials are played on a robot and captured, as a turn of the loop takes it.

    Args:
      watch: whether a person at the keyboard may stop it, and is asked whether it succeeded.
      operator: reference of the person who may take over; nobody when absent.
      stop: asked at every control step.
    """
    leader = Nobody() if operator is None else named.operator(operator)
    person = Keyboard(leader=leader) if watch else leader

    def deployed(folder: Path, trials: Sequence[Trial], key: jax.Array) -> list[Episode]:
        return _named_failure(
            lambda: capture(folder, robot, task, trials, key, operator=person, stop=stop)
        )

    return deployed


def _named_failure(play: Callable[[], Any]) -> Any:
    try:
        return play()
    except RobotError as error:
        raise InputError(f"the robot failed: {error}") from error
