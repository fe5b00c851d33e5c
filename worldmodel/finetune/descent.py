"""The iterations of an identification: damped steps, widths of differences, noise, and when to end.

Each iteration is a function of the one before; ``Progress`` is what it needs beside the windows.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from worldmodel import runtime
from worldmodel.finetune.least_squares import (
    Derivatives,
    IdentifyConfig,
    LeastSquares,
    Normal,
    Unknowns,
)

# Widths of engine c's differences [prior widths]. Friction and contact give the cost kinks at every
# scale, so that a derivative at a point says little of it: wide differences show where it falls,
# narrow ones end the descent (Newey & McFadden 1994, section 7.3). They are forward until the cost
# rests, since central differences cost twice as many rollouts.
# On the tossed cube's windows of 16 frames a fifth width of 0.3 led 5 % lower, differences over the
# deviations of the numbers no further, and none of them to convergence; windows of 4 frames do.
WIDTHS = (0.03, 0.1, 0.01, 0.003)
LEAST, MOST = 0.1, 1e6  # damping; the prior's own curvature is 1
TRIES = 6  # dampings, each ten times the former, before another width
POOR = 2  # tries; after more the differences get another width
REST = 1e-4  # relative fall of the cost, below which it rests
SETTLING = 8  # first iterations, before each of which the noise is estimated anew
RESTED = 0.1  # relative change of the noise below which it has come to rest


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

    @property
    def x(self) -> Unknowns:
        """Where it is."""
        return Unknowns(self.u, self.shift)

    def derivatives(self, problem: LeastSquares, kept: np.ndarray) -> Derivatives:
        """The derivatives where it is, over its differences."""
        return problem.derivatives(self.x, kept, WIDTHS[self.level], self.central)


@dataclasses.dataclass(frozen=True)
class Iterate:
    """A fit between two iterations, or at its end."""

    progress: Progress
    at: Derivatives
    remaining: float = float("inf")  # the longest move of the last undamped step, in deviations
    ended: bool = False  # the cost and the noise have come to rest


@dataclasses.dataclass(frozen=True)
class _Trial:
    """The first damped step that lowers the cost, or the last one that does not."""

    x: Unknowns
    damping: float  # of the next step
    fallen: float  # the cost
    tries: int


def first(problem: LeastSquares, u: np.ndarray, noise: np.ndarray | None) -> Iterate:
    """Before any iteration: starts as recorded, windows far beyond the median left out.

    Args:
      u: (numbers,) to start from.
      noise: (nv,) where it is known; estimated when absent.
    """
    x, exact = problem.begin(u), _exact(problem.config)
    at = problem.derivatives(x, problem.usable, WIDTHS[0], False)
    sigma = problem.first_noise(at) if noise is None else noise
    at = problem.without_outliers(at, at.kept, sigma)
    return Iterate(Progress(0, x.u, x.shift, 1.0, sigma, at.kept, 0, exact, 0, np.inf), at)


def resumed(problem: LeastSquares, progress: Progress) -> Iterate:
    """Where a stopped fit goes on."""
    return Iterate(progress, progress.derivatives(problem, progress.kept))


def iterate(
    problem: LeastSquares, before: Iterate, known: bool, record: Callable[[dict[str, Any]], None]
) -> Iterate:
    """One iteration: the noise, a step, and the differences of the next.

    Args:
      known: whether the noise was given, and stays.
      record: called with one row.
    """
    progress, config = before.progress, problem.config
    x, at, sigma, normal = progress.x, *_weighed(problem, before, known)
    here = problem.cost(at.error, at.kept, x, sigma)
    remaining = problem.remaining(normal, x)
    runtime.log(
        f"iteration {progress.iteration + 1}/{config.iterations}  cost {here:.6g}  "
        f"{remaining:.3g} deviations to go"
    )
    near = remaining < config.tolerance
    trial = _Trial(x, progress.damping, 0.0, 0)
    if not near:
        trial = _tried(problem, at, normal, sigma, x, here, progress.damping)
    row = {"iteration": progress.iteration + 1, "cost": here, "left": remaining}
    row |= {"width": WIDTHS[progress.level], "central": progress.central}
    row |= {"damping": trial.damping, "tries": trial.tries}
    record(row | {"noise": sigma.tolist()})

    moved = trial.fallen > 0
    if moved:
        progress = dataclasses.replace(
            progress, u=trial.x.u, shift=trial.x.shift, damping=trial.damping
        )
    progress, rests = _scheduled(progress, trial, here, remaining, config)
    if moved or not rests:
        at = progress.derivatives(problem, at.kept)
    if rests:
        fresh = sigma if known else problem.noise_of(at, sigma, normal)
        if (np.abs(np.log(fresh / sigma)) <= RESTED).all():
            progress = dataclasses.replace(progress, noise=sigma, kept=at.kept)
            return Iterate(progress, at, progress.nearest, ended=True)
        sigma, at = fresh, problem.without_outliers(at, at.kept, fresh)
        progress = dataclasses.replace(progress, damping=1.0, quiet=0, nearest=np.inf)
    done = progress.iteration + 1
    progress = dataclasses.replace(progress, iteration=done, noise=sigma, kept=at.kept)
    return Iterate(progress, at, remaining)


def _weighed(
    problem: LeastSquares, before: Iterate, known: bool
) -> tuple[Derivatives, np.ndarray, Normal]:
    """The windows that count, the noise, and the normal equations under it."""
    at, sigma = before.at, before.progress.noise
    normal = problem.normal(at, sigma)
    if not known and before.progress.iteration < SETTLING:
        sigma = problem.noise_of(at, sigma, normal)
        at = problem.without_outliers(at, at.finite, sigma)
        normal = problem.normal(at, sigma)
    return at, sigma, normal


def _tried(
    problem: LeastSquares,
    at: Derivatives,
    normal: Normal,
    sigma: np.ndarray,
    x: Unknowns,
    here: float,
    damping: float,
) -> _Trial:
    """Steps of rising damping until one lowers the cost ``here``."""
    there, fallen, tries = x, 0.0, 0
    while fallen <= 0 and tries < TRIES:
        tries += 1
        there = problem.moved(x, problem.step(normal, x, damping))
        error = problem.engine.errors(there.u, there.shift, problem.windows)
        fallen = here - problem.cost(error, at.kept, there, sigma)
        gain = fallen / max(problem.predicted(normal, x, there), 1e-300)
        damping = min(max(damping * _slower(gain), LEAST), MOST)
    return _Trial(there, damping, fallen, tries)


def _slower(gain: float) -> float:
    """The factor of the damping after a step that lowered the cost by ``gain`` of what the
    quadratic model predicts."""
    if gain > 0.75:
        return 0.1
    return 1.0 if gain > 0.25 else 4.0 if gain > 0 else 10.0


def _scheduled(
    progress: Progress, trial: _Trial, here: float, remaining: float, config: IdentifyConfig
) -> tuple[Progress, bool]:
    """The differences of the next iteration, and whether the cost rests at all their widths."""
    exact, near = _exact(config), remaining < config.tolerance
    levels = 1 if exact else len(WIDTHS)
    quiet, nearest = progress.quiet + (not near), min(remaining, progress.nearest)
    if trial.fallen > REST * here:
        quiet, nearest = 0, np.inf
    rests = (near and progress.central) or quiet >= levels
    level = progress.level
    if (quiet or trial.tries > POOR) and not rests:
        level = (level + 1) % levels
    central = exact or near or quiet > 0
    after = dataclasses.replace(
        progress, level=level, central=central, quiet=quiet, nearest=nearest
    )
    return after, rests


def _exact(config: IdentifyConfig) -> bool:
    """Whether the engine's derivatives are no differences."""
    return config.engine != "c"
