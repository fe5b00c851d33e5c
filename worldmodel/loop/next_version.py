"""Corrections → the next version of a world model."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from worldmodel import runtime
from worldmodel.episodes.errors import Channels
from worldmodel.episodes.windows import WindowGrid
from worldmodel.finetune.adam import FitConfig, fit
from worldmodel.finetune.draws import best_draw
from worldmodel.finetune.gauss_newton import identify, uncertainty_at
from worldmodel.finetune.hybrid import HybridData, fit_hybrid
from worldmodel.finetune.least_squares import IdentifyConfig, IdentifyError
from worldmodel.finetune.regression import RegressionConfig
from worldmodel.loop.versions import (
    LoopError,
    Version,
    digest,
    load_version,
    refuse_unplayable,
    save_version,
)
from worldmodel.model import Parameters, Physics, WorldModel, saved
from worldmodel.types import Episode

WHOLE = WindowGrid(first=0, stride=1, horizon=None)  # what a fit predicts


def finetune(
    directory: Path,
    parent: Version,
    name: str,
    world: WorldModel,
    corrections: Sequence[Episode],
    channels: Channels,
    config: FitConfig | IdentifyConfig,
    *,
    held_out: int,
    spent: int,
    record: Callable[[dict[str, Any]], None],
    stop: Callable[[], bool],
    grid: WindowGrid = WHOLE,
    draws: int = 0,
) -> Version:
    """Corrections → the next version: its physics, by Gauss-Newton or by gradient descent; or,
    where it has a network, that alone, on the physics of its parent.

    So a version with a network has a parent that was finetuned on the same corrections. Its members
    learn as in ``finetune.hybrid``: each from its own draw of the corrections, on physics drawn
    from what the corrections leave open about the parent's; where the gate is shut, that is all
    that they differ in. A world that is the parent's own goes on from the parent's weights; another
    one gets a new network. The corrections that decide of its gate and of its forecasts' widths
    also steered the physics below it, so both lean to the physics.

    Args:
      directory: of all versions; this one gets the folder ``name``.
      parent: its parameters are the start.
      world: the next version's: physics alone, or with a correction of the state.
      corrections: episodes that began at rest.
      channels: which positions are scored.
      config: of the fit; its type says by which.
      held_out: the last so many corrections decide of a network when to stop, and its gate.
      spent: number of real corrections that this version has cost, ancestors' included.
      record: called with one row per step.
      stop: asked after each step; True saves and raises ``runtime.Interrupted``.
      grid: windows that are predicted; other than whole episodes start where nothing touches.
      draws: from the prior of the physics, of which its fit begins at the best (``best_draw``).

    Raises:
      LoopError: no corrections, or one that cannot be predicted; too few or too many held out; a
        correction in which no policy can act; the parent's folder is absent.
      CheckpointError: the folder ``name`` is of other corrections or settings, or damaged.
      FitError, IdentifyError, Interrupted: see ``finetune.adam.fit``,
        ``finetune.gauss_newton.identify`` and ``finetune.hybrid.fit_hybrid``.
    """
    if not corrections:
        raise LoopError("no corrections to finetune on; deploy a policy first")
    refuse_unplayable(name, world)
    whole = grid.horizon is None
    unusable = [e.id for e in corrections if WHOLE.starts(e)[1]]
    if whole and unusable:
        raise LoopError(
            f"corrections {unusable} have a frame that is not valid, or one frame alone; cut them"
        )
    if world.learns and isinstance(config, IdentifyConfig):
        raise LoopError(f"{name} has a network, which Gauss-Newton does not fit; give a FitConfig")
    if world.learns and not 0 < held_out < len(corrections):
        raise LoopError(
            f"{held_out} of {len(corrections)} corrections are held out to stop the network's fit; "
            "hold out at least one, and leave one to fit"
        )
    if not (directory / parent.name / "checkpoint").is_dir():
        raise LoopError(
            f"{name} is to be finetuned from {parent.name}, which is not in {directory}; restore "
            "it, or start over in another folder"
        )
    settings = {
        "parent": parent.name,
        "parameters": digest(*jax.tree.leaves(parent.parameters)),
        "world": saved.describe(world),
        "channels": repr(channels),
        "config": dataclasses.asdict(config),
        "corrections": [digest(e.qpos, e.qvel, e.ctrl) for e in corrections],
        "held_out": held_out,
    }
    if grid != WHOLE:
        settings["windows"] = dataclasses.asdict(grid)
    if draws and not world.learns:
        settings["draws"] = draws
    finished = load_version(directory, name, world, settings)
    if finished is not None:
        return finished
    usable = corrections if whole else _untouched(corrections)
    progress = directory / name / "progress"
    metadata = {
        "scene": world.scene.name,
        "settings": {k: v for k, v in settings.items() if k != "config"},
    }
    begin = parent.parameters
    if parent.world != world:
        begin = {"physics": begin["physics"], "network": {}}
    if world.learns:
        assert isinstance(config, FitConfig)
        runtime.log(
            f"{name} goes on from the weights of {parent.name}"
            if begin["network"]
            else f"{name} gets a new network, on the physics of {parent.name}"
        )
        hybrid = fit_hybrid(
            world,
            begin,
            channels,
            # Without a past, as episodes are played.
            HybridData(usable[:-held_out], usable[-held_out:], grid, grid, remember=1),
            RegressionConfig(),
            config,
            progress,
            covariance=None if begin["network"] else _open(world, begin, usable, grid),
            metadata=metadata,
            record=record,
            stop=stop,
        )
        version = Version(name, parent.name, hybrid.world, hybrid.parameters, spent)
        save_version(directory, version, settings, members_excluded=hybrid.excluded)
        return version
    windows = grid.cut(usable)[0]
    if world.free:
        begin = best_draw(world, windows, begin, draws)
    if isinstance(config, IdentifyConfig):
        identified = identify(world, windows, config, start=begin, record=record, stop=stop)
        if identified.reason:
            runtime.log(f"{name}: nothing is identified: {identified.reason}")
        version = Version(name, parent.name, world, identified.parameters, spent)
        save_version(directory, version, settings)
        return version
    state = fit(
        world,
        begin,
        channels,
        windows,
        windows,
        config,
        progress,
        metadata=metadata,
        record=record,
        stop=stop,
        start=begin,
    )
    version = Version(name, parent.name, world, state.best, spent)
    save_version(directory, version, settings, validation=float(state.best_error))
    return version


def _open(
    world: WorldModel, begin: Parameters, corrections: Sequence[Episode], grid: WindowGrid
) -> np.ndarray | None:
    """The covariance of the physics' numbers, of what corrections leave open; None where there is
    none to know."""
    physics = world.without_network()
    if not (physics.free and isinstance(physics.base, Physics)):
        return None
    try:
        windows, _ = grid.cut(corrections)
        return uncertainty_at(physics, begin, windows, IdentifyConfig(engine="c")).covariance
    except IdentifyError as error:
        runtime.log(f"WARNING: all members get the same physics: {error}")
        return None


def _untouched(corrections: Sequence[Episode]) -> list[Episode]:
    """Episodes in which no window starts where a sensor reports a touch."""
    touched = [e.contact is not None and e.contact.any(1) & e.fresh for e in corrections]
    starts, frames = sum(np.sum(t) for t in touched), sum(len(e.qpos) for e in corrections)
    runtime.log(f"no window starts in the {starts} of {frames} frames with a touch")
    return [
        dataclasses.replace(e, fresh=e.fresh & ~t)
        for e, t in zip(corrections, touched, strict=True)
    ]
