"""``worldmodel check``: does a scene run, and a log fit it? Seconds without ``--deep``."""

import math
import warnings
from pathlib import Path
from typing import Any

import tyro

from worldmodel._mujoco import mujoco
from worldmodel.commands import named
from worldmodel.commands.consistency import consistency
from worldmodel.commands.deep import deep as compiled_checks
from worldmodel.commands.findings import MEND, NOTE, OK, Finding
from worldmodel.commands.reading import (
    Log,
    check_stepping,
    columns_of,
    five_numbers,
    nothing_measured,
    repaired,
    settled,
)
from worldmodel.commands.starts import set_starts
from worldmodel.episodes.columns_toml import to_toml
from worldmodel.episodes.reading import read_episodes
from worldmodel.errors import InputError
from worldmodel.model.calibration import without_calibrations
from worldmodel.physics import parameters as physical
from worldmodel.policies.contract import contract
from worldmodel.runtime.files import write_json, write_text
from worldmodel.runtime.records import plain
from worldmodel.runtime.settings import refuse_options
from worldmodel.scene import Scene, SceneError, compile_scene, parse_mjcf, report
from worldmodel.scene.defaults import candidates, name_elements
from worldmodel.tasks.check import CHECKS, check_part
from worldmodel.tasks.task import Task

KEYS = """\
# A number of the log becomes SI by value = sign * scale * unit(raw) + offset.
# unit: rad, deg, m, mm, cm, or percent of `range`, its values at 0 and 100 (per cent from -100 to
# 100: the range's middle and upper end). delay [s]: how long after its stamp a command acts.
# Further keys of a joint: velocity, assumed; of all: time_unit, rate_hz, control_hz, episode.
"""
ROW = "{:32}{:>8}  {:>10.4g}  {:>10.4g}  {:>10.4g}  {:>10.4g}  {:>10.4g}  {:>8}"
HEADER = ROW.replace(".4g", "").format(
    "channel", "unit", "min", "25 %", "median", "75 %", "max", "frames"
)


def check(
    scene: tyro.conf.Positional[Path],
    data: Path | None = None,
    columns: Path | None = None,
    out: Path = Path("columns.toml"),
    control_hz: float | None = None,
    substeps: int | None = None,
    deep: bool = False,
    json: Path | None = None,
) -> int:
    """Checks whether a scene runs and a log fits it, or whether a task keeps its contract; status 1
    where something must be mended.

    Args:
      scene: MJCF of the robot; or a task, as file.py:name or package.module:name, alone.
      data: the log: a LeRobot folder, or Parquet, CSV or npz, a file or a folder of them.
      columns: TOML: which column is which joint, command, body and time; without it a draft is
        written.
      out: file for that draft.
      control_hz: frames per second; the data's, or the MJCF's timestep, when absent.
      substeps: physics steps per frame; from the fastest contact or servo when absent.
      deep: compiles the scene in MJX (minutes): difference to C MuJoCo, speed, live gradients.
      json: file for all numbers.

    Raises:
      InputError: no such path, a broken MJCF, or a draft that would replace a file.
    """
    if ":" in str(scene) and not scene.exists():
        given = {"data": data, "columns": columns, "control_hz": control_hz, "substeps": substeps}
        refuse_options("a scene, not of a task", **given, deep=deep)
        findings, lines = _task(str(scene)), []
        document: Any = plain(findings)
    else:
        findings, lines, document = _scene(scene, data, columns, out, control_hz, substeps, deep)
    if json:
        write_json(json, document)
    print("\n".join([*lines, *map(str, findings)]))
    return int(any(finding.level == MEND for finding in findings))


def _task(reference: str) -> list[Finding]:
    """A finding for every part of a task's contract, and for the parameters that may be fitted."""
    task, findings = named.task(reference), []
    for part in CHECKS:
        try:
            findings.append(Finding(OK, part, check_part(task, part)))
        except InputError as error:
            findings.append(Finding(MEND, part, str(error)))
            break  # the parts after it rely on it
    else:
        findings.append(_named_observation(task))
    try:
        physical.check(task.scene, task.free)
        free = ", ".join(f.name for f in task.free) or "none: a loop can fit a network alone"
        findings.append(Finding(OK, "free parameters", free))
    except InputError as error:
        findings.append(Finding(MEND, "free parameters", str(error)))
    return findings


def _named_observation(task: Task) -> Finding:
    """Whether a policy's contract can name what it observes, as a policy is saved with it."""
    try:
        numbers = contract(task)["observation"]
        shown = f"{len(numbers)} numbers: {', '.join(str(x['name']) for x in numbers)}"
        return Finding(OK, "observed", shown)
    except InputError as error:
        return Finding(MEND, "observed", str(error))
    except (TypeError, ValueError):
        text = f"task '{task.name}': 'observed' holds what is no pair; give (name, unit) of each"
        return Finding(MEND, "observed", text)


