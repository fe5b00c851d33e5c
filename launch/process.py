"""The processes of one run, which share its rows: on this machine, or on nodes of Slurm.

Each runs the whole program; ``worldmodel.runtime.devices`` splits the rows of its batches. Process
0 writes the run's folder, the others a copy of it that they remove. So a program needs no change,
but it must do the same in each of them.
"""

import contextlib
import dataclasses
import json
import os
import platform
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from worldmodel import runtime
from worldmodel.errors import InputError
from worldmodel.runtime.provenance import machine

_VARIABLES = ("WORLDMODEL_PROCESSES", "WORLDMODEL_PROCESS", "WORLDMODEL_COORDINATOR")
_HERE = "127.0.0.1"
_SECONDS = 300  # that the processes wait for each other at the start


@dataclasses.dataclass(frozen=True)
class Group:
    """A process among those of its run."""

    count: int = 1
    index: int = 0
    coordinator: str = ""  # process 0's host:port; Slurm's processes find it themselves

    @property
    def here(self) -> bool:
        """Whether process 0 starts the others, on its machine."""
        return self.coordinator.startswith(f"{_HERE}:")

    @property
    def variables(self) -> dict[str, str]:
        """Of the environment, which tell a process of its group; none where Slurm does."""
        if self.count > 1 and not self.coordinator:
            return {}
        values = (str(self.count), str(self.index), self.coordinator)
        return dict(zip(_VARIABLES, values, strict=True))


def group(environment: Mapping[str, str] = os.environ) -> Group:
    """This process's: by ``Group.variables``, else as one of several tasks of a Slurm step.

    Raises:
      InputError: the variables are incomplete, or no numbers.
    """
    given = {name: environment.get(name, "") for name in _VARIABLES}
    count, index, coordinator = given.values()
    if any(given.values()):
        numbers = count.isdigit() and index.isdigit() and int(index) < int(count)
        if not numbers or (int(count) > 1 and not coordinator):
            shown = ", ".join(f"{name}={value}" for name, value in given.items())
            raise InputError(f"{shown}: give a count, an index below it, host:port; or none")
        return Group(int(count), int(index), coordinator)
    tasks = int(environment.get("SLURM_STEP_NUM_TASKS", 1))  # srun sets it
    return Group(tasks, int(environment["SLURM_PROCID"])) if tasks > 1 else Group()


def local_group(count: int) -> Group:
    """Process 0 of so many on this machine."""
    if count == 1:
        return Group()
    with socket.socket() as free:
        free.bind((_HERE, 0))
        return Group(count, 0, f"{_HERE}:{free.getsockname()[1]}")


@contextlib.contextmanager
def joined(own: Group, out: Path) -> Iterator[Path]:
    """Waits for the other processes of a run, before JAX's first computation, and ends together
    with them. Gives where this one writes: ``out`` itself, or a copy that is removed at the end.

    Raises:
      InputError: they differ in what decides the numbers; the message names it.
    """
    if own.count == 1:
        yield out
        return
    import jax

    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch) / out.name if own.index else out
        if own.index and out.is_dir():
            shutil.copytree(out, place)  # before process 0, which waits, writes there
        _join(own)
        yield place
        jax.distributed.shutdown()  # not where the run failed


def _join(own: Group) -> None:
    import jax
    from jax._src.distributed import global_state  # the processes' store has no public name

    if not own.coordinator:
        jax.distributed.initialize(cluster_detection_method="slurm")
    else:
        jax.distributed.initialize(own.coordinator, own.count, own.index)
    described = machine()["versions"] | {"processor": runtime.processor(), "host": platform.node()}
    store = global_state.client
    assert store is not None
    store.key_value_set(f"worldmodel/{own.index}", json.dumps(described))
    names = [f"worldmodel/{i}" for i in range(own.count)]
    refuse_different(
        [json.loads(store.blocking_key_value_get(name, 1000 * _SECONDS)) for name in names]
    )


def refuse_different(described: list[dict[str, str]]) -> None:
    """Compares the processes of a run: their versions, their processors.

    Raises:
      InputError: one differs from the first.
    """
    first = described[0]
    for index, other in enumerate(described):
        differ = [k for k in first if k != "host" and other[k] != first[k]]
        if differ:
            shown = ", ".join(f"{k} {other[k]}, not {first[k]}" for k in differ)
            raise InputError(
                f"process {index} on {other['host']} has {shown} as process 0 on {first['host']}; "
                "install the same on all nodes, and use nodes of one kind"
            )


def agreed(own: Group, stop: Callable[[], bool]) -> Callable[[], bool]:
    """True in all processes of a run when ``stop`` is in one of them; they ask it together."""
    if own.count == 1:
        return stop
    from jax.experimental import multihost_utils

    return lambda: bool(multihost_utils.process_allgather(np.array([stop()])).any())
