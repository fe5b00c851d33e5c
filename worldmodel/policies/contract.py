"""What a trained policy observes and commands, as JSON: whoever runs it elsewhere reads this."""

from typing import Any

import jax
import jax.numpy as jnp

from worldmodel._mujoco import mujoco
from worldmodel.errors import InputError
from worldmodel.scene.actuators import driven_dof, is_position_servo
from worldmodel.tasks.task import Task

POSE = ("x", "y", "z", "qw", "qx", "qy", "qz")


def contract(task: Task) -> dict[str, Any]:
    """A task's observation, action and command, number by number, in order.

    Names and units of an observation follow from the sensors where the task observes by default.
    A task with an ``observe`` of its own gives them as ``observed``, a sequence of (name, unit);
    without it they are numbered and have no unit.

    Raises:
      InputError: as many names as the observation has numbers are not given.
    """
    m, names = task.scene.mj_model, task.sensors
    given = getattr(task, "observed", None)
    if given is None and type(task).observe is Task.observe:
        given = _by_default(task)
    elif given is None:
        given = [(f"observation.{i}", "") for i in range(task.observation_size)]
    if len(given) != task.observation_size:
        raise InputError(
            f"task '{task.name}' names {len(given)} numbers of an observation in 'observed' and "
            f"observes {task.observation_size}; name each of them, in order"
        )
    plain = type(task).command is Task.command
    actions = names.actuators if plain else [f"action.{i}" for i in range(task.action_size)]
    commands = []
    for i, name in enumerate(names.actuators):
        limited = bool(m.actuator_ctrllimited[i])
        low, high = m.actuator_ctrlrange[i].tolist() if limited else (None, None)
        commands.append({"name": name, "unit": _command_unit(m, i), "low": low, "high": high})
    return {
        "task": task.name,
        "rate_hz": task.scene.control_hz,
        "observation": [{"name": name, "unit": unit} for name, unit in given],
        "action": [{"name": name, "unit": "1", "low": -1.0, "high": 1.0} for name in actions],
        "action_is_affine_over_command_range": plain,
        "command": commands,
    }


def check(contracted: dict[str, Any], task: Task, what: str) -> None:
    """Compares the contract that a policy was trained by with that of a task.

    Args:
      what: the policy, as messages name it.

    Raises:
      InputError: another task, rate, observation, action or command; the message names each number
        that one of the two lacks.
    """
    wanted = contract(task)
    for key in ("observation", "action", "command"):
        theirs, ours = ([x["name"] for x in c[key]] for c in (contracted, wanted))
        lacks = [name for name in ours if name not in theirs]
        others = [name for name in theirs if name not in ours]
        if lacks or others:
            raise InputError(
                f"{what} has another {key} than task '{task.name}': it lacks {lacks} and has "
                f"{others} instead; train a policy on this task"
            )
    differs = [key for key in wanted if wanted[key] != contracted.get(key)]
    if differs:
        key = differs[0]
        raise InputError(
            f"{what} is of another task than '{task.name}': its {key} is {contracted.get(key)}, "
            f"not {wanted[key]}; train a policy on this task"
        )


def _by_default(task: Task) -> list[tuple[str, str]]:
    """The names and units of ``Task.observe``, in its order."""
    m, names = task.scene.mj_model, task.sensors
    units = {joint: _unit(m, m.joint(joint).id) for joint in names.joints}
    out = list(units.items())
    out += [(f"velocity.{joint}", f"{unit}/s") for joint, unit in units.items()]
    out += [(f"{body}.{x}", "m" if x in "xyz" else "1") for body in names.objects for x in POSE]
    out += [(f"touch.{a}-{b}", "bool") for a, b in names.touch]
    out += [(f"force.{a}-{b}", "N") for a, b in names.forces]
    goal = task.reset(jax.random.key(0))[1]
    for name in sorted(goal):
        numbers = [f".{i}" for i in range(jnp.size(goal[name]))] if jnp.ndim(goal[name]) else [""]
        out += [(f"goal.{name}{number}", "") for number in numbers]
    return out


def _unit(m: mujoco.MjModel, joint: int) -> str:
    return "rad" if m.jnt_type[joint] == mujoco.mjtJoint.mjJNT_HINGE else "m"


def _command_unit(m: mujoco.MjModel, actuator: int) -> str:
    dof = driven_dof(m, actuator)
    if dof is None or not is_position_servo(m, actuator):
        return "ctrl of the MJCF"
    return _unit(m, int(m.dof_jntid[dof]))
