"""One episode of a log: the rows of its signals and drives → frames at the control rate."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from worldmodel.episodes import faults
from worldmodel.episodes.clock import gap_seconds
from worldmodel.episodes.columns import Columns
from worldmodel.episodes.resampling import Frames, all_at_frames, held
from worldmodel.episodes.rows import Rows, Timed
from worldmodel.episodes.signals import Drive, Signal
from worldmodel.types import Episode

EVERY = "every column"

Event = tuple[str, str, int]  # rule, column, frames
Commands = tuple[np.ndarray, np.ndarray]  # (rows,) [s] and (rows,) of an actuator, NaN: none


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is read of every episode."""

    path: Path
    signals: list[Signal]
    drives: list[Drive]
    hz: float  # of the frames
    columns: Columns
    nq: int
    nv: int


@dataclasses.dataclass(frozen=True)
class _States:
    """The state at the frames of an episode."""

    qpos: np.ndarray  # (frames, nq), NaN where unknown
    qvel: np.ndarray  # (frames, nv), likewise
    measured: np.ndarray  # (frames, nq) bool
    some: np.ndarray  # (frames,) bool; something is known from the log
    fresh: np.ndarray  # (frames,) bool
    waiting: np.ndarray  # (frames,) bool; a known position has no velocity yet
    fast: np.ndarray  # (frames,) bool; faster than possible
    frames: list[tuple[Signal, Frames]]  # of the signals that have columns


def assembled(
    plan: Plan, episode: Timed, rows: Sequence[Rows | None], commands: Sequence[Commands | None]
) -> tuple[Episode | None, list[Event]]:
    """One episode at the control rate, or None where nothing of it remains; and what was done.

    Args:
      rows: of each signal of the plan; None where it has no columns.
      commands: of each drive; None where it has no column.
    """
    clock, main = episode.clocks[episode.main], episode.main or EVERY
    events = [
        ("rows that repeat the one before: dropped", EVERY, int((~clock.kept).sum())),
        ("time stamps in bursts: a regular clock", main, clock.moved),
        ("time stamps off the frames: on them", main, clock.snapped),
    ]
    if len(clock.time) < 2:
        return None, [*events, ("episodes of one frame: dropped", EVERY, max(len(clock.time), 1))]
    period = 1.0 / plan.hz
    frames = np.arange(int(np.floor(clock.time[-1] * plan.hz + 1e-9)) + 1)
    grid = frames / plan.hz if clock.frames else frames * period
    # Frames lie on the samples of the first signal: what is late by as much needs no resampling.
    reference = next((signal.delay for signal in plan.signals if signal.columns), 0.0)
    mended = [
        None if r is None else _mended(plan, episode, signal, r, commands, reference, events)
        for signal, r in zip(plan.signals, rows, strict=True)
    ]
    state = _states(plan, mended, grid, period)
    ctrl, commanded = _controls(plan, commands, grid - reference, period)
    begins = np.flatnonzero(state.some & commanded & ~state.waiting)
    ends = np.flatnonzero(state.some)
    if len(begins) == 0 or ends[-1] <= begins[0]:
        return None, [*events, ("episodes of one frame: dropped", EVERY, len(grid))]
    part = slice(int(begins[0]), int(ends[-1]) + 1)
    events += _counts(plan, state, commanded, part)
    valid = (state.some & commanded & ~state.fast)[part]
    if plan.columns.rejects is not None:
        bad = plan.columns.rejects.rejected(state.qpos[part])
        events.append(("rejected by the columns' rule: not valid", EVERY, int(bad.sum())))
        valid &= ~bad
    measured = state.measured[part]
    return Episode(
        id=episode.log.id,
        time=grid[part] - grid[part.start] if part.start else grid[part],
        qpos=state.qpos[part],
        qvel=state.qvel[part],
        ctrl=ctrl[part],
        valid=valid,
        fresh=state.fresh[part],
        measured=None if measured.all() else measured,
    ), events


def _states(plan: Plan, rows: Sequence[Rows | None], grid: np.ndarray, period: float) -> _States:
    count = len(grid)
    qpos, qvel = np.full((count, plan.nq), np.nan), np.full((count, plan.nv), np.nan)
    measured, fresh = np.zeros((count, plan.nq), bool), np.ones(count, bool)
    waiting, fast, some = (np.zeros(count, bool) for _ in range(3))
    tracks = [
        None if own is None else own.track(signal.turns)
        for signal, own in zip(plan.signals, rows, strict=True)
    ]
    frames = []
    for signal, at in zip(plan.signals, all_at_frames(tracks, grid, period), strict=True):
        q, v = list(signal.q), list(signal.v)
        if at is not None:
            qpos[:, q], qvel[:, v] = at.values, at.rates
            measured[:, q] = at.measured[:, None] & (not signal.inferred)
            known = np.isfinite(at.values).all(axis=1)
            some |= known
            fresh &= at.fresh | ~known
            waiting |= known & np.isnan(at.rates).any(axis=1)
            fast |= _fast(plan, signal, at)
            frames.append((signal, at))
        if signal.assumed is not None:
            unknown = np.flatnonzero(np.isnan(qpos[:, q]).any(axis=1))
            qpos[unknown[:, None], q] = signal.assumed
            qvel[unknown[:, None], v] = 0.0
    if not frames:
        some[:] = True
    return _States(qpos, qvel, measured, some, fresh, waiting, fast, frames)


