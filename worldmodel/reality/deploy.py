"""Deploy: a robot plays a policy, and what it measured comes back as an episode.

The functions that observe and command are those of a model (``tasks.play``), compiled before the
robot is connected.
"""

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from worldmodel import runtime
from worldmodel.errors import InputError
from worldmodel.reality.robot import Robot, RobotError
from worldmodel.reality.safety import Nobody, Operator, Safety, Watchdog
from worldmodel.runtime import log
from worldmodel.tasks import play, sensors
from worldmodel.tasks.errors import TaskError
from worldmodel.tasks.task import Task
from worldmodel.types import Episode, Goal, Measurement, Names, Policy, Trial

LATE = 1.5  # periods of the control rate that a step may take
NOBODY, DEFAULT = Nobody(), Safety()


@dataclasses.dataclass(frozen=True)
class Loop:
    """A task's closed loop for policies of one structure, compiled."""

    begin: Callable[[Measurement], Measurement]
    init: Callable[[Policy, Measurement, Goal, jax.Array], Any]
    decide: Callable[..., tuple[jax.Array, jax.Array, Any]]
    follow: Callable[..., Measurement]
    failed: Callable[[Measurement, Goal], jax.Array]
    action: Callable[[Measurement, Any, Goal], jax.Array]  # of a person's command


def compiled_loop(task: Task, policy: Policy, goal: Goal) -> Loop:
    """The closed loop of a task, compiled for policies like this one and goals like this one.

    A policy that cannot be traced acts in Python; what surrounds it is compiled.
    """
    wrap = jax.jit if policy.traceable else lambda f: f
    loop = Loop(
        begin=jax.jit(functools.partial(play.begin, task)),
        init=wrap(lambda policy, now, goal, key: policy.init(task.observe(now, goal), key)),
        decide=wrap(functools.partial(play.decide, task)),
        follow=jax.jit(functools.partial(play.follow, task)),
        failed=jax.jit(task.failed),
        action=jax.jit(task.action),
    )
    key = jax.random.key(0)
    first = loop.begin(sensors.blank(task.sensors))
    if policy.traceable:
        loop.decide(policy, loop.init(policy, first, goal, key), first, goal, key)
    loop.follow(first, sensors.blank(task.sensors), np.asarray(first.applied), False)
    loop.failed(first, goal)
    with contextlib.suppress(TaskError):  # of a task whose commands do not tell the action
        loop.action(first, np.asarray(first.applied), goal)
    return loop


def check_robot(robot: Robot, task: Task) -> None:
    """Refuses a robot that is not a task's, before anything moves.

    Raises:
      InputError: another rate, other names, or limits of another size or not above 0.
    """
    scene = task.scene
    if not isinstance(robot.names, Names):
        raise InputError(
            f"the robot's names are a {type(robot.names).__name__}; give Names(joints, objects, "
            "touch, actuators), such as the task's sensors"
        )
    if robot.control_hz != scene.control_hz:
        raise InputError(
            f"the robot takes {robot.control_hz} commands per second, scene '{scene.name}' "
            f"{scene.control_hz}; load the scene with the robot's control_hz"
        )
    for kind in ("joints", "objects", "touch", "forces", "actuators"):
        reported, wanted = getattr(robot.names, kind), getattr(task.sensors, kind)
        if reported != wanted:
            raise InputError(
                f"the robot's {kind} are {list(reported)}, task '{task.name}' needs {list(wanted)}"
                ", in this order; rename them in the robot, or set the task's sensors"
            )
    limits = np.asarray(robot.max_rate)
    if limits.shape != (scene.mj_model.nu,) or not (limits > 0).all():
        raise InputError(
            f"the robot's max_rate is {limits}; give ({scene.mj_model.nu},) positive limits, one "
            "per actuator, infinite where there is none"
        )


