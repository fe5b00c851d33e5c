"""A log read for a command: its columns from a file or drafted, its rate, its channels."""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.episodes.columns import Columns
from worldmodel.episodes.columns_toml import from_toml
from worldmodel.episodes.draft import draft
from worldmodel.episodes.reading import Reading, Repair, read_episodes
from worldmodel.errors import InputError
from worldmodel.runtime.settings import check_options
from worldmodel.scene.defaults import Stepping, stepping
from worldmodel.scene.names import element_name
from worldmodel.types import Episode


@dataclasses.dataclass(frozen=True)
class Log:
    """A log and how it was read."""

    columns: Columns
    notes: tuple[str, ...]  # of a draft: what was guessed, and what was not matched
    reading: Reading


def columns_of(
    data: Path, columns: Path | None, model: mujoco.MjModel
) -> tuple[Columns, tuple[str, ...]]:
    """The columns of a file, or a draft of them and its notes.

    Raises:
      InputError: no such columns, or a log that cannot be opened.
    """
    return (from_toml(columns), ()) if columns else draft(data, model)


def read_log(
    data: Path, columns: Path | None, model: mujoco.MjModel, control_hz: float | None
) -> Log:
    """Reads a log by the columns of a file, or by a draft of them.

    Raises:
      InputError: no such path, columns that do not fit, or a log that cannot be read.
    """
    given, notes = columns_of(data, columns, model)
    return Log(given, notes, read_episodes(data, given, model, control_hz=control_hz))


def settled(
    model: mujoco.MjModel, log: Log | None, control_hz: float | None, substeps: int | None
) -> tuple[float, Stepping]:
    """The rate of the frames [1/s]: as given, the log's, or one frame per timestep of the MJCF; and
    the physics steps per frame."""
    hz = control_hz or (log.reading.control_hz if log else 1.0 / float(model.opt.timestep))
    return hz, stepping(model, hz, substeps)


def check_stepping(control_hz: float | None, substeps: int | None) -> None:
    """Raises InputError for a rate or a number of substeps that steps nothing."""
    if control_hz is not None and not 0 < control_hz < float("inf"):
        raise InputError(f"--control-hz {control_hz}: frames per second, above 0")
    check_options(substeps=substeps)


def repaired(repairs: Sequence[Repair]) -> list[str]:
    """Repairs as lines; columns in which a rule did as much share one."""
    columns: dict[tuple[str, int, int], list[str]] = {}
    for r in repairs:
        columns.setdefault((r.rule, r.episodes, r.frames), []).append(r.column)
    return [
        f"{rule} ({', '.join(names)}): {episodes} episodes, {frames} frames"
        + (" each" if len(names) > 1 else "")
        for (rule, episodes, frames), names in columns.items()
    ]


def digest(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of a folder's files."""
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    whole = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        whole.update(str(file.relative_to(path)).encode() + b"\0")
        whole.update(hashlib.sha256(file.read_bytes()).digest())
    return whole.hexdigest()


def channel_names(model: mujoco.MjModel) -> dict[str, list[tuple[str, str]]]:
    """(name, unit) of every number of ``qpos``, ``qvel`` and ``ctrl``, by the MJCF's names."""
    kinds, qpos, qvel = mujoco.mjtJoint, [], []
    for joint, kind in enumerate(model.jnt_type.tolist()):
        body = element_name(model, "body", int(model.jnt_bodyid[joint]))
        name = element_name(model, "joint", joint)
        if kind == kinds.mjJNT_FREE:
            qpos += [(f"{body}.{axis}", "m") for axis in "xyz"]
            qvel += [(f"{body}.v{axis}", "m/s") for axis in "xyz"]
        if kind in (kinds.mjJNT_FREE, kinds.mjJNT_BALL):
            qpos += [(f"{body}.q{part}", "") for part in "wxyz"]
            qvel += [(f"{body}.ω{axis}", "rad/s") for axis in "xyz"]
        else:
            unit = "rad" if kind == kinds.mjJNT_HINGE else "m"
            qpos.append((name, unit))
            qvel.append((f"{name}.velocity", f"{unit}/s"))
    ctrl = [(f"command {element_name(model, 'actuator', a)}", "") for a in range(model.nu)]
    return {"qpos": qpos, "qvel": qvel, "ctrl": ctrl}


def five_numbers(model: mujoco.MjModel, episodes: Sequence[Episode]) -> list[dict[str, Any]]:
    """Of every position, velocity and command over the valid frames: ``channel, unit, numbers``
    (minimum, quartiles, maximum of the finite values; None without any), ``frames``."""
    rows = []
    for field, names in channel_names(model).items():
        pooled = np.concatenate([getattr(e, field)[e.valid] for e in episodes])
        for values, (name, unit) in zip(pooled.T, names, strict=True):
            values = values[np.isfinite(values)]
            five = np.quantile(values, np.linspace(0, 1, 5)).tolist() if len(values) else [None] * 5
            rows.append({"channel": name, "unit": unit, "numbers": five, "frames": len(values)})
    return rows


def nothing_measured(log: Log) -> str | None:
    """Why a log cannot be of this scene, where no position of it is measured; else None."""
    if any(e.measured is None or e.measured.any() for e in log.reading.episodes):
        return None
    has = ", ".join([*log.reading.ignored][:12])
    return f"no column is a joint or body of this scene; is it a log of another robot? It has {has}"
