"""Tasks, robots and experts of one's own, by name: ``package.module:name`` or ``file.py:name``."""

import importlib
import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from worldmodel.errors import InputError
from worldmodel.policies.plan import Demonstrator, Expert
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
    place, colon, name = reference.rpartition(":")
    if not colon or not place or not name.isidentifier():
        raise InputError(f"{kind} '{reference}': give package.module:name or path/to/file.py:name")
    try:
        module = _file(Path(place)) if place.endswith(".py") else _package(place)
        if not hasattr(module, name):
            names = [n for n, x in vars(module).items() if n[0] != "_" and not inspect.ismodule(x)]
            raise InputError(f"{kind} '{reference}': {place} has no '{name}'; it has {names}")
        value = getattr(module, name)
        return value() if inspect.isclass(value) or inspect.isfunction(value) else value
    except (InputError, OSError):
        raise
    except Exception as error:  # whatever a user's module raises
        cause = f"{type(error).__name__}: {error}"
        raise InputError(f"{kind} '{reference}' cannot be loaded: {cause}") from error


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


def _part(reference: str | None, of: str, kind: str, member: str) -> tuple[Any, str]:
    reference = reference or f"{of.rpartition(':')[0]}:{kind}"
    value = load(reference, kind)
    if not (isinstance(value, Family) or callable(getattr(value, member, None))):
        raise InputError(
            f"{kind} '{reference}' is a {type(value).__name__} without '{member}'; see "
            "docs/your_task.md"
        )
    return value, reference


def _file(path: Path) -> ModuleType:
    path = path.resolve()
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if (known := sys.modules.get(path.stem)) is not None:
        if getattr(known, "__file__", None) == str(path):
            return known
        raise InputError(f"{path} has the name of the module '{path.stem}'; rename the file")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))  # its neighbours
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[path.stem]
        raise
    return module


def _package(name: str) -> ModuleType:
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    return importlib.import_module(name)
