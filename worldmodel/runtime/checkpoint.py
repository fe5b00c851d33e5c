"""Checkpoints on Orbax: a pytree and its description, in one atomic step.

``directory/step_00000010/`` holds ``tree/`` (Orbax; of a run that several processes share
``tree.npz``, since Orbax's processes write one folder together), ``attached/`` (files) and
``metadata.json`` with the leaves' shapes, the scene, the config's hash, and the SHA-256 of every
file. A step is written
atomically (``files``), so a kill at any moment leaves the former steps complete.
Steps can be copied, moved and committed: they hold no absolute path and no empty folder.
"""

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from worldmodel.errors import InputError, cause
from worldmodel.runtime.files import new_folder, recover
from worldmodel.runtime.records import write_arrays
from worldmodel.runtime.settings import differences

_PREFIX = "step_"
_METADATA = "metadata.json"
_ATTACHED = "attached"
_SHARED = "tree.npz"
_FORMER = ".former"
_NAMED = 4  # differences that one message shows


class CheckpointError(InputError):
    """A checkpoint that is missing, damaged, or belongs to something else."""


def save(
    directory: Path | str,
    step: int,
    tree: Any,
    metadata: dict[str, Any],
    *,
    keep: int = 2,
    attached: Mapping[str, bytes] | None = None,
) -> Path:
    """Writes one step and drops all but the newest ``keep``.

    Args:
      directory: of the run; created if need be.
      step: its number; a step of that number is replaced.
      tree: pytree of arrays.
      metadata: JSON; ``restore`` can check any part of it.
      attached: contents of files that belong to it, by names without folders.

    Returns:
      The step's folder.

    Raises:
      OSError: such as a full disk; earlier steps are untouched.
    """
    _quiet_orbax()
    directory = Path(directory)
    for stale in directory.glob(f".{_PREFIX}*"):
        recover(directory / stale.name.split(".")[1])
        shutil.rmtree(stale, ignore_errors=True)  # the temporary folder of another naming
    final = directory / f"{_PREFIX}{step:08d}"
    with new_folder(final, replace=True) as folder:
        if jax.process_count() > 1:
            arrays = {path: np.asarray(leaf) for path, leaf in _as_dict(tree).items()}
            write_arrays(folder / _SHARED, arrays)
        elif jax.tree.leaves(tree):  # Orbax refuses an empty tree
            _write(folder / "tree", tree)
        for note in (folder / "tree").rglob("commit_success.txt"):
            note.write_text("complete\n")  # Orbax puts the path of this machine there
        for name, content in (attached or {}).items():
            (folder / _ATTACHED).mkdir(exist_ok=True)
            (folder / _ATTACHED / name).write_bytes(content)
        described = metadata | {"step": step, "leaves": _describe(tree), "files": _sums(folder)}
        (folder / _METADATA).write_text(json.dumps(described, indent=1, sort_keys=True))
    steps = _steps(directory)
    for old in sorted(steps)[:-keep]:
        shutil.rmtree(steps[old])
    return final


def _write(path: Path, tree: Any) -> None:
    """Orbax's folder of a tree. It reports a full disk as a ValueError with the system's number."""
    try:
        ocp.save(str(path.resolve()), _as_dict(tree))
    except ValueError as error:
        if (code := re.search(r"os_error_code='(\d+)'", str(error))) is None:
            raise
        number = int(code[1])
        raise OSError(number, os.strerror(number), str(path)) from error


def latest(directory: Path | str) -> int | None:
    """Number of the newest complete step, or None."""
    return max(_steps(Path(directory)), default=None)


def read_metadata(directory: Path | str) -> dict[str, Any]:
    """The metadata of the newest step.

    Raises:
      CheckpointError: no step, or its metadata is damaged.
    """
    folder = _newest(directory)
    try:
        return dict(json.loads((folder / _METADATA).read_text()))
    except (OSError, ValueError, TypeError) as error:
        why = f"is damaged: {_METADATA}: {cause(error)}; delete it"
        raise CheckpointError(f"{folder} {why}") from error


def read_attached(directory: Path | str) -> dict[str, bytes]:
    """The files that were attached to the newest step, by their names.

    Raises:
      CheckpointError: no step, or a file is missing or damaged.
    """
    folder = _newest(directory)
    sums = read_metadata(directory).get("files", {})
    attached = {name: sums[name] for name in sums if name.startswith(f"{_ATTACHED}/")}
    _check_files(folder, attached)
    return {Path(name).name: (folder / name).read_bytes() for name in attached}


