"""Physical parameters from recorded windows, and what the windows say of them: Gauss-Newton.

For few parameters (up to about fifty). With the prior N(0, 1) of every number u, noise of
deviation σ per degree of freedom and, where starts are free, a shift s of every window's start,

    minimise  Σ ρ((predicted − recorded) / σ)  +  ½ ‖u‖²  +  ½ Σ ‖s / spread‖²,

ρ(z) = c² (√(1 + z²/c²) − 1), by Levenberg-Marquardt steps on the derivatives of an engine
(``linearise``). The shifts of one window meet no other window, so they are eliminated window by
window (Schur complement), however many windows there are. At the minimum the curvature H is what
the data and the prior say; with as many episodes as allow it the covariance is the sandwich
H⁻¹ (G + 1) H⁻¹, G the scatter of the episodes' gradients, which holds where the frames of an
episode err together (White 1982; Liang & Zeger 1986).
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np
from scipy.integrate import quad

from worldmodel import runtime
from worldmodel.dynamics import Parameters, WorldModel
from worldmodel.linearise import applied, make_engine, numbers, unpacked
from worldmodel.physics import parameters as physical
from worldmodel.predict import Windows
from worldmodel.types import InputError

UNKNOWN = 0.7  # a number whose deviation is above this part of its prior's is not identified
TOGETHER = 0.9  # numbers that correlate more than this are named as a pair


class IdentifyError(InputError):
    """Windows that cannot be used, or a start from which nothing can be predicted."""


@dataclasses.dataclass(frozen=True)
class IdentifyConfig:
    """How a fit is run."""

    iterations: int = 20  # Gauss-Newton steps at most
    engine: str = "mjx"  # mjx or c
    batch: int = 64  # windows per compiled call
    huber: float = 3.0  # errors beyond this many deviations count linearly
    bound: float = 4.0  # |u| at most, in prior widths
    pose_spread: float = 0.0  # [m, rad] deviation of a free start's pose; 0 holds it
    velocity_spread: float = 0.0  # [m/s, rad/s] of its velocity; 0 holds it
    tolerance: float = 1e-2  # converged when no number would move more than this deviation
    max_nonfinite: float = 0.1  # fraction of windows that may be left out


@dataclasses.dataclass(frozen=True)
class Number:
    """One physical number and what is known of it."""

    name: str  # leaf of the parameters
    index: int
    u: float  # in prior widths from the MJCF's value
    deviation: float  # of u; 1 where the data say nothing
    at_bound: bool

    @property
    def identified(self) -> bool:
        """Whether the data say clearly more than the prior."""
        return self.deviation < UNKNOWN and not self.at_bound


@dataclasses.dataclass(frozen=True)
class Identified:
    """The parameters at the minimum, and their uncertainty."""

    parameters: Parameters
    numbers: tuple[Number, ...]
    covariance: np.ndarray  # (numbers, numbers) of u
    by_episode: bool  # whether it is the sandwich over episodes
    noise: np.ndarray  # (nv,) deviation of what is left over [m, rad]
    shift: np.ndarray  # (windows, 0 or 2 nv) of the starts
    left_out: np.ndarray  # windows that were not finite
    iterations: int
    converged: bool  # False: at a kink past which nothing falls, or out of iterations
    cost: float

    def together(self) -> list[tuple[int, int, float]]:
        """Pairs of identified or unidentified numbers that the data cannot tell apart."""
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
    record: Callable[[dict[str, Any]], None] = lambda row: None,
    stop: Callable[[], bool] = lambda: False,
) -> Identified:
    """Fits the free parameters of a physics model.

    Args:
      world: static; of kind ``physics``.
      windows: recorded stretches.
      start: where to start from; the MJCF's own values when absent.
      noise: (nv,) deviation of a recorded position [m, rad], over which nothing is to be
        explained; estimated from what is left over when absent.
      record: called with one row per iteration.
      stop: asked between iterations.

    Raises:
      IdentifyError: too many windows are not finite at the start, or no frame is scored.
      ParameterError: a parameter that the scene does not have.
      Interrupted: ``stop`` said so.
    """
    problem = _Problem(world, windows, config, noise)
    names = numbers(world)
    u = np.zeros(len(names))
    if start is not None:
        u = np.array([float(start["physics"][name][i]) for name, i in names])
    x = _At(np.clip(u, -config.bound, config.bound), np.zeros((len(windows), problem.shifts)))
    normal = problem.linearise(x)
    problem.start(normal)
    damping, converged, done = 1e-3, False, 0
    for done in range(1, config.iterations + 1):
        if stop():
            raise runtime.Interrupted(f"stopped at iteration {done}; nothing was kept")
        sigma = problem.noise_of(normal) if noise is None else noise
        here, tries = problem.cost(normal.error, x, sigma), 0
        deviation = np.sqrt(np.diag(problem.covariance(normal, x, sigma)[0]))
        wanted = problem.moved(x, problem.step(normal, x, sigma, 0.0))
        left = float(np.max(np.abs(wanted.u - x.u) / deviation, initial=0.0))
        runtime.log(
            f"iteration {done}/{config.iterations}  cost {here:.6g}  {left:.3g} deviations to go"
        )
        converged = left < config.tolerance
        accepted = False
        while not converged and not accepted and damping <= 1e8:
            tries += 1
            there = problem.moved(x, problem.step(normal, x, sigma, damping))
            error = problem.engine.misses(there.u, there.shift, windows)
            accepted = problem.cost(error, there, sigma) < here
            if not accepted:
                damping *= 10.0
        record({"iteration": done, "cost": here, "left": left, "damping": damping, "tries": tries})
        if not accepted:  # at the minimum, or at a kink past which nothing falls
            break
        x, normal = there, problem.linearise(there)
        damping = max(damping * 0.1, 1e-9)
    sigma = problem.noise_of(normal) if noise is None else noise
    covariance, by_episode = problem.covariance(normal, x, sigma)
    found = tuple(
        Number(name, i, float(v), float(d), bool(abs(v) >= config.bound))
        for (name, i), v, d in zip(names, x.u, np.sqrt(np.diag(covariance)), strict=True)
    )
    parameters = {"physics": unpacked(world, jnp.asarray(x.u)), "network": {}}
    return Identified(
        parameters,
        found,
        covariance,
        by_episode,
        sigma,
        x.shift,
        np.flatnonzero(~problem.kept),
        done,
        converged,
        problem.cost(normal.error, x, sigma),
    )


def intervals(world: WorldModel, found: Identified) -> dict[str, np.ndarray]:
    """Physical values and their 95 % intervals: name → (values, 3), value, low, high.

    To first order in u; symmetric in the logarithm for what is positive.
    """
    apply, u = applied(world), np.array([n.u for n in found.numbers])

    def flat(u: np.ndarray) -> np.ndarray:
        return np.concatenate(list(physical.read(world.scene, world.free, apply(u)).values()))

    slopes = [(flat(u + h) - flat(u - h)) / 2e-4 for h in 1e-4 * np.eye(len(u))]
    slope = np.stack(slopes, axis=1)
    half = 1.96 * np.sqrt(np.einsum("vi,ij,vj->v", slope, found.covariance, slope))
    values = physical.read(world.scene, world.free, apply(u))
    out, first = {}, 0
    for f in world.free:
        v = values[f.name]
        h = half[first : first + len(v)]
        if physical.KINDS[f.kind].positive:
            factor = np.exp(h / np.maximum(np.abs(v), 1e-300))
            low, high = v / factor, v * factor
        else:
            low, high = v - h, v + h
        out[f.name] = np.stack([v, low, high], axis=1)
        first += len(v)
    return out


@dataclasses.dataclass(frozen=True)
class _At:
    u: np.ndarray  # (numbers,)
    shift: np.ndarray  # (windows, shifts)


@dataclasses.dataclass(frozen=True)
class _Normal:
    error: np.ndarray  # (windows, horizon, nv)
    slope: np.ndarray  # (windows, horizon, nv, numbers + shifts)


class _Problem:
    """The windows, an engine, and the sums over both."""

    def __init__(
        self, world: WorldModel, windows: Windows, config: IdentifyConfig, noise: Any
    ) -> None:
        nv = world.scene.mj_model.nv
        self.windows, self.config, self.given = windows, config, noise
        self.engine = make_engine(world, config.engine, min(config.batch, len(windows)))
        spread = np.repeat([config.pose_spread, config.velocity_spread], nv)
        self.free = spread > 0
        self.shifts = 2 * nv if self.free.any() else 0
        self.spread = np.where(self.free, spread, 1.0)[: self.shifts]
        self.scored = np.asarray(windows.scored)
        self.kept = np.ones(len(windows), bool)
        if not self.scored.any():
            raise IdentifyError("no frame of these windows is scored; nothing can be identified")
        c = config.huber
        weight = quad(
            lambda z: z * z / np.sqrt(1 + (z / c) ** 2) * np.exp(-z * z / 2), -np.inf, np.inf
        )[0]
        self.consistent = weight / np.sqrt(2 * np.pi)  # of Gaussian errors: E[w z²]

    def linearise(self, x: _At) -> _Normal:
        error, slope = self.engine.slopes(x.u, x.shift, self.windows)
        bad = ~(np.isfinite(error).all((1, 2)) & np.isfinite(slope).all((1, 2, 3)))
        self.kept &= ~bad
        if np.mean(~self.kept) > self.config.max_nonfinite:
            episodes = sorted({int(e) for e in np.asarray(self.windows.episode)[~self.kept]})
            raise IdentifyError(
                f"{int((~self.kept).sum())} of {len(self.kept)} windows are not finite (episodes "
                f"{episodes[:8]}{'…' if len(episodes) > 8 else ''}); shorten the windows, or start "
                "from parameters under which the scene is stable"
            )
        free = np.concatenate([np.ones(len(x.u), bool), self.free[: self.shifts]])
        out = ~self.kept[:, None, None]
        slope = np.where(out[..., None] | ~free, 0.0, slope)
        return _Normal(np.where(out, 0.0, error), slope)

    def start(self, normal: _Normal) -> None:
        """The first guess of the noise: what is left over at the start, without outliers."""
        error = np.abs(normal.error)[self.scored & self.kept[:, None]]
        self.noise = np.maximum(1.4826 * np.median(error, axis=0), 1e-12)

    def weights(self, error: np.ndarray, sigma: np.ndarray) -> np.ndarray:
        z = error / sigma
        weight = 1.0 / np.sqrt(1.0 + np.square(z / self.config.huber))
        return weight * (self.scored & self.kept[:, None])[..., None]

    def noise_of(self, normal: _Normal) -> np.ndarray:
        """What is left over at an iterate; outliers count little, and unknowns are paid for."""
        weight = self.weights(normal.error, self.noise)
        square = np.sum(weight * np.square(normal.error), axis=(0, 1)) / self.consistent
        count = float((self.scored & self.kept[:, None]).sum())
        spent = self.spent(normal, self.noise) / normal.error.shape[2]
        self.noise = np.maximum(np.sqrt(square / max(count - spent, 1.0)), 1e-12)
        return self.noise

    def spent(self, normal: _Normal, sigma: np.ndarray) -> float:
        """How many errors the unknowns explain by themselves: those that the data determine."""
        blocks, _ = self.blocks(normal, sigma)
        p = blocks.shape[1] - self.shifts
        total = blocks[:, :p, :p].sum(0)
        used = np.trace(np.linalg.solve(total + np.eye(p), total)) if p else 0.0
        own = blocks[:, p:, p:]
        prior = np.diag(1.0 / np.square(self.spread))
        return float(used + np.trace(np.linalg.solve(own + prior, own), axis1=1, axis2=2).sum())

    def cost(self, error: np.ndarray, x: _At, sigma: np.ndarray) -> float:
        z = np.where((self.scored & self.kept[:, None])[..., None], error / sigma, 0.0)
        c = self.config.huber
        data = np.sum(c * c * (np.sqrt(1.0 + np.square(z / c)) - 1.0))
        prior = 0.5 * np.sum(np.square(x.u)) + 0.5 * np.sum(np.square(x.shift / self.spread))
        return float(data + prior) if np.isfinite(data) else float("inf")

    def blocks(self, normal: _Normal, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Per window JᵀWJ and JᵀWe."""
        weight = self.weights(normal.error, sigma) / np.square(sigma)
        heavy = weight[..., None] * normal.slope
        rows = normal.slope.shape[0], -1, normal.slope.shape[-1]
        flat = normal.slope.reshape(rows)
        square = np.einsum("wri,wrj->wij", heavy.reshape(rows), flat, optimize=True)
        error = normal.error.reshape(rows[0], -1)
        return square, np.einsum("wri,wr->wi", heavy.reshape(rows), error)

    def reduced(self, normal: _Normal, x: _At, sigma: np.ndarray, damping: float) -> Any:
        """Curvature and gradient of u per window with the window's own shift eliminated, and what
        gives the shift back."""
        square, slope = self.blocks(normal, sigma)
        p = len(x.u)
        own = square[:, p:, p:] + np.diag(1.0 / np.square(self.spread))
        own += damping * np.einsum("wii->wi", own)[..., None] * np.eye(self.shifts)
        pull = slope[:, p:] + x.shift / np.square(self.spread)
        cross = square[:, p:, :p]
        back = np.linalg.solve(own, np.concatenate([cross, pull[..., None]], axis=2))
        curvature = square[:, :p, :p] - np.einsum("wsi,wsj->wij", cross, back[..., :-1])
        gradient = slope[:, :p] - np.einsum("wsi,ws->wi", cross, back[..., -1])
        return curvature, gradient, back

    def step(self, normal: _Normal, x: _At, sigma: np.ndarray, damping: float) -> _At:
        """The damped Gauss-Newton step; numbers that push against their bound stay there."""
        curvature, gradient, back = self.reduced(normal, x, sigma, damping)
        total = curvature.sum(0) + np.eye(len(x.u))
        pull = gradient.sum(0) + x.u
        moves = ~((np.abs(x.u) >= self.config.bound) & (pull * x.u < 0))
        damped = total + damping * np.diag(np.diag(total))
        u = np.zeros_like(x.u)
        u[moves] = -np.linalg.solve(damped[np.ix_(moves, moves)], pull[moves])
        return _At(u, -back[..., -1] - back[..., :-1] @ u)

    def moved(self, x: _At, step: _At) -> _At:
        """After a step, within the bounds."""
        bound = self.config.bound
        return _At(np.clip(x.u + step.u, -bound, bound), x.shift + step.shift)

    def covariance(self, normal: _Normal, x: _At, sigma: np.ndarray) -> tuple[np.ndarray, bool]:
        curvature, gradient, _ = self.reduced(normal, x, sigma, 0.0)
        inverse = np.linalg.inv(curvature.sum(0) + np.eye(len(x.u)))
        episode = np.asarray(self.windows.episode)
        ids = np.unique(episode[self.kept])
        if len(ids) < 2 * len(x.u) or len(ids) < 10:
            return inverse, False
        scores = np.stack([gradient[episode == e].sum(0) for e in ids])
        scores -= scores.mean(0)
        scatter = scores.T @ scores * len(ids) / (len(ids) - 1)
        return inverse @ (scatter + np.eye(len(x.u))) @ inverse, True
