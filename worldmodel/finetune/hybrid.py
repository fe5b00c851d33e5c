"""A network on top of fitted physics: first regressed on its errors, then fitted through windows.

The regression on open-loop errors takes a minute and gives the fit through windows its start.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax

from worldmodel import runtime
from worldmodel.episodes.errors import Channels
from worldmodel.episodes.windows import WindowGrid
from worldmodel.finetune.adam import FitConfig, FitState, fit
from worldmodel.finetune.regression import RegressionConfig, regress, regression_data
from worldmodel.model import Displacement, Parameters, WorldModel, init
from worldmodel.runtime import checkpoint
from worldmodel.types import Episode

REGRESSION_STRIDE = 2  # frames between the starts of the regression's windows


@dataclasses.dataclass(frozen=True)
class HybridData:
    """Whole episodes, and where their windows start."""

    train: Sequence[Episode]
    validation: Sequence[Episode]
    training: WindowGrid  # of the fit; its horizon is also that of validation
    judged: WindowGrid  # of the validation windows
    remember: int  # frames of history that the encoder may see, the start included


def fit_hybrid(
    world: WorldModel,
    physics: Parameters,
    channels: Channels,
    data: HybridData,
    regression: RegressionConfig,
    config: FitConfig,
    directory: Path,
    *,
    metadata: dict[str, Any],
    record: Callable[[dict[str, Any]], None],
    stop: Callable[[], bool],
) -> FitState:
    """Fits a network, and the physics with it; resumes from ``directory``.

    Args as of ``adam.fit``, and:
      world: with a correction.
      physics: fitted parameters that it starts from.
      data: episodes and windows.
      regression, config: of the two stages.
      record: called with one row per step, its "stage" in it.

    Raises:
      InputError: as ``regression.regress`` and ``adam.fit``.
      Interrupted: ``stop`` returned True; a regression begins anew, a fit goes on.
    """
    train, judged = (
        grid.cut(part)[0].remembering(data.remember)
        for grid, part in ((data.training, data.train), (data.judged, data.validation))
    )
    origin = init(world, jax.random.key(config.seed))
    origin["physics"] = physics["physics"]
    start = origin
    if checkpoint.latest(directory) is None:
        frames = data.training.horizon if isinstance(world.correction, Displacement) else 1
        dense = WindowGrid(data.training.first, REGRESSION_STRIDE, frames)
        learned, unseen = (
            dense.cut(part)[0].remembering(data.remember) for part in (data.train, data.validation)
        )
        count = len(learned) + len(unseen)
        with runtime.compiling(f"and predicting {count} windows of {frames} frames"):
            learned_data = regression_data(world, origin, learned)
            unseen_data = regression_data(world, origin, unseen)

        def regressed(row: dict[str, Any]) -> None:
            runtime.log(f"regression {row}")
            record({"stage": "regression"} | row)

        start = regress(
            world, origin, learned_data, unseen_data, regression, record=regressed, stop=stop
        )
    return fit(
        world,
        origin,
        channels,
        train,
        judged,
        config,
        directory,
        metadata=metadata,
        record=lambda row: record({"stage": "windows"} | row),
        stop=stop,
        start=start,
    )
