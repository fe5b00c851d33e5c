"""Executables on disk: a second process neither traces nor compiles, and never runs a stale one."""

import dataclasses
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import scenes
from worldmodel.model import Network, Physics, Velocity, WorldModel
from worldmodel.physics.backward import Backward
from worldmodel.runtime.executables import cached_jit
from worldmodel.scene import FreeParameter

SCRIPT = """
import sys
import jax, jax.numpy as jnp
from worldmodel import runtime
from worldmodel.runtime.executables import cached_jit
import helper
runtime.configure()
FACTOR = 2.0
@cached_jit(helper)
def traced(x, y):
    print("traced")
    return {"solved": jnp.linalg.solve(x @ x.T, y) * helper.factor() * FACTOR}
x = jnp.arange(9.0).reshape(3, 3) ** 2 + jnp.eye(3)
print(traced(x, jnp.ones(3))["solved"].tolist())
"""


def played(folder: Path, **environment: str) -> tuple[bool, str, str]:
    """Whether the script traced its function, what it computed, and its messages."""
    command = [sys.executable, "script.py"]
    root = Path(__file__).parents[2]
    environment = {"PYTHONPATH": str(root), "JAX_COMPILATION_CACHE_DIR": "cache"} | environment
    done = subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    return lines[:-1] == ["traced"], lines[-1], done.stderr


def test_a_second_process_loads_it_and_a_changed_one_does_not(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(textwrap.dedent(SCRIPT))
    (tmp_path / "helper.py").write_text("def factor():\n    return 1.0\n")
    first, value, _ = played(tmp_path)
    again, same, _ = played(tmp_path)
    assert first and not again and same == value
    # Another factor in the function's own file, and in one that it imports.
    for name, old, new in (("script.py", "2.0", "4.0"), ("helper.py", "1.0", "8.0")):
        text = (tmp_path / name).read_text()
        (tmp_path / name).write_text(text.replace(old, new))
        first, other, _ = played(tmp_path)
        again, same, _ = played(tmp_path)
        assert first and not again and same == other != value
        value = other
    # A damaged file is reported and replaced.
    for path in (tmp_path / "cache" / "executables").iterdir():
        path.write_bytes(path.read_bytes()[:1000])
    first, same, messages = played(tmp_path)
    assert first and same == value and "cannot load the compiled program" in messages
    assert not played(tmp_path)[0]
    # JAX's own cache does not serve it.
    for path in (tmp_path / "cache" / "executables").iterdir():
        path.unlink()
    assert played(tmp_path)[:2] == (True, value) and played(tmp_path)[:2] == (False, value)
    # Other flags are another program.
    assert played(tmp_path, XLA_FLAGS="--xla_cpu_enable_fast_min_max=false")[0]


@pytest.fixture
def cache(tmp_path: Path):
    former = jax.config.values["jax_compilation_cache_dir"]
    jax.config.update("jax_compilation_cache_dir", str(tmp_path))
    yield tmp_path / "executables"
    jax.config.update("jax_compilation_cache_dir", former)


def files(folder: Path) -> int:
    return len(list(folder.iterdir())) if folder.is_dir() else 0


def test_executables_differ_by_their_parts(cache: Path) -> None:
    def scaled(by):
        return cached_jit([by], "scaled")(lambda x: x * by)

    x = np.ones(2)
    for count, by in enumerate((2.0, 3.0, np.array([1.0, 2.0]), jnp.array([2.0, 1.0])), 1):
        assert np.array_equal(scaled(by)(x), x * by)
        assert np.array_equal(scaled(by)(x), x * by)  # another object, the same program
        assert files(cache) == count
    scaled(2.0)(np.ones(3))
    scaled(2.0)(np.ones(2, np.float32))
    assert files(cache) == 6


def test_models_differ_by_every_setting(cache: Path) -> None:
    scene, x = scenes.held(), np.ones(1)
    first = WorldModel(scene)
    worlds = (
        first,
        dataclasses.replace(first, free=(FreeParameter("gravity", ""),)),
        dataclasses.replace(first, correction=Velocity()),
        dataclasses.replace(first, network=Network(members=2)),
        dataclasses.replace(first, base=Physics(Backward(contact_width=1e-3))),
    )
    for count, world in enumerate((*worlds, WorldModel(scenes.held())), 1):
        cached_jit(world)(lambda x: x)(x)
        assert files(cache) == min(count, len(worlds))  # an equal scene is the same


def test_functions_of_one_line_are_told_apart(cache: Path) -> None:
    both = (lambda x: x.real + 2.0), (lambda x: x.imag + 2.0), (lambda x: x.real + 3.0)
    x = np.array([1.0 + 5.0j])
    assert [cached_jit()(function)(x).item() for function in both] == [3.0, 7.0, 4.0]
    assert [cached_jit()(function)(x).item() for function in both] == [3.0, 7.0, 4.0]
    assert files(cache) == 3


def test_scenes_are_told_apart_by_their_numbers() -> None:
    first, same, other = (scenes.held() for _ in range(3))
    other.mj_model.geom_friction[0, 0] *= 1.0 + 1e-9
    assert first == same and hash(first) == hash(same)
    assert first != other and first.digest != other.digest


def test_inside_a_transformation_and_over_strange_objects_it_is_jit(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    square = cached_jit()(lambda x: x**2)
    assert jax.grad(square)(3.0) == 6.0
    assert cached_jit(object())(lambda x: x + 0.0)(1.0) == 1.0
    assert cached_jit()(jax.grad(lambda x: x**2))(3.0) == 6.0  # whose file says nothing of it
    assert files(cache) == 0
    assert capsys.readouterr().err.count("is compiled in every process") == 2


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache.write_text("a file where the folder should be")
    assert cached_jit()(lambda x: x + 1.0)(1.0) == 2.0
    assert "not kept for the next time" in capsys.readouterr().err
