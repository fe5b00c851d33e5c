"""A log and its ``Columns`` → episodes at the control rate, every repair counted.

What is handled, each by a rule that the module named states, and counted:
  rows that repeat the one before are dropped, bursts of time stamps become a regular clock (clock);
  angles are unwrapped, quaternions keep their sign, a stuck or dead encoder and what is no number
  are not measured (faults); frames come from samples and earlier ones, nothing is filled across a
  gap, and a log without velocities gets them from positions (resampling).
A frame is not valid where nothing is measured or no command known, where it moves faster than
``Columns.fastest``, and where ``Columns.rejects`` says so. An episode begins with the first frame
whose velocities and commands are known, ends with the last one that is measured, and is dropped
where that is one frame or none. What no rule handles is refused by episode, column and frame
(clock, faults, plausible).
"""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.episodes import faults
from worldmodel.episodes.clock import gap_seconds
from worldmodel.episodes.columns import Columns, ColumnsError
from worldmodel.episodes.plausible import check_drive, check_signal
from worldmodel.episodes.resampling import Frames, at_frames, held
from worldmodel.episodes.rows import (
    Rows,
    Timed,
    drive_rows,
    frame_rate,
    signal_rows,
    source_rate,
    time_columns,
    timed,
)
from worldmodel.episodes.signals import Drive, Signal, layout
from worldmodel.episodes.sources import Source, SourceError, open_source
from worldmodel.types import Episode

EVERY = "every column"


@dataclasses.dataclass(frozen=True)
class Repair:
    """What a rule did to a column."""

    rule: str
    column: str
    episodes: int  # in which it did
    frames: int


