"""Whether a task keeps its contract, before anything is played: each breach a named error.

The states are starts that the task draws, and random ones: joints within their ranges, objects
anywhere. Nothing is stepped, so a check takes seconds.
"""

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.errors import InputError, cause, where
from worldmodel.scene.collisions import contact_pairs
from worldmodel.tasks import play, sensors
from worldmodel.tasks.errors import TaskError
from worldmodel.tasks.task import Task
from worldmodel.types import Contacts, Episode, Goal, Measurement, Start, State

STARTS = 3  # that are drawn
CLOSE = 1e-6


def check_task(task: Task) -> list[tuple[str, str]]:
    """Checks every part of a task's contract.

    Returns:
      (part, what was seen) of each.

    Raises:
      TaskError: the first part that breaks it.
    """
    return [(part, check_part(task, part)) for part in CHECKS]


def check_part(task: Task, part: str) -> str:
    """What was seen of one part, a key of ``CHECKS``; the parts before it hold.

    Raises:
      TaskError: the task breaks it, or a method of its own raises.
    """
    try:
        return CHECKS[part](task)
    except InputError:
        raise
    except Exception as error:  # whatever a user's Python raises
        raise TaskError(
            f"task '{task.name}': '{part}' raises {type(error).__name__}: {cause(error)} "
            f"({where(error) or 'outside of its own code'})"
        ) from error


class _NotCompiledError(TaskError):
    """A method of a task that cannot be compiled."""


def _demand(task: Task, keeps: Any, breach: str) -> None:
    if not keeps:
        raise TaskError(f"task '{task.name}': {breach}")


def _sensors(task: Task) -> str:
    horizon, hz, names = getattr(task, "horizon", None), task.scene.control_hz, task.sensors
    if not isinstance(horizon, int) or horizon < 1:
        raise TaskError(
            f"task '{task.name}' has the horizon {horizon!r}; set the number of control steps, an "
            "int"
        )
    sensors.places(task.scene, names)
    counts = {kind: len(getattr(names, kind)) for kind in ("joints", "objects", "touch", "forces")}
    counted = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    return f"{counted}; {horizon} steps at {hz:g} Hz, {horizon / hz:.2g} s"


def _reset(task: Task) -> str:
    m, drawn = task.scene.mj_model, _drawn(task)
    for start, goal in drawn:
        kinds = f"{type(start).__name__} and {type(goal).__name__}"
        shaped = isinstance(start, Start) and isinstance(goal, dict)
        _demand(task, shaped, f"'reset' returns {kinds}; return Start(qpos, qvel) and a dict")
        for name, size in (("qpos", m.nq), ("qvel", m.nv)):
            value = np.asarray(getattr(start, name))
            _demand(
                task,
                value.shape == (size,) and np.isfinite(value).all(),
                f"'reset' gives a {name} of the shape {value.shape} with "
                f"{(~np.isfinite(value)).sum()} numbers not finite; the scene takes ({size},)",
            )
        for name, value in goal.items():
            array = isinstance(value, jax.Array | np.ndarray | np.generic)
            numbers = array and value.dtype.kind in "fiub" and bool(np.isfinite(value).all())
            text = f"the goal '{name}' is {value!r}; give an array of finite numbers"
            _demand(task, numbers, text)
        for body, place in _quaternions(task):
            norm = np.linalg.norm(np.asarray(start.qpos)[place : place + 4])
            turned = f"'reset' turns '{body}' by a quaternion of norm {norm:.3g}; make it 1"
            _demand(task, abs(norm - 1.0) <= CLOSE, turned)
        _demand(
            task,
            _described((start, goal)) == _described(drawn[0]),
            "'reset' gives starts and goals of other shapes or types from one key to the next; "
            "keep them the same",
        )
    again = zip(*map(jax.tree.leaves, (task.reset(jax.random.key(0)), drawn[0])), strict=True)
    same = all(np.array_equal(x, y) for x, y in again)
    _demand(task, same, "'reset' gives two starts for one key; use the key")
    return f"goal: {', '.join(sorted(drawn[0][1])) or 'none'}"


def _observe(task: Task) -> str:
    rows = [(m, goal, task.observe(m, goal)) for m, goal in _measured(task)]
    first = rows[0][2]
    for _, _, row in rows:
        kind = f"{jnp.shape(row)} of {jnp.asarray(row).dtype}"
        floats = jnp.ndim(row) == 1 and jnp.issubdtype(jnp.asarray(row).dtype, jnp.floating)
        _demand(task, floats, f"'observe' returns {kind}; return floats, (observation,)")
        _demand(
            task,
            _described(row) == _described(first),
            f"'observe' returns {kind} in one state and {first.shape} of {first.dtype} in "
            "another; keep size and type the same",
        )
        finite = np.isfinite(row).all()
        _demand(task, finite, f"'observe' returns {np.asarray(row)}, not all finite")
    for measured, goal, row in rows:
        traced = _traced(task, "observe", task.observe, measured, goal)
        _demand(
            task,
            np.allclose(traced, row, atol=CLOSE),
            "'observe' returns other numbers when compiled; make it a pure function of its "
            "arguments, in jax.numpy",
        )
    return f"{first.size} numbers"


