"""Writes the API page from the sources: every public name and every command.

    python docs/api.py

``tests/test_docs.py`` fails where the page is stale. Signatures are read from the syntax, so the
page is the same on every version of Python.
"""

import ast
import contextlib
import inspect
import io
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import worldmodel
from worldmodel.__main__ import main as command_line

PAGE = Path(__file__).with_name("api.md")
COMMANDS = ("doctor", "new", "check", "fit", "evaluate", "generate", "train", "export")
COMMANDS += ("deploy", "loop", "trust", "plan", "judge")
HEAD = """# API

The public names of `worldmodel`, each with its signature and what it does; the docstrings say more
(`help(worldmodel.load_scene)`). Shapes, units and the types that pass between the rooms stand in
[`worldmodel/types.py`](../worldmodel/types.py). `python docs/api.py` writes this page.
"""


def page() -> str:
    """The whole page."""
    names = [line for name in worldmodel.__all__ for line in described(name)]
    rows = [f"| `{name}` | {helped(name)} |" for name in COMMANDS]
    table = ["", "## Commands", "", "`worldmodel COMMAND --help` lists the options.", ""]
    return "\n".join([HEAD, *names, *table, "| command | what it does |", "|---|---|", *rows, ""])


def described(name: str) -> Iterator[str]:
    """Lines on one public name."""
    value = getattr(worldmodel, name)
    source = textwrap.dedent(inspect.getsource(value))
    (node,) = ast.parse(source).body
    module = value.__module__
    home = f"[`{module}`](../{module.replace('.', '/')}{suffix(module)})"
    yield from ("", f"## {name}", "", first(ast.get_docstring(node)), "", f"In {home}.", "")
    yield from ("```text", signature(node))
    members = node.body if isinstance(node, ast.ClassDef) else []
    for member in members:
        if isinstance(member, ast.AnnAssign) and not ast.unparse(member.target).startswith("_"):
            yield from source.splitlines()[
                member.lineno - 1 : member.end_lineno
            ]  # with its comment
        elif isinstance(member, ast.FunctionDef) and not member.name.startswith("_"):
            yield "    " + signature(member)
    yield "```"


def suffix(module: str) -> str:
    """Of the file of a module: its own, or that of its package."""
    return "/__init__.py" if hasattr(sys.modules[module], "__path__") else ".py"


def signature(node: ast.AST) -> str:
    """A function as it is called; a class by its name."""
    if isinstance(node, ast.FunctionDef):
        returned = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        plain = {ast.unparse(decorator) for decorator in node.decorator_list}
        if plain & {"property", "functools.cached_property"}:
            return f"{node.name}{returned.replace(' ->', ':')}"
        return f"{node.name}({ast.unparse(node.args)}){returned}"
    assert isinstance(node, ast.ClassDef)
    bases = ", ".join(map(ast.unparse, node.bases))
    return f"class {node.name}" + (f"({bases})" if bases else "")


def first(docstring: str | None) -> str:
    """The first paragraph of a docstring, on one line."""
    paragraph = inspect.cleandoc(docstring or "").split("\n\n")[0]
    return " ".join(paragraph.split()).replace("``", "`").replace("|", "\\|")


def helped(name: str) -> str:
    """The head of what ``worldmodel NAME --help`` prints: its first paragraph after the usage."""
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
        command_line([name, "--help"])
    return first(out.getvalue().split("\n\n")[1])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
