"""``Columns`` as a short TOML text: top-level keys, and the tables joints, commands and bodies.

control_hz = 30.0
[joints]
elbow = { position = "observation.state.elbow.pos", unit = "deg" }
[commands]
elbow_servo = { column = "action.elbow.pos", unit = "deg" }
"""

import dataclasses
import json
import tomllib
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

from worldmodel.episodes.columns import Body, Columns, ColumnsError, Command, Joint
from worldmodel.episodes.glitches import PlanarGlitches
from worldmodel.errors import cause, near

_TABLES = {"joints": Joint, "commands": Command, "bodies": Body}
_KINDS = {float: "number", int: "whole number", str: "text"}


def to_toml(columns: Columns) -> str:
    """The text of columns; what has its default is not written.

    Raises:
      ColumnsError: a ``rejects`` of a class of your own, which no text can hold.
    """
    parts = [f"{key} = {value}" for key, value in _entries(columns).items()]
    for table in _TABLES:
        members = getattr(columns, table)
        parts += [f"\n[{table}]"] if members else []
        for member in members:
            row = ", ".join(f"{key} = {value}" for key, value in _entries(member).items())
            parts.append(f"{_key(member.name)} = {{ {row} }}".replace("{  }", "{}"))
    if columns.rejects is not None:
        if not isinstance(columns.rejects, PlanarGlitches):
            raise ColumnsError(
                f"rejects is a {type(columns.rejects).__name__}, which TOML cannot hold; keep "
                "these columns in a Python file"
            )
        parts.append("\n[rejects]")
        parts += [f"{key} = {value}" for key, value in _entries(columns.rejects).items()]
    return "\n".join(parts).lstrip() + "\n"


def from_toml(source: str | Path) -> Columns:
    """Columns of a TOML file, or of the text itself where ``source`` has several lines.

    Raises:
      ColumnsError: no such file, no TOML, an unknown key or a value of another type; the message
        names the key.
    """
    text, where = str(source), "columns"
    if isinstance(source, Path) or ("\n" not in text and "=" not in text):
        where = text
        try:
            text = Path(source).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = f"cannot be read ({cause(error)}); give a TOML of columns"
            raise ColumnsError(f"{source} {why}") from error
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ColumnsError(f"{where} is no TOML ({error}); mend that line") from error
    members: dict[str, Any] = {}
    for table, kind in _TABLES.items():
        rows = content.pop(table, {})
        if not isinstance(rows, dict) or not all(isinstance(row, dict) for row in rows.values()):
            raise ColumnsError(f"{where}: {table} is no table of tables; write [{table}.NAME]")
        members[table] = tuple(
            _value(kind, f"{where}: {table}.{name}", {"name": name} | row)
            for name, row in rows.items()
        )
    if "rejects" in content:
        rule = content.pop("rejects")
        if not isinstance(rule, dict):
            raise ColumnsError(f"{where}: rejects is no table; write [rejects]")
        members["rejects"] = _value(PlanarGlitches, f"{where}: rejects", rule)
    return _value(Columns, where, content, **members)


def _value(kind: Any, where: str, row: dict[str, Any], **given: Any) -> Any:
    fields = {field.name: field for field in dataclasses.fields(kind)}
    for key, value in row.items():
        if key not in fields:
            raise ColumnsError(f"{where}.{key}: no such key; {near(key, fields)}")
        given[key] = _typed(fields[key].type, f"{where}.{key}", value)
    try:
        return kind(**given)
    except (ColumnsError, TypeError) as error:
        raise ColumnsError(f"{where}: {error}") from error


def _typed(kind: Any, where: str, value: Any) -> Any:
    """A value of TOML as the field's annotation wants it: numbers as floats, lists as tuples."""
    kind = next(iter(get_args(kind)), kind) if isinstance(kind, UnionType) else kind
    if get_origin(kind) is tuple:
        member = get_args(kind)[0]
        values = [value] if member is str and isinstance(value, str) else value
        if not isinstance(values, list):
            raise ColumnsError(f"{where}: {value!r} is no list")
        return tuple(_typed(member, where, v) for v in values)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and kind is float:
        return float(value)
    if not isinstance(value, kind) or isinstance(value, bool):
        raise ColumnsError(f"{where}: {value!r} is no {_KINDS[kind]}")
    return value


def _entries(value: Any) -> dict[str, str]:
    """Field → TOML of every field that has not its default, but for names and tables."""
    return {
        field.name: _written(given)
        for field in dataclasses.fields(value)
        if field.name not in ("name", "rejects", *_TABLES)
        and (given := getattr(value, field.name)) != field.default
    }


def _written(value: Any) -> str:
    """A number, text or list of them in TOML: as JSON, the delete character escaped too."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    bare = name.replace("_", "").replace("-", "")
    return name if bare.isalnum() and bare.isascii() else _written(name)