def _command(task: Task) -> str:
    nu, worst = task.scene.mj_model.nu, 0.0
    for measured, goal in _measured(task):
        for action in _actions(task):
            ctrl = np.asarray(_traced(task, "command", task.command, measured, action, goal))
            _demand(
                task,
                ctrl.shape == (nu,) and np.isfinite(ctrl).all(),
                f"'command' returns {ctrl} of an action in [−1, 1]; the scene takes {nu} finite "
                "numbers",
            )
            clipped = np.asarray(sensors.within_range(task.scene, ctrl))
            worst = max(worst, float(np.abs(clipped - ctrl).max(initial=0.0)))
    beyond = f"; up to {worst:.3g} outside of its ctrlrange, which is clipped" * (worst > CLOSE)
    return f"{task.action_size} numbers of an action, {nu} commands{beyond}"


def _action(task: Task) -> str:
    for measured, goal in _measured(task):
        for action in 0.9 * _actions(task):
            ctrl = task.command(measured, action, goal)
            try:
                back = np.asarray(_traced(task, "action", task.action, measured, ctrl, goal))
            except _NotCompiledError:
                raise
            except TaskError as error:
                return f"cannot be told from commands ({error}): episodes must carry it"
            _demand(
                task,
                back.shape == action.shape and np.allclose(back, action, atol=1e-4),
                f"'action' makes {back} of the command of {action}; make it the inverse of "
                "'command'",
            )
    return "is the inverse of the command"


def _reward(task: Task) -> str:
    action = _actions(task)[0]
    for (before, goal), (after, _) in itertools.pairwise(_measured(task)):
        try:
            reward = _traced(task, "reward", task.reward, before, action, after, goal)
        except _NotCompiledError:
            raise
        except TaskError as error:
            return f"none ({error})"
        _demand(
            task,
            jnp.shape(reward) == () and np.isfinite(reward),
            f"'reward' returns {np.asarray(reward)}; return one finite number in every state",
        )
        lost = jnp.asarray(_traced(task, "failed", task.failed, after, goal))
        one = lost.shape == () and lost.dtype == bool
        _demand(task, one, f"'failed' returns {lost!r}; return one bool")
    return "finite"


def _scored(task: Task) -> str:
    episode, _ = _recorded(task)
    error, success = task.error(episode), task.success(episode)
    _demand(
        task,
        np.ndim(error) == 0 and (np.isnan(error) or error >= 0),
        f"'error' returns {error!r} of an episode; return one number above 0, less is better, NaN "
        "where nothing was measured",
    )
    judged = success is None or isinstance(success, bool | np.bool_)
    _demand(task, judged, f"'success' returns {success!r}; return a bool or None")
    return f"error {float(error):.3g} and success {success} of a random episode"


def _read_back(task: Task) -> str:
    """What a model senses and what an episode of a robot gives back are observed alike."""
    episode, played = _recorded(task)
    sensed = jax.eval_shape(lambda s: task.sense(s, jax.random.key(0)), _state(task))
    _demand(
        task,
        _described(sensed) == _described(sensors.blank(task.sensors)),
        "'sense' returns other shapes or types than its sensors have; start from sensors.sense and "
        "change its numbers",
    )
    back = sensors.measurements(task.scene, task.sensors, episode)
    observe = jax.vmap(lambda m: task.observe(m, episode.goal))
    ours, theirs = np.asarray(observe(back)), np.asarray(observe(played.measured))
    frame = int(np.argmax(np.abs(ours - theirs).max(axis=1)))
    _demand(
        task,
        np.allclose(ours, theirs, atol=CLOSE),
        f"in frame {frame} a policy observes {theirs[frame]}, and {ours[frame]} of the same frame "
        "read back from disk; observe joints, velocities, objects, touch, force, applied or "
        "intervention alone",
    )
    return "the same in a model, on a robot and read back from disk"


CHECKS: dict[str, Callable[[Task], str]] = {
    "sensors": _sensors,
    "reset": _reset,
    "observe": _observe,
    "command": _command,
    "action": _action,
    "reward": _reward,
    "error": _scored,
    "observation": _read_back,
}


