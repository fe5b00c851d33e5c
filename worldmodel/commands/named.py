"""Parts of one's own, such as a task, by name: ``package.module:name`` or ``file.py:name``."""

import contextlib
import inspect
from collections.abc import Iterator
from typing import Any

from worldmodel.errors import InputError
from worldmodel.policies.plan import Demonstrator, Expert
from worldmodel.runtime import Interrupted
from worldmodel.runtime.reference import failed, resolve
from worldmodel.tasks.check import check_task
from worldmodel.tasks.task import Task
from worldmodel.types import Family

ROBOT = ("control_hz", "names", "max_rate", "connect", "reset", "step", "stop", "close")
OPERATOR = ("connect", "close", "wants_stop", "command", "judge")


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
    value, _ = _part(reference, of, "expert", ("plan",))
    return Demonstrator(task, value) if isinstance(value, Family) else value


def robot(reference: str | None, of: str) -> tuple[Any, str]:
    """A robot; 'robot' of a task's own file where it is not given.

    Returns:
      The robot; its reference, without folders.

    Raises:
      InputError: none there, or one without a robot's members; see ``load``.
    """
    value, reference = _part(reference, of, "robot", ROBOT)
    return value, reference.rpartition("/")[2]


def operator(reference: str) -> Any:
    """An operator.

    Raises:
      InputError: one without an operator's methods; see ``load``.
    """
    return _part(reference, "", "operator", OPERATOR)[0]


@contextlib.contextmanager
def contract(task: Task) -> Iterator[None]:
    """Names the breach of a task's contract where what runs raises something unforeseen.

    Raises:
      TaskError: the task breaks its contract.
    """
    try:
        yield
    except (InputError, OSError, Interrupted):
        raise
    except Exception:  # whatever a user's Python raises
        check_task(task)
        raise


def _part(reference: str | None, of: str, kind: str, members: tuple[str, ...]) -> tuple[Any, str]:
    reference = reference or f"{of.rpartition(':')[0]}:{kind}"
    value = load(reference, kind)
    lacking = [f"'{member}'" for member in members if not hasattr(value, member)]
    if lacking and not (kind == "expert" and isinstance(value, Family)):
        raise InputError(
            f"{kind} '{reference}' is a {type(value).__name__} without {', '.join(lacking)}; see "
            f"docs/your_{'task' if kind == 'expert' else 'robot'}.md"
        )
    return value, reference
