"""The least-squares problem of an identification, and its damped Gauss-Newton steps.

The shift of a window affects no other window, so shifts are eliminated window by window (Schur
complement).
"""

import dataclasses
from typing import Any

import numpy as np
from scipy.integrate import quad

from worldmodel.episodes.windows import Windows
from worldmodel.errors import InputError
from worldmodel.finetune.engines import make_engine
from worldmodel.finetune.settings import check_settings
from worldmodel.model import WorldModel
from worldmodel.scene.tangent import measured_dofs


class IdentifyError(InputError):
    """Windows that cannot be used, or a start from which nothing can be predicted."""


@dataclasses.dataclass(frozen=True)
class IdentifyConfig:
    """How a fit is run."""

    iterations: int = 20  # Gauss-Newton steps at most
    engine: str = "mjx"  # mjx or c
    batch: int = 64  # windows per compiled call, at most
    huber: float = 3.0  # errors beyond this many deviations count linearly
    bound: float = 4.0  # |u| at most, in prior widths
    pose_spread: float = 0.0  # [m, rad] deviation of a free start's pose; 0 holds it
    velocity_spread: float = 0.0  # [m/s, rad/s] of its velocity; 0 holds it
    tolerance: float = 1e-2  # converged when no unknown would move by more of its deviation
    max_nonfinite: float = 0.1  # fraction of windows that may be excluded

    def __post_init__(self) -> None:
        check_settings(
            self,
            counts=("iterations", "batch"),
            not_negative=("pose_spread", "velocity_spread", "max_nonfinite"),
            positive=("huber", "bound", "tolerance"),
        )


@dataclasses.dataclass(frozen=True)
class Unknowns:
    """The unknowns: numbers, and shifts of the windows' starts."""

    u: np.ndarray  # (numbers,)
    shift: np.ndarray  # (windows, shifts)


@dataclasses.dataclass(frozen=True)
class Derivatives:
    """Errors of the predictions at some unknowns, and their derivative."""

    error: np.ndarray  # (windows, horizon, nv)
    slope: np.ndarray  # (windows, horizon, nv, numbers + shifts)
    kept: np.ndarray  # (windows,) bool; the others are not finite and excluded


