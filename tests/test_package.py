"""The public names of the package, and what importing it costs."""

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import worldmodel

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.parametrize("name", worldmodel.__all__)
def test_a_public_name_resolves(name: str) -> None:
    value = getattr(worldmodel, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__name__ == name  # and not the room of that name
        assert value.__module__.startswith("worldmodel.")


def test_the_names_for_type_checkers_are_those_that_resolve() -> None:
    tree = ast.parse(Path(worldmodel.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    typed = {
        alias.name: node.module.removeprefix("worldmodel.")
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }
    assert typed == worldmodel._HOME
    assert sorted(typed) == worldmodel.__all__


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'magic'"):
        _ = worldmodel.magic
    with pytest.raises(ImportError, match="magic"):
        exec("from worldmodel import magic")


@pytest.mark.parametrize("module", ["worldmodel", "worldmodel.runtime", "worldmodel.trust"])
def test_importing_it_imports_no_jax(module: str) -> None:
    code = f"import sys, {module}; print([n for n in ('jax', 'mujoco') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.strip() == "[]", done.stderr
