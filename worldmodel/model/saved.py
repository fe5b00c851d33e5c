"""World models as checkpoints: parameters, and in the metadata the model that they belong to."""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from worldmodel.episodes.protocol import Protocol
from worldmodel.model.correction import Correction, Displacement, Force, Velocity
from worldmodel.model.network import Network
from worldmodel.model.world import ConstantVelocity, Parameters, Physics, WorldModel, init
from worldmodel.physics.kinds import KINDS
from worldmodel.runtime import checkpoint
from worldmodel.runtime.checkpoint import CheckpointError
from worldmodel.scene import FreeParameter, load_scene

_BASES = {kind.__name__: kind for kind in (Physics, ConstantVelocity)}
_CORRECTIONS = {kind.__name__: kind for kind in (Displacement, Velocity, Force)}
_WIDTHS = {"gain": (0.2,)}  # those of checkpoints that do not state them, where others now
_DESCRIBED = ("mjcf", "control_hz", "substeps", "free", "base", "correction", "network")


def describe(world: WorldModel) -> dict[str, Any]:
    """A world model as JSON, without the options of its derivative (``Physics.backward``)."""
    scene, correction = world.scene, world.correction
    return {
        "scene": scene.name,
        "mjcf": scene.mjcf,
        "assets": {n: hashlib.sha256(a).hexdigest() for n, a in scene.assets.items()},
        "control_hz": scene.control_hz,
        "substeps": scene.substeps,
        "free": [_described(f) for f in world.free],
        "base": type(world.base).__name__,
        "correction": None if correction is None else type(correction).__name__,
        "network": dataclasses.asdict(world.network),
    }


def save(
    directory: Path | str,
    step: int,
    world: WorldModel,
    parameters: Parameters,
    metadata: dict[str, Any],
    *,
    keep: int = 2,
    protocol: Protocol | None = None,
) -> None:
    """Writes a world model, the files of its scene and its parameters, atomically; see
    ``runtime.checkpoint.save``.

    Args:
      protocol: how its data are read and scored; ``protocol_of`` gives it back.
    """
    description = describe(world) | metadata
    if protocol is not None:
        description["protocol"] = protocol.to_json()
    assets = world.scene.assets
    checkpoint.save(directory, step, parameters, description, keep=keep, attached=assets)


def restore(directory: Path | str) -> tuple[WorldModel, Parameters, dict[str, Any]]:
    """Reads a world model back: its scene compiled again, its parameters, its metadata.

    Raises:
      CheckpointError: absent, damaged, not a world model, or with an unknown base or correction.
    """
    inner = Path(directory) / "checkpoint"
    if checkpoint.latest(directory) is None and checkpoint.latest(inner) is not None:
        raise CheckpointError(f"no checkpoint in {directory} itself; give {inner}")
    metadata = checkpoint.read_metadata(directory)
    absent = [name for name in _DESCRIBED if name not in metadata]
    if absent:
        raise CheckpointError(
            f"{directory} is not a world model: its metadata lacks {', '.join(absent)}; give the "
            "folder 'checkpoint' that a fit wrote"
        )
    scene = load_scene(
        metadata["mjcf"],
        control_hz=metadata["control_hz"],
        substeps=metadata["substeps"],
        assets=checkpoint.read_attached(directory),
    )
    correction: Correction | None = None
    try:
        free = tuple(_free_parameter(f) for f in metadata["free"])
        base = _BASES[metadata["base"]]()
        if metadata["correction"] is not None:
            correction = _CORRECTIONS[metadata["correction"]]()
        world = WorldModel(scene, free, base, correction, Network(**metadata["network"]))
    except KeyError as error:
        known = ", ".join((*_BASES, *_CORRECTIONS))
        raise CheckpointError(f"{directory} has the unknown part {error}; known: {known}") from None
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"the metadata of {directory} are damaged: {error}") from error
    return world, restore_parameters(directory, world), metadata


def protocol_of(directory: Path | str, metadata: dict[str, Any]) -> Protocol:
    """How the data of a restored model are read and scored.

    Args:
      directory: for the message.
      metadata: as ``restore`` returns it.

    Raises:
      CheckpointError: it was saved without.
    """
    if "protocol" not in metadata:
        raise CheckpointError(
            f"{directory} carries no columns and windows: it was not fitted to a log; give "
            "--columns, or the folder that `worldmodel fit` wrote"
        )
    return Protocol.from_json(metadata["protocol"])


def _described(f: FreeParameter) -> dict[str, Any]:
    described = dataclasses.asdict(f) | {"width": KINDS[f.kind].width}
    if not f.also:
        described.pop("also")
    return described


def _free_parameter(saved: dict[str, Any]) -> FreeParameter:
    """A parameter with the prior width of its checkpoint, whose numbers are in such widths.

    Raises:
      KeyError: an unknown kind.
    """
    kind, scale = saved["kind"], saved["scale"]
    width = KINDS[kind].width
    former = tuple(saved.get("width", _WIDTHS.get(kind, width)))
    if former != width:
        moved = (np.array(scale) * np.array(former) / np.array(width)).tolist()
        scale = moved if len(moved) > 1 else moved[0]
    scale = tuple(scale) if isinstance(scale, list) else scale
    return FreeParameter(kind, saved["element"], scale, tuple(saved.get("also", ())))


def restore_parameters(
    directory: Path | str, world: WorldModel, *, expected: Mapping[str, Any] | None = None
) -> Parameters:
    """Reads the parameters of a world model that is at hand.

    Args:
      expected: parts of the metadata that must be as here, see ``runtime.checkpoint.restore``.

    Raises:
      CheckpointError: absent, damaged, of other metadata or of another model.
    """
    like = init(world, jax.random.key(0))
    return checkpoint.restore(directory, like, expected=expected)[0]