def _scene(
    scene: Path,
    data: Path | None,
    columns: Path | None,
    out: Path,
    control_hz: float | None,
    substeps: int | None,
    deep: bool,
) -> tuple[list[Finding], list[str], dict[str, Any]]:
    """Findings, the lines before them, and all numbers as JSON."""
    if data is None and columns is not None:
        raise InputError("--columns describe a log; give --data too")
    check_stepping(control_hz, substeps)
    spec = parse_mjcf(scene)
    unnamed = name_elements(spec)
    model = spec.compile()
    findings: list[Finding] = []
    if unnamed:
        text = f"{len(unnamed)} elements without a name go by their index, as '{unnamed[0]}'"
        findings.append(Finding(OK, "names", text))
    log = None
    if data is not None:
        log = _read(data, columns, model, control_hz, out, findings)
    hz, chosen = settled(model, log, control_hz, substeps)
    size = report(model)
    compiled = _compiled(spec, hz, chosen.substeps, findings)
    known = data is None or log is not None or control_hz is not None
    rate = f"{hz:g} frames/s, {chosen}" if known else "the log's, which cannot be read"
    lines = [str(size), "", f"rate: {rate}"]
    document = {
        "control_hz": hz if known else None,
        "substeps": chosen.substeps if known else None,
        "limits": plain(chosen.limits),
        "size": plain(size) | {"rows": size.rows.total},
    }
    if log is not None:
        model.opt.timestep = chosen.timestep
        findings += consistency(model, chosen.substeps, log.reading.episodes, hz)
        channels = five_numbers(model, log.reading.episodes)
        lines += _log_lines(log, channels)
        document |= {
            "episodes": len(log.reading.episodes),
            "repairs": plain(log.reading.repairs),
            "ignored": log.reading.ignored,
            "channels": channels,
        }
    if not deep:
        text = "not checked without --deep: difference to C MuJoCo, compile time, speed, gradients"
        findings.append(Finding(NOTE, "deep", text))
    elif compiled is not None:
        free = without_calibrations(candidates(model, with_drives=True))
        set_starts(spec, model, free)
        started = compile_scene(spec, control_hz=hz, substeps=chosen.substeps)
        episodes = log.reading.episodes if log else []
        measured, numbers = compiled_checks(started, free, episodes[0] if episodes else None)
        findings += measured
        document["deep"] = numbers
    return findings, [*lines, ""], document | {"findings": plain(findings)}


def _read(
    data: Path,
    columns: Path | None,
    model: mujoco.MjModel,
    control_hz: float | None,
    out: Path,
    findings: list[Finding],
) -> Log | None:
    try:
        given, notes = columns_of(data, columns, model)
    except InputError as error:
        findings.append(Finding(MEND, "data", str(error)))
        return None
    if columns is None and out.exists():
        raise InputError(
            f"{out} is there already; give it as --columns, or another --out for a new draft"
        )
    try:
        findings += [Finding(NOTE, "draft", note) for note in notes]
        if columns is None:  # also where the log cannot be read by it: that is where it is mended
            write_text(out, KEYS + to_toml(given))
            text = f"{out}: a first draft by the names; look at units, signs and ranges"
            findings.append(Finding(NOTE, "columns", text))
        log = Log(given, notes, read_episodes(data, given, model, control_hz=control_hz))
    except InputError as error:
        findings.append(Finding(MEND, "data", str(error)))
        return None
    findings += [Finding(NOTE, "data", note) for note in log.reading.notes]
    if (text := nothing_measured(log)) is not None:
        findings.append(Finding(MEND, "data", text))
    return log


def _compiled(
    spec: mujoco.MjSpec, control_hz: float, substeps: int, findings: list[Finding]
) -> Scene | None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            compiled = compile_scene(spec, control_hz=control_hz, substeps=substeps)
            findings.append(Finding(OK, "scene", "loads: MJX runs and differentiates all of it"))
        except SceneError as error:
            compiled = None
            findings.append(Finding(MEND, "scene", str(error)))
    findings += [Finding(NOTE, "scene", str(warning.message)) for warning in caught]
    return compiled


def _log_lines(log: Log, channels: list[dict[str, Any]]) -> list[str]:
    reading = log.reading
    frames = [len(e.qpos) for e in reading.episodes]
    seconds = sum(frames) / reading.control_hz
    size = f"{len(frames)} episodes of {min(frames)} to {max(frames)} frames, {seconds:.1f} s"
    lines = ["", f"data: {size} in all", "repaired:"]
    lines += [f"  {line}" for line in repaired(reading.repairs) or ["nothing"]]
    if reading.ignored:
        lines += ["not read:", *(f"  {name}: {why}" for name, why in reading.ignored.items())]
    rows = [
        ROW.format(
            c["channel"],
            c["unit"],
            *(math.nan if x is None else x for x in c["numbers"]),
            c["frames"],
        )
        for c in channels
    ]
    return [*lines, "", HEADER, *rows]