def _fast(plan: Plan, signal: Signal, at: Frames) -> np.ndarray:
    """(frames,) bool; where a signal moves faster than anything does."""
    limit = plan.columns.fastest[1 if signal.angular else 0]
    return np.abs(np.nan_to_num(at.rates)).max(axis=1) > limit


def _counts(plan: Plan, state: _States, commanded: np.ndarray, part: slice) -> list[Event]:
    """What was done at the frames of an episode."""
    some = state.some[part]
    cut = len(state.some) - len(some)
    events = [
        ("ends without velocity, state or command: cut", EVERY, cut),
        ("gap: not valid", EVERY, int((~some).sum())),
        ("gap in the commands: not valid", EVERY, int((~commanded[part] & some).sum())),
    ]
    for signal, at in state.frames:
        if signal.inferred:
            continue
        column = signal.columns[0]
        known = np.asarray(np.isfinite(at.values).all(axis=1))[part]
        events += [
            ("gap: not measured", column, int((~known & some).sum())),
            ("between samples around a hole: not measured", column,
             int((known & ~at.measured[part]).sum())),
            (*_from_positions(signal, at), int((known & ~at.recorded[part]).sum())),
            ("faster than possible: not valid", column, int(_fast(plan, signal, at)[part].sum())),
        ]  # fmt: skip
    return events


def _from_positions(signal: Signal, at: Frames) -> tuple[str, str]:
    """The rule by which velocities come from positions, and the column: of a recorded velocity
    that is not read, its own and why."""
    if signal.rates and not at.sampled:
        return "velocity: made anew from positions, the clock is resampled", signal.rates[0]
    return "velocity: from positions", signal.columns[0]


def _mended(
    plan: Plan,
    episode: Timed,
    signal: Signal,
    rows: Rows,
    commands: Sequence[Commands | None],
    reference: float,
    events: list[Event],
) -> Rows:
    """The rows of a signal after the rules of ``faults``; appends what they did to ``events``."""
    events = [] if signal.inferred else events  # its columns are another's, and counted there
    rows = dataclasses.replace(rows, time=rows.time - (signal.delay - reference))
    column = signal.columns[0]
    finite = np.asarray(np.isfinite(rows.values).all(axis=1))
    events.append(("no number: not measured", column, int((~finite).sum())))
    if not finite.any():
        return rows
    values, bad = rows.values.copy(), np.zeros(len(rows.values), bool)
    if signal.turns:
        where = f"{episode.where}: {signal.element}"
        values[finite], flips = faults.unit_quaternions(where, values[finite])
        events.append(("quaternion of the other sign: turned", column, flips))
    elif signal.kind == "hinge":
        values[finite, 0], turns = faults.unwrapped(values[finite, 0], signal.bounds)
        events.append(("angle: unwrapped", column, turns))
    if signal.kind in ("hinge", "slide"):
        where = np.flatnonzero(finite)
        late = np.diff(rows.time[where]) > gap_seconds(rows.time[where])
        for stretch in np.split(where, np.flatnonzero(late) + 1):
            bad[stretch] = faults.stuck(values[stretch, 0])
        events.append(("stuck encoder: not measured", column, int(bad.sum())))
        for drive, command in zip(plan.drives, commands, strict=True):
            if command is None or not drive.servo or drive.joint != signal.joint:
                continue
            if faults.dead(values[finite, 0], command[1], signal.angular):
                bad[:] = True
                events.append(("dead while commanded: not measured", column, len(bad)))
    rows = dataclasses.replace(rows, values=values)
    return rows.without(bad) if bad.any() else rows


def _controls(
    plan: Plan, commands: Sequence[Commands | None], grid: np.ndarray, period: float
) -> tuple[np.ndarray, np.ndarray]:
    """(frames, nu) commands, and (frames,) bool where each of them is known."""
    ctrl, known = np.zeros((len(grid), len(plan.drives))), np.ones(len(grid), bool)
    for drive, command in zip(plan.drives, commands, strict=True):
        if command is None:
            ctrl[:, drive.index] = drive.shift
            continue
        time, values = command
        finite = np.isfinite(values)
        acts = time[finite] + drive.delay
        # Where most rows have a command, one without has lost it; else one comes when it changes.
        dense = finite.sum() > 0.5 * len(finite)
        longest = gap_seconds(acts) if dense else np.inf
        ctrl[:, drive.index], there = held(acts, values[finite], grid, period, longest)
        known &= there
    return ctrl, known