def restore(
    directory: Path | str,
    like: Any,
    *,
    expected: Mapping[str, Any] | None = None,
) -> tuple[Any, dict[str, Any]]:
    """Reads the newest step back into the structure of ``like``.

    Args:
      directory: of the run.
      like: a pytree of arrays or ShapeDtypeStructs; its structure, shapes and dtypes must match.
      expected: parts of the metadata, such as the scene and the settings of a run, that must equal
        what was saved.

    Returns:
      the tree; the metadata.

    Raises:
      CheckpointError: missing or damaged; other metadata than ``expected``, each difference by its
        name; a leaf missing or of another shape or dtype. The message names the remedy.
    """
    _quiet_orbax()
    folder, metadata = _newest(directory), read_metadata(directory)
    wanted = json.loads(json.dumps(dict(expected or {}), default=str))
    other = [d for name in wanted for d in differences(name, metadata.get(name), wanted[name])]
    if other:
        more = f" and {len(other) - _NAMED} more" if len(other) > _NAMED else ""
        raise CheckpointError(
            f"{folder} is of another run: {'; '.join(other[:_NAMED])}{more}; choose another --out, "
            "or delete that folder to start anew"
        )
    stored, expected = metadata.get("leaves", {}), _describe(like)
    for path in sorted(stored.keys() | expected.keys()):
        if stored.get(path) != expected.get(path):
            raise CheckpointError(
                f"{folder}: leaf {path} is {_leaf(stored.get(path))} there and "
                f"{_leaf(expected.get(path))} here; it belongs to another model or precision"
            )
    _check_files(folder, metadata.get("files", {}))
    leaves = _leaves(folder, expected)
    # Orbax commits its arrays to a device; mixed with fresh ones, which are not, they would make
    # a second step of a fit compile again.
    free = [jax.numpy.asarray(np.asarray(leaves[path])) for path in _paths(like)]
    return jax.tree.unflatten(jax.tree.structure(like), free), metadata


def _leaves(folder: Path, described: dict[str, dict[str, Any]]) -> dict[str, Any]:
    if (folder / _SHARED).is_file():
        with np.load(folder / _SHARED) as arrays:
            return dict(arrays)
    abstract = {
        path: jax.ShapeDtypeStruct(
            tuple(leaf["shape"]),
            np.dtype(leaf["dtype"]),
            sharding=jax.sharding.SingleDeviceSharding(jax.local_devices()[0]),
        )
        for path, leaf in described.items()
    }
    return ocp.load(str((folder / "tree").resolve()), abstract) if abstract else {}


def _check_files(folder: Path, sums: dict[str, str]) -> None:
    for name, digest in sums.items():
        file = folder / name
        if not file.is_file() or _sha256(file) != digest:
            state = "damaged" if file.is_file() else "missing"
            others = [s for s, other in _steps(folder.parent).items() if other != folder]
            remedy = f"step {max(others)} is whole" if others else "there is no other step"
            raise CheckpointError(f"{folder}: {name} is {state}; delete that step ({remedy})")


def _paths(tree: Any) -> list[str]:
    """Unique names of the leaves, in order; plain enough for a file name."""
    flat, _ = jax.tree_util.tree_flatten_with_path(tree)
    return [jax.tree_util.keystr(path, simple=True, separator="/") or "value" for path, _ in flat]


def _as_dict(tree: Any) -> dict[str, Any]:
    return dict(zip(_paths(tree), jax.tree.leaves(tree), strict=True))


def _describe(tree: Any) -> dict[str, dict[str, Any]]:
    return {
        path: {"shape": list(np.shape(leaf)), "dtype": str(np.dtype(leaf.dtype))}
        for path, leaf in _as_dict(tree).items()
    }


def _leaf(described: dict[str, Any] | None) -> str:
    return "missing" if described is None else f"{described['dtype']}{described['shape']}"


def _steps(directory: Path) -> dict[int, Path]:
    """Complete steps. One that a killed run was about to replace still counts."""
    steps = {}
    for folder in [*directory.glob(f".{_PREFIX}*{_FORMER}"), *directory.glob(f"{_PREFIX}*")]:
        number = folder.name.removeprefix(".").removeprefix(_PREFIX).removesuffix(_FORMER)
        if number.isdigit():
            steps[int(number)] = folder
    return steps


def _newest(directory: Path | str) -> Path:
    steps = _steps(Path(directory))
    if not steps:
        raise CheckpointError(
            f"no checkpoint in {directory}; give the folder that a run saved one in"
        )
    return steps[max(steps)]


def _sums(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): _sha256(p) for p in files}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _quiet_orbax() -> None:
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # what it logs as an error it raises too
