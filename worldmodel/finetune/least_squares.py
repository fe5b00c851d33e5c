"""The least-squares problem of an identification (``gauss_newton``), and its damped steps."""

import dataclasses
from typing import Any

import numpy as np
from scipy.integrate import quad
from scipy.stats import norm

from worldmodel.episodes.windows import Windows
from worldmodel.errors import InputError
from worldmodel.finetune.engines import make_engine
from worldmodel.finetune.outliers import LeftOut, answering, far_beyond, listed, reasons
from worldmodel.finetune.uncertainty import Uncertainty, clusters_of, uncertainty
from worldmodel.model import WorldModel
from worldmodel.runtime.settings import check_settings
from worldmodel.scene.tangent import difference, measured_dofs

LEAST_NOISE = 1e-12  # [m, rad]


class IdentifyError(InputError):
    """Windows that cannot be used, or a start from which nothing can be predicted."""


@dataclasses.dataclass(frozen=True)
class IdentifyConfig:
    """How a fit is run."""

    iterations: int = 40  # Gauss-Newton steps at most
    engine: str = "mjx"  # mjx or c
    batch: int = 64  # windows per compiled call, at most
    huber: float = 3.0  # errors beyond this many deviations count linearly
    bound: float = 4.0  # |u| at most, in prior widths
    pose_spread: float = 0.0  # [m, rad] deviation of a free start's pose; 0 holds it
    velocity_spread: float = 0.0  # [m/s, rad/s] of its velocity; 0 holds it
    tolerance: float = 0.1  # converged when no unknown would move by more of its deviation
    max_left_out: float = 0.1  # fraction of windows that may be left out

    def __post_init__(self) -> None:
        check_settings(
            self,
            counts=("iterations", "batch"),
            not_negative=("pose_spread", "velocity_spread", "max_left_out"),
            positive=("huber", "bound", "tolerance"),
        )


@dataclasses.dataclass(frozen=True)
class Unknowns:
    """The unknowns: numbers, and shifts of the windows' starts."""

    u: np.ndarray  # (numbers,)
    shift: np.ndarray  # (windows, shifts)


@dataclasses.dataclass(frozen=True)
class Derivatives:
    """Errors of the predictions at some unknowns, and their derivative; 0 where not finite."""

    error: np.ndarray  # (windows, horizon, nv)
    slope: np.ndarray  # (windows, horizon, nv, numbers + shifts)
    finite: np.ndarray  # (windows,) bool
    kept: np.ndarray  # (windows,) bool; the others do not count


@dataclasses.dataclass(frozen=True)
class Normal:
    """The normal equations at some unknowns: per window JᵀWJ and JᵀWe, the prior left out."""

    square: np.ndarray  # (windows, numbers + shifts, numbers + shifts)
    slope: np.ndarray  # (windows, numbers + shifts)


