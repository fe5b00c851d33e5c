"""What the tables of the recordings share: horizons, kept checkpoints, and writing the result."""

import dataclasses
import shutil
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from experiments.recordings.fitted import Fitted, Group
from experiments.recordings.problems import Problem
from experiments.recordings.source import Recording
from experiments.recordings.statistics import BySeed, rows_at
from experiments.records import Row, with_interval, write
from worldmodel import runtime
from worldmodel.episodes.errors import Channels
from worldmodel.episodes.windows import WindowGrid, Windows
from worldmodel.errors import InputError
from worldmodel.runtime.files import new_folder
from worldmodel.types import Episode

CHANNELS = {  # name, unit, factor from SI
    "position_m": ("position", "mm", 1e3),
    "rotation_rad": ("rotation", "°", float(np.degrees(1.0))),
    "joint_rad": ("joints", "°", float(np.degrees(1.0))),
}
LONG_FRAMES = 80  # the longer horizon of a toss, as in the published tables
LONG_SECONDS = 1.0  # of a recording without a body that flies
SHORTER = (1, 10, 16, 50)  # frames, further horizons of learned models
FEW = 20  # episodes below which a percentile bootstrap is too narrow to be shown
NOTE = (
    "Means over frames, windows, episodes and fit seeds. Ratios are of means, with 95 % intervals "
    f"paired over episodes: a bootstrap, Student's t below {FEW} episodes."
)


def keep_checkpoints(group: Group, validation: Mapping[int, float], out: Path) -> int:
    """Copies the checkpoint that is best on *validation* to ``out``, others to ``out/seed<N>``.

    Args:
      validation: the errors of the seeds, such that they compare.

    Returns:
      The best seed.

    Raises:
      InputError: a fit stands in ``out``.
    """
    for fitted in group.values():
        if out.resolve() in fitted.directory.resolve().parents:
            raise InputError(f"{fitted.directory} would be overwritten; give another --out")
    best = min(group, key=lambda seed: validation[seed])
    for former in out.glob("seed*"):
        shutil.rmtree(former)
    for seed, fitted in group.items():
        target = out if seed == best else out / f"seed{seed}"
        with new_folder(target / "checkpoint", replace=True) as folder:
            shutil.copytree(fitted.directory, folder, dirs_exist_ok=True)
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


def publish(
    out: Path,
    recording: Recording,
    fitted: Fitted,
    predict: Callable[[Windows], Mapping[str, BySeed]],
    pairs: Sequence[tuple[str, str]],
    *,
    shorter: Sequence[int] = (),
    remark: Callable[[Sequence[Row]], str] = lambda rows: "",
    **about: Any,
) -> dict[str, Any]:
    """Predicts the test episodes at every horizon; writes table.json and table.md into ``out``.

    Args:
      fitted: a fit of it, which says what is scored.
      predict: windows → predictions, model → seed → (windows, horizon, nq).
      pairs: (model, reference) that are compared; table.md shows ratios to the first reference.
      shorter: further horizons [frames], of the first frames of what is predicted.
      remark: rows → a sentence below the table's title.
      about: further content of table.json.

    Returns:
      The content of table.json.
    """
    problem, episodes, channels = recording.problem, recording.part("test"), fitted.channels
    rows: list[Row] = []
    longest = 0
    for grid in grids(problem, channels, episodes):
        windows, skipped = grid.cut(episodes)
        predicted = predict(windows)
        runtime.log(f"{windows.target.shape[1]} frames: {len(windows)} windows predicted")
        within = [h for h in shorter if grid.horizon and longest < h < grid.horizon]
        for frames in (*within, grid.horizon):
            seconds = None if frames is None else frames / problem.control_hz
            head = {"frames": frames, "seconds": seconds, "skipped": skipped}
            part = windows if frames is None else windows.shortened(frames)
            rows += [head | row for row in rows_at(predicted, part, channels, pairs)]
        longest = grid.horizon or longest
    kept = {
        "recording": problem.name,
        "horizon": problem.windows.horizon,
        "split": "test",
        "control_hz": problem.control_hz,
        "data_sha256": recording.digest,
        "fitted_on_sha256": fitted.metadata["settings"]["data"],
    }
    title = f"{problem.name}: open-loop errors on the test episodes"
    note = " ".join(filter(None, (NOTE, remark(rows))))
    return write(out, title, rows, columns(rows, pairs[0][1]), note=note, **kept, **about)


def columns(rows: Sequence[Row], reference: str) -> dict[str, Callable[[Row], Any]]:
    """The columns of table.md: errors by channel, and their ratios to a reference's."""

    def error(row: Row, channel: str) -> str | None:
        return None if row[channel] is None else f"{CHANNELS[channel][2] * row[channel]:.2f}"

    def ratio(row: Row, channel: str) -> str | None:
        compared = row["over"].get(reference, {}).get(channel)
        return with_interval(compared and (compared["ratio"], *compared[interval(row)]))

    shown = {c: name for c, name in CHANNELS.items() if any(row[c] is not None for row in rows)}
    horizon = "{frames} frames, {seconds:.2f} s"
    return {
        "ahead": lambda r: horizon.format(**r) if r["frames"] else "whole",
        "model": lambda r: r["model"] + (f": {r['reason']}" if r["reason"] else ""),
        "seeds": lambda r: ", ".join(map(str, r["seeds"])),
        **{f"{n} [{unit}]": partial(error, channel=c) for c, (n, unit, _) in shown.items()},
        **{f"{n} / {reference}": partial(ratio, channel=c) for c, (n, *_) in shown.items()},
    }


def interval(row: Row) -> str:
    """The kind of interval that is shown of a row's ratios."""
    return "t" if row["episodes"] < FEW else "bootstrap"


def headline(table: Row, reference: str, models: Sequence[str]) -> dict[str, Any]:
    """A result's one line: ratios with intervals at the recording's own horizon."""
    own = [row for row in table["rows"] if row["frames"] == table["horizon"]]
    ratios = {
        row["model"]: {
            channel: [round(x, 4) for x in (c["ratio"], *c[interval(row)])]
            for channel, c in row["over"][reference].items()
        }
        for row in own
        if row["model"] in models and reference in row["over"]
    }
    kept = {name: own[0][name] for name in ("frames", "episodes")}
    return {"recording": table["recording"], **kept, f"over_{reference}": ratios}
