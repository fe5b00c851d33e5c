"""``worldmodel evaluate``: the prediction error of a fitted model on a log."""

import dataclasses
import warnings
from pathlib import Path
from typing import Any

from worldmodel.commands.scores import score
from worldmodel.episodes.columns_toml import from_toml
from worldmodel.episodes.reading import read_episodes
from worldmodel.episodes.split import split_episodes
from worldmodel.episodes.unknown import resolve_unknown
from worldmodel.errors import InputError
from worldmodel.model import Physics, saved
from worldmodel.scene import SceneWarning


def evaluate(
    model: Path,
    data: Path,
    columns: Path | None = None,
    *,
    horizon: int | None = None,
    whole: bool = False,
    split: str | None = None,
    engine: str | None = None,
) -> dict[str, Any]:
    """Predicts the windows of a log by a checkpoint's own protocol, or another horizon.

    Args:
      model: folder of a checkpoint, or of the fit that wrote it.
      data: a log that the checkpoint's columns describe, or ``columns``.
      columns: TOML, in place of the checkpoint's.
      horizon: frames ahead; the checkpoint's when absent.
      whole: whole episodes from their first frame.
      split: train, validation or test episodes alone; all when absent.
      engine: c or mjx; c for physics alone, mjx with a network, when absent.

    Returns:
      As ``scores.score``.

    Raises:
      CheckpointError: no checkpoint, or one without columns.
      InputError: options, paths, columns or data that do not fit.
    """
    if whole and horizon is not None:
        raise InputError("give --horizon or --whole, not both")
    if horizon is not None and horizon < 1:
        raise InputError(f"--horizon {horizon}: at least one frame")
    if not model.is_dir():
        raise InputError(f"{model}: no such folder; give the folder 'checkpoint' that a fit wrote")
    if not data.exists():
        raise InputError(f"--data {data}: no such file or folder")
    folder = model / "checkpoint" if (model / "checkpoint").is_dir() else model
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SceneWarning)  # the fit has logged it
        world, parameters, metadata = saved.restore(folder)
    protocol = saved.protocol_of(folder, metadata)
    if columns is not None:
        protocol = dataclasses.replace(protocol, columns=from_toml(columns))
    scene = world.scene
    hz = scene.control_hz
    reading = read_episodes(data, protocol.columns, scene.mj_model, control_hz=hz)
    episodes, _ = resolve_unknown(scene.mj_model, reading.episodes)
    if split is not None:
        parts = split_episodes([e.id for e in episodes])
        episodes = [e for e in episodes if parts[e.id] == split]
        if not episodes:
            raise InputError(f"--split {split}: no such episodes in {data}")
    frames = None if whole else horizon or protocol.windows.horizon
    grid = dataclasses.replace(protocol.windows, horizon=frames)
    channels = protocol.channels(scene)
    if engine is None:
        engine = "c" if isinstance(world.base, Physics) and not world.learns else "mjx"
    return score(world, parameters, channels, episodes, grid, protocol.remember, engine)
