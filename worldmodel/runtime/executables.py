"""Executables on disk, so that a second process neither traces nor compiles a function.

JAX's compilation cache saves XLA's part alone. Tracing a gradient through contact takes ten seconds
of Python in every process; an executable loads in two.
"""

import contextlib
import dataclasses
import functools
import hashlib
import importlib.metadata
import inspect
import os
import pickle
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.experimental import serialize_executable
from jax.experimental.compilation_cache import compilation_cache

from worldmodel.runtime.files import write_bytes
from worldmodel.runtime.progress import log
from worldmodel.runtime.provenance import VERSIONED, processor

MAX_AGE = 30 * 24 * 3600  # [s] since an executable was last loaded; older ones are removed
_SETTINGS = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_numpy_dtype_promotion",
    "jax_debug_nans",
)


def cached_jit(*parts: Any) -> Callable[[Callable], Callable]:
    """``jax.jit`` whose executables are kept in JAX's compilation cache folder; a decorator.

    The key of an executable holds ``parts``; the file of the function and its place in it; the
    sources of this package; the arguments' structure, shapes and types; versions, JAX's settings,
    the machine. Without a compilation cache (``runtime.configure``), inside another transformation
    and across devices or processes it is ``jax.jit``.
    The files are read with ``pickle``: who can write to the cache can run code.

    Args:
      parts: all that the function depends on besides its arguments, its file and this package:
        plain data, arrays, dataclasses of these, objects with a ``digest``, such as a ``Scene``,
        and modules. With anything else it is ``jax.jit``, which is logged once.

    The function takes positional pytrees of arrays.
    """

    def decorate(function: Callable) -> Callable:
        jitted = jax.jit(function)
        executables: dict[Any, Callable] = {}

        @functools.wraps(function)
        def run(*arguments: Any) -> Any:
            folder = jax.config.values["jax_compilation_cache_dir"]
            unknown = map(_traced_or_sharded, jax.tree.leaves(arguments))
            if folder is None or jax.process_count() > 1 or any(unknown):
                return jitted(*arguments)
            arguments = jax.tree.map(jnp.asarray, arguments)
            leaves, tree = jax.tree.flatten(arguments)
            shapes = tuple((x.shape, str(x.dtype), x.weak_type) for x in leaves)
            if (tree, shapes) not in executables:
                try:
                    described = _place(function), _described(parts), _surroundings()
                except TypeError as error:
                    log(f"{function.__qualname__} is compiled in every process: {error}")
                    executables[tree, shapes] = jitted
                else:
                    text = repr((described, str(tree), shapes))
                    path = Path(folder) / "executables" / hashlib.sha256(text.encode()).hexdigest()
                    executables[tree, shapes] = _load(path) or _compile(path, jitted, arguments)
            return executables[tree, shapes](*arguments)

        return run

    return decorate


def _traced_or_sharded(x: Any) -> bool:
    return isinstance(x, Tracer) or (isinstance(x, jax.Array) and len(x.sharding.device_set) > 1)


def _load(path: Path) -> Callable | None:
    if not path.is_file():
        return None
    # XLA's CPU client registers LAPACK's kernels when a program with one is lowered; a loaded
    # program that calls them before that ends the process (github.com/jax-ml/jax/issues/28908).
    jax.jit(jax.lax.linalg.cholesky).lower(jax.ShapeDtypeStruct((1, 1), jnp.float32))
    try:
        program = serialize_executable.deserialize_and_load(*pickle.loads(path.read_bytes()))
        os.utime(path)
    except Exception as error:  # pickle and XLA raise many types on a damaged file
        log(f"cannot load the compiled program {path} ({error}); compiling it again")
        return None
    return program


def _compile(path: Path, jitted: Any, arguments: tuple) -> Callable:
    lowered = jitted.lower(*arguments)
    with _without_jax_cache():
        program = lowered.compile()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, pickle.dumps(serialize_executable.serialize(program)))
        _remove_old(path.parent)
    except Exception as error:  # a full disk, or a backend that cannot serialise; the program runs
        log(f"the compiled program is not kept for the next time ({error})")
    return program


def _remove_old(folder: Path) -> None:
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another process removed it
            if time.time() - path.stat().st_mtime > MAX_AGE:
                path.unlink()


@contextlib.contextmanager
def _without_jax_cache() -> Iterator[None]:
    """An executable from JAX's own cache lacks functions when it is serialised again."""
    former = jax.config.values["jax_enable_compilation_cache"]
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", former)
        compilation_cache.reset_cache()


def _place(function: Callable) -> tuple[str, list]:
    """Which function it is: the contents of its file, and where it stands there."""
    if hasattr(function, "__wrapped__") or not hasattr(function, "__code__"):
        raise TypeError("it is no plain function; wrap one that calls it")
    return _contents(function.__code__.co_filename), list(function.__code__.co_positions())


def _described(value: Any) -> Any:
    """Plain data that is equal where the values are.

    Raises:
      TypeError: of what kind it cannot say that.
    """
    kind = type(value).__qualname__
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return repr(value)
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        array = np.asarray(value)
        return kind, array.shape, str(array.dtype), hashlib.sha256(array.tobytes()).hexdigest()
    if isinstance(value, tuple | list):
        return kind, [_described(v) for v in value]
    if isinstance(digest := getattr(value, "digest", None), str):
        return kind, digest
    if isinstance(value, ModuleType):
        return _contents(str(value.__file__))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [_described(getattr(value, f.name)) for f in dataclasses.fields(value)]
        return kind, _contents(inspect.getfile(type(value))), fields
    raise TypeError(f"it depends on a {kind}; give its class a digest, or pass it as an argument")


@functools.cache
def _contents(file: str) -> str:
    if not Path(file).is_file():
        raise TypeError(f"its source, {file}, is not a file")
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


@functools.cache
def _surroundings() -> tuple[str, ...]:
    """What an executable depends on in addition to its function and arguments."""
    package = sorted(Path(__file__).parents[1].rglob("*.py"))
    sources = hashlib.sha256(b"".join(path.read_bytes() for path in package)).hexdigest()
    versions = [f"{name} {importlib.metadata.version(name)}" for name in VERSIONED]
    device = jax.devices()[0]
    return (
        sources,
        *versions,
        *(f"{name} {jax.config.values[name]}" for name in _SETTINGS),
        f"{device.platform} {device.device_kind} {device.client.platform_version}",
        f"{platform.platform()} {processor('flags')}",
        os.environ.get("XLA_FLAGS", ""),
    )
