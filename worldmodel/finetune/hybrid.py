"""An ensemble of networks on top of fitted physics.

The physics is frozen. Each member draws its physical numbers from what the data leave open, and its
episodes anew with repetition (bootstrap), and learns on its own. A correction that leaves the
physics alone (``Displacement``) is regressed on the errors of open-loop windows; one that changes
the state is fitted through windows that grow, rolled out as they are used. A member that diverges,
or that validation finds far worse than the others, is not in the ensemble. What all members are
worth together, at which horizon, where their physics may lie and how wide their forecasts must be,
validation says (``finetune.gate``). Fits to logs and the loop's versions are both made here.
"""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel import runtime
from worldmodel.episodes.errors import Channels, episode_errors, over_episodes
from worldmodel.episodes.windows import WindowGrid, Windows
from worldmodel.errors import InputError
from worldmodel.finetune.adam import FitConfig, fit
from worldmodel.finetune.engines import make_engine
from worldmodel.finetune.gate import BATCH, TOLERATED, gated, long_windows
from worldmodel.finetune.linear_path import unit_along, with_path
from worldmodel.finetune.moved import numbers, packed, unpacked
from worldmodel.finetune.regression import RegressionConfig, regress, regression_data, standards
from worldmodel.finetune.settings import DivergedError, FitError
from worldmodel.model import Parameters, Physics, WorldModel, init
from worldmodel.model.ensemble import joined, make_forecaster, members
from worldmodel.physics.kinds import CALIBRATIONS
from worldmodel.physics.starting_values import REACH
from worldmodel.runtime import checkpoint
from worldmodel.types import Episode

REGRESSION_STRIDE = 2  # frames between the starts of the regression's windows
FEWEST = 3  # members that an ensemble of as many or more must keep
FEWEST_DRAWN = 3  # training episodes of which a bootstrap is drawn; of fewer, members see all
WORST = 3.0  # times the median member's validation error, up to which a member is kept
GROWING = (0.2, 0.5, 1.0)  # of the horizon: frames that are scored, in equal shares of the steps
HALVINGS, DRAWN_ON = 12, 256  # of a draw's distance at most; windows that judge it
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
    training: WindowGrid  # of the fit; its horizon, None for whole episodes, is also validation's
    judged: WindowGrid  # of the validation windows
    remember: int  # frames of history that the encoder may see, the start included


