"""The settings of a run in its folder: the same command goes on, another one is refused by name,
and so is a number that nothing can be run with.
"""

import dataclasses
import json
import math
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from worldmodel.errors import InputError
from worldmodel.runtime.files import write_json
from worldmodel.runtime.records import plain

CLAIMED = "settings.json"  # in a folder whose run goes on
CONFIG, DIFF = "config.json", "dirty.diff"  # in a folder of a command line, see ``command``


def claim(
    folder: Path, settings: dict[str, Any], *, growing: str = "", later: Sequence[str] = ()
) -> None:
    """Writes the settings of a new folder, or compares them with those in it.

    Args:
      folder: of the run; created if need be.
      settings: values that JSON has, or the dataclasses and tuples of ``records.plain``.
      growing: name of the setting, a number, of which more may be asked for later.
      later: names of those that may still change, since what they are of has not begun.

    Raises:
      InputError: the folder belongs to other settings and holds more than them, or its settings
        are damaged; the message names each that differs.
    """
    settings = {name: plain(value) for name, value in settings.items()}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / CLAIMED
    if not path.is_file():
        if any(folder.iterdir()):
            raise InputError(f"--out {folder} holds other files; give a new folder")
        write_json(path, settings)
        return
    try:
        former = dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error}); give another --out") from error
    was, now = former.get(growing), settings.get(growing)
    free = {*later}
    if isinstance(was, int) and isinstance(now, int) and now > was:
        free.add(growing)
    differs = [
        difference
        for name in sorted(former.keys() | settings.keys())
        for difference in differences(name, former.get(name), settings.get(name))
        if name not in free
    ]
    begun = any(other.name not in (CLAIMED, CONFIG, DIFF) for other in folder.iterdir())
    if differs and begun:
        raise InputError(
            f"--out {folder} belongs to a run with other settings: {'; '.join(differs)}; give "
            "another --out, or the former settings"
        )
    if settings != former:
        write_json(path, settings)


def check_settings(
    config: Any,
    *,
    counts: Sequence[str] = (),
    not_negative: Sequence[str] = (),
    positive: Sequence[str] = (),
    shares: Sequence[str] = (),
) -> None:
    """Checks the numbers of a config.

    Args:
      config: a dataclass.
      counts, not_negative, positive: its settings from 1 on, from 0 on, and above 0.
      shares: its settings from 0 to 1.

    Raises:
      InputError: one out of its bounds or not finite; the message names it and them.
    """
    largest = sys.float_info.max
    for names, least, most, bounds in (
        (counts, 1, largest, "from 1 on"),
        (not_negative, 0, largest, "from 0 on"),
        (positive, math.ulp(0.0), largest, "above 0"),
        (shares, 0, 1, "from 0 to 1"),
    ):
        for name in names:
            if not least <= (value := getattr(config, name)) <= most:
                kind = type(config).__name__
                raise InputError(f"{kind}: {name} = {value}; give a number {bounds}")


def check_options(least: int = 1, **options: int | None) -> None:
    """Refuses a number of a command line that is too small; None is not given.

    Raises:
      InputError: such a number, by the name of its option.
    """
    for name, value in options.items():
        if value is not None and value < least:
            raise InputError(f"{_option(name)} {value}: at least {least}")


def refuse_options(users: str, **options: Any) -> None:
    """Refuses options of a command line that nothing would read; None, False and () are not given.

    Args:
      users: whose options they are, for the message.

    Raises:
      InputError: such an option, by its name.
    """
    for name, value in options.items():
        if not (value is None or value is False or value == ()):
            raise InputError(f"{_option(name)} is of {users}; leave it out")


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def flat(name: str, value: Any) -> dict[str, Any]:
    """A value's settings, by dotted names: the fields of frozen dataclasses, and what JSON has;
    arrays are lists. Of functions and other objects the name of their type alone."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        out = {name: type(value).__qualname__}
        if type(value).__dataclass_params__.frozen:  # pyright: ignore[reportAttributeAccessIssue]
            for field in dataclasses.fields(value):
                out |= flat(f"{name}.{field.name}", getattr(value, field.name))
        return out
    shown = np.asarray(value).tolist() if hasattr(value, "dtype") else plain(value)
    try:
        json.dumps(shown)
    except TypeError:
        return {name: getattr(value, "__qualname__", type(value).__qualname__)}
    return {name: repr(shown) if isinstance(shown, float) and not math.isfinite(shown) else shown}


def differences(name: str, former: Any, present: Any) -> Iterator[str]:
    """What differs of two values of JSON, a setting each: 'steps was 300 and is 200'."""
    if isinstance(former, dict) and isinstance(present, dict):
        for key in sorted(former.keys() | present.keys()):
            yield from differences(f"{name}.{key}", former.get(key), present.get(key))
    elif former != present and _digest(former) and _digest(present):
        yield f"{name} has other contents"
    elif former != present:
        yield f"{name} was {_shown(former)} and is {_shown(present)}"


def _digest(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{16,64}", value) is not None


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "…"
