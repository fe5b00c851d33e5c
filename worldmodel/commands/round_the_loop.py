"""The command lines of the loop: new, generate, train, deploy, loop. Each prints one JSON line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import tyro

from worldmodel import runtime
from worldmodel.commands.loop_options import (
    DeployOptions,
    GenerateOptions,
    LoopOptions,
    TrainOptions,
    check_counts,
)

_Name = Annotated[str, tyro.conf.Positional]
_Stop = Callable[[], bool]


def _new(
    name: _Name, mjcf: Path, control_hz: float | None = None, substeps: int | None = None
) -> int:
    """Begins a task for a robot: a folder with its MJCF, a task that runs, columns and a test.

    Args:
      name: of the folder and the task.
      mjcf: of the robot; its meshes are copied.
      control_hz: commands per second; 30 when absent.
      substeps: physics steps per command; from the fastest contact or servo when absent.
    """
    from worldmodel.commands.new import new

    return _line(lambda stop: new(name, mjcf, control_hz, substeps))


def _generate(run: tyro.conf.OmitArgPrefixes[GenerateOptions]) -> int:
    """Generates synthetic episodes: the task's expert demonstrates it in the world model."""

    def command(stop: _Stop) -> dict[str, Any]:
        from worldmodel.commands.generate import generate

        return generate(run)

    return _line(command, run)


def _train(run: tyro.conf.OmitArgPrefixes[TrainOptions]) -> int:
    """Trains a policy: clones data sets, or plans open loop in the world model."""

    def command(stop: _Stop) -> dict[str, Any]:
        from worldmodel.commands.train import clone, plan

        return plan(run) if run.method == "plan" else clone(run)

    return _line(command, run)


def _deploy(run: tyro.conf.OmitArgPrefixes[DeployOptions]) -> int:
    """Plays a policy on a robot and captures every episode; the same command goes on after a
    stop."""

    def command(stop: _Stop) -> dict[str, Any]:
        from worldmodel.commands.deploy import deploy

        return deploy(run, stop)

    return _line(command, run)


def _loop(run: tyro.conf.OmitArgPrefixes[LoopOptions]) -> int:
    """Turns the loop: generate, train, deploy, capture, finetune; the same command goes on."""

    def command(stop: _Stop) -> dict[str, Any]:
        from worldmodel.commands.loop import turns

        return turns(run, stop)

    return _line(command, run)


COMMANDS = {
    "new": _new,
    "generate": _generate,
    "train": _train,
    "deploy": _deploy,
    "loop": _loop,
}


def _line(command: Callable[[_Stop], dict[str, Any]], options: Any = None) -> int:
    """Runs a command, which asks whether to stop, and prints what it returns."""
    check_counts(options)
    runtime.configure()
    with runtime.Interrupt() as interrupt:
        try:
            line = command(lambda: interrupt.requested)
        except runtime.Interrupted as stopped:
            runtime.log(str(stopped))
            return interrupt.exit_status
    print(json.dumps(line))
    return 0
