"""The origin of a row of results: commit, versions, hardware, energy."""

import datetime
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

VERSIONED = (
    "jax",
    "jaxlib",
    "flax",
    "mujoco",
    "mujoco-mjx",
    "optax",
    "orbax-checkpoint",
    "numpy",
    "scipy",
    "pyarrow",
)


def provenance() -> dict[str, Any]:
    """Commit, versions and hardware, for a row of results."""
    import jax

    return {
        "commit": _commit(),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in VERSIONED},
        "cpu": processor(),
        "cores": os.cpu_count(),
        "devices": [f"{d.platform} {d.device_kind}" for d in jax.devices()],
        "x64": bool(jax.config.values["jax_enable_x64"]),
    }


def _commit() -> str:
    """Git's; of a copy that git does not know (a container, a sweep's snapshot) that in
    WORLDMODEL_COMMIT."""
    root = Path(__file__).resolve().parents[2]

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "worldmodel")
        code = ["worldmodel", ":(glob)experiments/**/*.py"]
        dirty = "-dirty" if git("status", "--porcelain", "--", *code) else ""
        return git("rev-parse", "--short=12", "HEAD") + dirty
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("WORLDMODEL_COMMIT", "unknown")


def processor(field: str = "model name") -> str:
    """A line of /proc/cpuinfo, such as the model's name or its flags; elsewhere the platform's."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(field):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
