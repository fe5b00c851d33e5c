"""``worldmodel evaluate``: the prediction error of a fitted model on a log."""

import dataclasses
from pathlib import Path
from typing import Any, Literal

import tyro

from worldmodel.commands.problem import grids
from worldmodel.commands.scores import score
from worldmodel.commands.version import Engine, chosen_engine, restored
from worldmodel.episodes.columns_toml import from_toml
from worldmodel.episodes.protocol import Protocol
from worldmodel.episodes.reading import read_episodes
from worldmodel.episodes.split import split_episodes
from worldmodel.episodes.unknown import resolve_unknown
from worldmodel.episodes.windows import WindowGrid
from worldmodel.errors import InputError
from worldmodel.model import saved
from worldmodel.runtime.settings import check_options


def evaluate(
    model: tyro.conf.Positional[Path],
    data: Path,
    columns: Path | None = None,
    horizon: int | None = None,
    whole: bool = False,
    split: Literal["train", "validation", "test"] | None = None,
    engine: Engine = None,
) -> dict[str, Any]:
    """Measures the prediction error of a fitted model on a log; prints one JSON line.

    Args:
      model: folder of a checkpoint, or of the fit that wrote it.
      data: a log of the model's robot.
      columns: TOML, in place of those that the checkpoint carries; a checkpoint that carries none
        is scored over the windows that `fit` would choose.
      horizon: frames ahead; the fit's own when absent.
      whole: whole episodes from their first frame.
      split: only these episodes; all when absent.
      engine: C MuJoCo, or MJX, which compiles for minutes where a scene has hundreds of contact
        slots; c for physics alone, and mjx with a network, when absent.

    Returns:
      As ``scores.score``.

    Raises:
      CheckpointError: no checkpoint, or one without columns where none are given.
      InputError: options, paths, columns or data that do not fit.
    """
    if whole and horizon is not None:
        raise InputError("give --horizon or --whole, not both")
    check_options(horizon=horizon)
    world, parameters, metadata = restored(model)
    given, scene = None if columns is None else from_toml(columns), world.scene
    if given is not None and "protocol" not in metadata:
        protocol = Protocol(given, WindowGrid(0, 1, None))
    else:
        protocol = saved.protocol_of(model, metadata)
        protocol = dataclasses.replace(protocol, columns=given or protocol.columns)
    m, hz = scene.mj_model, scene.control_hz
    reading = read_episodes(data, protocol.columns, m, control_hz=hz)
    episodes, _ = resolve_unknown(m, reading.episodes)
    grid = protocol.windows
    if "protocol" not in metadata and not whole:
        grid = grids(episodes, m.nu > 0, hz, horizon)[0]
    if split is not None:
        parts = split_episodes([e.id for e in episodes])
        episodes = [e for e in episodes if parts[e.id] == split]
        if not episodes:
            raise InputError(f"--split {split}: no such episodes in {data}")
    grid = dataclasses.replace(grid, horizon=None if whole else horizon or grid.horizon)
    return score(
        world,
        parameters,
        protocol.channels(scene),
        episodes,
        grid,
        protocol.remember,
        chosen_engine(world, engine),
    )
