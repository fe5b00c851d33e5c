"""Statistics of predictions: ratios with intervals, curves, a film's poses, parameter rows.

Pure functions from predictions (by model name: ``default``, ``sources``, ``sources_scene``,
``fitted<seed>``, ``exported<seed>``) to what JSON can hold.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import stdtrit

from experiments.recordings.comparison import paired_ratio
from worldmodel.episodes.errors import GROUPS, Channels, episode_errors, errors
from worldmodel.episodes.windows import Windows
from worldmodel.physics import parameters as physical
from worldmodel.physics.parameters import KINDS, Parameters
from worldmodel.scene import FreeParameter, Scene
from worldmodel.types import Episode

REFERENCES = ("default", "sources", "sources_scene")
FEW = 20  # episodes below which a percentile bootstrap is too narrow to be shown
INSTANTS = 8  # of the film strip
TITLES = {"position_m": "position", "rotation_rad": "rotation", "joint_rad": "joints"}


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
    predicted: Mapping[str, np.ndarray], windows: Windows, channels: Channels, seeds: Sequence[int]
) -> dict[str, Any]:
    """Rows and comparisons at one horizon, from every model's predictions."""
    error = {m: episode_errors(p, windows, channels) for m, p in predicted.items()}
    rows = [{"model": m} | named(e.mean(axis=0)) for m, e in error.items()]
    fitted = np.stack([error[f"fitted{s}"] for s in seeds])
    comparisons = {
        reference: {
            name: compare(fitted[:, :, i], error[reference][:, i])
            for i, name in enumerate(GROUPS)
            if np.isfinite(fitted[:, :, i]).all()
        }
        for reference in REFERENCES
    }
    counts = {"episodes": fitted.shape[1], "windows": len(windows)}
    return counts | {"rows": rows, "comparisons": comparisons}


def error_curves(
    predicted: Mapping[str, np.ndarray], windows: Windows, channels: Channels, seeds: Sequence[int]
) -> dict[str, Any]:
    """Error of each frame ahead, with 95 % t-bands over episodes: channel → model → mean, low,
    high, each (horizon,); and ``ratio``, of the fits to the sources, with paired bands."""
    episode = np.asarray(windows.episode)
    wanted = ("default", "sources", *(f"fitted{s}" for s in seeds))
    frames: dict[str, dict[str, np.ndarray]] = {name: {} for name in GROUPS}
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
        curves[name] = {m: _band(*mean_interval(e)) for m, e in models.items()}
        curves[name]["ratio"] = _band(*ratio_t_interval(fitted, models["sources"]))
    return curves


def film(
    predicted: Mapping[str, np.ndarray],
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
    # Denser at first: later on chaos has parted every prediction from the recording.
    frames = np.rint(length * np.linspace(0, 1, INSTANTS) ** 1.5).astype(int)
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
        "error": named(error[row]),
    }


def parameter_rows(
    scene: Scene, free: Sequence[FreeParameter], fitted: Sequence[Parameters]
) -> list[dict[str, Any]]:
    """Every free number: its place, u per fit (0: the sources' value), and values [SI].

    Where a number is not one of the model's own (an inertia's second moments and the turns of
    axes), the value is the factor or the angle [rad] by which it moved.
    """
    free = tuple(free)
    values = [physical.values(scene, free, u) for u in (physical.zeros(free), *fitted)]
    rows = []
    for f in free:
        kind, scale = KINDS[f.kind], np.broadcast_to(f.scale, len(KINDS[f.kind].width))
        for i in np.flatnonzero(scale):
            u = [float(parameters[f.name][i]) for parameters in fitted]
            if f.kind in ("inertia", "joint_axis", "gravity_tilt", "geom_rotation"):
                moved = scale[i] * kind.width[i] * np.array([0.0, *u])
                is_moment = f.kind == "inertia" and i < 3
                value = (np.exp(moved) if is_moment else moved).tolist()
            else:
                value = [float(v[f.name][i]) for v in values]
            row = {"element": f.element, "kind": f.kind, "index": int(i), "u": u}
            rows.append(row | {"source": value[0], "values": value[1:]})
    return rows


def markdown(table: dict[str, Any]) -> str:
    """The table for people, from table.json's content alone."""
    lines = [
        *heading(table, "prediction errors"),
        "Open-loop predictions, averaged over frames, then windows, then episodes. *Default*: the "
        "measured shape, everything else MuJoCo's default. *Sources*: the recording's published "
        f"parameters, both in C MuJoCo, {table['substeps']['sources']} steps per frame. *Our "
        f"scene*: the same parameters in MJX, {table['substeps']['fitted']} steps per frame, "
        "where the fits start. *Exported*: a fit written as MJCF, compiled and run by C MuJoCo.",
    ]
    for horizon in table["horizons"]:
        has = channels_of(horizon)
        lines += ["", *horizon_heading(horizon), *counts_and_head(horizon)]
        for row in horizon["rows"]:
            shown = " | ".join(error_text(c, row[c]) for c in has)
            lines.append(f"| {_model(row['model'])} | {shown} |")
        few = horizon["episodes"] < FEW
        kind = "t-interval (few episodes)" if few else "bootstrap"
        lines += [
            "",
            f"Ratio of mean errors, fitted (mean of {len(table['fits'])} seed(s)) over the "
            f"reference, with its 95 % interval, paired over episodes ({kind}), and the seeds' "
            "least and greatest:",
            "",
            *table_head("fitted over", has),
        ]
        for reference, compared in horizon["comparisons"].items():
            shown = " | ".join(ratio_text(compared[c], few) for c in has)
            lines.append(f"| {_model(reference)} | {shown} |")
    return "\n".join(lines) + "\n"


