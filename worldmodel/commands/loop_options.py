"""What the commands of the loop are asked for: their command lines and their help follow from this.

A task is named as ``file.py:name`` or ``package.module:name``; its expert and its robot are the
names ``expert`` and ``robot`` of the same file, unless others are given.
"""

import dataclasses
from pathlib import Path
from typing import Any, Literal

import tyro

from worldmodel.errors import InputError

Engine = Literal["c", "mjx"] | None


_COUNTS = ["turns", "episodes", "corrections", "steps", "clone_steps", "width", "history", "chunk"]


@dataclasses.dataclass(frozen=True)
class GenerateOptions:
    """What is to be demonstrated, and where."""

    # The task: file.py:name or package.module:name.
    task: tyro.conf.Positional[str]
    # Folder for the LeRobot data set.
    out: Path
    # Folder of a fit or of a version of the loop; the task's own MJCF when absent.
    model: Path | None = None
    # As the task is named; 'expert' of the task's file when absent.
    expert: str | None = None
    # Episodes to generate.
    episodes: int = 64
    # Of starts, goals and the expert's errors.
    seed: int = 0
    # C MuJoCo (c) or mjx; c where the model is physics alone, when absent.
    engine: Engine = None


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """How a policy is trained, and on what."""

    # The task: file.py:name or package.module:name.
    task: tyro.conf.Positional[str]
    # Folder for the policy.
    out: Path
    # Clone data sets, or plan open loop in the world model.
    method: Literal["clone", "plan"] = "clone"
    # clone: data sets, of generate, deploy or loop; real and synthetic ones mix.
    data: tuple[Path, ...] = ()
    # Of the first weights, or of the planned starts and goals.
    seed: int = 0
    # clone: of the network's layers.
    width: int = 64
    # clone: of Adam, over all rows.
    steps: int = 1000
    # clone: at first; it falls to zero.
    learning_rate: float = 5e-3
    # clone: divided by the number of rows.
    weight_decay: float = 30.0
    # clone: observations that the policy sees.
    history: int = 1
    # clone: actions that it decides on at once.
    chunk: int = 1
    # plan: as for generate.
    model: Path | None = None
    # plan: as for generate.
    expert: str | None = None
    # plan: to plan, each for its own start and goal.
    episodes: int = 8
    # plan: as for generate.
    engine: Engine = None


@dataclasses.dataclass(frozen=True)
class DeployOptions:
    """What is to be played on which robot."""

    # The task: file.py:name or package.module:name.
    task: tyro.conf.Positional[str]
    # Folder of train.
    policy: Path
    # Folder for the episodes: captured, a file each, and corrections, a LeRobot data set.
    out: Path
    # As the task is named; 'robot' of the task's file when absent.
    robot: str | None = None
    # Episodes to play; 8 of a cloned policy and all of a plan when absent.
    episodes: int | None = None
    # Of starts and goals.
    seed: int = 1
    # Whether Enter stops the robot, and you are asked whether an episode succeeded.
    watch: bool = False
    # Everything but sending, for one episode.
    dry_run: bool = False


@dataclasses.dataclass(frozen=True)
class LoopOptions:
    """What a turn takes, and how many turns."""

    # The task: file.py:name or package.module:name.
    task: tyro.conf.Positional[str]
    # Folder of all versions and turns.
    out: Path
    # As for deploy.
    robot: str | None = None
    # As for generate.
    expert: str | None = None
    # Version 0, as for generate.
    model: Path | None = None
    # In all; more of them go on from the last.
    turns: int = 1
    # Synthetic ones per turn.
    episodes: int = 64
    # Episodes on the robot per turn.
    corrections: int = 8
    # What a network adds to; none: the physics alone are finetuned.
    correction: Literal["none", "displacement", "velocity", "force"] = "none"
    # Of each finetuning: of Gauss-Newton in C MuJoCo, or of the gradient.
    steps: int = 40
    # Finetune by gradient descent through MJX; always so where a network is fitted.
    gradient: bool = False
    # Of everything that is drawn.
    seed: int = 0
    # As for generate.
    engine: Engine = None
    # As for deploy.
    watch: bool = False
    # Of the policy's layers.
    width: int = 64
    # Of the policy's training.
    clone_steps: int = 1000
    # Observations that the policy sees.
    history: int = 1
    # Actions that it decides on at once.
    chunk: int = 1


def check_counts(options: Any) -> None:
    """Refuses a number of episodes, steps and the like below 1.

    Raises:
      InputError: such a number, by its name.
    """
    for name in _COUNTS:
        value = getattr(options, name, None)
        if value is not None and value < 1:
            raise InputError(f"--{name.replace('_', '-')} {value}: at least 1")
