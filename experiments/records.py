"""Results as files: table.json with their origin, table.md, the same as a plain table, figures."""

import dataclasses
import io
import json
import shlex
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from worldmodel import runtime
from worldmodel.runtime.files import write_bytes, write_json, write_text
from worldmodel.runtime.records import plain

BLUE, ORANGE, GREY, GREEN = "#0072B2", "#D55E00", "#777777", "#009E73"  # Okabe and Ito's

Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Args:
    """The command line of what has no option but its folder."""

    out: Path


# Heading → a row's key, or "key:format" as "error:.3f", or a function of the row.
Columns = Mapping[str, str | Callable[[Row], Any]]


def write(
    out: Path,
    title: str,
    rows: Iterable[Row],
    columns: Columns,
    *,
    note: str = "",
    **more: Any,
) -> Row:
    """Writes ``out/table.json`` and ``out/table.md``; the folder is created.

    Args:
      rows: what was measured, one per line of the table; all of it goes into table.json.
      columns: those of table.md, see ``table``.
      note: one line above the table, such as what a column means.
      more: further content of table.json, such as ``config``.

    Returns:
      The content of table.json.

    Raises:
      ValueError: a number that is not finite; write None for what has no value.
    """
    command = "python " + shlex.join(sys.orig_argv[1:])
    result = {"command": command, "provenance": runtime.provenance(), **more, "rows": list(rows)}
    result = plain(result)
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / "table.json", result)
    write_text(out / "table.md", header(title, result, note) + table(result["rows"], columns))
    return result


def write_figure(path: Path, figure: Any) -> None:
    """Writes a figure of Matplotlib as PNG, whole or not at all."""
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=130)
    write_bytes(path, image.getvalue())


def once(path: Path, make: Callable[[], Any]) -> Any:
    """The content of a JSON file, made where it is absent, so that a stopped command goes on."""
    if not path.is_file():
        content = plain(make())
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, content)
    return json.loads(path.read_text())


def kept(out: Path) -> list[Row]:
    """The rows of ``out/table.json``, for a command that goes on where it was stopped: those of the
    same commit, versions and processor; none where the code has changes without a commit."""
    path, now = out / "table.json", runtime.provenance()
    if not path.is_file() or "-dirty" in now["commit"]:
        return []
    result = json.loads(path.read_text())
    same = all(result["provenance"][k] == now[k] for k in ("commit", "versions", "cpu"))
    return result["rows"] if same else []


def header(title: str, result: Row, note: str = "") -> str:
    """Title, command, origin and a note, in Markdown, of a result that ``write`` wrote."""
    run = result["provenance"]
    devices = ", ".join(run["devices"])
    origin = f"Commit {run['commit']}; {run['date']}, {run['cpu']} ({run['cores']} cores), "
    parts = [f"# {title}", f"`{result['command']}`", f"{origin}{devices}. Rows: table.json."]
    return "\n\n".join([*parts, *([note] if note else []), ""])


def table(rows: Iterable[Row], columns: Columns) -> str:
    """A Markdown table; a float without a format has four digits, None is a dash.

    Raises:
      KeyError: a row has no such key.
    """
    lines = [list(columns), ["---"] * len(columns)]
    lines += [[_cell(row, column) for column in columns.values()] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def with_interval(values: Sequence[float] | None) -> str | None:
    """A value and the ends of its interval, as a table has them."""
    return None if values is None else "{:.3f} [{:.3f}, {:.3f}]".format(*values)


def _cell(row: Row, column: str | Callable[[Row], Any]) -> str:
    spec = ""
    if isinstance(column, str):
        key, _, spec = column.partition(":")
        value = row[key]
    else:
        value = column(row)
    if value is None:
        return "–"
    if isinstance(value, float):
        return format(value, spec or ".4g")
    return format(value, spec).replace("|", "\\|")
