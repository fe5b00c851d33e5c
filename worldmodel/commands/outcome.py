"""What a fit leaves in its folder: checkpoint, MJCF, columns, numbers, page."""

import dataclasses
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from worldmodel import runtime
from worldmodel._mujoco import mujoco
from worldmodel.commands.film import film
from worldmodel.commands.page import page
from worldmodel.commands.problem import Problem
from worldmodel.commands.problem import options as settled
from worldmodel.commands.reading import position_names
from worldmodel.commands.scores import curves, named, refuse_not_finite
from worldmodel.episodes.columns_toml import to_toml
from worldmodel.episodes.errors import episode_errors, over_episodes
from worldmodel.episodes.windows import Windows, cut_windows
from worldmodel.finetune.calibration import folded
from worldmodel.finetune.choice import Verdict
from worldmodel.finetune.delay import Delay
from worldmodel.finetune.gauss_newton import Identified, intervals
from worldmodel.finetune.outliers import LeftOut
from worldmodel.model import Parameters, WorldModel, saved
from worldmodel.model.calibration import as_logged, calibrated
from worldmodel.model.simulate import make_predictor
from worldmodel.physics import parameters as physical
from worldmodel.runtime.files import write_json, write_text
from worldmodel.scene import write_mjcf
from worldmodel.scene.replay import replayed

LONGER = 4  # times the fitted windows: how far the curves reach
_BATCH = 64


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What the stages of a fit gave."""

    world: WorldModel  # its physics
    starts: dict[str, float]  # positive starts of what is 0 in the MJCF
    verdicts: tuple[Verdict, ...]  # on every candidate number
    identified: Identified
    delays: tuple[Delay, ...]
    network: tuple[WorldModel, Parameters] | None  # the hybrid, where one was fitted


def finish(out: Path, problem: Problem, outcome: Outcome) -> dict[str, Any]:
    """Writes everything; ``fit.json`` last, so that a folder with it is complete.

    Args:
      out: folder.
      problem: what was fitted.
      outcome: of the fit. Zeros and scales of the log go into the columns that are written, so
        that MJCF, checkpoint and columns fit together; errors are in the log's coordinates.

    Returns:
      The line that is printed.
    """
    world, identified, network = outcome.world, outcome.identified, outcome.network
    parameters = identified.parameters
    mjcf = physical.to_mjcf(world.scene, world.free, parameters["physics"])
    write_mjcf(out / "fitted.xml", mjcf, world.scene.assets)
    model, numbers = network or (world, parameters)
    columns, model, numbers = folded(problem.protocol.columns, model, numbers)
    protocol = dataclasses.replace(problem.protocol, columns=columns)
    write_text(out / "columns.toml", to_toml(columns))
    fitted = mujoco.MjModel.from_xml_string(mjcf, dict(world.scene.assets))
    windows = held_out(problem)
    horizon = windows.target.shape[1]
    given = problem.scene()[0].mj_model
    log = world.scene, world.free, parameters["physics"]
    robot = calibrated(*log, windows)
    predicted = {
        "fitted": np.asarray(as_logged(*log, jnp.asarray(_played(fitted, problem, robot)))),
        "MJCF": _played(given, problem, windows),
        "hold last": np.repeat(np.asarray(windows.qpos)[:, None], horizon, axis=1),
    }
    if network is not None:
        predictor = make_predictor(network[0], min(_BATCH, len(windows)))
        remembered = windows.remembering(problem.protocol.remember)
        with runtime.compiling(f"and predicting {len(windows)} held-out windows"):
            predicted = {"network": predictor(network[1], remembered)} | predicted
    for name in ("network", "fitted"):
        if name in predicted:
            refuse_not_finite(predicted[name], windows, problem.parts["test"])
    channels = problem.protocol.channels(world.scene)
    short = windows.shortened(problem.protocol.windows.horizon or horizon)
    errors = {
        name: named(over_episodes(episode_errors(rows, short, channels)))
        for name, rows in predicted.items()
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
    rows = parameter_rows(outcome)
    shown = int(np.argmax(np.asarray(windows.scored).sum(axis=1)))
    count = int(np.asarray(windows.scored)[shown].sum())
    recorded = np.asarray(windows.target)[shown, :count]
    document = {
        "scene": world.scene.name or problem.mjcf.stem,
        "line": line,
        "settled": settled(problem),
        "repairs": [
            {"rule": r.rule, "column": r.column, "episodes": r.episodes, "frames": r.frames}
            for r in problem.log.reading.repairs
        ],
        "ignored": dict(problem.log.reading.ignored),
        "physics": {
            "converged": identified.converged,
            "iterations": identified.iterations,
            "cost": identified.cost,
            "left_out": [_with_id(w, problem) for w in identified.left_out],
            "reason": identified.reason,
        },
        "parameters": rows,
        "delays": [dataclasses.asdict(delay) for delay in outcome.delays],
        "errors": errors,
        "curves": curves(predicted, windows, channels),
        "traces": _traces(fitted, recorded, predicted, shown, count),
        "provenance": runtime.provenance(),
    }
    metadata = {"result": {k: document[k] for k in ("line", "settled", "physics", "errors")}}
    saved.save(out / "checkpoint", 0, model, numbers, metadata, keep=1, protocol=protocol)
    start = np.asarray(windows.qpos)[shown]
    moving = {name: predicted[name][shown, :count] for name in (best, "MJCF")}
    moved = film(fitted, start, recorded, moving, problem.control_hz)
    write_text(out / "report.html", page(document, *moved))
    write_json(out / "fit.json", document)
    return line


def _with_id(window: LeftOut, problem: Problem) -> str:
    """A window that the fit does not use, by its episode's own id."""
    identity = problem.parts["train"][window.episode].id
    start = "" if window.frame is None else f" from frame {window.frame}"
    return f"episode {identity}{start} ({window.reason})"


