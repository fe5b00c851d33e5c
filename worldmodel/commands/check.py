"""``worldmodel check``: will this scene run, and does this log fit it? Seconds without ``deep``."""

import dataclasses
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from worldmodel._mujoco import mujoco
from worldmodel.commands.consistency import consistency
from worldmodel.commands.findings import HEADER, MEND, NOTE, OK, Finding, Five, exit_status
from worldmodel.commands.problem import check_stepping
from worldmodel.commands.reading import Log, columns_of, five_numbers, nothing_measured, repaired
from worldmodel.commands.starts import set_starts
from worldmodel.episodes.columns_toml import to_toml
from worldmodel.episodes.reading import read_episodes
from worldmodel.errors import InputError
from worldmodel.model.calibration import without_calibrations
from worldmodel.runtime.files import write_text
from worldmodel.runtime.records import plain
from worldmodel.scene import (
    FreeParameter,
    Report,
    Scene,
    SceneError,
    compile_scene,
    parse_mjcf,
    report,
)
from worldmodel.scene.defaults import Stepping, candidates, name_elements, stepping
from worldmodel.types import Episode

KEYS = """\
# A number of the log becomes SI by value = sign * scale * unit(raw) + offset.
# unit: rad, deg, m, mm, cm, or percent of `range`, its values at 0 and 100 (per cent from -100 to
# 100: the range's middle and upper end). delay [s]: how long after its stamp a command acts.
# Further keys of a joint: velocity, assumed; of all: time_unit, rate_hz, control_hz, episode.
"""
MARGIN = 1e-3  # of the motion, of a difference to C MuJoCo over 100 steps; below: the same engine


@dataclasses.dataclass(frozen=True)
class Check:
    """What a check says."""

    findings: tuple[Finding, ...]
    report: Report
    stepping: Stepping
    control_hz: float
    log: Log | None  # None where there is none, or it cannot be read
    channels: tuple[Five, ...]
    deep: Any = None  # commands.deep.Deep

    @property
    def exit_status(self) -> int:
        """1 where something must be mended."""
        return exit_status(self.findings)


def check(
    scene: Path,
    data: Path | None = None,
    columns: Path | None = None,
    *,
    out: Path = Path("columns.toml"),
    control_hz: float | None = None,
    substeps: int | None = None,
    deep: bool = False,
) -> Check:
    """Checks a scene, and a log against it.

    Args:
      scene: MJCF.
      data: LeRobot folder, Parquet, CSV, npz, or a folder of such files.
      columns: TOML; where absent a draft is written to ``out``.
      control_hz: rate of the frames [1/s]; the data's, or one frame per timestep of the MJCF.
      substeps: physics steps per frame; by ``scene.defaults.stepping`` when absent.
      deep: whether the scene is compiled in MJX.

    Raises:
      InputError: no such path, a broken MJCF, or a draft that would replace a file.
    """
    if data is None and columns is not None:
        raise InputError("--columns describe a log; give --data too")
    if data is not None and columns is None and out.exists():
        raise InputError(
            f"{out} is there already; give it as --columns, or another --out for a new draft"
        )
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
    hz = control_hz or (log.reading.control_hz if log else 1.0 / float(model.opt.timestep))
    chosen = stepping(model, hz, substeps)
    counted = report(model)
    compiled = _compiled(spec, hz, chosen.substeps, findings)
    findings += [Finding(NOTE, "size", advice) for advice in counted.advice]
    channels: tuple[Five, ...] = ()
    if log is not None:
        episodes = log.reading.episodes
        channels = tuple(five_numbers(model, episodes))
        model.opt.timestep = chosen.timestep
        findings += consistency(model, chosen.substeps, episodes, hz)
    measured = None
    if deep and compiled is not None:
        free = without_calibrations(candidates(model))
        set_starts(spec, model, free)
        started = compile_scene(spec, control_hz=hz, substeps=chosen.substeps)
        measured = _deep(started, free, log.reading.episodes if log else [], findings)
    return Check(tuple(findings), counted, chosen, hz, log, channels, measured)


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
        except SceneError as error:
            compiled = None
            findings.append(Finding(MEND, "scene", str(error)))
    findings += [Finding(NOTE, "scene", str(warning.message)) for warning in caught]
    if compiled is not None:
        findings.append(Finding(OK, "scene", "loads: MJX runs and differentiates all of it"))
    return compiled


