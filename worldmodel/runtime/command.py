"""A program's command line, and the ``config.json`` in its folder, which repeats it.

The file holds the resolved config, commit, versions, seeds, machine and environment; ``dirty.diff``
has what the code differs by from the commit. ``--from-config RUN/config.json --out NEW`` repeats a
run; other options override.
"""

import argparse
import contextlib
import dataclasses
import functools
import inspect
import io
import json
import os
import platform
import re
import sys
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tyro

from worldmodel.errors import InputError
from worldmodel.runtime.files import write_json, write_text
from worldmodel.runtime.progress import log
from worldmodel.runtime.provenance import machine
from worldmodel.runtime.settings import CLAIMED, CONFIG, DIFF, differences, flat
from worldmodel.runtime.setup import run
from worldmodel.runtime.signals import Interrupt, Interrupted
from worldmodel.runtime.source import Source, root, source

_VARIABLES = ("CUDA_", "JAX_", "MUJOCO_", "NVIDIA_", "OMP_", "SLURM_JOB", "WORLDMODEL_", "XLA_")
_REPEATS = "--from-config RUN/config.json --out NEW repeats a run; other options override."


def command(main: Callable[..., int], text: str | None) -> int:
    """Runs ``main(config)``, or ``main(config, stop)``, with this process's arguments.

    Args:
      main: see ``call``.
      text: for ``--help``.

    Returns:
      The exit status, see ``setup.run``.
    """
    return run(lambda given: call(main, given, program(main), text or ""), sys.argv[1:])


def call(function: Callable[..., Any], given: Sequence[str], name: str, text: str) -> Any:
    """Calls a function with a command line, and leaves config.json and dirty.diff in its ``--out``,
    also where it fails after it has claimed that folder.

    Args:
      function: of one dataclass, or of options; and of ``stop``, a function that is True once a
        signal asks it to save and to raise ``Interrupted``.
      given: the command line.
      name: of the program; a config of another one is refused.
      text: for ``--help``.

    Returns:
      What the function returns; an exit status where it was interrupted.

    Raises:
      InputError: a config of another program, a damaged one, or one that fits no longer.
      SystemExit: tyro shows the help, or refuses the command line.
    """
    parameters = inspect.signature(function).parameters
    kind, whole = _config(function)
    config = _parsed(function, kind, given, name, text)
    fields = {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}
    run = functools.partial(function, config) if whole else functools.partial(function, **fields)
    if "stop" in parameters:
        run = functools.partial(_until_signal, run)
    if not isinstance(out := fields.get("out"), Path):
        return run()
    now = resolved(config)
    state = _source(function, now)  # before the run, since its code may be edited meanwhile
    content = described(name, now, state.commit)
    begun = _former(out).get("commit", state.commit)
    if begun != state.commit and (out / CLAIMED).is_file():
        log(
            f"WARNING: {out} was begun with other code ({begun}) than there is now "
            f"({state.commit}); what it holds stays as it is: give another --out to make it anew"
        )

    def keep() -> None:
        if out.is_dir() and _former(out).get("config") != now:  # else its run only went on
            write_text(out / DIFF, state.diff)
            write_json(out / CONFIG, content)

    claimed = _claimed(out)
    try:
        result = run()
    except BaseException:
        if _claimed(out) != claimed:  # the folder is that of this run, which failed at work
            keep()
        raise
    keep()
    return result


def _claimed(out: Path) -> bytes | None:
    """The settings of the run that claimed a folder."""
    path = out / CLAIMED
    return path.read_bytes() if path.is_file() else None


def _until_signal(run: Callable[..., Any]) -> Any:
    """``run(stop=…)``; the exit status where a signal stopped it."""
    with Interrupt() as interrupt:
        try:
            return run(stop=lambda: interrupt.requested)
        except Interrupted as stopped:
            log(str(stopped))
            return interrupt.exit_status


def _former(out: Path) -> dict[str, Any]:
    """The config.json that a folder has; nothing where it has none that can be read."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        return dict(json.loads((out / CONFIG).read_text("utf-8")))
    return {}


def program(main: Callable[..., Any]) -> str:
    """A program's name: its file, below the repository that it lies in."""
    file = Path(inspect.getfile(main)).resolve()
    place = root(file)
    return file.relative_to(place).as_posix() if place else file.name


def described(name: str, config: Mapping[str, Any], commit: str) -> dict[str, Any]:
    """What config.json holds.

    Args:
      name: of the program.
      config: resolved, by dotted names, without ``out``; see ``resolved``.
      commit: of its code, see ``source``.
    """
    return {
        "program": name,
        "config": dict(config),
        "seeds": {key: value for key, value in config.items() if key.split(".")[-1] == "seed"},
        "commit": commit,
        "folder": str(Path.cwd()),
        "host": platform.node(),
        "environment": {k: v for k, v in os.environ.items() if k.startswith(_VARIABLES)},
        **machine(),
    }


def resolved(config: Any) -> dict[str, Any]:
    """A config by dotted names, as JSON has it, without ``out``."""
    named = {name.removeprefix("config."): v for name, v in flat("config", config).items()}
    return {name: value for name, value in named.items() if name not in ("config", "out")}


