"""One episode of a log: the rows of its signals and drives → frames at the control rate."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.episodes import faults
from worldmodel.episodes.clock import gap_seconds
from worldmodel.episodes.columns import Columns
from worldmodel.episodes.resampling import Frames, at_frames, held
from worldmodel.episodes.rows import Rows, Timed
from worldmodel.episodes.signals import Drive, Signal
from worldmodel.types import Episode

EVERY = "every column"

Event = tuple[str, str, int]  # rule, column, frames


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is read of every episode."""

    path: Path
    model: mujoco.MjModel
    signals: list[Signal]
    drives: list[Drive]
    hz: float  # of the frames
    columns: Columns


def assembled(
    plan: Plan, episode: Timed, rows: Sequence[Rows | None], commands: Sequence[Rows | None]
) -> tuple[Episode | None, list[Event]]:
    """One episode at the control rate, or None where nothing of it remains; and what was done.

    Args:
      rows: of each signal of the plan; None where it has no columns.
      commands: of each drive, likewise.
    """
    clock, main = episode.clocks[episode.main], episode.main or EVERY
    events = [
        ("rows that repeat the one before: dropped", EVERY, int((~clock.kept).sum())),
        ("time stamps in bursts: a regular clock", main, clock.moved),
        ("time stamps off the frames: on them", main, clock.snapped),
    ]
    dropped = "episodes without two frames to read: dropped"
    if len(clock.time) < 2:
        return None, [*events, (dropped, EVERY, max(len(clock.time), 1))]
    period = 1.0 / plan.hz
    count = int(np.floor(clock.time[-1] * plan.hz + 1e-9)) + 1
    grid = np.arange(count) / plan.hz if clock.frames else np.arange(count) * period
    # Frames lie on the samples of the first signal: what is late by as much needs no resampling.
    reference = next((signal.delay for signal in plan.signals if signal.columns), 0.0)
    driven = list(zip(plan.drives, commands, strict=True))
    frames: dict[Signal, Frames] = {}  # of those that have columns
    for signal, own in zip(plan.signals, rows, strict=True):
        if own is not None:
            shifted = dataclasses.replace(own, time=own.time - (signal.delay - reference))
            own, happened = _mended(episode.where, signal, shifted, driven)
            events += [] if signal.inferred else happened  # its columns are another's
            frames[signal] = at_frames(own.track(signal.turns), grid, period)
    fast = {signal: _fast(plan, signal, at) for signal, at in frames.items()}
    every = frames.values()
    some = _any(count, (at.known for at in every)) if frames else np.ones(count, bool)
    waiting = _any(count, (at.known & np.isnan(at.rates).any(axis=1) for at in every))
    stale = _any(count, (at.known & ~at.fresh for at in every))
    ctrl, commanded, lost = _controls(driven, grid - reference, period)
    events += lost
    begins, ends = np.flatnonzero(some & commanded & ~waiting), np.flatnonzero(some)
    if len(begins) == 0 or ends[-1] <= begins[0]:
        return None, [*events, (dropped, EVERY, count)]
    part = slice(int(begins[0]), int(ends[-1]) + 1)
    events += [
        ("ends without velocity, state or command: cut", EVERY, count - (part.stop - part.start)),
        ("gap: not valid", EVERY, int((~some)[part].sum())),
        ("gap in the commands: not valid", EVERY, int((some & ~commanded)[part].sum())),
    ]
    for signal, at in frames.items():
        events += _counts(signal, at, fast[signal], some, part)
    qpos, qvel, measured = _positions(plan, frames, count)
    valid = (some & commanded & ~_any(count, fast.values()))[part]
    if plan.columns.rejects is not None:
        bad = plan.columns.rejects.rejected(qpos[part])
        events.append(("rejected by the columns' rule: not valid", EVERY, int(bad.sum())))
        valid &= ~bad
    return Episode(
        id=episode.id,
        time=grid[part] - grid[part.start],
        qpos=qpos[part],
        qvel=qvel[part],
        ctrl=ctrl[part],
        valid=valid,
        fresh=~stale[part],
        measured=None if measured[part].all() else measured[part],
    ), events


def _any(count: int, flags: Iterable[np.ndarray]) -> np.ndarray:
    """(count,) bool; where any of several flags is set."""
    return np.logical_or.reduce([np.zeros(count, bool), *flags])