def _deep(
    scene: Scene,
    free: tuple[FreeParameter, ...],
    episodes: Sequence[Episode],
    findings: list[Finding],
) -> Any:
    from worldmodel.commands.deep import deep

    try:
        measured = deep(scene, free, episodes[0] if episodes else None)
    except InputError as error:
        findings.append(Finding(MEND, "deep", str(error)))
        return None
    share = measured.error / max(measured.moved, 1e-12)
    level = OK if share < MARGIN or measured.error < 1e-9 else MEND
    text = (
        f"{measured.error:.2g} m or rad from C MuJoCo after {measured.steps} frames, in which it "
        f"moves {measured.moved:.2g}; compiled in {measured.compile_s:.0f} s (gradient "
        f"{measured.gradient_compile_s:.0f} s), {measured.steps_per_s:.3g} steps/s"
    )
    findings.append(Finding(level, "forward", text))
    for name, slopes in measured.gradients.items():
        broken = [x for x in slopes if not math.isfinite(x)]
        if broken:
            findings.append(Finding(MEND, "gradient", f"{name}: not finite"))
        elif not any(slopes):
            text = f"{name}: no derivative in these frames (nothing that it changes happens)"
            findings.append(Finding(NOTE, "gradient", text))
    live = sum(any(x != 0 for x in slopes) for slopes in measured.gradients.values())
    text = f"{live} of {len(measured.gradients)} parameters have one"
    findings.append(Finding(OK, "gradient", text))
    return measured


def text(result: Check) -> str:
    """The check as lines for a terminal."""
    lines = [
        str(result.report),
        "",
        f"rate: {result.control_hz:g} frames/s, {result.stepping}",
    ]
    if result.log is not None:
        reading = result.log.reading
        frames = [len(e.qpos) for e in reading.episodes]
        lines += [
            "",
            f"data: {len(frames)} episodes of {min(frames, default=0)} to "
            f"{max(frames, default=0)} frames, {sum(frames) / result.control_hz:.1f} s in all",
        ]
        repairs = [f"  {line}" for line in repaired(reading.repairs)]
        lines += ["repaired:", *repairs] if repairs else ["repaired: nothing"]
        if reading.ignored:
            ignored = [f"  {column}: {why}" for column, why in reading.ignored.items()]
            lines += ["not read:", *ignored]
        lines += ["", HEADER, *map(str, result.channels)]
    # What the report says of the size it has said above.
    lines += ["", *(str(finding) for finding in result.findings if finding.subject != "size")]
    if result.deep is None:
        lines.append(
            "not checked without --deep: difference to C MuJoCo, compile time, speed, gradients"
        )
    return "\n".join(lines) + "\n"


def document(result: Check) -> dict[str, Any]:
    """The check as JSON has it; numbers that are not finite are null."""
    log = result.log
    return {
        "exit_status": result.exit_status,
        "control_hz": result.control_hz,
        "substeps": result.stepping.substeps,
        "limits": [[limit.what, limit.seconds] for limit in result.stepping.limits],
        "slots": result.report.slots,
        "rows": result.report.rows.total,
        "step_bytes": result.report.step_bytes,
        "gradient_bytes": result.report.gradient_bytes,
        "findings": plain(result.findings),
        "episodes": len(log.reading.episodes) if log else None,
        "repairs": plain(log.reading.repairs) if log else [],
        "ignored": dict(log.reading.ignored) if log else {},
        "channels": [
            plain(c) | {"numbers": [x if math.isfinite(x) else None for x in c.numbers]}
            for c in result.channels
        ],
        "deep": plain(result.deep),
    }
