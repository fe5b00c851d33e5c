"""What a fit leaves in its folder: checkpoint, MJCF, columns, numbers, page."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from worldmodel import runtime
from worldmodel._mujoco import mujoco
from worldmodel.commands.figures import film
from worldmodel.commands.page import page
from worldmodel.commands.problem import Problem
from worldmodel.commands.reading import channel_names
from worldmodel.commands.scores import curves, named, predicted, refuse_not_finite
from worldmodel.episodes.columns_toml import to_toml
from worldmodel.episodes.errors import episode_errors, over_episodes
from worldmodel.episodes.windows import WindowGrid, Windows, cut_windows
from worldmodel.finetune.calibration import folded
from worldmodel.finetune.choice import Verdict
from worldmodel.finetune.delay import Delay
from worldmodel.finetune.gauss_newton import Identified, intervals
from worldmodel.finetune.hybrid import FittedHybrid
from worldmodel.finetune.outliers import LeftOut
from worldmodel.model import WorldModel, saved
from worldmodel.physics import parameters as physical
from worldmodel.runtime.files import write_json, write_text
from worldmodel.runtime.records import plain
from worldmodel.scene import write_mjcf
from worldmodel.types import Episode

RESULT = "fit.json"  # in a folder whose fit has ended
LONGER = 4  # times the fitted windows: how far the curves reach


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What the stages of a fit gave."""

    world: WorldModel  # its physics
    starts: dict[str, float]  # positive starts of what is 0 in the MJCF
    verdicts: tuple[Verdict, ...]  # on every candidate number
    identified: Identified
    delays: tuple[Delay, ...]
    network: FittedHybrid | None  # where one was fitted
    engine: str = "mjx"  # that plays it


def finish(
    out: Path, problem: Problem, outcome: Outcome, settings: dict[str, Any]
) -> dict[str, Any]:
    """Writes everything; ``fit.json`` last, and first removes a former one, so that a folder with
    it is complete.

    Args:
      out: folder.
      problem: what was fitted.
      outcome: of the fit. Zeros and scales of the log go into the columns that are written, so
        that MJCF, checkpoint and columns fit together; errors are in the log's coordinates.
      settings: of the command, by which it finds its fit again.

    Returns:
      The line that is printed.
    """
    world, identified, hybrid = outcome.world, outcome.identified, outcome.network
    parameters = identified.parameters
    mjcf = physical.to_mjcf(world.scene, world.free, parameters["physics"])
    (out / RESULT).unlink(missing_ok=True)
    write_mjcf(out / "fitted.xml", mjcf, world.scene.assets)
    network = None if hybrid is None else (hybrid.world, hybrid.parameters)
    model, numbers = network or (world, parameters)
    columns, model, numbers = folded(problem.protocol.columns, model, numbers)
    protocol = dataclasses.replace(problem.protocol, columns=columns)
    write_text(out / "columns.toml", to_toml(columns))
    fitted = mujoco.MjModel.from_xml_string(mjcf, dict(world.scene.assets))
    windows = held_out(problem.parts["test"], problem.protocol.windows)
    given = WorldModel(problem.scene()[0])
    remember, channels = problem.protocol.remember, problem.protocol.channels(world.scene)
    still = np.repeat(np.asarray(windows.qpos)[:, None], windows.target.shape[1], axis=1)
    rows = {
        "fitted": predicted(world, parameters, windows, remember, "c"),
        "MJCF": predicted(given, {"physics": {}, "network": {}}, windows, remember, "c"),
        "hold last": still,
    }
    if network is not None:
        rows = {"network": predicted(*network, windows, remember, outcome.engine)} | rows
    for name in ("network", "fitted"):
        if name in rows:
            refuse_not_finite(rows[name], windows, problem.parts["test"])
    short = windows.shortened(problem.horizon)
    errors = {
        name: named(over_episodes(episode_errors(each, short, channels)))
        for name, each in rows.items()
    }
    best = "network" if network is not None else "fitted"
    line = {
        "out": str(out),
        "episodes": len(problem.parts["test"]),
        "windows": len(windows),
        "converged": identified.converged,
        "iterations": identified.iterations,
        **errors[best],
        "mjcf": errors["MJCF"],
        "checkpoint": str(out / "checkpoint"),
    }
    shown = int(np.argmax(np.asarray(windows.scored).sum(axis=1)))
    count = int(np.asarray(windows.scored)[shown].sum())
    recorded = np.asarray(windows.target)[shown, :count]
    moving = {name: p[shown, :count] for name, p in rows.items() if name != "hold last"}
    document = {
        "scene": world.scene.name or problem.mjcf.stem,
        "settings": settings,
        "line": line,
        "settled": problem.settled(),
        "repairs": plain(problem.log.reading.repairs),
        "ignored": dict(problem.log.reading.ignored),
        "physics": {
            "converged": identified.converged,
            "iterations": identified.iterations,
            "cost": identified.cost,
            "left_out": [_with_id(w, problem) for w in identified.left_out],
            "reason": identified.reason,
        },
        "members_excluded": None if hybrid is None else hybrid.excluded,
        "parameters": parameter_rows(outcome),
        "delays": plain(outcome.delays),
        "errors": errors,
        "curves": curves(rows, windows, channels),
        "traces": _traces(fitted, {"recorded": recorded} | moving),
        "provenance": runtime.provenance(),
    }
    metadata = {"result": {k: document[k] for k in ("line", "settled", "physics", "errors")}}
    saved.save(out / "checkpoint", 0, model, numbers, metadata, keep=1, protocol=protocol)
    start = np.asarray(windows.qpos)[shown]
    moved = film(fitted, start, recorded, moving, problem.control_hz)
    write_text(out / "report.html", page(document, moved))
    write_json(out / RESULT, document)
    return line


