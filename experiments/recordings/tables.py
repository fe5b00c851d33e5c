"""What the tables of the recordings share: reading fits, horizons, and writing the result."""

import dataclasses
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.recordings.figures import CHANNELS, Style, curves_figure
from experiments.recordings.fitted import Fitted, restore_fitted
from experiments.recordings.problems import Problem
from experiments.recordings.source import Recording
from experiments.recordings.statistics import BySeed, curves, diverged, rows_at
from experiments.records import Row, write, write_figure
from worldmodel import runtime
from worldmodel.episodes.errors import Channels
from worldmodel.episodes.windows import WindowGrid, Windows
from worldmodel.errors import InputError
from worldmodel.runtime.checkpoint import CheckpointError
from worldmodel.runtime.files import new_folder
from worldmodel.types import Episode

LONG_FRAMES = 80  # the longer horizon of a toss, as in the published tables
LONG_SECONDS = 1.0  # of a recording without a body that flies
FEW = 20  # episodes below which a percentile bootstrap is too narrow to be shown


@dataclasses.dataclass(frozen=True)
class Fit:
    """One seed's fit."""

    seed: int
    validation: float  # error on the validation windows, relative to the sources' parameters
    folder: Path
    fitted: Fitted


def restored(folder: Path, recording: str) -> Fitted:
    """The fit in a folder, of the real recording; else CheckpointError."""
    fitted = restore_fitted(folder / "checkpoint")
    of, simulated = fitted.metadata["recording"], fitted.metadata.get("simulated")
    if of != recording or simulated:
        what = f"{'a simulated ' if simulated else ''}{of}"
        raise CheckpointError(f"{folder} was fitted to {what}, not to the real {recording}")
    return fitted


def read_fits(folders: Sequence[Path], recording: str) -> list[Fit]:
    """The physics fits of one recording, by seed.

    Raises:
      CheckpointError: a folder without a fit, of another recording, of simulated data, or two
        that differ in more than their seeds.
    """
    fits = []
    for folder in folders:
        fitted = restored(folder, recording)
        meta = fitted.metadata
        if fitted.world.learns:
            raise CheckpointError(f"{folder} has a network; give the folder of fit_physics")
        validation = float(meta["result"]["validation"])
        fits.append(Fit(meta["settings"]["config"]["seed"], validation, folder, fitted))
    fits.sort(key=lambda f: f.seed)
    if len({f.seed for f in fits}) < len(fits):
        raise CheckpointError(f"a seed twice in {[f.seed for f in fits]}; give one fit each")
    refuse_different(fits, _but_seed)
    return fits


def _but_seed(metadata: dict[str, Any]) -> dict[str, Any]:
    settings = dict(metadata["settings"])
    settings["config"] = {k: v for k, v in settings["config"].items() if k != "seed"}
    return settings | {k: metadata[k] for k in ("mjcf", "free", "substeps", "control_hz")}


def refuse_different(fits: Sequence[Fit], settings: Callable[[dict[str, Any]], Any]) -> None:
    """Raises CheckpointError where the settings of two fits, but for their seeds, differ."""
    for f in fits[1:]:
        if settings(f.fitted.metadata) != settings(fits[0].fitted.metadata):
            raise CheckpointError(
                f"{f.folder} and {fits[0].folder} differ in more than their seeds; fit both with "
                "the same command"
            )


def keep_checkpoints(fits: Sequence[Fit], out: Path) -> Fit:
    """Copies the checkpoint that is best on *validation* to ``out``, others to ``out/seed<N>``.

    Returns:
      The best.

    Raises:
      InputError: a fit stands in ``out``.
    """
    for f in fits:
        if out.resolve() in (f.folder.resolve(), *f.folder.resolve().parents):
            raise InputError(f"{f.folder} would be overwritten; give an --out apart from the fits")
    best = min(fits, key=lambda f: f.validation)
    for former in out.glob("seed*"):
        shutil.rmtree(former)
    for f in fits:
        target = out if f is best else out / f"seed{f.seed}"
        with new_folder(target / "checkpoint", replace=True) as folder:
            shutil.copytree(f.folder / "checkpoint", folder, dirs_exist_ok=True)
    return best


def grids(problem: Problem, channels: Channels, episodes: Sequence[Episode]) -> list[WindowGrid]:
    """The recording's own horizon, a longer one where an episode lasts so long, and whole tosses:
    an arm that is driven has none, since minutes ahead nothing is predictable."""
    flies = bool(channels.position)
    longer = LONG_FRAMES if flies else round(LONG_SECONDS * problem.control_hz)
    horizons = [problem.windows.horizon]
    if any(len(e.qpos) > longer + problem.windows.first for e in episodes):
        horizons.append(longer)
    else:
        runtime.log(f"no episode is long enough for {longer} frames; left out")
    horizons += [None] if flies else []
    return [dataclasses.replace(problem.windows, horizon=h) for h in horizons]


def refuse_diverged(predicted: np.ndarray, windows: Windows, who: str, ids: Sequence[Any]) -> None:
    """Raises InputError, naming model and episodes, where a scored frame is not finite."""
    bad = diverged(predicted, windows)
    if bad.any():
        named = sorted({str(ids[e]) for e in np.asarray(windows.episode)[bad]})
        raise InputError(
            f"{who}: {int(bad.sum())} of {len(bad)} windows are not finite (episodes {named[:8]}"
            f"{'…' if len(named) > 8 else ''}); fit it again with more steps per frame"
        )


