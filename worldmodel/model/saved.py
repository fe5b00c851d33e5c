"""World models as checkpoints: parameters, and in the metadata the model that they belong to."""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from worldmodel.model.correction import Correction, Displacement, Force, Velocity
from worldmodel.model.network import Network
from worldmodel.model.world import ConstantVelocity, Parameters, Physics, WorldModel, init
from worldmodel.runtime import checkpoint
from worldmodel.runtime.checkpoint import CheckpointError
from worldmodel.scene import FreeParameter, load_scene

_BASES = {kind.__name__: kind for kind in (Physics, ConstantVelocity)}
_CORRECTIONS = {kind.__name__: kind for kind in (Displacement, Velocity, Force)}
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
        "free": [dataclasses.asdict(f) for f in world.free],
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
) -> None:
    """Writes a world model, the files of its scene and its parameters, atomically; see
    ``runtime.checkpoint.save``."""
    description = describe(world) | metadata
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
        free = tuple(
            FreeParameter(
                f["kind"], f["element"], tuple(s) if isinstance(s := f["scale"], list) else s
            )
            for f in metadata["free"]
        )
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
