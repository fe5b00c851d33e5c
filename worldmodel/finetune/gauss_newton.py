"""Physical parameters from recorded windows, with their uncertainty, by Gauss-Newton.

For few parameters (up to about fifty). With the prior N(0, 1) of every number u, noise of
deviation σ per degree of freedom and, where starts are free, a shift s of every window's start,

    minimise  Σ ρ((predicted − recorded) / σ)  +  ½ ‖u‖²  +  ½ Σ ‖s / spread‖²,

ρ(z) = c² (√(1 + z²/c²) − 1), by Levenberg-Marquardt steps on the derivatives of an engine
(``engines``). The shift of a window affects no other window, so shifts are eliminated window
by window (Schur complement). At the minimum H is the curvature of data and prior, and H⁻¹ the
covariance; with enough episodes the covariance is the sandwich H⁻¹ (G + 1) H⁻¹, G the scatter of
the episodes' gradients, which also holds where the errors of an episode's frames are correlated
(White 1982; Liang & Zeger 1986).
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from worldmodel import runtime
from worldmodel.episodes.windows import Windows
from worldmodel.finetune.engines import applied, numbers, unpacked
from worldmodel.finetune.least_squares import IdentifyConfig, IdentifyError, LeastSquares, Unknowns
from worldmodel.model import Parameters, WorldModel
from worldmodel.physics import parameters as physical

__all__ = ["Identified", "IdentifyConfig", "IdentifyError", "Number", "Progress", "identify"]
__all__ += ["intervals"]

UNKNOWN = 0.7  # of its prior's deviation; a number with a larger one is not identified
TOGETHER = 0.9  # correlation above which two numbers are named as a pair


@dataclasses.dataclass(frozen=True)
class Number:
    """One physical number and its uncertainty."""

    name: str  # leaf of the parameters
    index: int
    u: float  # in prior widths from the MJCF's value
    deviation: float  # of u; 1 where the data add nothing to the prior
    at_bound: bool

    @property
    def identified(self) -> bool:
        """Whether the data add clearly to the prior."""
        return self.deviation < UNKNOWN and not self.at_bound


@dataclasses.dataclass(frozen=True)
class Identified:
    """The parameters at the minimum, and their uncertainty."""

    parameters: Parameters
    numbers: tuple[Number, ...]
    covariance: np.ndarray  # (numbers, numbers) of u
    by_episode: bool  # whether it is the sandwich over episodes
    noise: np.ndarray  # (nv,) deviation of the remaining errors [m, rad]
    shift: np.ndarray  # (windows, 0 or 2 nv) of the starts
    left_out: np.ndarray  # windows that are not finite
    unconverged: np.ndarray  # windows with unconverged contact solves at these values
    iterations: int
    converged: bool  # False: no step lowers the cost (a kink), or out of iterations
    cost: float

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
      IdentifyError: too many windows are not finite at the start, no frame is scored, nothing is
        free, windows of another scene, or a noise that is not positive.
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
    converged, iteration = False, 0
    if progress is None:
        x, damping, first = problem.begin(u), 1e-3, 1
        at = problem.derivatives(x, problem.usable)
        sigma = problem.first_noise(at)
    else:
        x, damping = Unknowns(progress.u, progress.shift), progress.damping
        first, sigma = progress.iteration + 1, progress.noise
        at = problem.derivatives(x, progress.kept)
    for iteration in range(first, config.iterations + 1):
        keep(Progress(iteration - 1, x.u, x.shift, damping, sigma, at.kept))
        if stop():
            raise runtime.Interrupted(
                f"stopped before iteration {iteration}; the same command goes on"
            )
        sigma = problem.noise_of(at, sigma) if noise is None else noise
        here, tries = problem.cost(at.error, at.kept, x, sigma), 0
        remaining = problem.remaining(at, x, sigma)
        runtime.log(
            f"iteration {iteration}/{config.iterations}  cost {here:.6g}  "
            f"{remaining:.3g} deviations to go"
        )
        converged = remaining < config.tolerance
        accepted = False
        while not converged and not accepted and damping <= 1e8:
            tries += 1
            there = problem.moved(x, problem.step(at, x, sigma, damping))
            error = problem.engine.errors(there.u, there.shift, windows)
            accepted = problem.cost(error, at.kept, there, sigma) < here
            if not accepted:
                damping *= 10.0
        record(
            {
                "iteration": iteration,
                "cost": here,
                "left": remaining,
                "damping": damping,
                "tries": tries,
            }
        )
        if not accepted:  # at the minimum, or no step lowers the cost (a kink)
            break
        x, at = there, problem.derivatives(there, at.kept)
        damping = max(damping * 0.1, 1e-9)
    sigma = problem.noise_of(at, sigma) if noise is None else noise
    covariance, by_episode = problem.covariance(at, x, sigma)
    estimates = tuple(
        Number(name, i, float(v), float(d), bool(abs(v) >= config.bound))
        for (name, i), v, d in zip(names, x.u, np.sqrt(np.diag(covariance)), strict=True)
    )
    parameters = {"physics": unpacked(world, jnp.asarray(x.u)), "network": {}}
    unconverged = problem.engine.unconverged(x.u, x.shift, windows) & at.kept
    if unconverged.any():
        runtime.log(
            f"contact solves ran out of iterations in {int(unconverged.sum())} of {len(windows)} "
            "windows; their values are broken off there, their derivatives those of the optimum"
        )
    return Identified(
        parameters=parameters,
        numbers=estimates,
        covariance=covariance,
        by_episode=by_episode,
        noise=sigma,
        shift=x.shift,
        left_out=np.flatnonzero(~at.kept),
        unconverged=np.flatnonzero(unconverged),
        iterations=iteration,
        converged=converged,
        cost=problem.cost(at.error, at.kept, x, sigma),
    )


def _is_noise(noise: np.ndarray, nv: int) -> bool:
    return np.shape(noise) == (nv,) and bool((np.isfinite(noise) & (np.asarray(noise) > 0)).all())


def intervals(world: WorldModel, identified: Identified) -> dict[str, np.ndarray]:
    """Physical values and their 95 % intervals: name → (values, 3), value, low, high.

    To first order in u; symmetric in the logarithm for what is positive.
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
    half = 1.96 * np.sqrt(np.einsum("vi,ij,vj->v", slope, identified.covariance, slope))
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