def parse(kind: type, arguments: Sequence[str]) -> Any:
    """The config of a command line where a flag is written ``--name True``.

    Raises:
      InputError: an unknown name, a wrong type or a field without a value, as tyro says it.
    """
    shown, conversion = io.StringIO(), (tyro.conf.FlagConversionOff,)
    try:
        with contextlib.redirect_stderr(shown):
            return tyro.cli(kind, args=arguments, config=conversion)
    except SystemExit as error:
        text = re.sub(r"[-─]{3,}|[╭╰╮╯│]", " ", shown.getvalue())  # the frame
        raise InputError(" ".join(text.partition("For full helptext")[0].split())) from error


def as_arguments(kind: type, config: Mapping[str, Any]) -> list[str]:
    """The command line of values by dotted names, as ``parse`` reads it."""
    hints = typing.get_type_hints(kind, include_extras=True)
    nested = {name.rpartition(".")[0] for name in config}  # of which ``resolved`` has the type
    out = []
    for name, value in config.items():
        many = [str(part) for part in _leaves(value)]
        if tyro.conf.Positional in getattr(hints.get(name), "__metadata__", ()):
            out += many
        elif len(many) == 1 and many[0].startswith("-"):
            out.append(f"--{name}={many[0]}")
        elif name not in nested:
            out += [f"--{name}", *many]
    return out


def _leaves(value: Any) -> list[Any]:
    if not isinstance(value, list):
        return [value]
    return [leaf for part in value for leaf in _leaves(part)]


def _config(function: Callable[..., Any]) -> tuple[type, bool]:
    """The dataclass of a function's arguments, and whether it takes that as its one argument."""
    hints = typing.get_type_hints(function, include_extras=True)
    taken = [p for p in inspect.signature(function).parameters.values() if p.name != "stop"]
    if len(taken) == 1:
        kind = hints[taken[0].name]
        if dataclasses.is_dataclass(kind) and isinstance(kind, type):
            return kind, True
    default = {p.name: {} if p.default is p.empty else {"default": p.default} for p in taken}
    fields = [(name, hints[name], dataclasses.field(**given)) for name, given in default.items()]
    kind = dataclasses.make_dataclass(function.__name__, fields, frozen=True, kw_only=True)
    kind.__doc__ = function.__doc__  # which has the options' help
    return kind, False


def _parsed(
    function: Callable[..., Any], kind: type, given: Sequence[str], name: str, text: str
) -> Any:
    """The config of a command line, whose defaults are those of ``--from-config``."""
    names = [field.name for field in dataclasses.fields(kind)]
    text = re.split(r"\n\n(?:Args|Returns|Raises):", inspect.cleandoc(text))[0]
    if "out" not in names:
        return tyro.cli(kind, prog=name, args=given, description=text)
    reader = argparse.ArgumentParser(prog=name, add_help=False, allow_abbrev=False)
    reader.add_argument("--from-config", type=Path)
    reader.add_argument("--out")
    asked, rest = reader.parse_known_args(given)
    text = f"{text}\n\n{_REPEATS}"
    if (path := asked.from_config) is None:
        return tyro.cli(kind, prog=name, args=given, description=text)
    if asked.out is None:
        raise InputError("--from-config repeats a run in a new folder; give --out")
    former = _read(path, name)
    try:
        base = parse(kind, [*as_arguments(kind, former["config"]), f"--out={asked.out}"])
    except InputError as error:
        raise InputError(f"{path} does not fit this code: {error}") from error
    config = tyro.cli(kind, prog=name, args=rest, default=base, description=text)
    now = described(name, {}, _source(function, former["config"]).commit)
    keys = ["commit", "versions", "folder"]
    if set(now["commit"].split()) <= set(str(former.get("commit")).split()):
        keys.remove("commit")  # a sweep adds the state of the folder of a config without git
    for key in keys:
        for difference in differences(key, former.get(key), now[key]):
            log(f"WARNING: {path}: {difference}")
    return config


def _read(path: Path, name: str) -> dict[str, Any]:
    try:
        former = dict(json.loads(path.read_text("utf-8")))
        known, config = former["program"], dict(former["config"])
    except FileNotFoundError:
        raise InputError(f"--from-config {path}: no such file; give a run's {CONFIG}") from None
    except (ValueError, TypeError, KeyError) as error:
        raise InputError(
            f"--from-config {path} is damaged or no run's {CONFIG}: {error!r}"
        ) from error
    if known != name:
        raise InputError(f"--from-config {path} is a config of {known}, not of {name}")
    return former | {"config": config}


def _source(function: Callable[..., Any], config: Mapping[str, Any]) -> Source:
    """Of the function's file, and of the Python files that a config names, as ``file.py:name``."""
    parts = [value.rpartition(":")[0] for value in config.values() if isinstance(value, str)]
    files = [inspect.getfile(function), *(part for part in parts if part.endswith(".py"))]
    return source(*(file.resolve() for file in map(Path, files) if file.is_file()))
