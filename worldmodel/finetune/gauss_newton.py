"""Physical parameters from recorded windows, with their uncertainty, by Gauss-Newton.

For few parameters (up to about fifty). With the prior N(0, 1) of every number u, noise of
deviation σ per degree of freedom and, where starts are free, a shift s of every window's start,

    minimise  Σ ρ((predicted − recorded) / σ)  +  ½ ‖u‖²  +  ½ Σ ‖s / spread‖²,

ρ(z) = c² (√(1 + z²/c²) − 1), by Levenberg-Marquardt steps on the derivatives of an engine
(``engines``). The shift of a window affects no other window, so shifts are eliminated window
by window (Schur complement). Windows far beyond the median are left out and named (``outliers``).
σ is estimated from the errors before each of the first iterations, and again where the steps have
come to rest, until it rests too. The covariance is the scatter of the episodes' pulls
(``uncertainty``). Nothing is called identified where the fit has not converged or took no step, and
where its predictions are no better than a scene that stands still.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from worldmodel import runtime
from worldmodel.episodes.windows import Windows
from worldmodel.finetune.descent import Iterate, Progress, first, iterate, resumed
from worldmodel.finetune.least_squares import IdentifyConfig, IdentifyError, LeastSquares
from worldmodel.finetune.moved import applied, numbers, packed, unpacked
from worldmodel.finetune.outliers import LeftOut, listed
from worldmodel.finetune.uncertainty import Uncertainty
from worldmodel.model import Parameters, WorldModel
from worldmodel.physics import parameters as physical

UNKNOWN = 0.7  # of its prior's deviation; a number with a larger one is not identified
TOGETHER = 0.9  # correlation above which two numbers are named as a pair
NEAR = 1.0  # deviations to go, within which a fit that rests has converged


@dataclasses.dataclass(frozen=True)
class Number:
    """One physical number and its uncertainty."""

    name: str  # leaf of the parameters
    index: int
    u: float  # in prior widths from the MJCF's value
    deviation: float  # of u; 1 where the data add nothing to the prior
    at_bound: bool
    identified: bool  # the data add clearly to the prior, in a fit that can be trusted


@dataclasses.dataclass(frozen=True)
class Identified:
    """The parameters at the minimum, and their uncertainty."""

    parameters: Parameters
    numbers: tuple[Number, ...]
    uncertainty: Uncertainty  # of u
    noise: np.ndarray  # (nv,) deviation of the remaining errors [m, rad]
    shift: np.ndarray  # (windows, 0 or 2 nv) of the starts
    left_out: tuple[LeftOut, ...]  # windows that are not used, each with its reason
    unconverged: np.ndarray  # windows with unconverged contact solves at these values
    iterations: int
    remaining: float  # the longest move of an undamped step, in deviations; the least where several
    # widths of differences were tried
    cost: float
    reason: str  # why nothing is identified; empty where the fit can be trusted

    @property
    def converged(self) -> bool:
        """Whether the numbers are those of a minimum that explains something."""
        return not self.reason

    @property
    def covariance(self) -> np.ndarray:
        """(numbers, numbers) of u."""
        return self.uncertainty.covariance

    def together(self) -> list[tuple[int, int, float]]:
        """Pairs of numbers that the data do not separate: (first, second, correlation)."""
        deviation = np.sqrt(np.diag(self.covariance))
        correlation = self.covariance / np.outer(deviation, deviation)
        pairs = np.argwhere(np.triu(np.abs(correlation) > TOGETHER, 1))
        return [(int(i), int(j), float(correlation[i, j])) for i, j in pairs]


def identify(
    world: WorldModel,
    windows: Windows,
    config: IdentifyConfig,
    *,
    start: Parameters | None = None,
    noise: np.ndarray | None = None,
    progress: Progress | None = None,
    keep: Callable[[Progress], None] = lambda progress: None,
    record: Callable[[dict[str, Any]], None] = lambda row: None,
    stop: Callable[[], bool] = lambda: False,
) -> Identified:
    """Fits the free parameters of a physics model.

    Args:
      world: static; without a network.
      windows: recorded stretches.
      start: parameters to start from; the MJCF's own values when absent.
      noise: (nv,) deviation of a recorded position [m, rad]; estimated from the remaining errors
        when absent.
      progress: an argument of ``keep``, to continue from.
      keep: called before every iteration.
      record: called with one row per iteration.
      stop: asked between iterations.

    Raises:
      IdentifyError: too many windows are not finite or far beyond the median, no frame is scored,
        nothing is free, windows of another scene, or a noise that is not positive.
      ParameterError: a parameter that the scene does not have, or a start that lacks a leaf or is
        not finite.
      Interrupted: ``stop`` returned True.
    """
    problem, nv = LeastSquares(world, windows, config), world.scene.mj_model.nv
    if noise is not None:
        positive = np.isfinite(noise) & (np.asarray(noise) > 0)
        if np.shape(noise) != (nv,) or not positive.all():
            raise IdentifyError(f"noise {noise} must be {nv} positive deviations [m, rad]")
    u = np.zeros(len(numbers(world)))
    if start is not None:
        physical.check_leaves(world.free, start["physics"])
        physical.check_finite(start["physics"])
        u = packed(world, start["physics"])
    fit = first(problem, u, noise) if progress is None else resumed(problem, progress)
    while not fit.ended and fit.progress.iteration < config.iterations:
        keep(fit.progress)
        if stop():
            raise runtime.Interrupted(
                f"stopped before iteration {fit.progress.iteration + 1}; the same command goes on"
            )
        fit = iterate(problem, fit, noise is not None, record)
    return _identified(world, problem, fit)


def uncertainty_at(
    world: WorldModel, parameters: Parameters, windows: Windows, config: IdentifyConfig
) -> Uncertainty:
    """What windows say about the errors of parameters that were fitted in another way.

    Args:
      world, windows, config: as ``identify`` has them.
      parameters: near a minimum; their own covariance comes out, not that of a step from them.

    Raises:
      IdentifyError, ParameterError: as ``identify``.
    """
    problem = LeastSquares(world, windows, config)
    fit = first(problem, packed(world, parameters["physics"]), None)
    return problem.uncertainty(problem.curved(fit.at, fit.progress.noise), fit.progress.x)


def _identified(world: WorldModel, problem: LeastSquares, fit: Iterate) -> Identified:
    """What a fit says where it has ended; logs the windows that are left out or unconverged."""
    at, x, sigma, windows = fit.at, fit.progress.x, fit.progress.noise, problem.windows
    doubt = problem.uncertainty(problem.curved(at, sigma), x)
    reason, bound = _doubted(problem, fit), problem.config.bound
    deviations = np.sqrt(np.diag(doubt.covariance))
    at_bound = np.abs(x.u) >= bound
    known = ~at_bound & (deviations < UNKNOWN) & (not reason)
    columns = (a.tolist() for a in (x.u, deviations, at_bound, known))
    rows = zip(numbers(world), *columns, strict=True)
    out = problem.left_out(at, sigma)
    if out:
        runtime.log(f"left out {len(out)} of {len(windows)} windows: {listed(out)}")
    unconverged = problem.engine.unconverged(x.u, x.shift, windows) & at.kept
    if unconverged.any():
        runtime.log(
            f"contact solves ran out of iterations in {int(unconverged.sum())} of {len(windows)} "
            "windows; their values are broken off there, their derivatives those of the optimum"
        )
    return Identified(
        parameters={"physics": unpacked(world, jnp.asarray(x.u)), "network": {}},
        numbers=tuple(Number(name, i, *row) for (name, i), *row in rows),
        uncertainty=doubt,
        noise=sigma,
        shift=x.shift,
        left_out=out,
        unconverged=np.flatnonzero(unconverged),
        iterations=fit.progress.iteration,
        remaining=fit.remaining,
        cost=problem.cost(at.error, at.kept, x, sigma),
        reason=reason,
    )


def _doubted(problem: LeastSquares, fit: Iterate) -> str:
    """Why nothing is identified; empty where the fit can be trusted."""
    at, u, sigma = fit.at, fit.progress.u, fit.progress.noise
    if not fit.ended:
        return (
            f"{problem.config.iterations} iterations were not enough ({fit.remaining:.2g} "
            "deviations to go); give more, or shorten the windows"
        )
    if fit.remaining > NEAR:
        return (
            f"no step lowers the cost, {fit.remaining:.2g} deviations from where the derivatives "
            "point (kinks); shorten the windows"
        )
    if len(u) and not u.any():
        return "the fit took no step from the MJCF's values"
    if problem.data_cost(at.error, at.kept, sigma) >= problem.standing(at.kept, sigma):
        return (
            "the fitted model predicts no better than a scene that stands still; check the units, "
            "the signs and which column is which"
        )
    return ""


def intervals(world: WorldModel, identified: Identified) -> dict[str, np.ndarray]:
    """Physical values and their 95 % intervals: name → (values, 3), value, low, high.

    To first order in u, with Student's quantiles; symmetric in the logarithm for what is positive.
    The ends are NaN where the fit has not converged.
    """
    if not identified.numbers:
        return {}
    apply, u = applied(world), np.array([n.u for n in identified.numbers])

    def read(u: np.ndarray) -> dict[str, np.ndarray]:
        parameters = unpacked(world, jnp.asarray(u))
        return physical.read(world.scene, world.free, apply(u), parameters)

    def flat(u: np.ndarray) -> np.ndarray:
        return np.concatenate(list(read(u).values()))

    slopes = [(flat(u + h) - flat(u - h)) / 2e-4 for h in 1e-4 * np.eye(len(u))]
    slope = np.stack(slopes, axis=1)
    half = identified.uncertainty.half_widths(slope)
    if not identified.converged:
        half = np.full_like(half, np.nan)
    values = read(u)
    out, first = {}, 0
    for f in world.free:
        v = values[f.name]
        h = half[first : first + len(v)]
        if physical.KINDS[f.kind].positive:
            factor = np.exp(h / np.maximum(np.abs(v), 1e-300))
            low, high = np.sort([v / factor, v * factor], axis=0)  # a gear may be negative
        else:
            low, high = v - h, v + h
        out[f.name] = np.stack([v, low, high], axis=1)
        first += len(v)
    return out