def _with_id(window: LeftOut, problem: Problem) -> str:
    """A window that the fit does not use, by its episode's own id."""
    identity = problem.parts["train"][window.episode].id
    start = "" if window.frame is None else f" from frame {window.frame}"
    return f"episode {identity}{start} ({window.reason})"


def held_out(episodes: Sequence[Episode], grid: WindowGrid) -> Windows:
    """The windows of a grid, but going on for up to ``LONGER`` times as many frames, as far as half
    of them reach and are valid."""
    assert grid.horizon is not None
    starts = [grid.starts(e)[0] for e in episodes]
    windows = cut_windows(episodes, starts, LONGER * grid.horizon)
    after = np.arange(1, LONGER * grid.horizon + 1)
    valid = [
        np.logical_and.accumulate(e.valid[np.minimum(k + after, len(e.valid) - 1)])
        for e, frames in zip(episodes, starts, strict=True)
        for k in frames
    ]
    scored = np.asarray(windows.scored) & np.stack(valid)
    reached = np.flatnonzero(scored.mean(axis=0) >= 0.5)
    frames = max(grid.horizon, int(reached.max(initial=-1)) + 1)
    return dataclasses.replace(windows, scored=scored).cut(frames)


def _traces(model: mujoco.MjModel, rows: dict[str, np.ndarray]) -> dict[str, Any]:
    """(frames, nq) by model → each position by its name, None where it is not finite."""
    names = [name for name, _ in channel_names(model)["qpos"]]
    return {
        kind: {
            name: [x if np.isfinite(x) else None for x in column]
            for name, column in zip(names, values.T.tolist(), strict=True)
        }
        for kind, values in rows.items()
    }


def parameter_rows(outcome: Outcome) -> list[dict[str, Any]]:
    """A row per candidate number: MJCF's value, fitted value, interval, what the data say."""
    world, identified = outcome.world, outcome.identified
    bounds = intervals(world, identified)
    given = physical.values(world.scene, world.free, physical.zeros(world.free))
    widths = identified.uncertainty.half_widths(np.eye(len(identified.numbers)))
    numbers = {
        (n.name, n.index): (n, float(w)) for n, w in zip(identified.numbers, widths, strict=True)
    }
    kinds = {f.name: physical.KINDS[f.kind] for f in world.free}
    rows = []
    for v in outcome.verdicts:
        row: dict[str, Any] = {"name": v.name, "index": v.index, "free": False, "unit": ""}
        row |= {"given": None, "value": None, "low": None, "high": None, "verdict": str(v)}
        rows.append(row)
        if (v.name, v.index) not in numbers:
            continue
        number, half = numbers[v.name, v.index]
        kind = kinds[v.name]
        if len(bounds[v.name]) == len(kind.width) and kind.field != "body_inertia":
            unit, former = kind.unit, 0.0 if v.name in outcome.starts else given[v.name][v.index]
            value, low, high = bounds[v.name][v.index].tolist()
        else:  # a number that moves several values
            unit, former = "prior widths", 0.0
            value, low, high = number.u, number.u - half, number.u + half
        row |= {"free": True, "unit": unit, "given": float(former), "value": value}
        if number.at_bound:
            row["verdict"] = "at its bound: look at the columns or the MJCF"
        elif not identified.converged:
            row["verdict"] = "not converged"
        elif not number.identified:
            row["verdict"] = "the data cannot say"
        else:
            row |= {"verdict": "identified", "low": low, "high": high}
    return rows