def publish(
    out: Path,
    recording: Recording,
    split: str,
    fitted: Fitted,
    predict: Callable[[Windows, Sequence[Any]], Mapping[str, BySeed]],
    pairs: Callable[[Sequence[str]], Sequence[tuple[str, str]]],
    styles: Mapping[str, Style],
    *,
    shorter: Sequence[int] = (),
    remark: Callable[[Sequence[Row]], str] = lambda rows: "",
    **about: Any,
) -> dict[str, Any]:
    """Predicts at every horizon; writes table.json, table.md and figure.png into ``out``.

    Args:
      split: the part of the recording that is predicted.
      fitted: a fit of it, which says what is scored.
      predict: windows and the episodes' ids → predictions, model → seed → (windows, horizon, nq).
      pairs: models → (model, reference) that are compared.
      styles: of the models in the figure; the first is what the last is compared with.
      shorter: further horizons [frames], of the first frames of what is predicted.
      remark: rows → a sentence below the table's title.
      about: further content of table.json.

    Returns:
      The content of table.json.
    """
    problem, episodes = recording.problem, recording.part(split)
    reference, *_, model = styles
    rows: list[Row] = []
    shown: dict[str, Any] = {}
    longest = 0
    for grid in grids(problem, fitted.channels, episodes):
        windows, skipped = grid.cut(episodes)
        predicted = predict(windows, [e.id for e in episodes])
        within = [h for h in shorter if grid.horizon and longest < h < grid.horizon]
        for frames in (*within, grid.horizon):
            seconds = None if frames is None else frames / problem.control_hz
            head = {"frames": frames, "seconds": seconds, "skipped": skipped}
            part = windows if frames is None else windows.shortened(frames)
            scored = rows_at(predicted, part, fitted.channels, pairs([*predicted]))
            rows += [head | row for row in scored]
        if grid.horizon is not None:  # the longer one's is kept
            longest, ends = grid.horizon, (model, reference)
            shown = curves(predicted, windows, fitted.channels, [*styles], ends)
    title = f"{problem.name}: open-loop errors on the {split} episodes"
    kept = {
        "recording": problem.name,
        "horizon": problem.windows.horizon,
        "split": split,
        "control_hz": problem.control_hz,
        "data_sha256": recording.digest,
        "fitted_on_sha256": fitted.metadata["settings"]["data"],
    }
    about = kept | about | {"curves": shown}
    note = " ".join(filter(None, (NOTE, remark(rows))))
    table = write(out, title, rows, columns(rows, reference), note=note, **about)
    write_figure(out / "figure.png", curves_figure(table, styles))
    return table


NOTE = (
    "Means over frames, windows, episodes and fit seeds. Ratios are of means, with 95 % intervals "
    f"paired over episodes: a bootstrap, Student's t below {FEW} episodes."
)


def columns(rows: Sequence[Row], reference: str) -> dict[str, Callable[[Row], Any]]:
    """The columns of table.md: errors by channel, and their ratios to a reference's."""
    channels = [c for c in CHANNELS if any(row[c] is not None for row in rows)]
    table: dict[str, Callable[[Row], Any]] = {
        "ahead": lambda r: (
            f"{r['frames']} frames, {r['seconds']:.2f} s" if r["frames"] else "whole"
        ),
        "model": lambda r: r["model"] + (f": {r['reason']}" if r["reason"] else ""),
        "seeds": lambda r: ", ".join(map(str, r["seeds"])),
    }
    for c in channels:
        name, unit, f = CHANNELS[c]
        scaled = lambda row, c=c, f=f: None if row[c] is None else f"{f * row[c]:.2f}"  # noqa: E731
        table[f"{name} [{unit}]"] = scaled
    for c in channels:
        name = CHANNELS[c][0]
        table[f"{name} / {reference}"] = lambda row, c=c: ratio(row, reference, c)
    return table


def ratio(row: Row, reference: str, channel: str) -> str | None:
    """A ratio with its interval; None where the models were not compared."""
    compared = row["over"].get(reference, {}).get(channel)
    if compared is None:
        return None
    low, high = compared[interval(row)]
    return f"{compared['ratio']:.3f} [{low:.3f}, {high:.3f}]"


def interval(row: Row) -> str:
    """The kind of interval that is shown of a row's ratios."""
    return "t" if row["episodes"] < FEW else "bootstrap"


def headline(table: Row, reference: str, models: Sequence[str]) -> dict[str, Any]:
    """A result's one line: ratios with intervals at the recording's own horizon."""
    own = [row for row in table["rows"] if row["frames"] == table["horizon"]]
    ratios = {}
    for row in (row for row in own if row["model"] in models):
        compared = row["over"].get(reference, {})
        ratios[row["model"]] = {
            channel: [round(x, 4) for x in (c["ratio"], *c[interval(row)])]
            for channel, c in compared.items()
        }
    kept = {name: own[0][name] for name in ("frames", "episodes")}
    return {"recording": table["recording"], **kept, f"over_{reference}": ratios}