def held_out(problem: Problem) -> Windows:
    """The windows of test episodes that are scored, but going on for up to ``LONGER`` times as
    many frames, as far as their episodes reach and are valid."""
    grid, episodes = problem.protocol.windows, problem.parts["test"]
    grid.cut(episodes)  # refuses what has no window
    starts = [grid.starts(e)[0] for e in episodes]
    short = grid.horizon or max(len(e.qpos) for e in episodes) - 1
    reach = max(
        len(e.qpos) - 1 - int(k[0]) for e, k in zip(episodes, starts, strict=True) if len(k)
    )
    horizon = max(short, min(LONGER * short, reach))
    windows = cut_windows(episodes, starts, horizon)
    after = np.arange(1, horizon + 1)
    valid = [
        np.logical_and.accumulate(e.valid[np.minimum(k + after, len(e.valid) - 1)])
        for e, frames in zip(episodes, starts, strict=True)
        for k in frames
    ]
    return dataclasses.replace(windows, scored=np.asarray(windows.scored) & np.stack(valid))


def _played(model: mujoco.MjModel, problem: Problem, windows: Windows) -> np.ndarray:
    model.opt.timestep = problem.stepping.timestep
    substeps = problem.stepping.substeps
    return replayed(model, substeps, windows.qpos, windows.qvel, windows.ctrl)


def _traces(
    model: mujoco.MjModel,
    recorded: np.ndarray,
    predicted: dict[str, np.ndarray],
    shown: int,
    count: int,
) -> dict[str, Any]:
    rows = {"recorded": recorded} | {m: p[shown, :count] for m, p in predicted.items()}
    names = [name for name, _ in position_names(model)]
    return {
        model_name: {
            name: [float(x) if np.isfinite(x) else None for x in values[:, i]]
            for i, name in enumerate(names)
        }
        for model_name, values in rows.items()
        if model_name != "hold last"
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
        number, half = numbers.get((v.name, v.index), (None, 0.0))
        row: dict[str, Any] = {"name": v.name, "index": v.index, "free": number is not None}
        row |= {"unit": "", "given": None, "value": None, "low": None, "high": None}
        row["verdict"] = str(v)
        if number is not None:
            kind = kinds[v.name]
            alone = len(bounds[v.name]) == len(kind.width) and kind.field != "body_inertia"
            row["verdict"] = "identified" if number.identified else "the data cannot say"
            if not identified.converged:
                row["verdict"] = "not converged"
            if number.at_bound:
                row["verdict"] = "at its bound: look at the columns or the MJCF"
            if alone:
                value, low, high = (float(x) for x in bounds[v.name][v.index])
                row |= {"unit": kind.unit, "value": value}
                row |= {"low": low, "high": high} if np.isfinite([low, high]).all() else {}
                row["given"] = 0.0 if v.name in outcome.starts else float(given[v.name][v.index])
            else:  # a number that moves several values
                row |= {"unit": "prior widths", "given": 0.0, "value": number.u}
                row |= {"low": number.u - half, "high": number.u + half}
            if not identified.converged:
                row |= {"low": None, "high": None}
        rows.append(row)
    return rows
