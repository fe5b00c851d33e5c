"""Statistics of a learned half: errors, paired ratios, where in the toss the rest lies.

Pure functions from predictions, by model and by seed of the physics, to what JSON can hold.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from experiments.recordings.physics_statistics import (
    FEW,
    compare,
    mean_interval,
    named,
    ratio_t_interval,
)
from worldmodel import runtime
from worldmodel.episodes.errors import GROUPS, Channels, episode_errors, errors
from worldmodel.episodes.windows import Windows
from worldmodel.errors import InputError

SHOWN = ("physics", "hybrid", "latent", "dealt")  # models in the curves over the horizon
BIN = 16  # frames of a toss per bin of the windows' starts
BINS = 8  # the last one takes all later starts: few tosses last that long
TOUCHING = 0.005  # [m] height of the lowest corner up to which a body counts as touching

BySeed = Mapping[int, np.ndarray]  # of the same model: one array per seed of the physics


def deal(count: int, seed: int) -> np.ndarray:
    """(count,) whose correction each window gets: one cycle, so none keeps its own.

    Raises:
      InputError: fewer than two windows.
    """
    if count < 2:
        raise InputError(f"{count} window: corrections can only be dealt between at least two")
    order = np.random.default_rng(seed).permutation(count)
    source = np.empty(count, int)
    source[order] = np.roll(order, 1)
    return source


def diverged(predicted: np.ndarray, windows: Windows) -> np.ndarray:
    """(windows,) bool; whether a scored frame of (windows, horizon, nq) is not finite."""
    finite = np.isfinite(predicted).all(axis=2) | ~np.asarray(windows.scored)
    return np.logical_not(finite.all(axis=1))


def horizon_block(
    predicted: Mapping[str, BySeed], windows: Windows, channels: Channels
) -> dict[str, Any]:
    """Rows and comparisons at one horizon.

    Args:
      predicted: model → seed → (windows, horizon, nq); ``physics`` and ``hybrid`` among them.

    Returns:
      ``episodes``, ``windows``; ``rows``, the errors' means over seeds and episodes, null with a
      ``reason`` where a prediction is not finite; ``comparisons``: model → reference → channel →
      ``compare``, over the seeds that both have.
    """
    error: dict[str, dict[int, np.ndarray]] = {}
    rows = []
    for model, by_seed in predicted.items():
        bad = {s: int(n) for s, p in by_seed.items() if (n := diverged(p, windows).sum())}
        row: dict[str, Any] = {"model": model, "seeds": sorted(by_seed), "reason": None}
        if bad:
            listed = ", ".join(f"seed {s}: {n}" for s, n in sorted(bad.items()))
            row["reason"] = f"windows of {len(windows)} that are not finite: {listed}"
            rows.append(row | named(np.full(3, np.nan)))
            continue
        error[model] = {s: episode_errors(p, windows, channels) for s, p in by_seed.items()}
        means = {s: e.mean(axis=0) for s, e in error[model].items()}
        row |= named(np.mean(list(means.values()), axis=0))
        rows.append(row | {"by_seed": {str(s): named(m) for s, m in sorted(means.items())}})
    comparisons: dict[str, dict[str, Any]] = {}
    for model in error:
        for reference in ("physics", "hybrid"):
            if model not in ("physics", reference) and reference in error:
                compared = against(error[model], error[reference])
                comparisons.setdefault(model, {})[reference] = compared
    episodes = len(np.unique(np.asarray(windows.episode)))
    counts = {"episodes": episodes, "windows": len(windows)}
    return counts | {"rows": rows, "comparisons": comparisons}


def against(error: BySeed, reference: BySeed) -> dict[str, Any]:
    """Mean error over a reference's, both averaged over the seeds they share, paired over
    episodes: channel → ``compare``, whose ``seeds`` are the ratios seed by seed.

    Args:
      error, reference: seed → (episodes, 3).

    Raises:
      InputError: no seed in common.
    """
    shared = sorted(set(error) & set(reference))
    if not shared:
        raise InputError(f"no fit seed in common: {sorted(error)} and {sorted(reference)}")
    ours = np.stack([error[s] for s in shared])
    theirs = np.stack([reference[s] for s in shared])
    compared = {}
    for i, name in enumerate(GROUPS):
        if np.isfinite(ours[..., i]).all():
            ratios = ours[..., i].mean(axis=1) / theirs[..., i].mean(axis=1)
            seeds = {"seeds": [float(r) for r in ratios]}
            compared[name] = compare(ours[..., i], theirs[..., i].mean(axis=0)) | seeds
    return compared


def curves(
    predicted: Mapping[str, BySeed], windows: Windows, channels: Channels
) -> dict[str, dict[str, Any]]:
    """Error of each frame ahead, with 95 % t-bands over episodes: channel → model → mean, low,
    high, each (horizon,); ``ratio``: of the hybrid to the physics, with paired bands.

    A model with a prediction that is not finite is left out. Every frame must be scored.
    """
    episode = np.asarray(windows.episode)
    if not np.asarray(windows.scored).all():
        raise ValueError("curves over the horizon need windows that end within their episodes")
    shown: dict[str, dict[str, Any]] = {}
    for name in GROUPS:
        frames = {}
        for model in SHOWN:
            by_seed = predicted.get(model, {})
            if not by_seed or any(diverged(p, windows).any() for p in by_seed.values()):
                continue
            seeds = [
                errors(p, np.asarray(windows.target), channels)[name] for p in by_seed.values()
            ]
            measured = [e for e in seeds if e is not None]
            if measured:
                mean = np.mean(measured, axis=0)
                frames[model] = np.stack([mean[episode == e].mean(0) for e in np.unique(episode)])
        if frames:
            shown[name] = {m: _band(*mean_interval(e)) for m, e in frames.items()}
            shown[name]["ratio"] = _band(*ratio_t_interval(frames["hybrid"], frames["physics"]))
    return shown


def remaining(
    predicted: Mapping[str, BySeed],
    windows: Windows,
    channels: Channels,
    starts: np.ndarray,
    lowest: np.ndarray | None,
) -> dict[str, list[dict[str, Any]]]:
    """The remaining error, by where in the toss a window starts and by contact there.

    Args:
      predicted: ``physics`` and ``hybrid`` by seed, (windows, horizon, nq).
      starts: (windows,) frame at which each window starts.
      lowest: (windows,) height of the lowest corner then [m]; None where no body can fly.

    Returns:
      ``start`` and ``contact``: groups with ``label``, ``windows``, ``episodes``, the models'
      ``mean``, ``low`` and ``high`` (null with fewer than two episodes) and ``ratio``, the
      hybrid's to the physics.
    """
    bins = np.minimum(np.asarray(starts) // BIN, BINS - 1)
    labels = [f"{BIN * b}–{BIN * b + BIN - 1}" for b in range(BINS - 1)] + [f"{BIN * BINS - BIN}–"]
    split = {"start": [(labels[b], bins == b) for b in np.unique(bins)], "contact": []}
    if lowest is not None:
        touching = np.asarray(lowest) <= TOUCHING
        split["contact"] = [("flying", ~touching), ("touching", touching)]
    return {
        name: [_group(predicted, windows, channels, *part) for part in parts if part[1].any()]
        for name, parts in split.items()
    }


def _group(
    predicted: Mapping[str, BySeed],
    windows: Windows,
    channels: Channels,
    label: str,
    mask: np.ndarray,
) -> dict[str, Any]:
    part = windows.take(np.flatnonzero(mask))
    error = {
        m: {s: episode_errors(p[mask], part, channels) for s, p in predicted[m].items()}
        for m in ("physics", "hybrid")
    }
    episodes = len(np.unique(np.asarray(part.episode)))
    group: dict[str, Any] = {"label": label, "windows": len(part), "episodes": episodes}
    for model, by_seed in error.items():
        mean = np.mean(list(by_seed.values()), axis=0)
        group[model] = {}
        for i, name in enumerate(GROUPS):
            if np.isfinite(mean[:, i]).all():
                group[model][name] = _band(*mean_interval(mean[:, i]))
    enough = episodes >= 2
    return group | {"ratio": against(error["hybrid"], error["physics"]) if enough else None}


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The progress of a fit: rows {"stage", "step", "validation", …}, those with a validation.

    Of a step that a resumed run wrote again the last row counts; a validation that is not finite
    becomes null. A line that a kill cut short is left out, and logged.

    Raises:
      InputError: no such file, or nothing of a fit in it.
    """
    if not path.is_file():
        raise InputError(f"no {path.name} in {path.parent}; give the whole --out folder of a fit")
    rows: dict[tuple[str, int], dict[str, Any]] = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        try:
            row = json.loads(line)
            rows[str(row["stage"]), int(row["step"])] = row
        except (ValueError, KeyError, TypeError):
            runtime.log(f"{path}, line {number} is no row of a fit; left out")
    kept = []
    for (stage, step), row in sorted(rows.items(), key=lambda item: item[0]):
        if isinstance(value := row.get("validation"), int | float):
            shown = float(value) if math.isfinite(value) else None
            kept.append({"stage": stage, "step": step, "validation": shown})
    if not kept:
        raise InputError(f"{path} has no validated step; is it the metrics.jsonl of fit_hybrid?")
    return kept


