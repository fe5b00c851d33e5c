"""Python objects by name: ``package.module:name`` or ``path/to/file.py:name``."""

import importlib
import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from worldmodel.errors import InputError, near, where


def resolve(reference: str, kind: str) -> Any:
    """What a reference names.

    Args:
      reference: ``package.module:name`` or ``path/to/file.py:name``; packages of the working folder
        and neighbours of the file can be imported.
      kind: for the message.

    Raises:
      InputError: no such module or name, or one that fails when it is imported.
    """
    place, colon, name = reference.rpartition(":")
    if not colon or not place or not name.isidentifier():
        raise InputError(f"{kind} '{reference}': give package.module:name or path/to/file.py:name")
    try:
        module = _file(Path(place)) if place.endswith(".py") else _package(place)
    except (InputError, OSError):
        raise
    except Exception as error:  # whatever a user's module raises
        raise failed(reference, kind, error) from error
    if not hasattr(module, name):
        names = [n for n, x in vars(module).items() if n[0] != "_" and _own(module, x)]
        raise InputError(f"{kind} '{reference}': {place} has no '{name}'; {near(name, names)}")
    return getattr(module, name)


def _own(module: ModuleType, value: Any) -> bool:
    if inspect.isclass(value) or inspect.isroutine(value):
        return value.__module__ == module.__name__
    return not inspect.ismodule(value)


def failed(reference: str, kind: str, error: Exception) -> InputError:
    """The error for what raises when it is imported or called."""
    line = "" if isinstance(error, SyntaxError) else where(error)  # its text has the line
    cause = f"{type(error).__name__}: {error}" + (f" ({line})" if line else "")
    return InputError(f"{kind} '{reference}' cannot be loaded: {cause}")


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
