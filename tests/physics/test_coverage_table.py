"""The coverage page names tests that pytest collects, as slow as it says, and every parameter."""

import ast
import re
from pathlib import Path

import pytest

from worldmodel.physics.kinds import KINDS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "worldmodel" / "physics" / "README.md").read_text()
TEST = r"`(tests/[\w/]+\.py)::(\w+)`"


def marks_slow(node: ast.AST) -> bool:
    """Whether an expression holds ``pytest.mark.slow``."""
    return any(
        isinstance(part, ast.Attribute) and ast.unparse(part) == "pytest.mark.slow"
        for part in ast.walk(node)
    )


def collected(path: Path) -> dict[str, bool]:
    """The tests that a file defines at its top, and whether all of each one is marked slow."""
    tree = ast.parse(path.read_text())
    whole = any(
        isinstance(node, ast.Assign)
        and any(isinstance(t, ast.Name) and t.id == "pytestmark" for t in node.targets)
        and marks_slow(node.value)
        for node in tree.body
    )
    return {
        node.name: whole or any(ast.unparse(d) == "pytest.mark.slow" for d in node.decorator_list)
        for node in tree.body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    }


def named() -> list[tuple[str, str, bool]]:
    """(file, test, whether the page says that it is slow): *slow* holds for the tests after it, up
    to a full stop, a semicolon, a bracket or the end of the cell."""
    out = []
    for block in re.split(r"[|;()]|\n\n|\.\s", PAGE):
        slow = block.find("*slow*")
        for match in re.finditer(TEST, block):
            out.append((*match.groups(), 0 <= slow < match.start()))
    return out


def test_every_test_that_the_page_names_is_collected_and_as_slow_as_it_says() -> None:
    claims = named()
    assert len(claims) == len(re.findall(TEST, PAGE)) > 40
    wrong = []
    for file, test, slow in claims:
        tests = collected(ROOT / file) if (ROOT / file).is_file() else {}
        if test not in tests:
            wrong.append(f"{file}::{test} does not exist")
        elif tests[test] != slow:
            wrong.append(f"{file}::{test} is {'not ' * slow}slow")
    assert wrong == []


@pytest.mark.parametrize(
    ("source", "tests"),
    [
        ("def test_a():\n    def test_b(): ...", {"test_a": False}),
        ("def check(): ...\nclass A:\n    def test_a(self): ...", {}),
        ("@pytest.mark.slow\ndef test_a(): ...", {"test_a": True}),
        ("pytestmark = pytest.mark.slow\ndef test_a(): ...", {"test_a": True}),
        ("pytestmark = [pytest.mark.slow]\ndef test_a(): ...", {"test_a": True}),
        (
            "@pytest.mark.parametrize('x', [pytest.param(1, marks=pytest.mark.slow)])\n"
            "def test_a(x): ...",
            {"test_a": False},  # only some of it
        ),
        ("'def test_a('", {}),
    ],
)
def test_what_is_collected_is_read_from_the_syntax(
    source: str, tests: dict[str, bool], tmp_path: Path
) -> None:
    (tmp_path / "test_it.py").write_text(source)
    assert collected(tmp_path / "test_it.py") == tests


def test_every_kind_of_parameter_has_a_row() -> None:
    parameters = PAGE.split("## Parameters")[1].split("## Features")[0]
    assert [kind for kind in KINDS if f"`{kind}`" not in parameters] == []
