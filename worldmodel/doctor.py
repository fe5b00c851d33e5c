"""``python -m worldmodel doctor``: checks the installation; every finding has a remedy."""

import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from worldmodel import runtime
from worldmodel.errors import cause

_RENDER = """
import sys
sys.stdout = sys.stderr
import mujoco
model = mujoco.MjModel.from_xml_string("<mujoco><worldbody><light pos='0 0 3'/>"
    "<geom type='sphere' size='1'/></worldbody></mujoco>")
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
with mujoco.Renderer(model, 64, 64) as renderer:
    renderer.update_scene(data)
    assert renderer.render().max() > 0
"""
_PACKAGES = {"egl": "libegl1", "osmesa": "libosmesa6"}

Line = tuple[str, str, str]  # "ok", "warn" or "FAIL"; the subject; its state and the remedy


def check() -> Iterator[Line]:
    """One line per check."""
    yield _python()
    for name in runtime.VERSIONED:
        yield _version(name)
    yield from _jax()
    yield _cache()
    yield _rendering()
    yield _data()


def main() -> int:
    """Lists what this machine has and lacks, with the remedy.

    Returns:
      1 if the main job cannot run here.
    """
    failed = False
    for status, what, how in check():
        print(f"{status:4}  {what:18} {how}", flush=True)
        failed |= status == "FAIL"
    return int(failed)


def _python() -> Line:
    version = sys.version.split()[0]
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return "ok", "python", version
    return "FAIL", "python", f"{version}; use Python 3.11, 3.12 or 3.13"


def _version(name: str) -> Line:
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "FAIL", name, "not installed; pip install -c constraints.txt -e ."
    if name in ("mujoco", "mujoco-mjx") and not version.startswith("3.17."):
        return "FAIL", name, f"{version}; the contact gradient is pinned to 3.17.*"
    return "ok", name, version


def _jax() -> Iterator[Line]:
    try:
        runtime.configure()
        import jax

        devices = ", ".join(f"{d.platform}:{d.device_kind}" for d in jax.devices())
    except Exception as error:  # a broken driver raises any type
        yield "FAIL", "devices", f"{error}; set JAX_PLATFORMS=cpu to run without accelerator"
        return
    yield "ok", "devices", f"{devices}, backend {jax.default_backend()}"
    precision = "float64" if jax.config.values["jax_enable_x64"] else "float32"
    yield (
        "ok",
        "precision",
        f"{precision}; matrix products {jax.config.values['jax_default_matmul_precision']}",
    )


def _cache() -> Line:
    directory = runtime.cache_directory()
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe = directory / f".probe-{os.getpid()}"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        remedy = "set JAX_COMPILATION_CACHE_DIR, or every run compiles anew"
        return "warn", "compilation cache", f"{directory}: {cause(error)}; {remedy}"
    size = sum(p.stat().st_size for p in directory.rglob("*") if p.is_file()) / 2**20
    return "ok", "compilation cache", f"{directory} ({size:.0f} MiB)"


def _rendering() -> Line:
    failures = []
    for backend, package in _PACKAGES.items():
        try:
            done = subprocess.run(
                [sys.executable, "-c", _RENDER],
                env=os.environ | {"MUJOCO_GL": backend},
                capture_output=True,
                timeout=60,
            )
        except subprocess.TimeoutExpired:
            failures.append(f"{backend} hangs")
            continue
        if done.returncode == 0:
            return "ok", "rendering", f"headless with MUJOCO_GL={backend}"
        failures.append(f"{backend} needs the Debian package {package}")
    return "warn", "rendering", "; ".join(failures) + " (only for pictures; figures do without)"


def _data() -> Line:
    given = os.environ.get("WORLDMODEL_DATA")
    if not given:
        return "ok", "recordings", "WORLDMODEL_DATA is not set: what needs them is not run"
    archives = sorted(path.stem for path in Path(given).glob("*.npz"))
    if not archives:
        return "warn", "recordings", f"{given} holds no .npz; correct WORLDMODEL_DATA"
    return "ok", "recordings", f"{given}: {', '.join(archives)}"
