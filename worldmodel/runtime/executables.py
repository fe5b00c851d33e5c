"""Executables on disk, so that a second process neither traces nor compiles a function.

JAX's compilation cache saves XLA's part alone. Tracing a gradient through contact takes ten seconds
of Python in every process; an executable loads in two.
"""

import contextlib
import functools
import hashlib
import importlib.metadata
import inspect
import os
import pickle
import platform
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, ModuleType
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
_INSTALLED = tuple(sysconfig.get_paths()[name] for name in ("purelib", "platlib", "stdlib"))


def cached_jit(function: Callable) -> Callable:
    """``jax.jit(function)`` whose executables are kept in JAX's compilation cache folder.

    The key of an executable holds all that it depends on: what the function closes over; the
    sources of this package, of the function's module and of those it imports at its top; the
    arguments' structure, shapes and types; versions, JAX's settings, the machine. Without a
    compilation cache (``runtime.configure``), inside another transformation and across devices it
    is ``jax.jit``.
    The files are read with ``pickle``: who can write to the cache can run code.

    Args:
      function: of positional pytrees of arrays. It may close over functions defined in files,
        arrays, plain data, Python objects that hold these, and objects with a ``digest``, such as
        a ``Scene``. With anything else it is ``jax.jit``, which is logged once.
    """
    jitted = jax.jit(function)
    executables: dict[Any, Callable] = {}

    @functools.wraps(function)
    def run(*arguments: Any) -> Any:
        folder = jax.config.values["jax_compilation_cache_dir"]
        if folder is None or any(map(_traced_or_sharded, jax.tree.leaves(arguments))):
            return jitted(*arguments)
        arguments = jax.tree.map(jnp.asarray, arguments)
        leaves, tree = jax.tree.flatten(arguments)
        shapes = tuple((x.shape, str(x.dtype), x.weak_type) for x in leaves)
        if (tree, shapes) not in executables:
            try:
                parts = (_described(function, ()), _surroundings(), str(tree), shapes)
            except TypeError as error:
                log(f"{function.__qualname__} is compiled in every process: {error}")
                executables[tree, shapes] = jitted
            else:
                key = hashlib.sha256(repr(parts).encode()).hexdigest()
                path = Path(folder) / "executables" / key
                executables[tree, shapes] = _load(path) or _compile(path, jitted, arguments)
        return executables[tree, shapes](*arguments)

    return run


def _traced_or_sharded(x: Any) -> bool:
    return isinstance(x, Tracer) or (isinstance(x, jax.Array) and len(x.sharding.device_set) > 1)


def _load(path: Path) -> Callable | None:
    if not path.is_file():
        return None
    # XLA's CPU client registers LAPACK's kernels when a program with one is lowered; a loaded
    # program that calls them before that ends the process (github.com/jax-ml/jax/issues/28908).
    jax.jit(jnp.linalg.cholesky).lower(jnp.eye(1))
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


def _described(value: Any, inside: tuple[int, ...]) -> Any:
    """Plain data that is equal where the values are, and where functions do the same.

    Args:
      inside: ids of the objects that ``value`` is a part of; a circle ends where it closes.
    """
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | type):
        return repr(value)
    if id(value) in inside:
        return f"{len(inside) - inside.index(id(value))} up"
    describe = functools.partial(_described, inside=(*inside, id(value)))
    kind = type(value).__qualname__
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        array = np.asarray(value)
        return kind, array.shape, str(array.dtype), hashlib.sha256(array.tobytes()).hexdigest()
    if isinstance(value, dict):
        return kind, [(describe(k), describe(v)) for k, v in value.items()]
    if isinstance(value, tuple | list):
        return kind, [describe(v) for v in value]
    if isinstance(value, set | frozenset):
        return kind, sorted(repr(describe(v)) for v in value)
    if isinstance(digest := getattr(value, "digest", None), str):
        return kind, digest
    if isinstance(value, functools.partial):
        return kind, [describe(v) for v in (value.func, value.args, value.keywords)]
    if inspect.ismethod(value):
        return kind, describe(value.__func__), describe(value.__self__)
    if inspect.isfunction(value):
        where = value.__qualname__, value.__code__.co_firstlineno, _code(value.__code__)
        return kind, where, _sources(value.__module__), _closure(value, describe)
    if hasattr(value, "__wrapped__"):  # a function under jax.jit, jax.custom_vjp and the like
        return kind, describe(value.__wrapped__), describe(getattr(value, "__dict__", None))
    if inspect.ismodule(value):
        return kind, value.__name__, _sources(value.__name__)
    if inspect.isbuiltin(value):
        return kind, value.__module__, value.__qualname__
    if hasattr(value, "__dict__"):
        return kind, _sources(type(value).__module__), describe(vars(value))
    raise TypeError(f"it closes over a {kind}; pass it as an argument or give its class a digest")


def _code(code: CodeType) -> tuple:
    """Distinguishes two functions of one line: instructions, names and constants."""
    constants = [_code(c) if isinstance(c, CodeType) else _constant(c) for c in code.co_consts]
    return code.co_code.hex(), code.co_names, constants


def _constant(value: Any) -> str:
    return repr(sorted(map(repr, value)) if isinstance(value, frozenset) else value)


def _closure(function: Any, describe: Callable) -> list:
    cells = getattr(function, "__closure__", None) or ()
    defaults = getattr(function, "__defaults__", None), getattr(function, "__kwdefaults__", None)
    return [describe(defaults), *(describe(cell.cell_contents) for cell in cells)]


@functools.cache
def _sources(name: str) -> str:
    """Digest of a module's file and of those of the modules it imports, installed ones aside."""
    digests: dict[str, str] = {}

    def visit(module: ModuleType | None) -> None:
        path = getattr(module, "__file__", None)
        if module is None or not path or path.startswith(_INSTALLED) or path in digests:
            return
        digests[path] = hashlib.sha256(Path(path).read_bytes()).hexdigest()
        for value in list(vars(module).values()):
            if isinstance(value, ModuleType) and value.__name__.startswith(f"{module.__name__}."):
                continue  # a package has it because some module of the process imported it
            visit(value if isinstance(value, ModuleType) else _home(value))

    if not getattr(sys.modules.get(name), "__file__", None):
        raise TypeError(f"its source, module {name}, is not a file")
    visit(sys.modules[name])
    return hashlib.sha256(repr(sorted(digests.values())).encode()).hexdigest()


def _home(value: Any) -> ModuleType | None:
    name = getattr(value, "__module__", None)
    return sys.modules.get(name) if isinstance(name, str) else None


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