def headline(table: dict[str, Any], out: Path) -> dict[str, Any]:
    """The result's one line: hybrid and dealt over physics, at the own horizon and whole."""
    own = table["horizons"][0]
    kind = "t" if own["episodes"] < FEW else "bootstrap"

    def over_physics(horizon: dict[str, Any], model: str) -> dict[str, list[float]] | None:
        compared = horizon["comparisons"].get(model, {}).get("physics")
        if compared is None:
            return None
        return {c: [round(x, 4) for x in (f["ratio"], *f[kind])] for c, f in compared.items()}

    line = {"recording": table["recording"], "split": table["split"], "frames": own["frames"]}
    line |= {"episodes": own["episodes"], "seeds": table["seeds"], "interval": kind}
    for model in ("hybrid", "dealt", "latent"):
        if any(row["model"] == model for row in own["rows"]):
            line[f"{model}_over_physics"] = over_physics(own, model)
    if len(table["horizons"]) > 1:
        last = table["horizons"][-1]
        line["longest"] = {"frames": last["frames"], "hybrid": over_physics(last, "hybrid")}
    return line | {"best_seed": table["best_seed"], "out": str(out)}


def _band(mean: np.ndarray, low: np.ndarray, high: np.ndarray) -> dict[str, Any]:
    return {"mean": _plain(mean), "low": _plain(low), "high": _plain(high)}


def _plain(values: np.ndarray) -> Any:
    """Numbers or nested lists with digits enough for a figure; None where not finite."""
    if np.ndim(values):
        return [_plain(v) for v in values]
    return round(float(values), 7) if np.isfinite(values) else None
