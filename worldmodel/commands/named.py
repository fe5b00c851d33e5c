"""Parts of one's own, such as a task, by name: ``package.module:name`` or ``file.py:name``."""

import inspect
from typing import Any

from worldmodel.errors import InputError
from worldmodel.policies.plan import Demonstrator, Expert
from worldmodel.runtime.reference import failed, resolve
from worldmodel.tasks.task import Task
from worldmodel.types import Family


def load(reference: str, kind: str) -> Any:
    """What a reference names; a class or function is called without arguments.

    Args:
      reference: ``package.module:name`` or ``path/to/file.py:name``.
      kind: for the message.

    Raises:
      InputError: no such module or name, or one that fails when it is imported or called.
    """
    value = resolve(reference, kind)
    if not (inspect.isclass(value) or inspect.isfunction(value)):
        return value
    try:
        return value()
    except (InputError, OSError):
        raise
    except Exception as error:  # whatever a user's class raises
        raise failed(reference, kind, error) from error


def task(reference: str) -> Task:
    """A task.

    Raises:
      InputError: no task; see ``load``.
    """
    value = load(reference, "task")
    if not isinstance(value, Task):
        raise InputError(
            f"task '{reference}' is a {type(value).__name__}; subclass worldmodel.Task, and name "
            "the class or an instance"
        )
    return value


def expert(reference: str | None, of: str, task: Task) -> Expert:
    """An expert; 'expert' of a task's own file where it is not given. A ``Family`` of policies is
    searched by a ``Demonstrator``.

    Args:
      of: the task's reference.

    Raises:
      InputError: none there, or one without 'plan'; see ``load``.
    """
    value, _ = _part(reference, of, "expert", "plan")
    return Demonstrator(task, value) if isinstance(value, Family) else value


def robot(reference: str | None, of: str) -> tuple[Any, str]:
    """A robot; 'robot' of a task's own file where it is not given.

    Returns:
      The robot; its reference, without folders.

    Raises:
      InputError: none there, or one without 'step'; see ``load``.
    """
    value, reference = _part(reference, of, "robot", "step")
    return value, reference.rpartition("/")[2]


def operator(reference: str) -> Any:
    """An operator.

    Raises:
      InputError: one without 'command'; see ``load``.
    """
    return _part(reference, "", "operator", "command")[0]


def _part(reference: str | None, of: str, kind: str, member: str) -> tuple[Any, str]:
    reference = reference or f"{of.rpartition(':')[0]}:{kind}"
    value = load(reference, kind)
    if not (isinstance(value, Family) or callable(getattr(value, member, None))):
        raise InputError(
            f"{kind} '{reference}' is a {type(value).__name__} without '{member}'; see "
            f"docs/your_{'task' if kind == 'expert' else 'robot'}.md"
        )
    return value, reference