@dataclasses.dataclass(frozen=True)
class Reading:
    """A log that was read."""

    episodes: list[Episode]
    control_hz: float
    repairs: tuple[Repair, ...]
    ignored: dict[str, str]  # column of the source → why it is not read
    notes: tuple[str, ...] = ()  # what is not measured, and what was lost of the log


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What is read of every episode."""

    path: Path
    signals: list[Signal]
    drives: list[Drive]
    addresses: dict[str, tuple[str, int | None]]
    main: str | None  # column of the rows' time stamps
    hz: float
    columns: Columns
    nq: int
    nv: int


_Event = tuple[str, str, int]  # rule, column, frames


def read_episodes(
    path: str | Path,
    columns: Columns,
    model: mujoco.MjModel,
    *,
    control_hz: float | None = None,
) -> Reading:
    """Reads a log.

    Args:
      path: see ``sources.open_source``.
      columns: which of its columns is which joint, body, actuator and time.
      model: the compiled MJCF.
      control_hz: rate of the frames; by default the columns', else the log's own.

    Raises:
      InputError: columns that do not fit the model or the log, a damaged log, or one that no rule
        reads; the message names episode, column and frame, and the remedy.
    """
    signals, drives = layout(columns, model)
    stamps = time_columns(columns, signals, drives)
    wanted = {c for signal in signals for c in (*signal.columns, *signal.rates)}
    wanted |= {drive.column for drive in drives if drive.column is not None} | stamps
    source = open_source(path, sorted(wanted), columns.episode)
    addresses = source.addresses()
    absent = sorted(wanted - addresses.keys())
    if absent:
        raise ColumnsError(f"{path} has no column '{absent[0]}'; it has {[*addresses][:12]}")
    rate = source_rate(source, columns)
    episodes = timed(source, columns, rate, stamps, wanted)
    hz = control_hz or columns.control_hz or (rate if columns.time is None and rate else None)
    hz = frame_rate(episodes) if hz is None else hz
    main = next(iter(episodes[0].clocks))
    plan = _Plan(source.path, signals, drives, addresses, main, hz, columns, model.nq, model.nv)
    episodes = [episode.stamped(hz) for episode in episodes]
    states = [_states(plan, episode) for episode in episodes]
    commands = [_commands(plan, episode) for episode in episodes]
    _check(plan, episodes, states, commands)
    out, events = [], []
    for episode, state, command in zip(episodes, states, commands, strict=True):
        read, happened = _episode(plan, episode, state, command)
        out += [] if read is None else [read]
        events.append(happened)
    if not out:
        raise SourceError(f"{path}: none of its {len(episodes)} episodes has two frames to read")
    return Reading(out, hz, _counted(events), _ignored(source, wanted), _notes(plan, source))


def _states(plan: _Plan, episode: Timed) -> list[Rows | None]:
    where = f"{plan.path}: episode {episode.log.id!r}"
    return [
        signal_rows(where, episode, signal, plan.main, plan.addresses) if signal.columns else None
        for signal in plan.signals
    ]


def _commands(plan: _Plan, episode: Timed) -> list[tuple[np.ndarray, np.ndarray] | None]:
    where = f"{plan.path}: episode {episode.log.id!r}"
    return [
        drive_rows(where, episode, drive, plan.main, plan.addresses) if drive.column else None
        for drive in plan.drives
    ]


def _check(
    plan: _Plan,
    episodes: Sequence[Timed],
    states: Sequence[Sequence[Rows | None]],
    commands: Sequence[Sequence[tuple[np.ndarray, np.ndarray] | None]],
) -> None:
    """Refuses what only another unit, order or sign explains."""
    ids = [episode.log.id for episode in episodes]
    for i, signal in enumerate(plan.signals):
        rows = [(identity, state[i]) for identity, state in zip(ids, states, strict=True)]
        tracks = [(identity, r.track(signal.turns)) for identity, r in rows if r is not None]
        if signal.turns:
            for identity, track in tracks:
                where = f"{plan.path}: episode {identity!r}: {signal.element}"
                faults.unit_quaternions(where, track.values)
        check_signal(str(plan.path), signal, tracks, plan.columns.fastest)
    for u, drive in enumerate(plan.drives):
        logged = [(identity, c[u]) for identity, c in zip(ids, commands, strict=True)]
        check_drive(str(plan.path), drive, [(i, c[1]) for i, c in logged if c is not None])


def _episode(
    plan: _Plan,
    episode: Timed,
    state: Sequence[Rows | None],
    commands: Sequence[tuple[np.ndarray, np.ndarray] | None],
) -> tuple[Episode | None, list[_Event]]:
    """One episode at the control rate, or None where nothing is left of it; and what was done."""
    clock = episode.clocks[plan.main]
    events = [
        ("rows that repeat the one before are dropped", EVERY, int((~clock.kept).sum())),
        ("time stamps in bursts: a regular clock", plan.main or EVERY, clock.moved),
        ("time stamps off the frames: on them", plan.main or EVERY, clock.snapped),
    ]
    if len(clock.time) < 2:
        return None, [*events, ("episodes of one frame are dropped", EVERY, len(clock.time))]
    period = 1.0 / plan.hz
    frames = np.arange(int(np.floor(clock.time[-1] * plan.hz + 1e-9)) + 1)
    grid = frames / plan.hz if clock.frames else frames * period
    count = len(grid)
    qpos, qvel = np.full((count, plan.nq), np.nan), np.full((count, plan.nv), np.nan)
    measured = np.zeros((count, plan.nq), bool)
    fresh, waiting, fast = np.ones(count, bool), np.zeros(count, bool), np.zeros(count, bool)
    known = {}
    reference = next((s.delay for s in plan.signals if s.columns), 0.0)
    for signal, rows in zip(plan.signals, state, strict=True):
        if rows is not None:
            mended = _mended(plan, episode, signal, rows, commands, events)
            late = signal.delay - reference
            mended = dataclasses.replace(mended, time=mended.time - late) if late else mended
            at = at_frames(mended.track(signal.turns), grid, period)
            seen = np.isfinite(at.values).all(axis=1)
            qpos[:, signal.q], qvel[:, signal.v] = at.values, at.rates
            measured[:, signal.q] = at.measured[:, None]
            fresh &= at.fresh | ~seen
            waiting |= seen & np.isnan(at.rates).any(axis=1)
            limit = plan.columns.fastest[1 if signal.angular else 0]
            speed = np.abs(np.nan_to_num(at.rates)).max(axis=1)
            events.append(
                ("faster than possible: not valid", signal.columns[0], int((speed > limit).sum()))
            )
            fast |= speed > limit
            known[signal] = (seen, at)
        if signal.assumed is not None:
            unknown = np.isnan(qpos[:, signal.q]).any(axis=1)
            qpos[np.ix_(unknown, signal.q)] = signal.assumed
            qvel[np.ix_(unknown, signal.v)] = 0.0
    some = np.any([seen for seen, _ in known.values()], axis=0) if known else np.ones(count, bool)
    ctrl, commanded = _controls(plan, commands, grid + reference if reference else grid, period)
    begins = np.flatnonzero(some & commanded & ~waiting)
    if len(begins) == 0 or np.flatnonzero(some)[-1] <= begins[0]:
        return None, [*events, ("episodes of one frame are dropped", EVERY, count)]
    part = slice(int(begins[0]), int(np.flatnonzero(some)[-1]) + 1)
    size = part.stop - part.start
    events.append(("ends without velocity, state or command are cut", EVERY, count - size))
    valid = (some & commanded & ~fast)[part]
    events.append(("gap: not valid", EVERY, int((~some[part]).sum())))
    events.append(("gap in the commands: not valid", EVERY, int((~commanded[part]).sum())))
    for signal, (seen, at) in known.items():
        events += _sampled(signal, seen[part], some[part], at, part)
    if plan.columns.rejects is not None:
        bad = plan.columns.rejects.rejected(qpos[part])
        events.append(("rejected by the rule of the columns: not valid", EVERY, int(bad.sum())))
        valid &= ~bad
    time = grid[part] - grid[part.start] if part.start else grid[part]
    return Episode(
        id=episode.log.id,
        time=time,
        qpos=qpos[part],
        qvel=qvel[part],
        ctrl=ctrl[part],
        valid=valid,
        fresh=fresh[part],
        measured=None if measured[part].all() else measured[part],
    ), events


def _sampled(
    signal: Signal, seen: np.ndarray, some: np.ndarray, at: Frames, part: slice
) -> list[_Event]:
    column = signal.columns[0]
    assumed = int((seen & ~at.measured[part]).sum())
    return [
        ("gap: not measured", column, int((~seen & some).sum())),
        ("between samples around a hole: not measured", column, assumed),
        ("velocity from positions", column, at.estimated),
    ]


def _mended(
    plan: _Plan,
    episode: Timed,
    signal: Signal,
    rows: Rows,
    commands: Sequence[tuple[np.ndarray, np.ndarray] | None],
    events: list[_Event],
) -> Rows:
    """The rows of a signal after the rules of ``faults``; appends what they did to ``events``."""
    column, values = signal.columns[0], rows.values
    finite = np.isfinite(values).all(axis=1)
    events.append(("no number: not measured", column, int((~finite).sum())))
    if not finite.any():
        return rows
    out = values.copy()
    if signal.turns:
        where = f"{plan.path}: episode {episode.log.id!r}: {signal.element}"
        out[finite], flips = faults.unit_quaternions(where, values[finite])
        events.append(("quaternion of the other sign: turned", column, flips))
        return dataclasses.replace(rows, values=out)
    if signal.kind == "hinge":
        angles, turns = faults.unwrapped(values[finite, 0], signal.bounds)
        out[finite, 0] = angles
        events.append(("angle unwrapped", column, turns))
    if signal.kind in ("hinge", "slide"):
        bad = np.zeros(len(out), bool)
        bad[finite] = faults.stuck(out[finite, 0])
        events.append(("stuck encoder: not measured", column, int(bad.sum())))
        for drive, command in zip(plan.drives, commands, strict=True):
            driven = command is not None and drive.servo and f"'{drive.joint}'" in signal.element
            if driven and faults.dead(out[finite, 0], command[1], signal.angular):
                bad[:] = True
                events.append(("dead while commanded: not measured", column, len(bad)))
        rows = dataclasses.replace(rows, values=out)
        return rows.without(bad) if bad.any() else rows
    return dataclasses.replace(rows, values=out)


def _controls(
    plan: _Plan,
    commands: Sequence[tuple[np.ndarray, np.ndarray] | None],
    grid: np.ndarray,
    period: float,
) -> tuple[np.ndarray, np.ndarray]:
    """(frames, nu) commands, and (frames,) bool where each of them is known."""
    ctrl, known = np.zeros((len(grid), len(plan.drives))), np.ones(len(grid), bool)
    for drive, command in zip(plan.drives, commands, strict=True):
        if command is None:
            ctrl[:, drive.index] = drive.shift
            continue
        time, values = command
        finite = np.isfinite(values)
        # A command that is logged in most rows is lost where it is not; else it is held.
        dense = finite.sum() > 0.5 * len(finite)
        acts = time[finite] + drive.delay if drive.delay else time[finite]
        longest = gap_seconds(acts) if dense else np.inf
        ctrl[:, drive.index], there = held(acts, values[finite], grid, period, longest)
        known &= there
    return ctrl, known


def _counted(events: Iterable[Iterable[_Event]]) -> tuple[Repair, ...]:
    """Events of all episodes → repairs, in the order in which they first happened."""
    counts: dict[tuple[str, str], list[int]] = {}
    for happened in events:
        for rule, column, frames in happened:
            if frames:
                count = counts.setdefault((rule, column), [0, 0])
                count[0] += 1
                count[1] += frames
    return tuple(Repair(rule, column, *count) for (rule, column), count in counts.items())


def _ignored(source: Source, wanted: set[str]) -> dict[str, str]:
    """What nobody asked for, and what cannot be read."""
    used = {source.addresses()[column] for column in wanted}
    unused = {
        address: "no column asks for it"
        for address, place in source.addresses().items()
        if place not in used and place[0] in {name for name, _ in used}
    }
    arrays = {name for name, _ in used}
    unused |= {name: "no column asks for it" for name in source.names if name not in arrays}
    return unused | source.ignored


def _notes(plan: _Plan, source: Source) -> tuple[str, ...]:
    notes = [f"{what}" for what in source.damaged]
    for signal in plan.signals:
        if not signal.columns:
            assumed = "unknown" if signal.assumed is None else f"assumed {[*signal.assumed]}"
            notes.append(f"{signal.element} is not measured: {assumed}")
        elif signal.turns and not signal.rates:
            notes.append(
                f"{signal.element}: nothing in the log says whether its order is {signal.order}"
            )
    return tuple(notes)