def deploy(
    robot: Robot,
    task: Task,
    trial: Trial,
    identity: int | str,
    key: jax.Array,
    *,
    loop: Loop | None = None,
    operator: Operator = NOBODY,
    safety: Safety = DEFAULT,
    stop: Callable[[], bool] = lambda: False,
    keep: Callable[[Episode], None] = lambda episode: None,
) -> Episode:
    """Plays one trial on a connected robot: at most ``task.horizon`` control steps.

    Commands are held within the range of the actuators and the robot's ``max_rate``. The robot is
    stopped at the end of the episode, however that comes.

    Args:
      identity: the episode's id.
      key: the policy's randomness, split as ``rollout`` splits it.
      loop: of ``compiled_loop``; made when absent.
      operator: the person who may stop the robot, take over, and judge the episode.
      safety: when the episode is given up.
      stop: asked before the reset and every command, as the operator is.
      keep: called with the frames so far where the episode does not come to its end, or cannot be
        judged.

    Returns:
      The episode, a frame longer than its steps; it ends early where the task has failed. Where the
      operator took over, command and action are hers.

    Raises:
      RobotError: the robot stops answering, is late too often, or reports what cannot be.
      InputError: a command is not finite or of another size.
      runtime.Interrupted: the operator stopped the robot, or ``stop`` returned True.
    """
    loop = loop or compiled_loop(task, trial.policy, trial.goal)
    tape = _Tape(task, trial.goal, identity, getattr(robot, "source", "real"))
    try:
        with Watchdog(robot.stop, safety.silence) as watchdog:
            _play(robot, task, trial, key, loop, operator, safety, stop, tape, watchdog)
        robot.stop()
        if tape.late:
            log(
                f"episode {identity}: {tape.late} of {len(tape.ctrl)} control steps took more than "
                f"{LATE:g} periods of the control rate"
            )
        episode = tape.episode(whole=True)
        if episode.success is None:
            return dataclasses.replace(episode, success=operator.judge(episode))
        return episode
    except BaseException:  # Ctrl-C among them
        try:
            robot.stop()
        finally:
            if tape.measured:
                keep(tape.episode(whole=False))
        raise


@dataclasses.dataclass
class _Tape:
    """What was measured and commanded so far."""

    task: Task
    goal: Goal
    identity: int | str
    source: str
    measured: list[Measurement] = dataclasses.field(default_factory=list)
    ctrl: list[np.ndarray] = dataclasses.field(default_factory=list)
    action: list[np.ndarray] = dataclasses.field(default_factory=list)
    failed: bool = False
    late: int = 0

    def episode(self, whole: bool) -> Episode:
        """The frames so far; one that is not whole is not judged."""
        rows = jax.tree.map(lambda *x: np.stack([np.asarray(a) for a in x]), *self.measured)
        ctrl = self.ctrl or [np.asarray(rows.applied[0])]
        action = self.action or [np.zeros(self.task.action_size)]
        over = np.array(self.failed or not whole)
        played = play.Played(rows, np.stack(ctrl), np.stack(action), over)
        episode = play.episode(
            self.task, played, self.goal, source=self.source, identity=self.identity
        )
        # Of a start alone, without a step, one command is held.
        return dataclasses.replace(
            episode,
            success=episode.success if whole else None,
            late=self.late,
            ctrl=episode.ctrl[: len(self.measured)],
            action=np.asarray(episode.action)[: len(self.measured)],
        )


