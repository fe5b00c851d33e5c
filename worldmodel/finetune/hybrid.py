"""An ensemble of networks on top of fitted physics.

The physics is frozen. Each member draws its physical numbers from what the data leave open, and its
episodes anew with repetition (bootstrap), and learns on its own. A correction that leaves the
physics alone (``Displacement``) is regressed on the errors of open-loop windows; one that changes
the state is fitted through windows that grow, rolled out as they are used. What all members are
worth together, at which horizon, and how wide their forecasts must be, validation says
(``finetune.gate``).
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel import runtime
from worldmodel.episodes.errors import Channels
from worldmodel.episodes.windows import WindowGrid
from worldmodel.errors import InputError
from worldmodel.finetune.adam import FitConfig, fit
from worldmodel.finetune.gate import gated, long_windows
from worldmodel.finetune.moved import packed, unpacked
from worldmodel.finetune.regression import RegressionConfig, regress, regression_data, standards
from worldmodel.model import Parameters, Physics, WorldModel, init
from worldmodel.model.ensemble import joined, members
from worldmodel.runtime import checkpoint
from worldmodel.types import Episode

REGRESSION_STRIDE = 2  # frames between the starts of the regression's windows
GROWING = (0.2, 0.5, 1.0)  # of the horizon: frames that are scored, in equal shares of the steps
THROUGH_WINDOWS = FitConfig(
    steps=300,
    batch=128,
    network_learning_rate=2e-3,
    start_noise=0.01,
    huber=1.0,
    validate_every=20,
    patience=100,
    checkpoint_every=50,
)


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
    covariance: np.ndarray | None = None,
    metadata: dict[str, Any],
    record: Callable[[dict[str, Any]], None],
    stop: Callable[[], bool],
) -> Parameters:
    """Fits every member, then the gate; resumes from ``directory`` to the same numbers.

    Args as of ``adam.fit``, and:
      world: with a correction.
      physics: fitted parameters, which stay.
      data: episodes and windows.
      regression, config: the regression of a ``Displacement``; the fit through windows of others,
        whose ``train`` and ``curriculum`` are set here.
      covariance: (numbers, numbers) of the physics' numbers (``moved.numbers``); the members have
        the same ones when absent.
      record: called with one row per step, its "member" and "stage" in it.

    Raises:
      InputError: as ``regression.regress`` and ``adam.fit``; too few members that did not diverge.
      Interrupted: ``stop`` returned True; a regression begins anew, a fit goes on.
    """
    correction = world.correction
    if correction is None:
        raise InputError("a model without a correction has no network to fit")
    origin = init(world, jax.random.key(config.seed)) | {"physics": physics["physics"]}
    through = correction.changes_state
    horizon = data.training.horizon
    assert horizon is not None
    grown = [max(1, round(share * horizon)) for share in GROWING]
    frames = grown[0] if through else horizon
    dense = WindowGrid(data.training.first, REGRESSION_STRIDE, frames)
    windows = dense.cut(data.train)[0].remembering(data.remember)
    with runtime.compiling(f"and predicting {len(windows)} windows of {frames} frames"):
        measured = standards(world, regression_data(world, members(origin)[0], windows))
    origin["network"]["norm"] = jax.tree.map(jnp.asarray, measured)
    each = []
    for k, drawn in enumerate(_drawn(world, origin, covariance, config.seed)):
        folder = directory / f"member{k}"
        parts = dataclasses.replace(data, train=_bootstrap(data.train, config.seed, k))
        about = metadata | {"member": k}

        def noted(row: dict[str, Any], k: int = k) -> None:
            record({"member": k} | row)

        if through:
            own = dataclasses.replace(
                config,
                train="network",
                curriculum=tuple(grown),
                seed=config.seed + 1000 * k,
            )
            each.append(_through(world, drawn, channels, parts, own, folder, about, noted, stop))
        else:
            own = dataclasses.replace(regression, seed=regression.seed + 1000 * k)
            each.append(_regressed(world, drawn, parts, own, folder, about, noted, stop))
    parameters = joined(origin, each)
    judged = long_windows(data.validation, data.judged).remembering(data.remember)
    return gated(world, parameters, channels, judged)


def _drawn(
    world: WorldModel, origin: Parameters, covariance: np.ndarray | None, seed: int
) -> list[Parameters]:
    """The members before they learn, each with its own physical numbers."""
    out = members(origin)
    if covariance is None or not isinstance(world.base, Physics) or not covariance.size:
        return [m | {"physics": origin["physics"]} for m in out]
    middle, generator = packed(world, origin["physics"]), np.random.default_rng([seed, 1])
    rows = generator.multivariate_normal(middle, covariance, size=len(out), method="eigh")
    return [
        m | {"physics": unpacked(world, jnp.asarray(u))} for m, u in zip(out, rows, strict=True)
    ]


def _bootstrap(episodes: Sequence[Episode], seed: int, member: int) -> list[Episode]:
    generator = np.random.default_rng([seed, 2, member])
    return [episodes[i] for i in generator.integers(len(episodes), size=len(episodes))]


def _regressed(
    world: WorldModel,
    member: Parameters,
    data: HybridData,
    config: RegressionConfig,
    folder: Path,
    metadata: dict[str, Any],
    record: Callable[[dict[str, Any]], None],
    stop: Callable[[], bool],
) -> Parameters:
    if checkpoint.latest(folder) is not None:
        guards = {k: metadata[k] for k in ("scene", "settings") if k in metadata}
        return checkpoint.restore(folder, member, expected=guards)[0]
    grid = WindowGrid(data.training.first, REGRESSION_STRIDE, data.training.horizon)
    train, judged = (
        regression_data(world, member, grid.cut(part)[0].remembering(data.remember))
        for part in (data.train, data.validation)
    )

    def noted(row: dict[str, Any]) -> None:
        runtime.log(f"regression {row}")
        record({"stage": "regression"} | row)

    fitted = regress(world, member, train, judged, config, record=noted, stop=stop)
    checkpoint.save(folder, 0, fitted, metadata)
    return fitted


def _through(
    world: WorldModel,
    member: Parameters,
    channels: Channels,
    data: HybridData,
    config: FitConfig,
    folder: Path,
    metadata: dict[str, Any],
    record: Callable[[dict[str, Any]], None],
    stop: Callable[[], bool],
) -> Parameters:
    train, judged = (
        grid.cut(part)[0].remembering(data.remember)
        for grid, part in ((data.training, data.train), (data.judged, data.validation))
    )
    return fit(
        world,
        member,
        channels,
        train,
        judged,
        config,
        folder,
        metadata=metadata,
        record=lambda row: record({"stage": "windows"} | row),
        stop=stop,
        start=member,
    ).best
