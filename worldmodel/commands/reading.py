"""A log read for a command: its columns from a file, or drafted by their names."""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

from worldmodel._mujoco import mujoco
from worldmodel.commands.findings import Five, five
from worldmodel.episodes.columns import Columns
from worldmodel.episodes.columns_toml import from_toml
from worldmodel.episodes.draft import draft
from worldmodel.episodes.reading import Reading, Repair, read_episodes
from worldmodel.errors import InputError
from worldmodel.scene.names import element_name
from worldmodel.types import Episode

_POSITIONS = {
    mujoco.mjtJoint.mjJNT_FREE: ("x", "y", "z", "qw", "qx", "qy", "qz"),
    mujoco.mjtJoint.mjJNT_BALL: ("qw", "qx", "qy", "qz"),
}
_UNITS = {"x": "m", "y": "m", "z": "m"}


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
      InputError: no such path, or a log that cannot be opened.
    """
    if not data.exists():
        raise InputError(f"--data {data}: no such file or folder")
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


def position_names(model: mujoco.MjModel) -> list[tuple[str, str]]:
    """(name, unit) of every position in ``qpos``, by the joints of the MJCF."""
    out: list[tuple[str, str]] = []
    for joint, kind in enumerate(model.jnt_type.tolist()):
        name = element_name(model, "joint", joint)
        if kind in _POSITIONS:
            body = element_name(model, "body", int(model.jnt_bodyid[joint]))
            out += [(f"{body}.{part}", _UNITS.get(part, "")) for part in _POSITIONS[kind]]
        else:
            out.append((name, "rad" if kind == mujoco.mjtJoint.mjJNT_HINGE else "m"))
    return out


def velocity_names(model: mujoco.MjModel) -> list[tuple[str, str]]:
    """(name, unit) of every velocity in ``qvel``."""
    out: list[tuple[str, str]] = []
    for joint, kind in enumerate(model.jnt_type.tolist()):
        body = element_name(model, "body", int(model.jnt_bodyid[joint]))
        turning = [(f"{body}.ω{axis}", "rad/s") for axis in "xyz"]
        if kind == mujoco.mjtJoint.mjJNT_FREE:
            out += [(f"{body}.v{axis}", "m/s") for axis in "xyz"] + turning
        elif kind == mujoco.mjtJoint.mjJNT_BALL:
            out += turning
        else:
            unit = "rad/s" if kind == mujoco.mjtJoint.mjJNT_HINGE else "m/s"
            out.append((f"{element_name(model, 'joint', joint)}.velocity", unit))
    return out


def five_numbers(model: mujoco.MjModel, episodes: list[Episode]) -> list[Five]:
    """Every position, velocity and command of the episodes, over their valid frames."""
    parts = {
        "qpos": position_names(model),
        "qvel": velocity_names(model),
        "ctrl": [(f"command {element_name(model, 'actuator', a)}", "") for a in range(model.nu)],
    }
    return [
        five(name, unit, [x for e in episodes for x in getattr(e, field)[e.valid][:, i].tolist()])
        for field, names in parts.items()
        for i, (name, unit) in enumerate(names)
    ]


def nothing_measured(log: Log) -> str | None:
    """Why a log cannot be of this scene, where no position of it is measured; else None."""
    if any(e.measured is None or e.measured.any() for e in log.reading.episodes):
        return None
    has = ", ".join([*log.reading.ignored][:12])
    return f"no column is a joint or body of this scene; is it a log of another robot? It has {has}"
