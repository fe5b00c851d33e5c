"""The table of a real recording: published parameters, fitted ones and MuJoCo's default guess.

Question: by how much does fitting the physics through contact lower the error of prediction on
          episodes that steered nothing?
Command:  python -m experiments.recording_table --recording elbow_toss
          --fits runs/elbow_toss/seed0 runs/elbow_toss/seed1 runs/elbow_toss/seed2
          --out experiments/results/elbow_toss/physics
Runtime:  two to five minutes on 2 cores, mostly three compilations
Expected: one JSON line with the ratios of mean errors at the recording's own horizon and their
          intervals; elbow_toss: every ratio to the sources below 0.87

Each of --fits is an --out folder of fit_recording, one per seed. The folders that this script
leaves (OUT and OUT/seed<N>) serve as well, so a table can be made again from what is committed.
OUT gets table.json (everything), table.md and the figures (generated from it), fitted.xml and
the checkpoint of the seed that was best on *validation*, the other seeds' under seed<N>/.
"""

import dataclasses
import hashlib
import json
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from scipy.special import stdtrit

from experiments.evaluate_recording import BATCH, Fitted, restore_fitted
from experiments.fit_recording import protocol_windows
from experiments.problems import Problem, find_problem
from experiments.recording_figures import draw
from worldmodel import runtime
from worldmodel._mujoco import mujoco
from worldmodel.checkpoint import CheckpointError
from worldmodel.episodes.protocol import errors, paired_ratio, split
from worldmodel.episodes.recordings import Channels, load
from worldmodel.physics import parameters as physical
from worldmodel.physics.oracle import trajectory
from worldmodel.physics.parameters import KINDS
from worldmodel.predict import Windows, episode_errors, make_predictor
from worldmodel.scene import parse_mjcf
from worldmodel.types import Episode

CHANNELS = ("position_m", "rotation_rad", "joint_rad")
REFERENCES = ("default", "sources", "sources_scene")
LONG_FRAMES = 80  # the longer horizon of a toss, as in the published tables
LONG_SECONDS = 1.0  # of a recording without a body that flies
FEW = 20  # episodes below which a percentile bootstrap is too narrow to be shown
INSTANTS = 8  # of the film strip