class LeastSquares:
    """Windows, an engine, and the sums of a step; immutable. See ``identify``."""

    def __init__(self, world: WorldModel, windows: Windows, config: IdentifyConfig) -> None:
        m = world.scene.mj_model
        nv = m.nv
        given = {"qpos": windows.qpos, "qvel": windows.qvel, "ctrl": windows.ctrl}
        given["target"] = windows.target
        for name, size in {"qpos": m.nq, "qvel": nv, "ctrl": m.nu, "target": m.nq}.items():
            if np.shape(given[name])[-1] != size:
                raise IdentifyError(
                    f"the windows' {name} has {np.shape(given[name])[-1]} columns; scene "
                    f"'{world.scene.name}' needs {size}"
                )
        self.windows, self.config = windows, config
        self.engine = make_engine(world, config.engine, min(config.batch, len(windows)))
        spread = np.repeat([config.pose_spread, config.velocity_spread], nv)
        self.free = spread > 0
        self.shifts = 2 * nv if self.free.any() else 0
        self.spread = np.where(self.free, spread, 1.0)[: self.shifts]
        self.scored = np.repeat(np.asarray(windows.scored)[..., None], nv, axis=-1)
        if windows.measured is not None:
            self.scored &= np.asarray(measured_dofs(world.scene, np.asarray(windows.measured)))
        # C MuJoCo would play a control that is not finite as 0.
        self.usable = np.asarray(np.isfinite(windows.ctrl).all((1, 2)))  # (windows,) bool
        if not self.scored.any():
            raise IdentifyError("no frame of these windows is scored; nothing can be identified")
        if not world.free and not self.shifts:
            raise IdentifyError("nothing is free: name parameters in WorldModel, or spread starts")
        c = config.huber
        weight = quad(
            lambda z: z * z / np.sqrt(1 + (z / c) ** 2) * np.exp(-z * z / 2), -np.inf, np.inf
        )[0]
        self.consistent = weight / np.sqrt(2 * np.pi)  # of Gaussian errors: E[w z²]

    def derivatives(self, x: Unknowns, kept: np.ndarray) -> Derivatives:
        """Derivatives at ``x`` over the windows ``kept``, less those that are not finite there.

        Raises:
          IdentifyError: too few windows are finite.
        """
        error, slope = self.engine.slopes(x.u, x.shift, self.windows)
        kept = kept & np.isfinite(error).all((1, 2)) & np.isfinite(slope).all((1, 2, 3))
        if np.mean(~kept) > self.config.max_nonfinite:
            episodes = sorted({int(e) for e in np.asarray(self.windows.episode)[~kept]})
            raise IdentifyError(
                f"{int((~kept).sum())} of {len(kept)} windows are not finite (episodes "
                f"{episodes[:8]}{'…' if len(episodes) > 8 else ''}); shorten the windows, "
                "correct their controls, or start from parameters under which the scene is stable"
            )
        free = np.concatenate([np.ones(len(x.u), bool), self.free[: self.shifts]])
        out = ~kept[:, None, None]
        slope = np.where(out[..., None] | ~free, 0.0, slope)
        return Derivatives(np.where(out, 0.0, error), slope, kept)

    def begin(self, u: np.ndarray) -> Unknowns:
        """Numbers within their bound, starts as recorded."""
        shift = np.zeros((len(self.windows), self.shifts))
        return Unknowns(np.clip(u, -self.config.bound, self.config.bound), shift)

    def first_noise(self, at: Derivatives) -> np.ndarray:
        """(nv,) deviation of the errors at the start, robust to outliers."""
        counts = self.counted(at.kept)
        error = [np.abs(at.error[..., v])[counts[..., v]] for v in range(at.error.shape[-1])]
        return np.array([max(1.4826 * np.median(e), 1e-12) if len(e) else 1e-12 for e in error])

    def counted(self, kept: np.ndarray) -> np.ndarray:
        """(windows, horizon, nv) bool: what is scored and measured of the windows kept."""
        return self.scored & kept[:, None, None]

    def weights(self, at: Derivatives, sigma: np.ndarray) -> np.ndarray:
        """The weight of each error: 1, less for outliers, 0 where it is not scored."""
        z = at.error / sigma
        weight = 1.0 / np.sqrt(1.0 + np.square(z / self.config.huber))
        return weight * self.counted(at.kept)

    def noise_of(self, at: Derivatives, former: np.ndarray) -> np.ndarray:
        """(nv,) deviation of the errors at an iterate, given the ``former`` iterate's; robust to
        outliers, and corrected for the degrees of freedom that the unknowns take."""
        weight = self.weights(at, former)
        square = np.sum(weight * np.square(at.error), axis=(0, 1)) / self.consistent
        count = self.counted(at.kept).sum(axis=(0, 1)).astype(float)  # (nv,)
        spent = self.spent(at, former) / at.error.shape[2]
        return np.maximum(np.sqrt(square / np.maximum(count - spent, 1.0)), 1e-12)

    def spent(self, at: Derivatives, sigma: np.ndarray) -> float:
        """Degrees of freedom that the unknowns take, as far as the data determine them."""
        blocks, _ = self.blocks(at, sigma)
        p = blocks.shape[1] - self.shifts
        total = blocks[:, :p, :p].sum(0)
        used = np.trace(np.linalg.solve(total + np.eye(p), total)) if p else 0.0
        own = blocks[:, p:, p:]
        prior = np.diag(1.0 / np.square(self.spread))
        return float(used + np.trace(np.linalg.solve(own + prior, own), axis1=1, axis2=2).sum())

    def cost(self, error: np.ndarray, kept: np.ndarray, x: Unknowns, sigma: np.ndarray) -> float:
        """The cost that is minimised."""
        z = np.where(self.counted(kept), error / sigma, 0.0)
        c = self.config.huber
        data = np.sum(c * c * (np.sqrt(1.0 + np.square(z / c)) - 1.0))
        prior = 0.5 * np.sum(np.square(x.u)) + 0.5 * np.sum(np.square(x.shift / self.spread))
        return float(data + prior) if np.isfinite(data) else float("inf")

    def blocks(self, at: Derivatives, sigma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Per window JᵀWJ and JᵀWe."""
        weight = self.weights(at, sigma) / np.square(sigma)
        heavy = weight[..., None] * at.slope
        rows = at.slope.shape[0], -1, at.slope.shape[-1]
        flat = at.slope.reshape(rows)
        square = np.einsum("wri,wrj->wij", heavy.reshape(rows), flat, optimize=True)
        error = at.error.reshape(rows[0], -1)
        return square, np.einsum("wri,wr->wi", heavy.reshape(rows), error)

    def reduced(self, at: Derivatives, x: Unknowns, sigma: np.ndarray, damping: float) -> Any:
        """Curvature and gradient of u per window with the window's shift eliminated, and the solve
        from which the shift follows."""
        square, slope = self.blocks(at, sigma)
        p = len(x.u)
        own = square[:, p:, p:] + np.diag(1.0 / np.square(self.spread))
        own += damping * np.einsum("wii->wi", own)[..., None] * np.eye(self.shifts)
        pull = slope[:, p:] + x.shift / np.square(self.spread)
        cross = square[:, p:, :p]
        back = np.linalg.solve(own, np.concatenate([cross, pull[..., None]], axis=2))
        curvature = square[:, :p, :p] - np.einsum("wsi,wsj->wij", cross, back[..., :-1])
        gradient = slope[:, :p] - np.einsum("wsi,ws->wi", cross, back[..., -1])
        return curvature, gradient, back

    def step(self, at: Derivatives, x: Unknowns, sigma: np.ndarray, damping: float) -> Unknowns:
        """The damped Gauss-Newton step; numbers that push against their bound stay there."""
        curvature, gradient, back = self.reduced(at, x, sigma, damping)
        total = curvature.sum(0) + np.eye(len(x.u))
        pull = gradient.sum(0) + x.u
        moves = ~((np.abs(x.u) >= self.config.bound) & (pull * x.u < 0))
        damped = total + damping * np.diag(np.diag(total))
        u = np.zeros_like(x.u)
        u[moves] = -np.linalg.solve(damped[np.ix_(moves, moves)], pull[moves])
        return Unknowns(u, -back[..., -1] - back[..., :-1] @ u)

    def moved(self, x: Unknowns, step: Unknowns) -> Unknowns:
        """After a step, within the bounds."""
        bound = self.config.bound
        return Unknowns(np.clip(x.u + step.u, -bound, bound), x.shift + step.shift)

    def remaining(self, at: Derivatives, x: Unknowns, sigma: np.ndarray) -> float:
        """The longest move of an undamped step: of numbers in their deviations, of shifts in what
        theirs would be with the numbers held."""
        wanted = self.moved(x, self.step(at, x, sigma, 0.0))
        p = len(x.u)
        square, _ = self.blocks(at, sigma)
        own = np.linalg.inv(square[:, p:, p:] + np.diag(1.0 / np.square(self.spread)))
        u = np.abs(wanted.u - x.u) / np.sqrt(np.diag(self.covariance(at, x, sigma)[0]))
        shift = np.abs(wanted.shift - x.shift) / np.sqrt(np.einsum("wii->wi", own))
        return float(max(np.max(u, initial=0.0), np.max(shift, initial=0.0)))

    def covariance(
        self, at: Derivatives, x: Unknowns, sigma: np.ndarray
    ) -> tuple[np.ndarray, bool]:
        """(numbers, numbers) covariance of u, and whether it is the sandwich over episodes."""
        curvature, gradient, _ = self.reduced(at, x, sigma, 0.0)
        inverse = np.linalg.inv(curvature.sum(0) + np.eye(len(x.u)))
        episode = np.asarray(self.windows.episode)
        ids = np.unique(episode[at.kept])
        if len(ids) < 2 * len(x.u) or len(ids) < 10:
            return inverse, False
        scores = np.stack([gradient[episode == e].sum(0) for e in ids])
        scores -= scores.mean(0)
        scatter = scores.T @ scores * len(ids) / (len(ids) - 1)
        return inverse @ (scatter + np.eye(len(x.u))) @ inverse, True
