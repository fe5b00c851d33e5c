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
from worldmodel.finetune.least_squares import (
    Across,
    IdentifyConfig,
    IdentifyError,
    LeastSquares,
    Unknowns,
)
from worldmodel.finetune.moved import applied, numbers, unpacked
from worldmodel.finetune.outliers import LeftOut, listed
from worldmodel.finetune.uncertainty import Uncertainty
from worldmodel.model import Parameters, WorldModel
from worldmodel.physics import parameters as physical

__all__ = ["Identified", "IdentifyConfig", "IdentifyError", "Number", "Progress", "identify"]
__all__ += ["intervals"]

UNKNOWN = 0.7  # of its prior's deviation; a number with a larger one is not identified
TOGETHER = 0.9  # correlation above which two numbers are named as a pair
# Widths of engine c's differences [prior widths]. Friction and contact give the cost kinks at every
# scale, so that a derivative at a point says little of it: wide differences show where it falls,
# narrow ones end the descent (Newey & McFadden 1994, section 7.3). They are forward until the cost
# rests, since central differences cost twice as many rollouts.
WIDTHS = (0.03, 0.1, 0.01, 0.003)
LEAST, MOST = 0.1, 1e6  # damping; the prior's own curvature is 1
TRIES = 6  # dampings, each ten times the former, before another width
POOR = 2  # tries; after more the differences get another width
REST = 1e-4  # relative fall of the cost, below which it rests
NEAR = 1.0  # deviations to go, within which a fit that rests has converged
SETTLING = 8  # first iterations, before each of which the noise is estimated anew
RESTED = 0.1  # relative change of the noise below which it has come to rest


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


