"""The settings of a run in its folder: the same command goes on, another one is refused by name,
and so is a number that nothing can be run with.
"""

import dataclasses
import json
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from worldmodel.errors import InputError
from worldmodel.runtime.files import write_json
from worldmodel.runtime.records import plain

CLAIMED = "settings.json"  # in a folder whose run goes on
LENGTHS = ("steps",)  # how long a run is: more may be asked for later


def claim(folder: Path, settings: dict[str, Any]) -> bool:
    """Writes the settings of a new folder, or compares them with those in it.

    Args:
      folder: of the run; created if need be.
      settings: values that JSON has, or the dataclasses and tuples of ``records.plain``.

    Returns:
      Whether the run goes on for longer than it was asked to.

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
        return False
    try:
        former = dict(json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} is damaged ({error}); give another --out") from error
    longer = _longer(former, settings)
    differs = [
        difference
        for name in sorted((former.keys() | settings.keys()) - set(longer))
        for difference in differences(name, former.get(name), settings.get(name))
    ]
    begun = any(other != path for other in folder.iterdir())
    if differs and begun:
        raise InputError(
            f"--out {folder} belongs to a run with other settings: {'; '.join(differs)}; give "
            "another --out, or the former settings"
        )
    if longer or differs:
        write_json(path, settings)
    return bool(longer) and begun


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
    kind = type(config).__name__
    for names, bound in ((counts, 1), (not_negative, 0)):
        for name in names:
            if not bound <= (value := getattr(config, name)) < math.inf:
                raise InputError(f"{kind}: {name} = {value}; give a number from {bound} on")
    for name in positive:
        if not 0 < (value := getattr(config, name)) < math.inf:
            raise InputError(f"{kind}: {name} = {value}; give a number above 0")
    for name in shares:
        if not 0 <= (value := getattr(config, name)) <= 1:
            raise InputError(f"{kind}: {name} = {value}; give a number from 0 to 1")


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


def _longer(former: dict[str, Any], settings: dict[str, Any]) -> list[str]:
    return [
        name
        for name in LENGTHS
        if isinstance(was := former.get(name), int)
        and isinstance(now := settings.get(name), int)
        and now > was
    ]


def differences(name: str, former: Any, present: Any) -> Iterator[str]:
    """What differs of two values of JSON, a setting each: 'clone.steps was 300 and is 200'."""
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
