"""Physics from episodes, robustly: Gauss-Newton from several starts, over windows that grow.

One start on long windows ends where the first steps happen to lead: a prediction over many frames
is far from linear in its parameters until they are about right. So every start is fitted on the
first frames of some of the windows, then on more frames, until two starts agree on what they
predict. Those that predict the validation windows best are fitted to all windows, and the best of
these is kept; of such that predict alike, the one with the fewest dead numbers, from which a
descent can go on: a contact whose impedance would fall with depth is clipped, and has three.
A seed draws the training windows and the starts: the first start is always the MJCF's own values,
the others are spread around them by ``start_spread``.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from worldmodel import runtime
from worldmodel.episodes.windows import Windows
from worldmodel.errors import InputError
from worldmodel.finetune.engines import make_engine
from worldmodel.finetune.gauss_newton import Identified, Progress, identify
from worldmodel.finetune.least_squares import IdentifyConfig, IdentifyError
from worldmodel.finetune.moved import numbers, unpacked
from worldmodel.model import Parameters, WorldModel
from worldmodel.runtime.records import write_arrays

_FILE = "progress.npz"
ALIKE = 0.01  # relative, of finalists' validation errors: among these the livelier one is taken


@dataclasses.dataclass(frozen=True)
class PhysicsConfig:
    """How ``fit_physics`` runs."""

    identify: IdentifyConfig = dataclasses.field(default_factory=lambda: IdentifyConfig(engine="c"))
    starts: int = 3  # at most
    agreement: float = 0.01  # relative, of two starts' validation errors: no further start is tried
    start_spread: float = 0.5  # deviation of the starts after the first, in prior widths
    stages: tuple[float, ...] = (0.25, 0.5, 1.0)  # share of the windows' frames that is scored
    searching: int = 10  # iterations of each stage of a start, at most
    searched: int = 64  # training windows that the starts are fitted to, at most
    finalists: int = 1  # of the starts, that are fitted to all windows
    windows: int = 512  # that these are, at most
    seed: int = 0  # of the starts and of the windows that are drawn


@dataclasses.dataclass(frozen=True)
class FittedPhysics:
    """The best start's fit, and how well each start ended."""

    identified: Identified  # of the best start, over the whole windows that ``rows`` names
    rows: np.ndarray  # of the training windows
    best: int
    validation: np.ndarray  # (starts that were tried,) error over that of the MJCF's own values;
    # infinite of a start that was left out

    @property
    def parameters(self) -> Parameters:
        """The fitted parameters."""
        return self.identified.parameters


@dataclasses.dataclass(frozen=True)
class _End:
    """How a start ended a stage."""

    progress: Progress | None  # before the last iteration; None of a start that failed
    u: np.ndarray  # (numbers,)
    validation: float
    dead: int  # numbers that no prediction answers to, so that no descent moves them