@dataclasses.dataclass(frozen=True)
class FittedHybrid:
    """An ensemble, and the members that it is without."""

    world: WorldModel  # as many members as the parameters are of
    parameters: Parameters
    excluded: dict[int, str]  # the members that are not in it, counted from 0, and why


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
    engine: str = "mjx",
) -> FittedHybrid:
    """Fits every member, then the gate; resumes from ``directory`` to the same numbers.

    Args as of ``adam.fit``, and:
      world: with a correction.
      physics: fitted parameters, which stay; those of a model with a network give the members the
        weights, units and physics that they go on from, and ``covariance`` is not used.
      data: episodes and windows.
      regression, config: the regression of a ``Displacement``; the fit through windows of others,
        whose ``train`` and ``curriculum`` are set here, and whose batch has no more windows than
        there are.
      covariance: (numbers, numbers) of the physics' numbers (``moved.numbers``); the members have
        the same ones when absent.
      record: called with one row per step, its "member" and "stage" in it.
      engine: mjx, or c: members learn in the physics linearised along the windows
        (``finetune.linear_path``), and C MuJoCo plays what is validated: MJX compiles nothing.

    Raises:
      DivergedError: fewer than ``FEWEST`` members are fit to be kept, or not all where fewer than
        that are asked for.
      InputError: as ``regression.regress`` and ``adam.fit``.
      Interrupted: ``stop`` returned True; a regression begins anew, a fit goes on.
    """
    correction = world.correction
    if correction is None:
        raise InputError("a model without a correction has no network to fit")
    origin = init(world, jax.random.key(config.seed)) | {"physics": physics["physics"]}
    through = correction.changes_state
    long = data.training.cut(data.train)[0].remembering(data.remember)
    horizon = long.target.shape[1]
    grown = [max(1, round(share * horizon)) for share in GROWING]
    frames = grown[0] if through else data.training.horizon
    dense = dataclasses.replace(data.training, stride=REGRESSION_STRIDE, horizon=frames)
    windows = dense.cut(data.train)[0].remembering(data.remember)
    if physics["network"]:
        begun = {name: physics["network"][name] for name in ("physics", "weights", "norm")}
        origin["network"] |= begun
        begin = members(origin)
    else:
        shape = f"{len(windows)} windows of {windows.target.shape[1]} frames"
        with runtime.compiling(f"and predicting {shape}"):
            norm = standards(world, regression_data(world, origin, windows))
        some = long.take(np.linspace(0, len(long) - 1, min(DRAWN_ON, len(long))).astype(int))
        if through and engine == "c":
            along = with_path(world, origin["physics"], some)
            norm["residual"] = unit_along(world, origin["physics"], along, norm["residual"])
        origin["network"]["norm"] = jax.tree.map(jnp.asarray, norm)
        begin = drawn_members(world, origin, covariance, some, config.seed)
    train, grid = (long, data.judged) if through else (windows, dense)
    near = grid.cut(data.validation)[0].remembering(data.remember)
    count = len(np.unique(train.episode))
    if count < FEWEST_DRAWN:
        runtime.log(
            f"WARNING: {count} training episodes are too few to draw from: every member learns "
            "from all of them, and their disagreement is that of their initial weights"
        )
    each: dict[int, Parameters] = {}
    excluded: dict[int, str] = {}
    for k, drawn in enumerate(begin):
        folder, about = directory / f"member{k}", metadata | {"member": k}
        mine = bootstrapped(np.asarray(train.episode), config.seed, k)
        runtime.log(f"member {k} of 0 to {len(begin) - 1} learns")

        def noted(row: dict[str, Any], k: int = k) -> None:
            record({"member": k, "stage": "windows" if through else "regression"} | row)

        try:
            if through:
                parts = train, near
                if engine == "c":
                    parts = tuple(with_path(world, drawn["physics"], w) for w in parts)
                own = dataclasses.replace(
                    config,
                    train="network",
                    curriculum=tuple(grown),
                    batch=min(config.batch, len(train)),
                    seed=config.seed + 1000 * k,
                )
                each[k] = fit(
                    world,
                    drawn,
                    channels,
                    parts[0].take(mine),
                    parts[1],
                    own,
                    folder,
                    metadata=about,
                    record=noted,
                    stop=stop,
                    start=drawn,
                ).best
            else:
                own = dataclasses.replace(regression, seed=regression.seed + 1000 * k)
                parts = train.take(mine), near
                each[k] = _regressed(world, drawn, *parts, own, folder, about, noted, stop)
        except FitError as error:  # or no linearisation holds in its windows
            excluded[k] = str(error)
    _refuse_too_few(world, excluded)
    judged = long_windows(data.validation, data.judged).remembering(data.remember)
    together = joined(origin, [*each.values()])
    ratios = _against_median(world, together, channels, judged.shortened(horizon), engine)
    for k, ratio in zip(list(each), ratios, strict=True):
        if not ratio <= WORST:
            excluded[k] = f"its validation error is {ratio:.3g} times that of the median member"
            del each[k]
    _refuse_too_few(world, excluded)
    for k, reason in excluded.items():
        runtime.log(f"WARNING: member {k} is not in the ensemble: {reason}")
    runtime.log(f"{len(each)} of {world.network.members} members are in the ensemble")
    parameters = gated(world, joined(origin, [*each.values()]), channels, judged, engine)
    kept = dataclasses.replace(world.network, members=len(each))
    return FittedHybrid(dataclasses.replace(world, network=kept), parameters, excluded)


def _refuse_too_few(world: WorldModel, excluded: dict[int, str]) -> None:
    asked = world.network.members
    if asked - len(excluded) >= min(asked, FEWEST):
        return
    reasons = "; ".join(f"member {k}: {reason}" for k, reason in excluded.items())
    raise DivergedError(
        f"{len(excluded)} of {asked} members cannot be used, and at least {min(asked, FEWEST)} "
        f"must be kept ({reasons}); lower the learning rate, shorten the windows, or free fewer "
        "parameters of the physics"
    )


