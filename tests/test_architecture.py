"""The house rules that a program can check, linters and types included."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted(
    path
    for folder in ("worldmodel", "experiments", "tests")
    for path in (ROOT / folder).rglob("*.py")
)


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_private_mjx_is_touched_in_one_file() -> None:
    guilty = {p.name for p in SOURCES if any("mjx._src" in n for n in imported(p))}
    assert guilty == {"_mjx.py", "test_mjx_private.py"}


def test_mujoco_is_imported_in_one_place() -> None:
    guilty = {
        p.name
        for p in SOURCES
        if p.is_relative_to(ROOT / "worldmodel") or p.is_relative_to(ROOT / "experiments")
        if any(n == "mujoco" or n.startswith("mujoco.") for n in imported(p))
    }
    assert guilty == {"_mujoco.py", "_mjx.py"}


def test_names_say_something_and_files_stay_small() -> None:
    empty_names = {"utils", "common", "helpers", "misc"}
    assert [p for p in SOURCES if p.stem in empty_names] == []
    long = {p.name: n for p in SOURCES if (n := len(p.read_text().splitlines())) > 350}
    assert long == {}


def test_importing_the_package_does_no_work() -> None:
    code = "import sys, worldmodel, worldmodel.runtime; print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "False", done.stderr


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
