"""What an entry point sets up before it computes: XLA, precision, cache, messages, signals.

Nothing here runs at import. stdout belongs to results; everything said here goes to stderr.
"""

import contextlib
import ctypes
import datetime
import importlib.metadata
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
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


def configure(*, x64: bool = True, cache: bool = True) -> None:
    """Sets JAX up for physics; call it first, before anything is computed.

    Double precision (``x64``), full-precision matrix products, the persistent compilation cache,
    and of XLA on a CPU the cheaper optimisation level and the older code generator: contact
    scenes compile a third faster with each and run as fast. An XLA_FLAGS that names one wins.

    Raises:
      RuntimeError: JAX holds arrays of another precision. Flags that come after a first
        computation have no effect and are not told: they are a matter of speed alone.
    """
    import jax

    flags = ["--xla_backend_optimization_level=1"]
    if jax.__version_info__ < (0, 11, 1):  # later ones have one code generator and no such flag
        flags.append("--xla_cpu_use_fusion_emitters=false")
    given = os.environ.get("XLA_FLAGS", "")
    unnamed = [flag for flag in flags if flag.split("=")[0] not in given]
    os.environ["XLA_FLAGS"] = " ".join([given, *unnamed]).strip()
    if bool(jax.config.values["jax_enable_x64"]) != x64 and _has_computed():
        raise RuntimeError("call runtime.configure before the first JAX computation")
    jax.config.update("jax_enable_x64", x64)
    jax.config.update("jax_default_matmul_precision", "highest")
    if cache:
        directory = cache_directory()
        directory.mkdir(parents=True, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", str(directory))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def _has_computed() -> bool:
    import jax

    return bool(jax.live_arrays())


def cache_directory() -> Path:
    """Where compiled programs are kept: JAX_COMPILATION_CACHE_DIR, else the user's cache."""
    if given := os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "worldmodel" / "jax"


def run(main: Callable[[Any], int], arguments: Any) -> int:
    """A command's exit status; bad input and a full disk are said in one line, status 2."""
    from worldmodel.errors import InputError

    try:
        return main(arguments)
    except (InputError, OSError) as error:
        log(f"error: {error}")
        return 2


def log(message: str) -> None:
    """One line to stderr, at once."""
    print(message, file=sys.stderr, flush=True)


@contextlib.contextmanager
def compiling(what: str) -> Iterator[None]:
    """Says that a compilation is under way and how long it took with the first run."""
    log(f"compiling {what} … (Ctrl-C takes effect when it is done)")
    began = time.monotonic()
    yield
    log(f"compiled {what} in {time.monotonic() - began:.1f} s")


class Interrupted(RuntimeError):
    """A job stopped by a signal after saving; the same command resumes it."""


class Interrupt:
    """Turns the first SIGINT or SIGTERM into a flag, so that a loop can save and leave.

    A second Ctrl-C raises KeyboardInterrupt at once. The former handlers come back on exit.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._former: dict[int, Any] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal came."""
        return self.signum is not None

    @property
    def exit_status(self) -> int:
        """What a shell expects of a process ended by that signal."""
        return 128 + (self.signum or 0)

    def __enter__(self) -> "Interrupt":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._former[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _handle(self, signum: int, _: FrameType | None) -> None:
        if self.requested and signum == signal.SIGINT:
            raise KeyboardInterrupt
        self.signum = signum
        log(f"{signal.Signals(signum).name}: saving after this step; again to stop at once")


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
    """Git's; of a copy without its history (a container) that in WORLDMODEL_COMMIT."""
    root = Path(__file__).resolve().parent.parent

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    try:
        code = ["worldmodel", ":(glob)experiments/*.py"]
        dirty = "-dirty" if git("status", "--porcelain", "--", *code) else ""
        return git("rev-parse", "--short=12", "HEAD") + dirty
    except (OSError, subprocess.CalledProcessError):
        return os.environ.get("WORLDMODEL_COMMIT", "unknown")


def energy_joules() -> float | None:
    """[J] that the first visible NVIDIA GPU has used since its driver was loaded (NVML's counter);
    None without such a GPU or counter."""
    try:
        nvml = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return None
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0]
    index = ctypes.c_uint(int(first) if first.isdecimal() else 0)
    device, used = ctypes.c_void_p(), ctypes.c_ulonglong()  # [mJ]
    failed = (
        nvml.nvmlInit_v2()
        or nvml.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(device))
        or nvml.nvmlDeviceGetTotalEnergyConsumption(device, ctypes.byref(used))
    )
    return None if failed else used.value / 1e3


def processor(field: str = "model name") -> str:
    """A line of /proc/cpuinfo, such as the model's name or its flags; elsewhere the platform's."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(field):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