def headline(table: dict[str, Any], out: Path) -> dict[str, Any]:
    """The result's one line: ratios and intervals at the recording's own horizon."""
    own = table["horizons"][0]
    kind = "t" if own["episodes"] < FEW else "bootstrap"
    ratios = {
        f"over_{reference}": {
            c: [round(x, 4) for x in (compared["ratio"], *compared[kind])]
            for c, compared in own["comparisons"][reference].items()
        }
        for reference in ("sources", "default")
    }
    kept = {"recording": table["recording"], "split": table["split"], "frames": own["frames"]}
    return kept | {"episodes": own["episodes"], "interval": kind} | ratios | {"out": str(out)}


def heading(table: dict[str, Any], what: str, data: str = "") -> list[str]:
    """The first lines of a page: title, command, provenance; ``data`` names more of the data."""
    about = table["provenance"]
    return [
        f"# {table['recording']}: {what} on the {table['split']} episodes",
        "",
        f"`{table['command']}`",
        "",
        f"Commit {about['commit']}, {about['date']}, {about['cpu']} ({about['cores']} cores), "
        + ", ".join(f"{k} {v}" for k, v in about["versions"].items())
        + f". Recording: sha256 {table['data_sha256'][:16]}…{data}. Generated from table.json.",
        "",
    ]


def horizon_heading(horizon: dict[str, Any]) -> list[str]:
    """A horizon's title and an empty line."""
    if horizon["frames"] is None:
        return ["## Whole episodes from their first frame", ""]
    return [f"## {horizon['frames']} frames ({horizon['seconds']:.3g} s) ahead", ""]


def counts_and_head(horizon: dict[str, Any]) -> list[str]:
    """How much was measured at a horizon, and the head of its table of errors."""
    counts = f"{horizon['episodes']} episodes, {horizon['windows']} windows, "
    return [
        f"{counts}{horizon['skipped']} skipped.",
        "",
        *table_head("model", channels_of(horizon)),
    ]


def channels_of(horizon: dict[str, Any]) -> list[str]:
    """The channels that the scene has."""
    return [c for c in TITLES if horizon["rows"][0][c] is not None]


def table_head(first: str, channels: Sequence[str]) -> list[str]:
    """The head of a table with a column per channel."""
    titles = " | ".join(TITLES[c] for c in channels)
    return [f"| {first} | {titles} |", "|---|" + "---|" * len(channels)]


def _model(name: str) -> str:
    plain = {"default": "default", "sources": "sources", "sources_scene": "sources, our scene"}
    if name in plain:
        return plain[name]
    if name.startswith("exported"):
        return f"fitted, exported to C, seed {name.removeprefix('exported')}"
    return f"fitted, seed {name.removeprefix('fitted')}"


def error_text(channel: str, value: float) -> str:
    """A mean error in the units of its channel."""
    if channel == "position_m":
        return f"{1e3 * value:.3g} mm"
    return f"{np.degrees(value):.3g}° ({value:.3g} rad)"


def ratio_text(compared: dict[str, Any], few: bool, *, seeds: bool = True) -> str:
    """A ratio of ``compare`` with its interval, and the seeds' least and greatest."""
    low, high = compared["t" if few else "bootstrap"]
    spread = f"; {min(compared['seeds']):.3f}–{max(compared['seeds']):.3f}" if seeds else ""
    return f"**{compared['ratio']:.3f}** [{low:.3f}, {high:.3f}]{spread}"


def mean_interval(error: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over the first axis with its 95 % t-interval; NaN bounds of a single row."""
    n, mean = len(error), error.mean(axis=0)
    if n < 2:
        return mean, np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    half = float(stdtrit(n - 1, 0.975)) * error.std(axis=0, ddof=1) / np.sqrt(n)
    return mean, mean - half, mean + half


def _band(mean: np.ndarray, low: np.ndarray, high: np.ndarray) -> dict[str, list[float]]:
    return {"mean": _rounded(mean), "low": _rounded(low), "high": _rounded(high)}


def named(error: Iterable[float]) -> dict[str, float | None]:
    """Errors by channel; None where the scene has no such channel."""
    values = (float(e) if np.isfinite(e) else None for e in error)
    return dict(zip(GROUPS, values, strict=True))


def _rounded(values: np.ndarray) -> Any:
    """As nested lists, with digits enough for a figure."""
    return np.round(np.asarray(values, float), 7).tolist()
