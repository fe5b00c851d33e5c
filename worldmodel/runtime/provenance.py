"""The origin of a row of results: commit, versions, hardware, energy."""

import datetime
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

from worldmodel.runtime.source import source

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

    return (
        {"commit": source().commit}
        | machine()
        | {
            "devices": [f"{d.platform} {d.device_kind}" for d in jax.devices()],
            "x64": bool(jax.config.values["jax_enable_x64"]),
        }
    )


def machine() -> dict[str, Any]:
    """The day, versions and the processor, without starting JAX."""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in VERSIONED},
        "cpu": processor(),
        "cores": os.cpu_count(),
    }


def processor(field: str = "model name") -> str:
    """A line of /proc/cpuinfo, such as the model's name or its flags; elsewhere the platform's."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(field):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