def fit_physics(
    world: WorldModel,
    train: Windows,
    validation: Windows,
    config: PhysicsConfig,
    directory: Path,
    *,
    config_hash: str,
    record: Callable[[dict[str, Any]], None] = lambda row: None,
    stop: Callable[[], bool] = lambda: False,
) -> FittedPhysics:
    """Fits the physics of a world model; resumes from ``directory`` to the same numbers.

    Args:
      world: static; without a network.
      train: windows that are fitted; at most ``config.windows`` of them are drawn.
      validation: windows of other episodes, which choose among the starts.
      directory: where the running state is kept; made when absent.
      config_hash: of everything that decides the numbers; guards against another run's state.
      record: called with one row per iteration, and one per start with its validation error.
      stop: asked between iterations.

    Raises:
      InputError: no start, no stage, a stage outside (0, 1], or a ``directory`` of another run.
      IdentifyError: see ``identify``; a start that meets one is left out while another is not.
      ParameterError: see ``identify``.
      Interrupted: ``stop`` returned True; the state is saved.
    """
    if (
        min(config.starts, config.finalists) < 1
        or not config.stages
        or not all(0 < s <= 1 for s in config.stages)
    ):
        raise InputError(
            f"{config.starts} starts, {config.finalists} of them to the end, over stages "
            f"{config.stages}: give at least one start, and stages between 0 and 1"
        )
    directory.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng([config.seed, 0]).permutation(len(train))[: config.windows]
    rows, some = np.sort(draw), train.take(np.sort(draw[: config.searched]))
    begins = starts_of(world, config)
    judge = _judge(world, validation, config.identify)
    origin = judge(np.zeros(begins.shape[1]))
    path, done = directory / _FILE, list[_End]()
    stored, running = _read(path, config_hash)
    failure: IdentifyError | None = None

    def fitted(
        start: int,
        share: float,
        windows: Windows,
        most: int,
        u: np.ndarray,
        progress: Progress | None,
    ) -> tuple[Identified, _End]:
        last = [progress] if progress else []

        def keep(progress: Progress) -> None:
            last[:] = [progress]
            _write(path, config_hash, done, progress)

        frames = max(1, round(share * windows.target.shape[1]))
        runtime.log(
            f"start {start + 1} of {config.starts}: {len(windows)} windows, "
            f"{frames} of {windows.target.shape[1]} frames"
        )
        identified = identify(
            world,
            first_frames(windows, frames, config.identify.engine),
            dataclasses.replace(config.identify, iterations=min(most, config.identify.iterations)),
            start={"physics": unpacked(world, jnp.asarray(u)), "network": {}},
            progress=progress,
            keep=keep,
            record=lambda row: record({"start": start, "frames": frames} | row),
            stop=stop,
        )
        u = np.array([n.u for n in identified.numbers])
        dead = sum(abs(n.deviation - 1.0) < 1e-9 for n in identified.numbers)  # the prior's alone
        return identified, _End(last[0], u, _relative(judge(u), origin), dead)

    def end_of(start: int, share: float, windows: Windows, most: int, u: np.ndarray) -> _End:
        """The end of the next fit: as stored, or of one that goes on where it was stopped."""
        nonlocal running, failure
        if len(done) < len(stored):
            done.append(stored[len(done)])
            return done[-1]
        try:
            _, end = fitted(start, share, windows, most, u, running)
        except IdentifyError as error:  # predictions grew chaotic on its way, or the data are amiss
            runtime.log(f"start {start + 1} is left out: {error}")
            failure, end = error, _End(None, u, float("inf"), 0)
        running = None
        done.append(end)
        _write(path, config_hash, done, None)
        if end.progress is None:
            return end
        runtime.log(
            f"start {start + 1}, fitted to {'all' if windows is whole else 'some'} windows: "
            f"validation {end.validation:.4f} of the MJCF's own error, {end.dead} dead numbers"
        )
        return end

    most, whole = config.identify.iterations, train.take(rows)
    searched: list[_End] = []
    while not _enough(searched, config):
        start, u = len(searched), begins[len(searched)]
        for share in config.stages:
            end = end_of(start, share, some, config.searching, u)
            u = end.u
            if end.progress is None:
                break
        searched.append(end)
    relative = np.array([end.validation for end in searched])
    final, ends = list[int](), list[_End]()
    for start in np.argsort(relative).tolist():
        if searched[start].progress is None or len(final) == config.finalists:
            continue
        end = end_of(start, 1.0, whole, most, searched[start].u)
        if end.progress is not None:
            final.append(start)
            ends.append(end)
    if not final:
        _write(path, config_hash, [], None)
        raise failure or IdentifyError("no start ended where predictions are sound; try again")
    least = min(end.validation for end in ends)
    alike = [k for k, end in enumerate(ends) if end.validation <= (1.0 + ALIKE) * least]
    first = min(alike, key=lambda k: (ends[k].dead, ends[k].validation))
    best, end = final[first], ends[first]
    # Always from the last iterate on, so that a resumed run ends at the same numbers.
    identified, _ = fitted(best, 1.0, whole, most, end.u, end.progress)
    if identified.reason:
        runtime.log(f"nothing is identified: {identified.reason}")
    return FittedPhysics(identified, rows, best, relative)