Predictor = Callable[[Windows], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    recording: str  # elbow_toss, cube_toss, square_drop or double_pendulum
    fits: tuple[Path, ...]  # --out folders of fit_recording, one per seed
    out: Path  # folder for the table, the figures and the checkpoints
    split: str = "test"  # test, validation or train episodes


@dataclasses.dataclass(frozen=True)
class Fit:
    """One seed's fit."""

    seed: int
    validation: float  # error on the validation windows, relative to the sources' parameters
    folder: Path
    fitted: Fitted


def predict_in_c(model: mujoco.MjModel, substeps: int, windows: Windows) -> np.ndarray:
    """Open-loop prediction in C MuJoCo, every window from a fresh ``MjData``.

    Args:
      model: compiled; its timestep is that of a substep.
      substeps: physics steps per frame; a frame's controls are held over them.
      windows: whatever lies past an episode's end (not ``scored``) is predicted too.

    Returns:
      (windows, horizon, nq).

    Raises:
      ValueError: the simulation of a window diverged. Without the switch below MuJoCo would
        start it again from its initial pose and go on as if nothing had happened.
    """
    before = model.opt.disableflags
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
    try:
        predicted = np.stack(
            [
                trajectory(model, qpos, qvel, ctrl, substeps)[0]
                for qpos, qvel, ctrl in zip(
                    np.asarray(windows.qpos),
                    np.asarray(windows.qvel),
                    np.asarray(windows.ctrl),
                    strict=True,
                )
            ]
        )
    finally:
        model.opt.disableflags = before
    _refuse_nonfinite(predicted, windows, "C MuJoCo")
    return predicted


def compile_in_c(mjcf: str | Path, timestep: float) -> mujoco.MjModel:
    """An MJCF file or text as plain C MuJoCo compiles it, with that timestep [s]."""
    spec = parse_mjcf(mjcf)
    spec.option.timestep = timestep
    return spec.compile()


def read_fits(folders: Sequence[Path], recording: str) -> list[Fit]:
    """The fits of one recording, by seed.

    Raises:
      CheckpointError: a folder without a fit, of another recording, of simulated data, or two
        that differ in more than their seeds.
    """
    fits = []
    for folder in folders:
        fitted = restore_fitted(folder / "checkpoint")
        meta = fitted.metadata
        if meta["recording"] != recording or meta.get("simulated"):
            what = f"{'a simulated ' if meta.get('simulated') else ''}{meta['recording']}"
            raise CheckpointError(f"{folder} was fitted to {what}, not to the real {recording}")
        validation = float(meta["result"]["validation"])
        fits.append(Fit(meta["settings"]["config"]["seed"], validation, folder, fitted))
    fits.sort(key=lambda f: f.seed)
    if len({f.seed for f in fits}) < len(fits):
        raise CheckpointError(f"--fits: a seed twice in {[f.seed for f in fits]}; one fit each")
    for f in fits[1:]:
        if _but_seed(f.fitted.metadata) != _but_seed(fits[0].fitted.metadata):
            raise CheckpointError(
                f"{f.folder} and {fits[0].folder} differ in more than their seeds (scene, free "
                "parameters, config or data); fit both with the same command"
            )
    return fits


def make_models(problem: Problem, fits: Sequence[Fit], batch: int) -> dict[str, Predictor]:
    """Every row of the table as a predictor: ``default``, ``sources``, ``sources_scene``,
    ``fitted<seed>``, ``exported<seed>``; those in MJX compile once for ``batch`` windows."""
    substeps, hz = problem.source_substeps, problem.recording.control_hz
    scene, free = fits[0].fitted.scene, fits[0].fitted.free
    in_mjx = make_predictor(scene, batch)

    def c(mjcf: str | Path, substeps: int) -> Predictor:
        model = compile_in_c(mjcf, 1.0 / (hz * substeps))
        return lambda windows: predict_in_c(model, substeps, windows)

    def mjx(parameters: physical.Parameters) -> Predictor:
        model = physical.apply(scene, scene.mjx_model(), free, parameters)

        def run(windows: Windows) -> np.ndarray:
            predicted = in_mjx(model, windows)
            _refuse_nonfinite(predicted, windows, "MJX")
            return predicted

        return run

    models = {"default": c(problem.default_mjcf, substeps), "sources": c(problem.mjcf, substeps)}
    models["sources_scene"] = mjx(physical.zeros(free))
    for f in fits:
        models[f"fitted{f.seed}"] = mjx(f.fitted.parameters)
    for f in fits:
        text = physical.to_mjcf(scene, free, f.fitted.parameters)
        models[f"exported{f.seed}"] = c(text, scene.substeps)
    return models


def compare(error: np.ndarray, reference: np.ndarray) -> dict[str, Any]:
    """Mean error of the fits over that of a reference, paired over episodes.

    Args:
      error: (seeds, episodes) of the fits; reference: (episodes,).

    Returns:
      ``ratio`` of the means (the fits' averaged over seeds first); ``bootstrap`` and ``t``, its
      95 % intervals over episodes; ``seeds``, the ratio of each seed.
    """
    mean = error.mean(axis=0)
    by_bootstrap = paired_ratio(mean, reference)
    _, low, high = ratio_t_interval(mean, reference)
    return {
        "ratio": by_bootstrap.ratio,
        "bootstrap": [by_bootstrap.low, by_bootstrap.high],
        "t": [float(low), float(high)],
        "seeds": [float(e.mean() / reference.mean()) for e in error],
    }


def ratio_t_interval(
    error: np.ndarray, reference: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ratio of two means over the first axis, with its 95 % t-interval from the residuals
    error − ratio · reference (the delta method for paired samples)."""
    n, ratio = len(error), error.mean(axis=0) / reference.mean(axis=0)
    residual = (error - ratio * reference).std(axis=0, ddof=1) / np.sqrt(n)
    half = float(stdtrit(n - 1, 0.975)) * residual / reference.mean(axis=0)
    return ratio, ratio - half, ratio + half


def horizon_table(
    predicted: dict[str, np.ndarray], windows: Windows, channels: Channels, seeds: Sequence[int]
) -> dict[str, Any]:
    """Rows and comparisons at one horizon, from every model's predictions."""
    error = {m: episode_errors(p, windows, channels) for m, p in predicted.items()}
    rows = [{"model": m} | _channels(e.mean(axis=0)) for m, e in error.items()]
    fitted = np.stack([error[f"fitted{s}"] for s in seeds])
    comparisons = {
        reference: {
            name: compare(fitted[:, :, i], error[reference][:, i])
            for i, name in enumerate(CHANNELS)
            if np.isfinite(fitted[:, :, i]).all()
        }
        for reference in REFERENCES
    }
    counts = {"episodes": fitted.shape[1], "windows": len(windows)}
    return counts | {"rows": rows, "comparisons": comparisons}


def error_curves(
    predicted: dict[str, np.ndarray], windows: Windows, channels: Channels, seeds: Sequence[int]
) -> dict[str, Any]:
    """Error of each frame ahead, with 95 % t-bands over episodes: channel → model → mean, low,
    high, each (horizon,); and ``ratio``, of the fits to the sources, with paired bands."""
    episode = np.asarray(windows.episode)
    wanted = ("default", "sources", *(f"fitted{s}" for s in seeds))
    frames: dict[str, dict[str, np.ndarray]] = {name: {} for name in CHANNELS}
    for model in wanted:
        for name, value in errors(predicted[model], np.asarray(windows.target), channels).items():
            if value is not None:
                by_episode = [value[episode == e].mean(axis=0) for e in np.unique(episode)]
                frames[name][model] = np.stack(by_episode)
    curves = {}
    for name, models in frames.items():
        if not models:
            continue
        fitted = np.mean([models.pop(f"fitted{s}") for s in seeds], axis=0)
        models["fitted"] = fitted
        curves[name] = {m: _band(*_mean_interval(e)) for m, e in models.items()}
        curves[name]["ratio"] = _band(*ratio_t_interval(fitted, models["sources"]))
    return curves


def film(
    predicted: dict[str, np.ndarray],
    windows: Windows,
    episodes: Sequence[Episode],
    channels: Channels,
    best: int,
    hz: float,
) -> dict[str, Any]:
    """Poses for the film strip of the window with the median error.

    The error of a window is the mean over its channels of the best fit's, each in units of the
    sources' mean; of an even number the lower median is taken.
    """
    alone = dataclasses.replace(windows, episode=np.arange(len(windows)))
    error = episode_errors(predicted[f"fitted{best}"], alone, channels)
    unit = episode_errors(predicted["sources"], alone, channels).mean(axis=0)
    order = np.argsort(np.nanmean(error / unit, axis=1), kind="stable")
    row = int(order[(len(order) - 1) // 2])
    length = int(np.asarray(windows.scored)[row].sum())
    frames = np.rint(np.linspace(0, length, INSTANTS)).astype(int)
    start = np.asarray(windows.qpos)[row][None]

    def poses(after: np.ndarray) -> list[list[float]]:
        return _rounded(np.concatenate([start, after])[frames])

    return {
        "episode": episodes[int(np.asarray(windows.episode)[row])].id,
        "windows": len(windows),
        "seconds": _rounded(frames / hz),
        "real": poses(np.asarray(windows.target)[row]),
        "fitted": poses(predicted[f"fitted{best}"][row]),
        "sources": poses(predicted["sources"][row]),
        "error": _channels(error[row]),
    }


def parameter_rows(fits: Sequence[Fit]) -> list[dict[str, Any]]:
    """Every free number: its place, u per seed (0: the sources' value), and values [SI].

    Where a number is not one of the model's own (an inertia's second moments and the turns of
    axes), the value is the factor or the angle [rad] by which it moved.
    """
    first = fits[0].fitted
    zero = physical.zeros(first.free)
    values = [
        physical.values(first.scene, first.free, u)
        for u in (zero, *(f.fitted.parameters for f in fits))
    ]
    rows = []
    for free in first.free:
        kind, scale = KINDS[free.kind], np.broadcast_to(free.scale, len(KINDS[free.kind].width))
        for i in np.flatnonzero(scale):
            u = [float(f.fitted.parameters[free.name][i]) for f in fits]
            if free.kind in ("inertia", "joint_axis", "gravity_tilt", "geom_rotation"):
                moved = scale[i] * kind.width[i] * np.array([0.0, *u])
                is_moment = free.kind == "inertia" and i < 3
                value = (np.exp(moved) if is_moment else moved).tolist()
            else:
                value = [float(v[free.name][i]) for v in values]
            row = {"element": free.element, "kind": free.kind, "index": int(i), "u": u}
            rows.append(row | {"source": value[0], "values": value[1:]})
    return rows


def measure(args: Args, problem: Problem, path: Path, fits: Sequence[Fit]) -> dict[str, Any]:
    """The whole table: predicts with every model at every horizon."""
    recording, hz = problem.recording, problem.recording.control_hz
    episodes = [e for e in load(path, recording) if split(e.id) == args.split]
    best = min(fits, key=lambda f: f.validation)
    seeds = [f.seed for f in fits]
    longer = LONG_FRAMES if recording.channels.position else round(LONG_SECONDS * hz)
    table: dict[str, Any] = {"horizons": []}
    for horizon in (recording.horizon, longer, None):
        if horizon is None and not recording.channels.position:
            continue  # an excited arm has no whole toss: minutes ahead nothing is predictable
        if horizon is not None and all(len(e.qpos) <= horizon + recording.first for e in episodes):
            runtime.log(f"no episode is long enough for {horizon} frames; left out")
            continue
        windows, skipped = protocol_windows(episodes, recording, horizon)
        models = make_models(problem, fits, min(BATCH, len(windows)))
        predicted = {}
        for name, model in models.items():
            runtime.log(f"{horizon or 'whole'}: {name}, {len(windows)} windows")
            predicted[name] = model(windows)
        measured = horizon_table(predicted, windows, recording.channels, seeds)
        head = {"frames": horizon, "seconds": None if horizon is None else horizon / hz}
        table["horizons"].append(head | {"skipped": skipped} | measured)
        if horizon == longer:
            table["curves"] = error_curves(predicted, windows, recording.channels, seeds)
        # The last horizon measured is the longest: that film is kept.
        table["film"] = film(predicted, windows, episodes, recording.channels, best.seed, hz)
    return {
        "recording": recording.name,
        "split": args.split,
        "control_hz": hz,
        "command": command(args),
        "data_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "fitted_on_sha256": fits[0].fitted.metadata["settings"]["data"],
        "substeps": {"sources": problem.source_substeps, "fitted": best.fitted.scene.substeps},
        "fits": [{"seed": f.seed, "validation": f.validation} for f in fits],
        "best_seed": best.seed,
        "provenance": runtime.provenance(),
        "parameters": parameter_rows(fits),
    } | table


def command(args: Args) -> str:
    """The command line; of a folder outside the working directory only the last two names."""

    def shown(path: Path) -> str:
        path = Path(os.path.relpath(path)) if path.is_absolute() else path
        return str(Path(*path.parts[-2:]) if ".." in path.parts else path)

    words = ["--recording", args.recording, "--fits", *(shown(f) for f in args.fits)]
    words += ["--out", shown(args.out)] + (["--split", args.split] if args.split != "test" else [])
    return "python -m experiments.recording_table " + shlex.join(words)
