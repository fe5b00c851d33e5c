"""Corrections → the next version of a world model."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel import runtime
from worldmodel.episodes.errors import Channels
from worldmodel.episodes.windows import WindowGrid, Windows
from worldmodel.finetune.adam import FitConfig, fit
from worldmodel.finetune.gate import gated
from worldmodel.finetune.gauss_newton import identify
from worldmodel.finetune.least_squares import IdentifyConfig
from worldmodel.finetune.regression import regression_data, standards
from worldmodel.loop.versions import LoopError, Version, digest, load_version, save_version
from worldmodel.model import WorldModel, init, saved
from worldmodel.model.ensemble import joined, members
from worldmodel.types import Episode

WHOLE = WindowGrid(first=0, stride=1, horizon=None)  # what a fit predicts
FRAMES = WindowGrid(first=1, stride=1, horizon=1)  # what standardises a network


def finetune(
    directory: Path,
    parent: Version,
    name: str,
    world: WorldModel,
    corrections: Sequence[Episode],
    channels: Channels,
    config: FitConfig | IdentifyConfig,
    *,
    residual: np.ndarray | None,
    held_out: int,
    spent: int,
    record: Callable[[dict[str, Any]], None],
    stop: Callable[[], bool],
    grid: WindowGrid = WHOLE,
) -> Version:
    """Corrections → the next version: by gradient descent through the physics, its network's
    weights included, or by Gauss-Newton of the physics alone.

    Args:
      directory: of all versions; this one gets the folder ``name``.
      parent: its parameters are the start.
      world: the next version's: the parent's world, or that with a correction, whose network is
        then fitted too.
      corrections: episodes that began at rest.
      channels: which positions are scored.
      config: of the fit; its type says by which.
      residual: (nv,) the unit of a new network's answers, see ``model.network``; by the
        corrections' own residuals when None.
      held_out: the last so many corrections steer the stopping where a network is fitted.
      spent: number of real corrections that this version has cost, ancestors' included.
      record: called with one row per step.
      stop: asked after each step; True saves and raises ``runtime.Interrupted``.
      grid: windows that are predicted; other than whole episodes start where nothing touches.

    Raises:
      LoopError: no corrections, or one that cannot be predicted; too few or too many held out; a
        parent with another network; a residual of another shape; the parent's folder is absent.
      CheckpointError: the folder ``name`` is of other corrections or settings, or damaged.
      FitError, IdentifyError, Interrupted: see ``finetune.adam.fit`` and
        ``finetune.gauss_newton.identify``.
    """
    if not corrections:
        raise LoopError("no corrections to finetune on; deploy a policy first")
    unusable = [e.id for e in corrections if WHOLE.starts(e)[1]]
    if grid is WHOLE and unusable:
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
    nv = world.scene.mj_model.nv
    if residual is not None and np.shape(residual) != (nv,):
        raise LoopError(f"residual has the shape {np.shape(residual)}, not ({nv},)")
    parts = [(w.base, w.correction, w.network) for w in (parent.world, world) if w.learns]
    if len(parts) == 2 and parts[0] != parts[1]:
        raise LoopError(
            f"{name} is to go on with the network of {parent.name}, whose base, correction or "
            "sizes are others; finetune from a version without a network"
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
        "residual": None if residual is None else np.asarray(residual).tolist(),
        "config": dataclasses.asdict(config),
        "corrections": [digest(e.qpos, e.qvel, e.ctrl) for e in corrections],
        "held_out": held_out,
    }
    if grid is not WHOLE:
        settings["windows"] = dataclasses.asdict(grid)
    finished = load_version(directory, name, world, settings)
    if finished is not None:
        return finished
    windows = _cut(corrections, grid)
    if isinstance(config, IdentifyConfig):
        origin = {"physics": parent.parameters["physics"], "network": {}}
        identified = identify(world, windows, config, start=origin, record=record, stop=stop)
        if identified.reason:
            runtime.log(f"{name}: nothing is identified: {identified.reason}")
        version = Version(name, parent.name, world, identified.parameters, spent)
        save_version(directory, version, settings)
        return version
    origin = init(world, jax.random.key(config.seed))
    origin["physics"] = parent.parameters["physics"]
    train, judged = windows, windows
    if world.learns:
        if parent.world.learns:
            origin["network"] = parent.parameters["network"]
        else:
            frames, _ = FRAMES.cut(corrections)
            norm = standards(world, regression_data(world, origin, frames))
            norm |= {} if residual is None else {"residual": residual}
            origin["network"]["norm"] = jax.tree.map(jnp.asarray, norm)
            begin = [m | {"physics": origin["physics"]} for m in members(origin)]
            origin = joined(origin, begin)
        steering = np.asarray(windows.episode) >= len(corrections) - held_out
        train = windows.take(np.flatnonzero(~steering))
        judged = windows.take(np.flatnonzero(steering))
    each, errors = [], []
    for k, member in enumerate(members(origin)):
        state = fit(
            world,
            member,
            channels,
            train,
            judged,
            dataclasses.replace(config, seed=config.seed + 1000 * k),
            directory / name / "progress" / f"member{k}",
            metadata={
                "scene": world.scene.name,
                "settings": {k: v for k, v in settings.items() if k != "config"},
            },
            record=record,
            stop=stop,
            start=member,
        )
        each.append(state.best)
        errors.append(float(state.best_error))
    parameters = each[0]
    if world.learns:
        parameters = joined(origin, each)
        fitted = parameters["network"]["physics"]
        parameters["physics"] = jax.tree.map(lambda u: u.mean(axis=0), fitted)
        parameters = gated(world, parameters, channels, judged)
    version = Version(name, parent.name, world, parameters, spent)
    save_version(directory, version, settings, validation=float(np.mean(errors)))
    return version


def _cut(corrections: Sequence[Episode], grid: WindowGrid) -> Windows:
    """Their windows: whole ones start at rest, others where no sensor reports a touch."""
    if grid is not WHOLE:
        touched = [e.contact is not None and e.contact.any(1) & e.fresh for e in corrections]
        corrections = [
            dataclasses.replace(e, fresh=e.fresh & ~t)
            for e, t in zip(corrections, touched, strict=True)
        ]
        starts, frames = sum(np.sum(t) for t in touched), sum(len(e.qpos) for e in corrections)
        runtime.log(f"no window starts in the {starts} of {frames} frames with a touch")
    return grid.cut(corrections)[0]
