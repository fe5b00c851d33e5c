"""Closed-loop episodes of a task: sense, observe, act, command, step.

``begin``, ``decide`` and ``follow`` are what a robot runs too (``reality.deploy``).
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel.rollout import Step, rollout
from worldmodel.scene.tangent import backward_velocities
from worldmodel.tasks import sensors
from worldmodel.tasks.errors import TaskError
from worldmodel.tasks.task import Task
from worldmodel.types import Array, Episode, Goal, Measurement, Policy, Start, State

FARTHEST = 1e4  # [m, rad] that a position may be from its zero; a body falls so far in 45 s


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Played:
    """An episode as it was played; a batch of them has a leading dimension."""

    measured: Measurement  # (frames + 1, …) the start first
    ctrl: Array  # (frames, nu)
    action: Array  # (frames, action)
    failed: Array  # (frames + 1,) bool
    farthest: Array | None = None  # (nq,) of a model: the largest |qpos|, NaN where one is NaN


# Plays a batch of episodes: policies, starts and goals with a leading dimension, and one key.
Simulate = Callable[[Policy, Start, Goal, Array], Played]


def repeated(policy: Policy, count: int) -> Policy:
    """A policy ``count`` times, for a batch of episodes: with a leading dimension."""
    return jax.tree.map(lambda x: np.broadcast_to(x, (count, *np.shape(x))), policy)


def begin(task: Task, sensed: Measurement) -> Measurement:
    """The first measurement of an episode: everything stands still, held by its commands."""
    qpos = jnp.asarray(task.scene.mj_model.qpos0)
    qpos = qpos.at[sensors.places(task.scene, sensed.names).joints].set(sensed.joints)
    return dataclasses.replace(
        sensed,
        velocities=jnp.zeros_like(sensed.joints),
        applied=sensors.holding(task.scene, qpos),
        intervention=jnp.zeros((), bool),
    )


def decide(
    task: Task, policy: Policy, carry: Any, measured: Measurement, goal: Goal, key: Array
) -> tuple[Array, Array, Any]:
    """One decision of a policy: its action, the command within the range of the actuators, and
    what it carries on.

    Raises:
      TaskError: a traced action of another size than the task's (of one from Python the robot's
        loop names the step).
    """
    action, carry = policy.act(carry, task.observe(measured, goal), key)
    if policy.traceable and jnp.shape(action) != (task.action_size,):
        raise TaskError(
            f"the policy's action has the shape {jnp.shape(action)}; task '{task.name}' takes "
            f"({task.action_size},)"
        )
    ctrl = sensors.within_range(task.scene, task.command(measured, action, goal))
    return action, ctrl, carry


def follow(
    task: Task, before: Measurement, sensed: Measurement, applied: Array, intervention: Array
) -> Measurement:
    """The measurement after another: velocities are differences over one control step."""
    moved = (sensed.joints - before.joints) * task.scene.control_hz
    return dataclasses.replace(
        sensed, velocities=moved, applied=applied, intervention=jnp.asarray(intervention)
    )


def play(
    task: Task,
    step: Step,
    policy: Policy,
    state: State,
    goal: Goal,
    key: Array,
) -> tuple[State, Played]:
    """Plays one episode of a task in a model, ``task.horizon`` control steps long.

    Args:
      step: one control step, its parameters applied (``model.make_step``).
      policy: observes what the task lets it.
      state: where the episode begins.
      goal: of the episode.
      key: of the sensors' noise and of the policy.

    Returns:
      states, (frames, …) each leaf, after each step; and what was measured and commanded.
    """
    noise, acting = jax.random.split(key)

    def sensed(state: State, t: Array) -> Measurement:
        return task.sense(state, jax.random.fold_in(noise, t))

    first = begin(task, sensed(state, 0))
    taken = jnp.zeros((), int)

    def advance(x: tuple, decided: Any) -> tuple:
        state, before, t = x
        ctrl = decided[1]
        state = step(state, ctrl)
        after = follow(task, before, sensed(state, t + 1), ctrl, jnp.zeros((), bool))
        return state, after, t + 1

    loop = _Deciding(task, policy, goal)
    (states, measured, _), (action, ctrl) = rollout(
        advance, loop, (state, first, taken), task.horizon, acting
    )
    measured = jax.tree.map(lambda a, b: jnp.concatenate([a[None], b]), first, measured)
    failed = jax.vmap(lambda m: task.failed(m, goal))(measured)
    return states, Played(measured, ctrl, action, failed, jnp.abs(states.qpos).max(0))


@dataclasses.dataclass(frozen=True)
class _Deciding:
    """A task's policy as one of states and measurements, its actions with their commands."""

    task: Task
    policy: Policy
    goal: Goal
    traceable = True

    def init(self, observation: Any, key: Array) -> Any:
        _, measured, _ = observation
        return self.policy.init(self.task.observe(measured, self.goal), key)

    def act(self, carry: Any, observation: Any, key: Array) -> tuple[Any, Any]:
        _, measured, _ = observation
        action, ctrl, carry = decide(self.task, self.policy, carry, measured, self.goal, key)
        return (action, ctrl), carry


def episodes(task: Task, played: Played, goals: Goal, *, source: str) -> list[Episode]:
    """Played episodes, as a robot would record them: the positions that its sensors report, and
    their backward differences.

    Args:
      played: of a batch.
      goals: of the batch, with a leading dimension.
      source: "real", or the name of the version that played them.

    Returns:
      Episodes, their ids their places in the batch; the last command and action repeated, judged
      by the task.
    """
    out = []
    for i in range(len(np.asarray(played.ctrl))):
        one = jax.tree.map(lambda x, i=i: np.asarray(x)[i], played)
        goal = jax.tree.map(lambda x, i=i: np.asarray(x)[i], goals)
        out.append(episode(task, one, goal, source=source, identity=i))
    return out


def episode(task: Task, played: Played, goal: Goal, *, source: str, identity: int | str) -> Episode:
    """One played episode, see ``episodes``; its arrays on the host."""
    m = played.measured
    qpos = sensors.positions(
        task.scene, m.names, np.asarray(m.joints, float), np.asarray(m.objects, float)
    )
    out = Episode.regular(
        identity,
        task.scene.control_hz,
        qpos=qpos,
        qvel=backward_velocities(task.scene, qpos),
        ctrl=_repeated(played.ctrl),
        measured=None if np.isfinite(qpos).all() else np.isfinite(qpos),
        contact=np.asarray(m.touch, bool),
        force=np.asarray(m.force, float),
        goal={name: np.asarray(x) for name, x in goal.items()},
        action=_repeated(played.action),
        intervention=np.append(m.intervention[1:], m.intervention[-1]).astype(bool),
        source=source,
    )
    success = False if np.asarray(played.failed).any() else task.success(out)
    return dataclasses.replace(out, success=None if success is None else bool(success))


def _repeated(rows: Array) -> np.ndarray:
    rows = np.asarray(rows, float)
    return np.concatenate([rows, rows[-1:]])
