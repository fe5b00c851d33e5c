"""Rows of a batch, such as windows or episodes, and members of an ensemble, over all devices.

Each device runs the whole program on rows of its own (``shard_map``). Left to jit's partitioner the
devices would ask each other in every iteration of a contact solver's loop whether all are done.
The devices of a process are a mesh of members and rows; processes share the rows. All devices that
JAX sees are used; CUDA_VISIBLE_DEVICES restricts them.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from worldmodel.errors import InputError
from worldmodel.runtime.progress import log

_ROWS = PartitionSpec("rows")
_MEMBERS = PartitionSpec("members")
_ROWS_OF_MEMBERS = PartitionSpec("rows", "members")


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
    fixed = replicated(fixed)
    run = _compiled(run, jax.local_device_count())
    return _batches(lambda *part: run(fixed, *split(part)), jax.local_device_count(), size, rows)


def over_members(run: Callable[..., Any], size: int, each: Sequence[Any], *rows: Any) -> Any:
    """``run(member, *rows)`` for every member of an ensemble, over ``size`` rows of a member at a
    time on each device.

    As many members run at once as divide both their number and that of the devices; each device
    holds the parameters of its members alone.

    Args:
      run: as of ``in_batches``.
      size: as of ``in_batches``.
      each: the members' parameters, pytrees of one structure.
      rows: pytrees of arrays (members, rows, …).

    Returns:
      NumPy arrays (members, rows, …), in every process.

    Raises:
      InputError: there is no row.
    """
    at_once = math.gcd(len(each), jax.local_device_count())
    if at_once == 1:
        parts = [
            in_batches(run, size, one, *jax.tree.map(lambda x, k=k: x[k], rows))
            for k, one in enumerate(each)
        ]
        return jax.tree.map(lambda *x: np.stack(x), *parts)
    stacked, compiled = split_members(each), _compiled_for_members(run, at_once)
    sharding = NamedSharding(_mesh(at_once), _ROWS_OF_MEMBERS)

    def compute(*part: Any) -> Any:
        return compiled(stacked, *jax.device_put(part, sharding))

    rows = jax.tree.map(lambda x: np.swapaxes(np.asarray(x), 0, 1), rows)
    out = _batches(compute, jax.local_device_count() // at_once, size, rows)
    return jax.tree.map(lambda x: np.swapaxes(x, 0, 1), out)


def split_members(each: Sequence[Any]) -> Any:
    """Pytrees of members, stacked along a leading dimension that is split over the mesh."""
    stacked = jax.tree.map(lambda *x: np.stack([np.asarray(a) for a in x]), *each)
    mesh = _mesh(math.gcd(len(each), jax.local_device_count()))
    return jax.device_put(stacked, NamedSharding(mesh, _MEMBERS))


def _batches(compute: Callable[..., Any], devices: int, size: int, rows: Any) -> Any:
    """``compute(*rows)`` over ``size`` rows at a time on each of so many devices of a process."""
    count = len(jax.tree.leaves(rows)[0])
    if not count:
        raise InputError("nothing to compute: there is no row")
    everywhere = devices * jax.process_count()
    size = devices * (size if count > size else -(-size // everywhere))
    each = -(-count // jax.process_count())
    first, out = each * jax.process_index(), []
    for begin in range(first, first + each, size):
        index = np.minimum(np.arange(begin, begin + size), count - 1)
        part = jax.tree.map(lambda x, index=index: np.asarray(x)[index], rows)
        out.append(jax.tree.map(np.asarray, compute(*part)))
    computed = gathered(jax.tree.map(lambda *x: np.concatenate(x)[:each], *out))
    return jax.tree.map(lambda x: x[:count], computed)


@functools.lru_cache(maxsize=16)
def _compiled(run: Callable[..., Any], devices: int) -> Callable[..., Any]:
    return run if devices == 1 else jax.jit(over_devices(run))


@functools.lru_cache(maxsize=16)
def _compiled_for_members(run: Callable[..., Any], at_once: int) -> Callable[..., Any]:
    def of_a_device(members: Any, *rows: Any) -> Any:
        rows = jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), rows)
        out = jax.lax.map(lambda x: run(x[0], *x[1]), (members, rows))
        return jax.tree.map(lambda x: jnp.swapaxes(x, 0, 1), out)

    def split_run(members: Any, *rows: Any) -> Any:
        specs = (_MEMBERS, *(_ROWS_OF_MEMBERS for _ in rows))
        mesh, out = _mesh(at_once), _ROWS_OF_MEMBERS
        return jax.shard_map(
            of_a_device, mesh=mesh, in_specs=specs, out_specs=out, check_vma=False
        )(members, *rows)

    return jax.jit(split_run)


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
def _mesh(members: int = 1) -> Mesh:
    """This process's devices, ``members`` times as many as share a member's rows."""
    return Mesh(np.array(jax.local_devices()).reshape(members, -1), ("members", "rows"))


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