def _against_median(
    world: WorldModel,
    parameters: Parameters,
    channels: Channels,
    windows: Windows,
    engine: str,
) -> np.ndarray:
    """(members,) the error of each over that of the median member, the mean over groups; infinite
    or NaN where a member's predictions are not finite."""
    forecast = make_forecaster(world, min(BATCH, len(windows)), engine)(parameters, windows)
    errors = np.stack(
        [over_episodes(episode_errors(poses, windows, channels)) for poses in forecast.members]
    )
    errors = np.maximum(errors, np.finfo(float).tiny)[:, ~np.isnan(errors).all(0)]
    typical = [np.median(e[np.isfinite(e)]) if np.isfinite(e).any() else np.inf for e in errors.T]
    with np.errstate(invalid="ignore"):
        return (errors / typical).mean(1)


def drawn_members(
    world: WorldModel,
    origin: Parameters,
    covariance: np.ndarray | None,
    windows: Windows,
    seed: int,
) -> list[Parameters]:
    """The members before they learn, each with physical numbers of its own.

    A covariance is that of a quadratic cost. Where a draw predicts the windows by more than
    ``TOLERATED`` worse than the middle, the cost is not quadratic that far, and it moves halfway
    to the middle, again and again.

    Args:
      origin: of the model; its physics is the middle.
      covariance: (numbers, numbers) of ``moved.numbers``; None: every member has the middle.
    """
    out = members(origin)
    if covariance is None or not isinstance(world.base, Physics) or not covariance.size:
        return [m | {"physics": origin["physics"]} for m in out]
    engine = make_engine(world.without_network(), "c", len(windows))
    shift = np.zeros((len(windows), 0))

    def error(u: np.ndarray) -> float:
        with np.errstate(over="ignore", invalid="ignore"):
            size = np.sqrt(np.square(engine.errors(u, shift, windows)).mean((1, 2)))
        return float(np.mean(np.where(np.isfinite(size), size, np.inf)))

    middle, generator = packed(world, origin["physics"]), np.random.default_rng([seed, 1])
    # The log has one zero and one scale, which go into its columns (``finetune.calibration``).
    kinds = {f.name: f.kind for f in world.free}
    of_log = np.array([kinds[name] in CALIBRATIONS for name, _ in numbers(world)])
    most, drawn = TOLERATED * error(middle), []
    for member in out:
        u, halvings = generator.multivariate_normal(middle, covariance, method="eigh"), 0
        u = np.clip(u, -REACH, REACH)  # as far as a fit may go
        u = np.where(of_log, middle, u)
        while halvings < HALVINGS and not error(u) <= most:
            u, halvings = 0.5 * (u + middle), halvings + 1
        u = u if halvings < HALVINGS else middle
        drawn.append(member | {"physics": unpacked(world, jnp.asarray(u))})
        distance = np.abs(u - middle).max()
        runtime.log(f"member {len(drawn) - 1}: physics up to {distance:.2g} prior widths away")
    return drawn


def bootstrapped(episode: np.ndarray, seed: int, member: int) -> np.ndarray:
    """The rows of the windows of as many episodes, drawn with repetition; of fewer than
    ``FEWEST_DRAWN`` all rows, since a draw could be one episode again and again.

    Args:
      episode: (windows,) of each window.
    """
    generator, kinds = np.random.default_rng([seed, 2, member]), np.unique(episode)
    if len(kinds) < FEWEST_DRAWN:
        return np.arange(len(episode))
    drawn = kinds[generator.integers(len(kinds), size=len(kinds))]
    return np.concatenate([np.flatnonzero(episode == e) for e in drawn])


def _regressed(
    world: WorldModel,
    member: Parameters,
    train: Windows,
    judged: Windows,
    config: RegressionConfig,
    folder: Path,
    metadata: dict[str, Any],
    record: Callable[[dict[str, Any]], None],
    stop: Callable[[], bool],
) -> Parameters:
    if checkpoint.latest(folder) is not None:
        guards = {k: metadata[k] for k in ("scene", "settings") if k in metadata}
        return checkpoint.restore(folder, member, expected=guards)[0]
    data, near = (regression_data(world, member, windows) for windows in (train, judged))

    def noted(row: dict[str, Any]) -> None:
        runtime.log(f"regression {row}")
        record(row)

    fitted = regress(world, member, data, near, config, record=noted, stop=stop)
    checkpoint.save(folder, 0, fitted, metadata)
    return fitted