def _traced(task: Task, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """A method's value when it is compiled.

    Raises:
      TaskError: it cannot be traced.
    """
    try:
        return jax.jit(function)(*arguments)
    except InputError:
        raise
    except Exception as error:  # whatever a user's Python raises of a tracer
        raised = f"{type(error).__name__}: {cause(error)}, in {where(error) or 'other code'}"
        raise _NotCompiledError(
            f"task '{task.name}': '{name}' cannot be compiled ({raised}); write it in "
            "jax.numpy, without Python's if on values"
        ) from error


def _drawn(task: Task) -> list[tuple[Start, Goal]]:
    return [task.reset(jax.random.key(seed)) for seed in range(STARTS)]


def _measured(task: Task) -> list[tuple[Measurement, Goal]]:
    """Measurements of starts, and of random states, with a goal each."""
    at, (_, played) = sensors.places(task.scene, task.sensors), _recorded(task)
    out = []
    for k, (start, goal) in enumerate(_drawn(task), start=1):
        qpos, blank = jnp.asarray(start.qpos), sensors.blank(task.sensors)
        still = dataclasses.replace(blank, joints=qpos[at.joints], objects=qpos[at.objects])
        first = play.begin(task, still)
        random = jax.tree.map(lambda x, k=k: jnp.asarray(x[k]), played.measured)
        random = jax.tree.map(lambda new, old: new.astype(old.dtype), random, first)
        out += [(first, goal), (random, goal)]
    return out


def _random(task: Task, count: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Joints, objects, touch and force of random states."""
    m, names = task.scene.mj_model, task.sensors
    rows = [m.joint(name).id for name in names.joints]
    limited = m.jnt_limited[rows].astype(bool)
    low, high = np.where(limited[:, None], m.jnt_range[rows].reshape(-1, 2), [-1.0, 1.0]).T
    joints = rng.uniform(low, high, (count, len(rows)))
    objects = rng.standard_normal((count, len(names.objects), 7))
    objects[..., 3:] /= np.linalg.norm(objects[..., 3:], axis=-1, keepdims=True)
    touch = rng.uniform(size=(count, len(names.touch))) < 0.5
    return joints, objects, touch, rng.exponential(size=(count, len(names.forces)))


def _actions(task: Task) -> np.ndarray:
    rng = np.random.default_rng(1)
    return rng.uniform(-1.0, 1.0, (2, task.action_size))


def _recorded(task: Task) -> tuple[Episode, play.Played]:
    """An episode in which everything moves at random, and what was played."""
    frames, rng = task.horizon + 1, np.random.default_rng(2)
    joints, objects, touch, force = _random(task, frames, rng)
    _, goal = task.reset(jax.random.key(0))
    ctrl = rng.uniform(-1.0, 1.0, (task.horizon, task.scene.mj_model.nu))
    ctrl = np.asarray(sensors.within_range(task.scene, ctrl))
    blank = sensors.blank(task.sensors)
    ages = rng.uniform(0.0, 0.01, (frames, *blank.age.shape))
    sensed = [
        dataclasses.replace(blank, joints=j, objects=o, touch=t, force=f, age=a)
        for j, o, t, f, a in zip(joints, objects, touch, force, ages, strict=True)
    ]
    rows = [play.begin(task, sensed[0])]
    for after, command in zip(sensed[1:], ctrl, strict=True):
        rows.append(play.follow(task, rows[-1], after, command, np.zeros((), bool)))
    measured = jax.tree.map(lambda *x: np.stack([np.asarray(a) for a in x]), *rows)
    action = rng.uniform(-1.0, 1.0, (task.horizon, task.action_size))
    played = play.Played(measured, ctrl, action, np.ones(frames, bool))  # success is not asked
    return play.episode(task, played, goal, source="real", identity=0), played


def _state(task: Task) -> State:
    m = task.scene.mj_model
    pairs = len(contact_pairs(m))
    return State(
        qpos=jnp.asarray(m.qpos0),
        qvel=jnp.zeros(m.nv),
        act=jnp.zeros(m.na),
        time=jnp.zeros(()),
        qacc_warmstart=jnp.zeros(m.nv),
        contacts=Contacts(jnp.zeros(pairs, bool), jnp.zeros(pairs), jnp.zeros((pairs, 3))),
        latent=jnp.zeros(0),
        correction=jnp.zeros(0),
        variance=jnp.zeros(0),
        drive=jnp.zeros((0, m.nu)),
    )


def _quaternions(task: Task) -> list[tuple[str, int]]:
    m, kinds = task.scene.mj_model, mujoco.mjtJoint
    return [
        (m.body(int(m.jnt_bodyid[j])).name, int(m.jnt_qposadr[j]) + 3 * (kind == kinds.mjJNT_FREE))
        for j, kind in enumerate(m.jnt_type)
        if kind in (kinds.mjJNT_FREE, kinds.mjJNT_BALL)
    ]


def _described(tree: Any) -> list[tuple]:
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [(str(path), jnp.shape(x), str(jnp.result_type(x))) for path, x in flat]