@dataclasses.dataclass(frozen=True)
class Progress:
    """A fit before an iteration; continued from here it ends at the same numbers."""

    iteration: int  # done
    u: np.ndarray  # (numbers,)
    shift: np.ndarray  # (windows, 0 or 2 nv)
    damping: float
    noise: np.ndarray  # (nv,)
    kept: np.ndarray  # (windows,) bool
    level: int  # of ``WIDTHS``
    central: bool  # whether differences are central
    quiet: int  # iterations since the cost fell by more than ``REST``
    nearest: float  # least deviations to go of these


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
    problem = LeastSquares(world, windows, config)
    if noise is not None and not _is_noise(noise, world.scene.mj_model.nv):
        raise IdentifyError(
            f"noise {noise} must be {world.scene.mj_model.nv} positive deviations [m, rad]"
        )
    names = numbers(world)
    u = np.zeros(len(names))
    if start is not None:
        physical.check_leaves(world.free, start["physics"])
        physical.check_finite(start["physics"])
        u = np.array([float(start["physics"][name][i]) for name, i in names])
    exact = config.engine != "c"
    levels = 1 if exact else len(WIDTHS)
    if progress is None:
        x = problem.begin(u)
        at = problem.derivatives(x, problem.usable, _across(u, 0, False))
        sigma = problem.first_noise(at) if noise is None else noise
        at = problem.without_outliers(at, at.kept, sigma)
        state = Progress(0, x.u, x.shift, 1.0, sigma, at.kept, 0, exact, 0, np.inf)
    else:
        state, x = progress, Unknowns(progress.u, progress.shift)
        at = problem.derivatives(x, state.kept, _across(u, state.level, state.central))
    reason, remaining = "", float("inf")
    while True:
        if state.iteration == config.iterations:
            reason = (
                f"{config.iterations} iterations were not enough ({remaining:.2g} deviations to "
                "go); give more, or shorten the windows"
            )
            break
        keep(state)
        if stop():
            raise runtime.Interrupted(
                f"stopped before iteration {state.iteration + 1}; the same command goes on"
            )
        sigma, damping = state.noise, state.damping
        normal = problem.normal(at, sigma)
        if noise is None and state.iteration < SETTLING:
            fresh = problem.noise_of(at, sigma, normal)
            sigma, at = fresh, problem.without_outliers(at, at.finite, fresh)
            normal = problem.normal(at, sigma)
        here = problem.cost(at.error, at.kept, x, sigma)
        remaining = problem.remaining(normal, x)
        runtime.log(
            f"iteration {state.iteration + 1}/{config.iterations}  cost {here:.6g}  "
            f"{remaining:.3g} deviations to go"
        )
        near = remaining < config.tolerance
        rested = near and state.central
        there, fallen, tries = x, 0.0, 0
        while not near and fallen <= 0 and tries < TRIES:
            tries += 1
            there = problem.moved(x, problem.step(normal, x, damping))
            error = problem.engine.errors(there.u, there.shift, windows)
            fallen = here - problem.cost(error, at.kept, there, sigma)
            gain = fallen / max(problem.predicted(normal, x, there), 1e-300)
            damping = min(max(damping * _slower(gain), LEAST), MOST)
        row = {"iteration": state.iteration + 1, "cost": here, "left": remaining}
        row |= {"width": WIDTHS[state.level], "central": state.central}
        row |= {"damping": damping, "tries": tries}
        record(row | {"noise": sigma.tolist()})
        moved, level, quiet = fallen > 0, state.level, state.quiet + (not near)
        x, damping = (there, damping) if moved else (x, state.damping)
        nearest = min(remaining, state.nearest)
        if fallen > REST * here:
            quiet, nearest = 0, np.inf
        ended = rested or quiet >= levels
        if (quiet or tries > POOR) and not ended:
            level = (level + 1) % levels
        central = exact or near or quiet > 0
        if moved or not ended:
            at = problem.derivatives(x, at.kept, _across(u, level, central))
        if ended:
            fresh = sigma if noise is not None else problem.noise_of(at, sigma, normal)
            if (np.abs(np.log(fresh / sigma)) <= RESTED).all():
                remaining = nearest
                break
            sigma, at = fresh, problem.without_outliers(at, at.kept, fresh)
            damping, quiet, nearest = 1.0, 0, np.inf
        state = Progress(
            iteration=state.iteration + 1,
            u=x.u,
            shift=x.shift,
            damping=damping,
            noise=sigma,
            kept=at.kept,
            level=level,
            central=central,
            quiet=quiet,
            nearest=nearest,
        )
    if not reason and remaining > NEAR:
        reason = (
            f"no step lowers the cost, {remaining:.2g} deviations from where the derivatives point "
            "(kinks); shorten the windows"
        )
    doubt = problem.uncertainty(problem.curved(at, sigma), x)
    fitted = problem.data_cost(at.error, at.kept, sigma)
    if not reason and len(u) and not x.u.any():
        reason = "the fit took no step from the MJCF's values"
    if not reason and fitted >= problem.standing(at.kept, sigma):
        reason = (
            "the fitted model predicts no better than a scene that stands still; check the units, "
            "the signs and which column is which"
        )
    estimates = tuple(
        Number(
            name, i, float(v), float(d), bound := abs(v) >= config.bound, _known(d, bound, reason)
        )
        for (name, i), v, d in zip(
            names, x.u, np.sqrt(np.diag(doubt.covariance)).tolist(), strict=True
        )
    )
    parameters = {"physics": unpacked(world, jnp.asarray(x.u)), "network": {}}
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
        parameters=parameters,
        numbers=estimates,
        uncertainty=doubt,
        noise=sigma,
        shift=x.shift,
        left_out=out,
        unconverged=np.flatnonzero(unconverged),
        iterations=state.iteration,
        remaining=remaining,
        cost=problem.cost(at.error, at.kept, x, sigma),
        reason=reason,
    )


def _across(u: np.ndarray, level: int, central: bool) -> Across:
    return Across(np.full(len(u), WIDTHS[level]), central)


def _slower(gain: float) -> float:
    """The factor of the damping after a step that lowered the cost by ``gain`` of what the
    quadratic model predicts."""
    if gain > 0.75:
        return 0.1
    return 1.0 if gain > 0.25 else 4.0 if gain > 0 else 10.0


def _known(deviation: float, at_bound: bool, reason: str) -> bool:
    return not reason and not at_bound and deviation < UNKNOWN


def _is_noise(noise: np.ndarray, nv: int) -> bool:
    return np.shape(noise) == (nv,) and bool((np.isfinite(noise) & (np.asarray(noise) > 0)).all())


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