def _enough(ends: list[_End], config: PhysicsConfig) -> bool:
    """Whether the starts are through, or the best two of them agree."""
    best = np.sort([end.validation for end in ends])[:2]
    both = len(best) == 2 and bool(np.isfinite(best).all())
    agree = both and bool(best[1] - best[0] <= config.agreement * best[0])
    return agree or len(ends) >= config.starts


def starts_of(world: WorldModel, config: PhysicsConfig) -> np.ndarray:
    """(starts, numbers) where the fits begin: the MJCF's own values, then a spread around them."""
    rng = np.random.default_rng([config.seed, 1])
    u = config.start_spread * rng.normal(size=(config.starts, len(numbers(world))))
    u[0] = 0.0
    return u


def first_frames(windows: Windows, frames: int, engine: str) -> Windows:
    """The windows with their first ``frames`` frames scored; cut to them where no program is
    compiled for a shape (engine c)."""
    return windows.cut(frames) if engine == "c" else windows.shortened(frames)


def _judge(
    world: WorldModel, windows: Windows, config: IdentifyConfig
) -> Callable[[np.ndarray], np.ndarray]:
    """Numbers → (nv,) their error on the windows: over frames, then windows, then episodes."""
    engine = make_engine(world, config.engine, min(config.batch, len(windows)))
    episode, scored = np.asarray(windows.episode), np.asarray(windows.scored)

    def judge(u: np.ndarray) -> np.ndarray:
        error = np.abs(engine.errors(u, np.zeros((len(windows), 0)), windows))
        frames = error.sum(axis=1) / np.maximum(scored.sum(axis=1), 1)[:, None]
        return np.stack([frames[episode == e].mean(axis=0) for e in np.unique(episode)]).mean(0)

    return judge


def _relative(error: np.ndarray, origin: np.ndarray) -> float:
    """The mean over the degrees of freedom that err at all; infinite where it is not finite."""
    ratio = float(np.mean(error[origin > 0] / origin[origin > 0])) if origin.any() else 1.0
    return ratio if np.isfinite(ratio) else float("inf")


def _write(path: Path, config_hash: str, done: list[_End], running: Progress | None) -> None:
    arrays: dict[str, Any] = {"config": config_hash}
    for i, end in enumerate(done):
        arrays |= {f"{i}.u": end.u, f"{i}.validation": end.validation, f"{i}.dead": end.dead}
        if end.progress is not None:
            arrays |= {f"{i}.progress.{k}": v for k, v in vars(end.progress).items()}
    if running is not None:
        arrays |= {f"running.progress.{k}": v for k, v in vars(running).items()}
    write_arrays(path, arrays)


def _read(path: Path, config_hash: str) -> tuple[list[_End], Progress | None]:
    if not path.is_file():
        return [], None
    with np.load(path) as arrays:
        former = "0.u" in arrays and "0.dead" not in arrays  # of an earlier version
        if str(arrays["config"]) != config_hash or former:
            raise InputError(
                f"{path} belongs to other settings or data; give another folder, or delete it"
            )
        done: list[_End] = []
        while f"{len(done)}.u" in arrays:
            i = len(done)
            validation, dead = float(arrays[f"{i}.validation"]), int(arrays[f"{i}.dead"])
            progress = _progress(arrays, str(i)) if f"{i}.progress.u" in arrays else None
            done.append(_End(progress, arrays[f"{i}.u"], validation, dead))
        running = _progress(arrays, "running") if "running.progress.u" in arrays else None
    runtime.log(f"going on after {len(done)} stages in {path.parent}")
    return done, running


def _progress(arrays: Any, prefix: str) -> Progress:
    fields = {f.name: arrays[f"{prefix}.progress.{f.name}"] for f in dataclasses.fields(Progress)}
    fields |= {name: x.item() for name, x in fields.items() if x.ndim == 0}
    return Progress(**fields)
