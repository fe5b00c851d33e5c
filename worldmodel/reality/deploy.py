"""Deploy: a robot plays a policy, and what it measured comes back as an episode.

The functions that observe and command are those of a model (``tasks.play``), compiled before the
robot is connected.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from worldmodel.errors import InputError
from worldmodel.reality.robot import Robot, RobotError
from worldmodel.tasks import play, sensors
from worldmodel.tasks.task import Task
from worldmodel.types import Episode, Goal, Measurement, Policy, Trial


@dataclasses.dataclass(frozen=True)
class Loop:
    """A task's closed loop for policies of one structure, compiled."""

    begin: Callable[[Measurement], Measurement]
    init: Callable[[Policy, Measurement, Goal, jax.Array], Any]
    decide: Callable[..., tuple[jax.Array, jax.Array, Any]]
    follow: Callable[..., Measurement]
    failed: Callable[[Measurement, Goal], jax.Array]


def compiled_loop(task: Task, policy: Policy, goal: Goal) -> Loop:
    """The closed loop of a task, compiled for policies like this one and goals like this one.

    A policy that cannot be traced acts in Python; what surrounds it is compiled.
    """

    def init(policy: Policy, measured: Measurement, goal: Goal, key: jax.Array) -> Any:
        return policy.init(task.observe(measured, goal), key)

    def decide(policy: Policy, carry: Any, measured: Measurement, goal: Goal, key: Any) -> tuple:
        return play.decide(task, policy, carry, measured, goal, key)

    wrap = jax.jit if policy.traceable else lambda f: f
    loop = Loop(
        begin=jax.jit(functools.partial(play.begin, task)),
        init=wrap(init),
        decide=wrap(decide),
        follow=jax.jit(functools.partial(play.follow, task)),
        failed=jax.jit(task.failed),
    )
    key = jax.random.key(0)
    first = loop.begin(sensors.blank(task.sensors))
    if policy.traceable:
        carry = loop.init(policy, first, goal, key)
        _, ctrl, _ = loop.decide(policy, carry, first, goal, key)
        loop.follow(first, sensors.blank(task.sensors), np.asarray(ctrl), False)
    loop.failed(first, goal)
    return loop


def check_robot(robot: Robot, task: Task) -> None:
    """Refuses a robot that is not a task's, before anything moves.

    Raises:
      InputError: another rate, other names, or limits of another size.
    """
    scene = task.scene
    if robot.control_hz != scene.control_hz:
        raise InputError(
            f"the robot takes {robot.control_hz} commands per second, scene '{scene.name}' "
            f"{scene.control_hz}; load the scene with the robot's control_hz"
        )
    for kind in ("joints", "objects", "touch", "actuators"):
        reported, wanted = getattr(robot.names, kind), getattr(task.sensors, kind)
        if reported != wanted:
            raise InputError(
                f"the robot's {kind} are {list(reported)}, task '{task.name}' needs {list(wanted)}"
                ", in this order; rename them in the robot, or set the task's sensors"
            )
    if np.shape(robot.max_rate) != (scene.mj_model.nu,):
        raise InputError(
            f"the robot's max_rate has the shape {np.shape(robot.max_rate)}, not "
            f"({scene.mj_model.nu},): one limit per actuator, infinite where there is none"
        )


def deploy(
    robot: Robot,
    task: Task,
    trial: Trial,
    identity: int | str,
    key: jax.Array,
    *,
    loop: Loop | None = None,
) -> Episode:
    """Plays one trial on a connected robot: at most ``task.horizon`` control steps.

    Args:
      identity: the episode's id.
      key: the policy's randomness, split as ``rollout`` splits it.
      loop: of ``compiled_loop``; made when absent.

    Returns:
      The episode, a frame longer than its steps; it ends early where the task has failed.

    Raises:
      RobotError: the robot stops answering, or reports joints that are not finite, or arrays of
        another size; it is stopped, and the error carries the frames before.
      InputError: the policy's command is not finite or of another size; the robot is stopped.
    """
    loop = loop or compiled_loop(task, trial.policy, trial.goal)
    nu = task.scene.mj_model.nu
    limit = np.asarray(robot.max_rate, float) / task.scene.control_hz
    measured: list[Measurement] = []
    commands: list[np.ndarray] = []
    actions: list[np.ndarray] = []
    failed = [False]

    def recorded() -> Episode | None:
        if not measured:
            return None
        frames = len(measured)
        acts = actions or [np.zeros(task.action_size)]
        held = commands or [np.asarray(measured[0].applied)]
        rows = jax.tree.map(lambda *x: np.stack([np.asarray(a) for a in x]), *measured)
        played = play.Played(
            rows,
            np.stack(held)[: max(1, frames - 1)],
            np.stack(acts)[: max(1, frames - 1)],
            np.array(failed),
        )
        return play.episode(task, played, trial.goal, source="real", identity=identity)

    def take(ask: Callable[[], Measurement]) -> Measurement:
        try:
            answer = ask()
        except (TimeoutError, OSError) as error:
            robot.stop()
            raise RobotError(
                f"episode {identity}: the robot stopped answering at frame {len(measured)} "
                f"({error}); check it, then run the same command again",
                recorded(),
            ) from error
        fault = _fault(answer, task)
        if fault:
            robot.stop()
            raise RobotError(
                f"episode {identity}: at frame {len(measured)} the robot reports {fault}; check "
                "its sensors, then run the same command again",
                recorded(),
            )
        return answer

    keys = jax.random.split(key, task.horizon + 1)
    now = loop.begin(take(lambda: robot.reset(trial.start)))
    measured.append(now)
    carry = loop.init(trial.policy, now, trial.goal, keys[0])
    for t in range(task.horizon):
        action, ctrl, carry = loop.decide(trial.policy, carry, now, trial.goal, keys[t + 1])
        ctrl, action = np.asarray(ctrl, float), np.asarray(action, float)
        if ctrl.shape != (nu,) or not np.isfinite(ctrl).all():
            robot.stop()
            raise InputError(
                f"episode {identity}: the policy commands {ctrl} at step {t}; the robot takes "
                f"{nu} finite numbers"
            )
        before = np.asarray(now.applied)
        ctrl = np.clip(ctrl, before - limit, before + limit)
        commands.append(ctrl)
        actions.append(action)
        answer = take(lambda ctrl=ctrl: robot.step(ctrl))
        now = loop.follow(now, answer, ctrl, False)
        measured.append(now)
        failed.append(bool(loop.failed(now, trial.goal)))
        if failed[-1]:
            break
    episode = recorded()
    assert episode is not None
    return episode


def _fault(answer: Measurement, task: Task) -> str:
    """What is wrong with a measurement; empty where nothing is."""
    blank = sensors.blank(task.sensors)
    for name in ("joints", "objects", "touch", "age"):
        shape, wanted = np.shape(getattr(answer, name)), np.shape(getattr(blank, name))
        if shape != wanted:
            return f"{name} of the shape {shape}, not {wanted}"
    joints = np.asarray(answer.joints)
    if not np.isfinite(joints).all():
        names = [task.sensors.joints[i] for i in np.flatnonzero(~np.isfinite(joints))]
        return f"no finite position of {names}"
    return ""
