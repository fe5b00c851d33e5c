"""A dry run: everything but sending."""

from collections.abc import Callable

import jax
import numpy as np

from worldmodel.errors import InputError
from worldmodel.reality.deploy import check_robot, compiled_loop, deploy
from worldmodel.reality.robot import Robot, Ticks, connect
from worldmodel.tasks.task import Task
from worldmodel.types import Episode, Measurement, Start, Trial


class DryRun:
    """A robot that is connected and read at its rate, and never sent anything.

    Raises:
      InputError: the robot has no ``measure()``.
    """

    source = "dry run"

    def __init__(self, robot: Robot) -> None:
        if not hasattr(robot, "measure"):
            raise InputError(
                f"a {type(robot).__name__} cannot be read without moving it; give it a method "
                "'measure()' for dry runs"
            )
        self._ticks = Ticks(robot.control_hz)
        self.control_hz, self.names, self.max_rate = robot.control_hz, robot.names, robot.max_rate
        self.connect, self.close = robot.connect, robot.close
        self.measure: Callable[[], Measurement] = getattr(robot, "measure")  # noqa: B009

    def reset(self, start: Start) -> Measurement:
        """Measures; nothing is put in place."""
        del start
        self._ticks.begin()
        return self.measure()

    def step(self, ctrl: np.ndarray) -> Measurement:
        """Waits for the next tick, and measures."""
        del ctrl
        self._ticks.wait()
        return self.measure()

    def stop(self) -> None:
        """Nothing was set in motion."""


def dry_run(
    robot: Robot,
    task: Task,
    trial: Trial,
    key: jax.Array,
    *,
    stop: Callable[[], bool] = lambda: False,
) -> Episode:
    """Plays one trial on a robot without sending anything: names, shapes, rates, the sensors and
    the commands that a policy would send, all in the episode.

    Raises:
      InputError, RobotError, Interrupted: as ``capture``.
    """
    machine = DryRun(robot)
    check_robot(machine, task)
    loop = compiled_loop(task, trial.policy, trial.goal)
    try:
        connect(machine, "robot")
        return deploy(machine, task, trial, "dry run", key, loop=loop, stop=stop)
    finally:
        machine.close()
