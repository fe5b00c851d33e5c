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
from worldmodel.episodes.assembly import Event, Plan, assembled
from worldmodel.episodes.columns import Columns, ColumnsError
from worldmodel.episodes.plausible import check_drive, check_order, check_signal
from worldmodel.episodes.rows import (
    Rows,
    Timed,
    fastest_rate,
    frame_rate,
    rows_of,
    source_rate,
    timed,
)
from worldmodel.episodes.signals import layout
from worldmodel.episodes.sources import Source, SourceError, open_source
from worldmodel.types import Episode

FINEST = 100  # frames per row, at most: what is between two rows is interpolated


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
    channels = [*signals, *drives]
    stamps = {t for t in (columns.time, *(channel.time for channel in channels)) if t is not None}
    wanted = {c for channel in channels for c in channel.columns} | stamps
    wanted |= {c for signal in signals for c in signal.rates}
    source = open_source(path, sorted(wanted), columns.episode)
    rate = source_rate(source, columns)
    episodes = timed(source, columns, rate, stamps, wanted)
    hz = control_hz or columns.control_hz or (rate if columns.time is None else None)
    hz = hz or frame_rate(source.path, episodes)
    fastest = fastest_rate(episodes)
    if hz > FINEST * fastest > 0:
        raise ColumnsError(
            f"{path}: {hz:g} frames per second are more than {FINEST} for every row of the log, "
            f"which has {fastest:g} per second; give a lower control_hz, or correct the time's unit"
        )
    plan = Plan(source.path, model, signals, drives, hz, columns)
    episodes = [episode.stamped(hz) for episode in episodes]
    states = [[rows_of(episode, signal) for signal in signals] for episode in episodes]
    commands = [[rows_of(episode, drive) for drive in drives] for episode in episodes]
    _check(plan, episodes, states, commands)
    notes = [*_notes(plan, source), *_orders(plan, states)]
    out, events, dropped = [], [], []
    for episode, state, command in zip(episodes, states, commands, strict=True):
        read, happened = assembled(plan, episode, state, command)
        if read is None:
            dropped.append(repr(episode.id))
        else:
            out.append(read)
        events.append(happened)
    if not out:
        dead = [
            c
            for c in sorted(wanted - stamps)
            if not any(np.isfinite(episode.columns[c]).any() for episode in episodes)
        ]
        why = f": column '{dead[0]}' holds no number; leave it out, or record it" if dead else ""
        raise SourceError(
            f"{path}: none of its {len(episodes)} episodes has two frames to read{why}"
        )
    if dropped:
        shown = ", ".join(dropped[:12]) + (" …" if len(dropped) > 12 else "")
        notes.append(
            f"{path}: {len(dropped)} episodes have not two frames from the first whose velocity "
            f"and commands are known on, and are dropped: {shown}"
        )
    return Reading(out, hz, _counted(events), _ignored(source, wanted), tuple(notes))


def _check(
    plan: Plan,
    episodes: Sequence[Timed],
    states: Sequence[Sequence[Rows | None]],
    commands: Sequence[Sequence[Rows | None]],
) -> None:
    """Refuses what only another unit, order or sign explains."""
    where = [episode.where for episode in episodes]
    for i, signal in enumerate(plan.signals):
        rows = [(at, state[i]) for at, state in zip(where, states, strict=True)]
        tracks = [(at, r.track(signal.turns)) for at, r in rows if r is not None]
        for at, track in tracks if signal.turns else ():
            faults.unit_quaternions(f"{at}: {signal.element}", track.values)
        check_signal(signal, tracks, plan.columns.fastest)
    for u, drive in enumerate(plan.drives):
        logged = [(at, c[u]) for at, c in zip(where, commands, strict=True)]
        check_drive(drive, [(at, c.values[:, 0]) for at, c in logged if c is not None])


def _orders(plan: Plan, states: Sequence[Sequence[Rows | None]]) -> list[str]:
    """Which quaternions have an order that neither recorded velocities nor the scene confirm."""
    notes = []
    for i, signal in enumerate(plan.signals):
        if not signal.turns or signal.rates or not signal.columns:
            continue
        place = plan.signals[i - 1] if i else signal
        free = place.kind == "position" and place.joint == signal.joint and place.columns
        rows = [(state[i - 1], state[i]) for state in states]
        if not free or not check_order(str(plan.path), plan.model, place, signal, rows):
            notes.append(
                f"{signal.element}: nothing in the log says whether its order is {signal.order}"
            )
    return notes


def _counted(events: Iterable[Iterable[Event]]) -> tuple[Repair, ...]:
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
    known = source.addresses
    used = {place for a, place in known.items() if a in wanted or a == source.clock}
    arrays = {name for name, _ in used}
    unused = [a for a, place in known.items() if place[0] in arrays and place not in used]
    unused += [name for name in source.names if name not in arrays]
    return dict.fromkeys(unused, "no column asks for it") | source.ignored


def _notes(plan: Plan, source: Source) -> list[str]:
    notes = [*source.damaged]
    for signal in plan.signals:
        if signal.inferred:
            notes.append(f"{signal.element} follows column '{signal.columns[0]}' by an equality")
        elif not signal.columns:
            assumed = "unknown" if signal.assumed is None else f"assumed {[*signal.assumed]}"
            notes.append(f"{signal.element} is not measured: {assumed}")
    return notes
