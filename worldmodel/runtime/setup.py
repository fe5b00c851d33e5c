"""Set-up of an entry point: XLA, precision, compilation cache, exit status."""

import errno
import os
import select
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from worldmodel.errors import InputError, cause
from worldmodel.runtime.progress import log


def configure(*, x64: bool = True, cache: bool = True) -> None:
    """Sets JAX up for physics; call it first, before anything is computed.

    Double precision (``x64``), full-precision matrix products, the persistent compilation cache,
    and of XLA on a CPU the cheaper optimisation level and the older code generator: contact
    scenes compile a third faster with each and run as fast. An XLA_FLAGS that names one wins.

    Raises:
      RuntimeError: JAX holds arrays of another precision. Flags that come after a first
        computation have no effect, without an error: they change the speed alone.
    """
    import jax

    flags = ["--xla_backend_optimization_level=1"]
    if jax.__version_info__ < (0, 11, 1):  # later ones have one code generator and no such flag
        flags.append("--xla_cpu_use_fusion_emitters=false")
    given = os.environ.get("XLA_FLAGS", "")
    unnamed = [flag for flag in flags if flag.split("=")[0] not in given]
    os.environ["XLA_FLAGS"] = " ".join([given, *unnamed]).strip()
    if bool(jax.config.values["jax_enable_x64"]) != x64 and jax.live_arrays():
        raise RuntimeError("call runtime.configure before the first JAX computation")
    jax.config.update("jax_enable_x64", x64)
    jax.config.update("jax_default_matmul_precision", "highest")
    if cache:
        directory = cache_directory()
        directory.mkdir(parents=True, exist_ok=True)
        jax.config.update("jax_compilation_cache_dir", str(directory))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", 0)


def cache_directory() -> Path:
    """Where compiled programs are kept: JAX_COMPILATION_CACHE_DIR, else the user's cache."""
    if given := os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "worldmodel" / "jax"


def run(main: Callable[[Any], int], arguments: Any) -> int:
    """Runs a command and returns its exit status: 2, and one line on stderr, for bad input or a
    file that cannot be read or written; 130, as a shell has it for SIGINT, after Ctrl-C."""
    try:
        return main(arguments)
    except KeyboardInterrupt:
        log("stopped by Ctrl-C; the same command goes on from what is saved, or begins again")
        return 128 + signal.SIGINT
    except InputError as error:
        log(f"error: {error}")
    except OSError as error:
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            return 141  # as a shell has it for SIGPIPE
        where = error.filename or "a file"
        remedy = "give a path that can be"
        if error.errno == errno.ENOSPC:
            remedy = "free some space, then run the same command again"
        log(f"error: {where} cannot be read or written ({cause(error)}); {remedy}")
    return 2


def _nobody_reads() -> bool:
    """Whether the reader of stdout, such as head, has ended; drops what is still buffered."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    ended = any(event & select.POLLERR for _, event in poll.poll(0))
    if ended:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return ended
