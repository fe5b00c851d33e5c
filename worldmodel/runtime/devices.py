"""Rows of a batch, such as windows or episodes, over all devices and processes.

Each device runs the whole program on rows of its own (``shard_map``). Left to jit's partitioner the
devices would ask each other in every iteration of a contact solver's loop whether all are done.
All devices that JAX sees are used; CUDA_VISIBLE_DEVICES restricts them.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from worldmodel.errors import InputError
from worldmodel.runtime.progress import log

_ROWS = PartitionSpec("rows")


def in_batches(run: Callable[..., Any], size: int, fixed: Any, *rows: Any) -> Any:
    """``run(fixed, *rows)`` over ``size`` rows at a time on each device.

    Args:
      run: of a pytree and of pytrees of arrays with common rows → a pytree of arrays with as many
        rows. Give the same function again, so that it is compiled once.
      size: rows of a device in one call; the last call repeats the last row. No more rows than
        ``size`` are shared out evenly.
      fixed: what all rows have in common, such as parameters.
      rows: pytrees of arrays with a common number of rows, at least one.

    Returns:
      NumPy arrays, a row for each, in every process.

    Raises:
      InputError: there is no row.
    """
    count = len(jax.tree.leaves(rows)[0])
    if not count:
        raise InputError("nothing to compute: there is no row")
    here, everywhere = jax.local_device_count(), jax.device_count()
    size = here * (size if count > size else -(-size // everywhere))
    each = -(-count // jax.process_count())
    first, out = each * jax.process_index(), []
    run, fixed = _compiled(run, here), replicated(fixed)
    for begin in range(first, first + each, size):
        index = np.minimum(np.arange(begin, begin + size), count - 1)
        part = split(jax.tree.map(lambda x, index=index: np.asarray(x)[index], rows))
        out.append(jax.tree.map(np.asarray, run(fixed, *part)))
    computed = gathered(jax.tree.map(lambda *x: np.concatenate(x)[:each], *out))
    return jax.tree.map(lambda x: x[:count], computed)


@functools.lru_cache(maxsize=16)
def _compiled(run: Callable[..., Any], devices: int) -> Callable[..., Any]:
    return run if devices == 1 else jax.jit(over_devices(run))


def over_devices(run: Callable[..., Any]) -> Callable[..., Any]:
    """``run(fixed, *rows)`` with the rows over this process's devices; ``run`` itself on one.

    The number of rows is a multiple of the devices'. What ``run`` returns is joined along the
    leading dimensions, which need not be rows: a sum over a device's rows has length 1.
    """
    if jax.local_device_count() == 1:
        return run

    def split_run(fixed: Any, *rows: Any) -> Any:
        specs = (PartitionSpec(), *(_ROWS for _ in rows))
        return jax.shard_map(run, mesh=_mesh(), in_specs=specs, out_specs=_ROWS, check_vma=False)(
            fixed, *rows
        )

    return split_run


@functools.cache
def _mesh() -> Mesh:
    return Mesh(np.array(jax.local_devices()), ("rows",))


def share(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Of ``count`` rows those of this process, as many for each device of all processes.

    Returns:
      (rows,) numbers of rows, the last one repeated; (rows,) bool, False of the repeated ones.
    """
    each = -(-count // jax.device_count()) * jax.local_device_count()
    index = each * jax.process_index() + np.arange(each)
    return np.minimum(index, count - 1), index < count


def split(rows: Any) -> Any:
    """A pytree of arrays on this process's devices, its leading dimension split over them."""
    if jax.local_device_count() == 1:
        return jax.tree.map(jnp.asarray, rows)
    return jax.device_put(rows, NamedSharding(_mesh(), _ROWS))


def replicated(tree: Any) -> Any:
    """A pytree of arrays, whole on each of this process's devices."""
    if jax.local_device_count() == 1:
        return tree
    return jax.device_put(tree, NamedSharding(_mesh(), PartitionSpec()))


def gathered(rows: Any) -> Any:
    """A pytree of arrays, joined along the leading dimension over all processes."""
    if jax.process_count() == 1:
        return rows
    return multihost_utils.process_allgather(rows, tiled=True)


def log_memory() -> None:
    """Logs the most memory that each device of this process had in use, where JAX knows it."""
    devices = jax.local_devices()
    stats = [device.memory_stats() or {} for device in devices]
    peaks = [s["peak_bytes_in_use"] for s in stats if "peak_bytes_in_use" in s]
    if len(devices) > 1 or peaks:
        shown = ", ".join(f"{peak / 2**30:.2f}" for peak in peaks) or "unknown"
        log(f"{len(devices)} devices ({devices[0].device_kind}); peak memory of each: {shown} GiB")
