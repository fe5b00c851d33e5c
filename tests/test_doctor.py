"""The doctor names what is absent, and the remedy."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from worldmodel import doctor

ROOT = Path(__file__).resolve().parent.parent


def test_this_machine_can_run_the_main_job() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "worldmodel", "doctor"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for word in ("python", "mujoco-mjx", "devices", "float64", "compilation cache", "rendering"):
        assert word in done.stdout
    assert "FAIL" not in done.stdout


@pytest.mark.parametrize("names", [(), ("elbow_toss", "cube_toss")])
def test_the_folder_of_recordings_is_reported(names: tuple[str, ...], tmp_path: Path) -> None:
    for name in names:
        (tmp_path / f"{name}.npz").touch()
    done = subprocess.run(
        [sys.executable, "-m", "worldmodel", "doctor"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=os.environ | {"WORLDMODEL_DATA": str(tmp_path)},
    )
    listed = f"{tmp_path}: cube_toss, elbow_toss"
    line = listed if names else f"{tmp_path} holds no .npz; correct WORLDMODEL_DATA"
    assert line in done.stdout
    assert done.returncode == 0  # a warning: the main job can still run


def test_a_foreign_mujoco_and_an_absent_package_fail(monkeypatch) -> None:
    monkeypatch.setattr(doctor.importlib.metadata, "version", lambda name: "4.0.0")
    assert doctor._version("mujoco")[0] == "FAIL"
    assert "3.17" in doctor._version("mujoco")[2]

    def absent(name: str) -> str:
        raise doctor.importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(doctor.importlib.metadata, "version", absent)
    status, _, how = doctor._version("optax")
    assert status == "FAIL"
    assert "pip install" in how


def test_an_unwritable_cache_is_a_warning_with_a_remedy(monkeypatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path / "file" / "cache"))
    status, _, how = doctor._cache()
    assert status == "warn"
    assert "JAX_COMPILATION_CACHE_DIR" in how