class LeastSquares:
    """Windows, an engine, and the sums of a step; immutable. See ``identify``."""

    def __init__(self, world: WorldModel, windows: Windows, config: IdentifyConfig) -> None:
        m = world.scene.mj_model
        nv = m.nv
        for name, size in {"qpos": m.nq, "qvel": nv, "ctrl": m.nu, "target": m.nq}.items():
            columns = np.shape(getattr(windows, name))[-1]
            if columns != size:
                raise IdentifyError(
                    f"the windows' {name} has {columns} columns; scene '{world.scene.name}' needs "
                    f"{size}"
                )
        self.scene, self.windows, self.config = world.scene, windows, config
        self.engine = make_engine(world, config.engine, min(config.batch, len(windows)))
        spread = np.repeat([config.pose_spread, config.velocity_spread], nv)
        self.free = spread > 0
        self.shifts = 2 * nv if self.free.any() else 0
        self.spread = np.where(self.free, spread, 1.0)[: self.shifts]
        self.prior = np.diag(1.0 / np.square(self.spread))  # curvature of the shifts' prior
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
        weight = quad(lambda z: z * z / (1 + (z / c) ** 2) * np.exp(-z * z / 2), -np.inf, np.inf)[0]
        self.consistent = weight / np.sqrt(2 * np.pi)  # of Gaussian errors: E[(w z)²]

    def derivatives(
        self, x: Unknowns, kept: np.ndarray, width: float, central: bool
    ) -> Derivatives:
        """Derivatives at ``x`` over the windows ``kept``, less those that are not finite there.

        Args:
          width, central: of the differences by the numbers, where the engine takes any.

        Raises:
          IdentifyError: too few windows are finite.
        """
        error, slope = self.engine.slopes(x.u, x.shift, self.windows, width, central)
        finite = self.usable & np.isfinite(error).all((1, 2)) & np.isfinite(slope).all((1, 2, 3))
        if np.mean(~(kept & finite)) > self.config.max_left_out:
            episodes = sorted({int(e) for e in np.asarray(self.windows.episode)[~finite]})
            raise IdentifyError(
                f"{int((~finite).sum())} of {len(kept)} windows are not finite (episodes "
                f"{episodes[:8]}{'…' if len(episodes) > 8 else ''}); shorten the windows, "
                "correct their controls, or start from parameters under which the scene is stable"
            )
        free = np.concatenate([np.ones(len(x.u), bool), self.free[: self.shifts]])
        out = ~finite[:, None, None]
        slope = np.where(out[..., None] | ~free, 0.0, slope)
        return Derivatives(np.where(out, 0.0, error), slope, finite, kept & finite)

    def without_outliers(self, at: Derivatives, kept: np.ndarray, sigma: np.ndarray) -> Derivatives:
        """Derivatives of the windows ``kept`` that are not far beyond the median (``outliers``).

        Raises:
          IdentifyError: too many are.
        """
        at = dataclasses.replace(at, kept=kept & (self.reasons(at, sigma) == ""))
        if np.mean(~at.kept) > self.config.max_left_out:
            out = self.left_out(at, sigma)
            raise IdentifyError(
                f"{len(out)} of {len(kept)} windows are not finite or far beyond the median, more "
                f"than {self.config.max_left_out:.0%}: {listed(out)}; correct these recordings "
                "(wrapped angles, units, jumps), or raise max_left_out"
            )
        return at

    def reasons(self, at: Derivatives, sigma: np.ndarray) -> np.ndarray:
        """(windows,) str: why each window cannot count (``outliers``); empty where it can."""
        counted, config = self.counted(at.finite), self.config
        bad = config.max_left_out
        sizes = far_beyond(at.error, at.slope, sigma, counted, config.huber, bad)
        return reasons(at.finite, *sizes)

    def left_out(self, at: Derivatives, sigma: np.ndarray) -> tuple[LeftOut, ...]:
        """The windows that do not count at an iterate, by name."""
        why, windows = self.reasons(at, sigma), self.windows
        frames = [None] * len(why) if windows.frame is None else np.asarray(windows.frame).tolist()
        episodes = np.asarray(windows.episode).tolist()
        earlier = "far beyond the median at an earlier iterate"
        return tuple(
            LeftOut(int(row), episodes[row], frames[row], str(why[row]) or earlier)
            for row in np.flatnonzero(~at.kept)
        )

    def begin(self, u: np.ndarray) -> Unknowns:
        """Numbers within their bound, starts as recorded."""
        shift = np.zeros((len(self.windows), self.shifts))
        return Unknowns(np.clip(u, -self.config.bound, self.config.bound), shift)

    def first_noise(self, at: Derivatives) -> np.ndarray:
        """(nv,) deviation of the errors at the start, of the windows that answer (``outliers``);
        robust to outliers, and to frames in which nothing moves."""
        counts = self.counted(at.kept)
        counts &= answering(at.slope, counts, self.config.max_left_out)[:, None]
        error = [np.abs(at.error[..., v])[counts[..., v]] for v in range(at.error.shape[-1])]
        return np.array([deviation(e) for e in error])

    def counted(self, kept: np.ndarray) -> np.ndarray:
        """(windows, horizon, nv) bool: what is scored and measured of the windows kept."""
        return self.scored & kept[:, None, None]

    def weights(self, at: Derivatives, sigma: np.ndarray) -> np.ndarray:
        """The weight of each error: 1, less for outliers, 0 where it is not scored."""
        z = at.error / sigma
        return self.counted(at.kept) / np.sqrt(1.0 + np.square(z / self.config.huber))

    def noise_of(self, at: Derivatives, former: np.ndarray, normal: Normal) -> np.ndarray:
        """(nv,) deviation of the errors at an iterate, given the ``former`` one and the normal
        equations under it: a step of Huber's proposal 2, to which no error contributes more than
        ``huber`` deviations, corrected for the degrees of freedom that the unknowns take."""
        square = np.sum(np.square(self.weights(at, former) * at.error), axis=(0, 1))
        count = self.counted(at.kept).sum((0, 1))
        spent = self.spent(normal) / at.error.shape[2]
        return np.maximum(
            np.sqrt(square / self.consistent / np.maximum(count - spent, 1.0)), LEAST_NOISE
        )

    def spent(self, normal: Normal) -> float:
        """Degrees of freedom that the unknowns take, as far as the data determine them."""
        p = normal.square.shape[1] - self.shifts
        total = normal.square[:, :p, :p].sum(0)
        used = np.trace(np.linalg.solve(total + np.eye(p), total)) if p else 0.0
        own = normal.square[:, p:, p:]
        own_used = np.trace(np.linalg.solve(own + self.prior, own), axis1=1, axis2=2)
        return float(used + own_used.sum())

    def cost(self, error: np.ndarray, kept: np.ndarray, x: Unknowns, sigma: np.ndarray) -> float:
        """The cost that is minimised."""
        data = self.data_cost(error, kept, sigma)
        prior = 0.5 * np.sum(np.square(x.u)) + 0.5 * np.sum(np.square(x.shift / self.spread))
        return float(data + prior) if np.isfinite(data) else float("inf")

    def data_cost(self, error: np.ndarray, kept: np.ndarray, sigma: np.ndarray) -> float:
        """Its part that is not the prior."""
        z = np.where(self.counted(kept), error / sigma, 0.0)
        c = self.config.huber
        return float(np.sum(c * c * (np.sqrt(1.0 + np.square(z / c)) - 1.0)))

    def standing(self, kept: np.ndarray, sigma: np.ndarray) -> float:
        """``data_cost`` of a scene that stays as it is at each window's first frame."""
        first = np.asarray(self.windows.qpos)[:, None]
        error = difference(self.scene, np.asarray(self.windows.target), first)
        return self.data_cost(error, kept, sigma)

    def normal(self, at: Derivatives, sigma: np.ndarray) -> Normal:
        """The normal equations of a step, which weigh each error by ρ'(z) / z."""
        return self._normal(at, sigma, self.weights(at, sigma))

    def curved(self, at: Derivatives, sigma: np.ndarray) -> Normal:
        """The same gradient with the cost's own curvature, which weighs each error by ρ''(z): what
        an episode that is left out moves (Huber & Ronchetti 2009, section 6.3). The weights of a
        step would make the intervals too narrow."""
        return self._normal(at, sigma, self.weights(at, sigma) ** 3)

    def _normal(self, at: Derivatives, sigma: np.ndarray, curvature: np.ndarray) -> Normal:
        rows = at.slope.shape[0], -1, at.slope.shape[-1]
        flat, square = at.slope.reshape(rows), np.square(sigma)
        heavy = ((curvature / square)[..., None] * at.slope).reshape(rows)
        pull = (self.weights(at, sigma) / square * at.error).reshape(rows[0], -1, 1)
        return Normal(heavy.mT @ flat, (flat.mT @ pull)[..., 0])

    def reduced(self, normal: Normal, x: Unknowns, damping: float) -> Any:
        """Curvature and gradient of u per window with the window's shift eliminated, and the solve
        from which the shift follows."""
        square, slope = normal.square, normal.slope
        p = len(x.u)
        own = square[:, p:, p:] + self.prior + damping * self.prior
        pull = slope[:, p:] + x.shift / np.square(self.spread)
        cross = square[:, p:, :p]
        back = np.linalg.solve(own, np.concatenate([cross, pull[..., None]], axis=2))
        curvature = square[:, :p, :p] - np.einsum("wsi,wsj->wij", cross, back[..., :-1])
        gradient = slope[:, :p] - np.einsum("wsi,ws->wi", cross, back[..., -1])
        return curvature, gradient, back

    def step(self, normal: Normal, x: Unknowns, damping: float) -> Unknowns:
        """The damped Gauss-Newton step; numbers that push against their bound stay there.

        The damping is in widths of the prior, in which the model is about as nonlinear in one
        number as in another. Damped by the diagonal of the curvature (Marquardt's choice), numbers
        that only act together would creep along the valley of their combinations.
        """
        curvature, gradient, back = self.reduced(normal, x, damping)
        total = curvature.sum(0) + np.eye(len(x.u))
        pull = gradient.sum(0) + x.u
        moves = ~((np.abs(x.u) >= self.config.bound) & (pull * x.u < 0))
        damped = total + damping * np.eye(len(x.u))
        u = np.zeros_like(x.u)
        u[moves] = -np.linalg.solve(damped[np.ix_(moves, moves)], pull[moves])
        return Unknowns(u, -back[..., -1] - back[..., :-1] @ u)

    def moved(self, x: Unknowns, step: Unknowns) -> Unknowns:
        """After a step, within the bounds."""
        bound = self.config.bound
        return Unknowns(np.clip(x.u + step.u, -bound, bound), x.shift + step.shift)

    def predicted(self, normal: Normal, x: Unknowns, there: Unknowns) -> float:
        """By how much the quadratic model of the cost falls from ``x`` to ``there``."""
        u = np.broadcast_to(there.u - x.u, (len(x.shift), len(x.u)))
        step = np.concatenate([u, there.shift - x.shift], axis=1)
        data = np.sum(normal.slope * step) + 0.5 * np.einsum(
            "wi,wij,wj->", step, normal.square, step, optimize=True
        )
        prior = 0.5 * np.sum(np.square(there.u)) - 0.5 * np.sum(np.square(x.u))
        starts = np.square(there.shift / self.spread) - np.square(x.shift / self.spread)
        return -float(data + prior + 0.5 * np.sum(starts))

    def remaining(self, normal: Normal, x: Unknowns) -> float:
        """The longest move of an undamped step: of numbers in their deviations, of shifts in what
        theirs would be with the numbers held."""
        wanted = self.moved(x, self.step(normal, x, 0.0))
        p = len(x.u)
        own = np.linalg.inv(normal.square[:, p:, p:] + self.prior)
        deviation = np.sqrt(np.diag(self.uncertainty(normal, x).covariance))
        u = np.abs(wanted.u - x.u) / deviation
        shift = np.abs(wanted.shift - x.shift) / np.sqrt(np.einsum("wii->wi", own))
        return float(max(np.max(u, initial=0.0), np.max(shift, initial=0.0)))

    def uncertainty(self, normal: Normal, x: Unknowns) -> Uncertainty:
        """The numbers' covariance."""
        curvature, gradient, _ = self.reduced(normal, x, 0.0)
        used = normal.square.any((1, 2))
        episode, frame = np.asarray(self.windows.episode)[used], self.windows.frame
        frame = None if frame is None else np.asarray(frame)[used]
        cluster = clusters_of(episode, frame, self.scored.shape[1])
        return uncertainty(curvature[used], gradient[used], *cluster)


def deviation(size: np.ndarray) -> float:
    """The deviation of errors with these sizes (…,), of which one in ten may be an outlier.

    That of the median; where most errors are next to nothing, as of an object that rests until it
    is touched, a tenth of what the largest but one in ten have.
    """
    if not len(size):
        return LEAST_NOISE
    median, large = np.quantile(size, [0.5, 0.9])
    return float(max(1.4826 * median, 0.1 * large / norm.ppf(0.95), LEAST_NOISE))
