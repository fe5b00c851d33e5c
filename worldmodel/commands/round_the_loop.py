"""The command lines of the loop: new, generate, train, deploy, loop. Each prints one JSON line.

A task is named as ``file.py:name`` or ``package.module:name``; its expert and its robot are the
names ``expert`` and ``robot`` of the same file, unless others are given.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from worldmodel import runtime

_Name = Annotated[str, tyro.conf.Positional]
_Engine = Literal["c", "mjx"] | None


def new(
    name: _Name, mjcf: Path, control_hz: float | None = None, substeps: int | None = None
) -> int:
    """Begins a task for a robot: a folder with its MJCF, a task that runs, columns and a test.

    Args:
      name: of the folder and the task.
      mjcf: of the robot; its meshes are copied.
      control_hz: commands per second; 30 when absent.
      substeps: physics steps per command; from the fastest contact or servo when absent.
    """
    from worldmodel.commands.new import new as command

    return _line(lambda stop: command(name, mjcf, control_hz, substeps))


def generate(
    task: _Name,
    out: Path,
    model: Path | None = None,
    expert: str | None = None,
    episodes: int = 64,
    seed: int = 0,
    engine: _Engine = None,
) -> int:
    """Generates synthetic episodes: the task's expert demonstrates it in the world model.

    Args:
      task: file.py:name or package.module:name.
      out: folder for the LeRobot data set.
      model: folder of a fit or of a version of the loop; the task's own MJCF when absent.
      expert: as the task is named; 'expert' of the task's file when absent.
      episodes: to generate.
      seed: of starts, goals and the expert's errors.
      engine: c (C MuJoCo) or mjx; c where the model is physics alone, when absent.
    """

    def command(stop: Any) -> dict[str, Any]:
        from worldmodel.commands.generate import generate as command

        options = {"episodes": episodes, "seed": seed, "engine": engine}
        return command(task, out, model, expert, **options)

    return _line(command)


def train(
    task: _Name,
    out: Path,
    method: Literal["clone", "plan"] = "clone",
    data: tuple[Path, ...] = (),
    seed: int = 0,
    width: int = 64,
    steps: int = 1000,
    learning_rate: float = 5e-3,
    weight_decay: float = 30.0,
    history: int = 1,
    chunk: int = 1,
    model: Path | None = None,
    expert: str | None = None,
    episodes: int = 8,
    engine: _Engine = None,
) -> int:
    """Trains a policy: clones data sets, or plans open loop in the world model.

    Args:
      task: file.py:name or package.module:name.
      out: folder for the policy.
      method: clone or plan.
      data: clone: data sets, of generate, deploy or loop; real and synthetic ones mix.
      seed: of the first weights, or of the planned starts and goals.
      width: clone: of the network's layers.
      steps: clone: of Adam, over all rows.
      learning_rate: clone: at first; it falls to zero.
      weight_decay: clone: divided by the number of rows.
      history: clone: observations that the policy sees.
      chunk: clone: actions that it decides on at once.
      model: plan: as for generate.
      expert: plan: as for generate.
      episodes: plan: to plan, each for its own start and goal.
      engine: plan: as for generate.
    """

    def command(stop: Any) -> dict[str, Any]:
        from worldmodel.commands import train as command
        from worldmodel.policies.clone import CloneConfig

        if method == "plan":
            options = {"episodes": episodes, "seed": seed, "engine": engine}
            return command.plan(task, out, model, expert, **options)
        config = CloneConfig(width, steps, learning_rate, weight_decay, history, chunk)
        return command.clone(task, data, out, config, seed)

    return _line(command)


def deploy(
    task: _Name,
    policy: Path,
    out: Path,
    robot: str | None = None,
    episodes: int | None = None,
    seed: int = 1,
    watch: bool = False,
    dry_run: bool = False,
) -> int:
    """Plays a policy on a robot and captures every episode; the same command goes on after a stop.

    Args:
      task: file.py:name or package.module:name.
      policy: folder of train.
      out: folder for the episodes: captured, a file each, and corrections, a LeRobot data set.
      robot: as the task is named; 'robot' of the task's file when absent.
      episodes: to play; 8 of a cloned policy and all of a plan when absent.
      seed: of starts and goals.
      watch: whether Enter stops the robot, and you are asked whether an episode succeeded.
      dry_run: everything but sending, for one episode.
    """

    def command(stop: Callable[[], bool]) -> dict[str, Any]:
        from worldmodel.commands.deploy import deploy as command

        options = {"episodes": episodes, "seed": seed, "watch": watch, "dry": dry_run}
        return command(task, policy, robot, out, **options, stop=stop)

    return _line(command)


def loop(
    task: _Name,
    out: Path,
    robot: str | None = None,
    expert: str | None = None,
    model: Path | None = None,
    turns: int = 1,
    episodes: int = 64,
    corrections: int = 8,
    correction: Literal["none", "displacement", "velocity", "force"] = "none",
    steps: int = 40,
    gradient: bool = False,
    seed: int = 0,
    engine: _Engine = None,
    watch: bool = False,
    width: int = 64,
    clone_steps: int = 1000,
    history: int = 1,
    chunk: int = 1,
) -> int:
    """Turns the loop: generate, train, deploy, capture, finetune; the same command goes on.

    Args:
      task: file.py:name or package.module:name.
      out: folder of all versions and turns.
      robot: as for deploy.
      expert: as for generate.
      model: version 0, as for generate.
      turns: in all; more of them go on from the last.
      episodes: synthetic ones per turn.
      corrections: episodes on the robot per turn.
      correction: what a network adds to; none: the physics alone are finetuned.
      steps: of each finetuning: of Gauss-Newton in C MuJoCo, or of the gradient.
      gradient: finetune by gradient descent through MJX; always so where a network is fitted.
      seed: of everything that is drawn.
      engine: as for generate.
      watch: as for deploy.
      width: of the policy's layers.
      clone_steps: of the policy's training.
      history: observations that the policy sees.
      chunk: actions that it decides on at once.
    """

    def command(stop: Callable[[], bool]) -> dict[str, Any]:
        from worldmodel.commands.loop import LoopOptions
        from worldmodel.commands.loop import turns as command
        from worldmodel.policies.clone import CloneConfig

        options = LoopOptions(
            task=task,
            out=out,
            robot=robot,
            expert=expert,
            model=model,
            turns=turns,
            episodes=episodes,
            corrections=corrections,
            correction=correction,
            steps=steps,
            gradient=gradient,
            seed=seed,
            engine=engine,
            watch=watch,
            clone=CloneConfig(width=width, steps=clone_steps, history=history, chunk=chunk),
        )
        return command(options, stop)

    return _line(command)


COMMANDS = {"generate": generate, "train": train, "deploy": deploy, "loop": loop}


def _line(command: Callable[[Callable[[], bool]], dict[str, Any]]) -> int:
    """Runs a command, which asks whether to stop, and prints what it returns."""
    runtime.configure()
    with runtime.Interrupt() as interrupt:
        try:
            line = command(lambda: interrupt.requested)
        except runtime.Interrupted as stopped:
            runtime.log(str(stopped))
            return interrupt.exit_status
    print(json.dumps(line))
    return 0
