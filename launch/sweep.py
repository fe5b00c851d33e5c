"""A sweep: a Python function beside a config that lists runs, each checked before any starts.

The module of ``def sweep(add)`` has, or imports, ``main(config) -> int`` as experiments do. Its
config is a frozen dataclass with a field ``out``, the run's own folder, which the launch fills.
``add(lr=0.1, fit={"steps": 50})`` adds a run whose other fields keep their defaults. ``main`` may
take a second argument ``stop``, a function that is True once the run should save and raise
``runtime.Interrupted``.
"""

import dataclasses
import inspect
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any

import tyro

from launch import snapshot
from launch.source import Source, source
from worldmodel.errors import InputError
from worldmodel.runtime.command import as_arguments, described, parse, program, resolved
from worldmodel.runtime.files import new_folder, write_json, write_text
from worldmodel.runtime.records import config_hash, plain
from worldmodel.runtime.reference import failed, resolve
from worldmodel.runtime.settings import CONFIG, DIFF, claim


@dataclasses.dataclass(frozen=True)
class Entry:
    """What a sweep's reference names."""

    reference: str  # of a file with its whole path
    sweep: Callable[..., Any]
    main: Callable[..., int]
    config: type  # of main's first argument
    file: Path

    def parse(self, arguments: Sequence[str], out: Path) -> Any:
        """The config of a command line.

        Raises:
          InputError: an unknown name, a wrong type or a field without a value, as tyro says it.
        """
        try:
            return parse(self.config, [*arguments, f"--out={out}"])
        except InputError as error:
            raise InputError(f"{self.reference}, {' '.join(arguments)}: {error}") from error


@dataclasses.dataclass(frozen=True)
class Run:
    """A run that was planned."""

    id: str  # hash of the resolved config, without ``out``, and of the commit
    name: str  # the values that ``add`` got
    arguments: tuple[str, ...]  # of the config's command line, without ``out``
    config: dict[str, Any]  # resolved, by dotted names, without ``out``


@dataclasses.dataclass(frozen=True)
class Sweep:
    """Runs of one entry and one state of the code."""

    entry: Entry
    source: Source
    overrides: tuple[str, ...]
    runs: tuple[Run, ...]


def entry(reference: str) -> Entry:
    """Loads a sweep's module, in this repository or outside.

    Args:
      reference: ``package.module:sweep`` or ``path/to/file.py:sweep``.

    Raises:
      InputError: no such function, or its module has no ``main`` with such a config.
    """
    function = resolve(reference, "sweep")
    if not inspect.isfunction(function):
        raise InputError(f"sweep '{reference}' is no function; write def sweep(add)")
    module = sys.modules[function.__module__]
    main = getattr(module, "main", None)
    parameters = list(inspect.signature(main).parameters) if inspect.isfunction(main) else []
    kind = typing.get_type_hints(main).get(parameters[0]) if parameters else None
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        raise InputError(f"{module.__file__} has no main(config: Args) of a dataclass; write one")
    frozen = kind.__dataclass_params__.frozen  # pyright: ignore[reportAttributeAccessIssue]
    if not frozen or "out" not in [field.name for field in dataclasses.fields(kind)]:
        raise InputError(
            f"{kind.__qualname__} of {module.__file__} is not frozen, or has no field out; write "
            "@dataclasses.dataclass(frozen=True) and out: Path, the run's own folder"
        )
    place, _, name = reference.rpartition(":")
    whole = f"{Path(place).resolve()}:{name}" if place.endswith(".py") else reference
    return Entry(whole, function, main, kind, Path(str(module.__file__)))  # pyright: ignore[reportArgumentType]


def plan(reference: str, overrides: Sequence[str] = ()) -> Sweep:
    """Asks a sweep for its runs and resolves every config; nothing is written.

    Args:
      reference: of the function, see ``entry``.
      overrides: of every run, as ``("--steps", "50")``; they win over the sweep's values.

    Raises:
      InputError: see ``entry`` and ``Entry.parse``; two runs have one config, or there is none.
    """
    at, asked = entry(reference), []
    state = source(at.file, at.sweep.__module__)

    def add(**values: Any) -> None:
        asked.append(_flat(values))

    try:
        at.sweep(add)
    except Exception as error:  # whatever a user's function raises
        raise failed(reference, "sweep", error) from error
    runs: dict[str, Run] = {}
    for values in asked:
        arguments = tuple(as_arguments(at.config, values))
        config = resolved(at.parse((*arguments, *overrides), Path()))
        known = config_hash({"config": config, "commit": state.commit})[:12]
        name = " ".join(f"{key}={value}" for key, value in values.items()) or "defaults"
        if known in runs:
            raise InputError(
                f"{reference}: '{runs[known].name}' and '{name}' have the same config; add it once"
            )
        runs[known] = Run(known, name, (*arguments, *overrides), config)
    if not runs:
        raise InputError(f"{reference} adds no run; call add(...) for each")
    return Sweep(at, state, tuple(overrides), tuple(runs.values()))


def prepare(sweep: Sweep, out: Path, on: str) -> None:
    """Copies the code and writes a folder per run, each whole or not at all; those that are there
    stay as they are. Git does not see the sweep's folder.

    Args:
      sweep: the runs.
      out: their folder.
      on: where they run; one folder is never launched in two places.

    Raises:
      InputError: the folder belongs to another sweep, to other overrides, to another commit or to
        a launch elsewhere.
    """
    settings = {
        "sweep": f"{sweep.entry.file.name}:{sweep.entry.sweep.__name__}",
        "overrides": sweep.overrides,
        "on": on,
        "commit": sweep.source.commit,
        "runs": {run.id: run.name for run in sweep.runs},
    }
    claim(out, settings)
    write_text(out / ".gitignore", "*\n")
    at = sweep.entry
    snapshot.write(sweep.source, out, lambda: source(at.file, at.sweep.__module__))
    for run in sweep.runs:
        if (out / run.id).exists():
            continue
        with new_folder(out / run.id) as folder:
            content = described(program(sweep.entry.main), run.config, sweep.source.commit)
            content |= dataclasses.asdict(run) | {"entry": sweep.entry.reference}
            write_json(folder / CONFIG, content)
            write_text(folder / DIFF, sweep.source.diff)


def command_line(kind: type, text: str | None) -> tuple[Any, tuple[str, ...]]:
    """This process's arguments before ``--``, as ``kind``, and those behind it: the overrides."""
    given = sys.argv[1:]
    at = given.index("--") if "--" in given else len(given)
    return tyro.cli(kind, args=given[:at], description=text), tuple(given[at + 1 :])


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by dotted names; mappings name the fields of nested configs."""
    out = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            out |= _flat(value, f"{prefix}{key}.")
            continue
        shown = value.name if isinstance(value, Enum) else plain(value)
        if not (shown is None or isinstance(shown, bool | int | float | str | list)):
            kind = type(value).__name__
            raise InputError(f"add({key}=…) got a {kind}; give numbers, text, tuples or dicts")
        out[f"{prefix}{key}"] = shown
    return out
