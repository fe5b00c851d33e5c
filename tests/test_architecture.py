"""The house rules that a program can check, linters and types included."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("worldmodel", "experiments", "launch", "tests")
SOURCES = sorted(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))
ROOMS = sorted(path.parent.name for path in (ROOT / "worldmodel").glob("*/__init__.py"))
# Names that do not state what they hold; and ``SELF``, written so.
FORBIDDEN = {
    *("said", "told", "found", "made", "abreast", "beside", "left", "worth", "missing", "arms"),
    *("words", "self_", "ahead", "linearise", "linearised", "residuals", "programs", "smoothed"),
}


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def identifiers(tree: ast.AST) -> Iterator[str]:
    """Every name that a source defines, takes or uses."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute):
            yield node.attr
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.arg | ast.keyword):
            yield node.arg or ""
        elif isinstance(node, ast.ImportFrom):
            yield from (node.module or "").split(".")
        elif isinstance(node, ast.alias):
            yield from node.name.split(".")
            yield node.asname or ""


def forbidden(source: str) -> list[str]:
    names = identifiers(ast.parse(source))
    return sorted({n for n in names if n.lower() in FORBIDDEN or n == "SELF"})


@pytest.mark.parametrize("folder", FOLDERS)
def test_names_are_not_forbidden(folder: str) -> None:
    paths = [p for p in SOURCES if p.is_relative_to(ROOT / folder)]
    guilty = {str(p.relative_to(ROOT)): forbidden(p.read_text()) for p in paths}
    assert {path: names for path, names in guilty.items() if names} == {}
    assert [p for p in paths if p.stem in FORBIDDEN] == []


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("found = 1", ["found"]),
        ("def f(words): ...", ["words"]),
        ("class Ahead: ...", ["Ahead"]),
        ("x.made = f(left=1)", ["left", "made"]),
        ("from a.programs import b as told", ["programs", "told"]),
        ("SELF = self = 1", ["SELF"]),
        ("x = {'found': 'made'}  # left", []),
    ],
)
def test_a_forbidden_name_is_seen_wherever_it_stands(source: str, names: list[str]) -> None:
    assert forbidden(source) == names


def test_private_mjx_is_touched_in_one_file() -> None:
    guilty = {p.name for p in SOURCES if any("mjx._src" in n for n in imported(p))}
    assert guilty == {"_mjx.py", "test_mjx_private.py"}


def test_mujoco_is_imported_in_one_place() -> None:
    guilty = {
        p.name
        for p in SOURCES
        if not p.is_relative_to(ROOT / "tests")
        if any(n == "mujoco" or n.startswith("mujoco.") for n in imported(p))
    }
    assert guilty == {"_mujoco.py", "_mjx.py"}


def test_names_say_something_and_files_stay_small() -> None:
    empty_names = {"utils", "common", "helpers", "misc"}
    assert [p for p in SOURCES if p.stem in empty_names] == []
    long = {p.name: n for p in SOURCES if (n := len(p.read_text().splitlines())) > 350}
    assert long == {}


def test_tests_import_of_tests_the_helpers_alone() -> None:
    guilty = {
        str(p.relative_to(ROOT)): names
        for p in SOURCES
        if p.is_relative_to(ROOT / "tests")
        if (
            names := [
                n
                for n in sorted(imported(p))
                if (n.startswith("tests.") and not n.startswith("tests.helpers"))
                or any(part.startswith("test_") for part in n.split("."))
            ]
        )
    }
    assert guilty == {}


def test_every_room_has_its_folder_of_tests() -> None:
    assert len(ROOMS) > 8
    assert [room for room in ROOMS if not list((ROOT / "tests" / room).glob("test_*.py"))] == []
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_stdout_stays_clean_when_mjx_is_imported() -> None:
    code = "import worldmodel._mujoco"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["pyright", "--warnings", "--pythonpath", sys.executable],
    ],
    ids=lambda c: " ".join(c[:2]),
)
def test_linter(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_rooms_import_only_what_they_may() -> None:
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Contracts: " in done.stdout and " 0 broken." in done.stdout


def test_the_readmes_picture_is_that_of_the_contract() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = contracts["contracts"][0]["layers"]
    section = (ROOT / "README.md").read_text().split("## The house")[1]
    picture = section.split("```")[1].strip("\n").splitlines()
    drawn = [line.split("  ")[0] for line in picture if line[0] != " "]
    assert drawn == layers[::-1]