def _positions(
    plan: Plan, frames: Mapping[Signal, Frames], count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(frames, nq) positions, (frames, nv) velocities, NaN where unknown; what was measured."""
    qpos, qvel = (np.full((count, n), np.nan) for n in (plan.model.nq, plan.model.nv))
    measured = np.zeros(qpos.shape, bool)
    for signal in plan.signals:
        q, v = list(signal.q), list(signal.v)
        if signal in frames:
            at = frames[signal]
            qpos[:, q], qvel[:, v] = at.values, at.rates
            measured[:, q] = at.measured[:, None] & (not signal.inferred)
        if signal.assumed is not None:
            unknown = np.flatnonzero(np.isnan(qpos[:, q]).any(axis=1))
            qpos[unknown[:, None], q] = signal.assumed
            qvel[unknown[:, None], v] = 0.0
    return qpos, qvel, measured


def _fast(plan: Plan, signal: Signal, at: Frames) -> np.ndarray:
    """(frames,) bool; where a signal moves faster than anything does."""
    limit = plan.columns.fastest[1 if signal.angular else 0]
    return np.abs(np.nan_to_num(at.rates)).max(axis=1) > limit


def _counts(
    signal: Signal, at: Frames, fast: np.ndarray, some: np.ndarray, part: slice
) -> list[Event]:
    """What was done at the frames of a signal."""
    if signal.inferred:
        return []
    column = signal.columns[0]
    velocity = ("velocity: from positions", column)
    if signal.rates and at.sampled:
        velocity = ("velocity: from positions, where none is recorded", signal.rates[0])
    elif signal.rates:
        velocity = ("velocity: made anew from positions, the clock is resampled", signal.rates[0])
    hole = "between samples around a hole: not measured"
    flags = [
        ("gap: not measured", column, ~at.known & some),
        (hole, column, at.known & ~at.measured),
        (*velocity, at.known & ~at.recorded),
        ("faster than possible: not valid", column, fast),
    ]
    return [(rule, of, int(flag[part].sum())) for rule, of, flag in flags]


def _mended(
    where: str, signal: Signal, rows: Rows, driven: Sequence[tuple[Drive, Rows | None]]
) -> tuple[Rows, list[Event]]:
    """The rows of a signal after the rules of ``faults``, and what they did."""
    column = signal.columns[0]
    finite = np.asarray(np.isfinite(rows.values).all(axis=1))
    events = [("no number: not measured", column, int((~finite).sum()))]
    if not finite.any():
        return rows, events
    values, bad = rows.values.copy(), np.zeros(len(rows.values), bool)
    if signal.turns:
        where = f"{where}: {signal.element}"
        values[finite], flips = faults.unit_quaternions(where, values[finite])
        events.append(("quaternion of the other sign: turned", column, flips))
    elif signal.kind == "hinge":
        values[finite, 0], turns = faults.unwrapped(values[finite, 0], signal.bounds)
        events.append(("angle: unwrapped", column, turns))
    if signal.kind in ("hinge", "slide"):
        there = np.flatnonzero(finite)
        late = np.diff(rows.time[there]) > gap_seconds(rows.time[there])
        for stretch in np.split(there, np.flatnonzero(late) + 1):
            bad[stretch] = faults.stuck(values[stretch, 0])
        events.append(("stuck encoder: not measured", column, int(bad.sum())))
        for drive, command in driven:
            if command is None or not drive.servo or drive.joint != signal.joint:
                continue
            if faults.dead(values[finite, 0], command.values[:, 0], signal.angular):
                bad[:] = True
                events.append(("dead while commanded: not measured", column, len(bad)))
    return dataclasses.replace(rows, values=np.where(bad[:, None], np.nan, values)), events


def _controls(
    driven: Sequence[tuple[Drive, Rows | None]], grid: np.ndarray, period: float
) -> tuple[np.ndarray, np.ndarray, list[Event]]:
    """(frames, nu) commands, (frames,) bool where each of them is known, and what was lost."""
    ctrl, known = np.zeros((len(grid), len(driven))), np.ones(len(grid), bool)
    lost: list[Event] = []
    for drive, command in driven:
        if command is None:
            ctrl[:, drive.index] = drive.shift
            continue
        values = command.values[:, 0]
        finite = np.isfinite(values)
        acts = command.time[finite] + drive.delay
        # Where most rows have a command, one without has lost it; else one comes when it changes.
        dense = finite.sum() > 0.5 * len(finite)
        longest = gap_seconds(acts) if dense else np.inf
        if dense:
            between = np.diff(np.flatnonzero(finite)) - 1  # rows without one; longer are gaps
            held_rows = int(between[np.diff(acts) <= longest].sum())
            lost.append(("no number: the command before it", drive.columns[0], held_rows))
        ctrl[:, drive.index], there = held(acts, values[finite], grid, period, longest)
        known &= there
    return ctrl, known, lost