def _play(
    robot: Robot,
    task: Task,
    trial: Trial,
    key: jax.Array,
    loop: Loop,
    operator: Operator,
    safety: Safety,
    stop: Callable[[], bool],
    tape: _Tape,
    watchdog: Watchdog,
) -> None:
    """The closed loop, onto a tape."""
    clock = getattr(robot, "clock", time.monotonic)
    limit = np.asarray(robot.max_rate, float) / task.scene.control_hz
    size, goal, where = task.action_size, trial.goal, f"episode {tape.identity}"
    keys = jax.random.split(key, task.horizon + 1)

    def go_on(t: int) -> None:
        if stop() or operator.wants_stop():
            raise runtime.Interrupted(
                f"{where}: stopped before control step {t}; run the same command to go on"
            )

    def hung() -> RobotError:
        return RobotError(
            f"{where}: no control step for {safety.silence:g} s at frame {len(tape.measured)}; the "
            "robot was stopped: check it, then run the same command again"
        )

    go_on(0)
    now = loop.begin(_answer(tape, robot.reset, trial.start))
    tape.measured.append(now)
    tape.failed = bool(loop.failed(now, goal))
    carry = loop.init(trial.policy, now, goal, keys[0])
    before = None
    for t in range(task.horizon):
        go_on(t)
        action, ctrl, carry = loop.decide(trial.policy, carry, now, goal, keys[t + 1])
        hers = _heard(tape, "the operator's device", operator.command, now)
        ctrl = np.asarray(ctrl if hers is None else hers, float)
        action = np.asarray(action, float)
        if action.shape != (size,) or not np.isfinite(action).all():
            raise InputError(
                f"{where}: the policy answers {action} at step {t}; task '{task.name}' takes "
                f"{size} finite numbers"
            )
        if ctrl.shape != limit.shape or not np.isfinite(ctrl).all():
            commander = "the policy" if hers is None else "the operator"
            raise InputError(
                f"{where}: {commander} commands {ctrl} at step {t}; the robot takes "
                f"{limit.size} finite numbers"
            )
        held = np.asarray(now.applied)
        ctrl = sensors.within_range(task.scene, ctrl)
        ctrl = np.clip(ctrl, held - limit, held + limit)
        before = clock() if before is None else before
        if not watchdog.feed():
            raise hung()
        sensed = _answer(tape, robot.step, ctrl)
        before, took = clock(), clock() - before
        if watchdog.barked:
            raise hung()
        tape.late += took * task.scene.control_hz > LATE
        if safety.max_late is not None and tape.late > safety.max_late:
            raise RobotError(
                f"{where}: {tape.late} control steps took more than {LATE:g} periods by frame "
                f"{t + 1}, the last one {took:.3g} s; lower control_hz, or free the computer"
            )
        reported = np.asarray(sensed.applied, float)
        applied = np.where(np.isfinite(reported), reported, ctrl)
        intervention = hers is not None or bool(sensed.intervention)
        tape.ctrl.append(applied)
        tape.action.append(
            np.asarray(loop.action(now, applied, goal), float) if intervention else action
        )
        now = loop.follow(now, sensed, applied, intervention)
        tape.measured.append(now)
        tape.failed |= bool(loop.failed(now, goal))
        if tape.failed:
            return


def _answer(tape: _Tape, ask: Callable[..., Measurement], *given: Any) -> Measurement:
    """What a robot measures.

    Raises:
      RobotError: it does not answer, or reports what cannot be.
    """
    answer = _heard(tape, "the robot", ask, *given)
    fault = _fault(answer, tape.task)
    if fault:
        raise RobotError(
            f"episode {tape.identity}: at frame {len(tape.measured)} the robot reports {fault}; "
            "check its sensors, then run the same command again"
        )
    return answer


def _heard(tape: _Tape, who: str, ask: Callable[..., Any], *given: Any) -> Any:
    """What a device answers.

    Raises:
      RobotError: it does not answer.
    """
    try:
        return ask(*given)
    except OSError as error:  # a timeout among them
        raise RobotError(
            f"episode {tape.identity}: {who} stopped answering at frame {len(tape.measured)} "
            f"({error}); check it, then run the same command again"
        ) from error


def _fault(answer: Measurement, task: Task) -> str:
    """What is wrong with a measurement; empty where nothing is."""
    if not isinstance(answer, Measurement):
        return f"a {type(answer).__name__}, which is no Measurement (reality.measurement makes one)"
    blank = sensors.blank(task.sensors)
    for name in ("joints", "objects", "touch", "force", "age", "applied"):
        shape, wanted = np.shape(getattr(answer, name)), np.shape(getattr(blank, name))
        if shape != wanted:
            return f"{name} of the shape {shape}, not {wanted}"
    joints, objects = np.asarray(answer.joints), np.asarray(answer.objects)
    if not np.isfinite(joints).all():
        names = [task.sensors.joints[i] for i in np.flatnonzero(~np.isfinite(joints))]
        return f"no finite position of {names}"
    seen = ~np.isnan(objects).all(axis=1)
    broken = ~(np.abs(np.linalg.norm(objects[:, 3:], axis=1) - 1.0) < 1e-3)
    broken |= ~np.isfinite(objects).all(axis=1)
    if (seen & broken).any():
        row = int(np.argmax(seen & broken))
        return (
            f"the pose {objects[row].tolist()} of '{task.sensors.objects[row]}', which is no "
            "position and unit quaternion wxyz, nor a row of NaN"
        )
    return ""
