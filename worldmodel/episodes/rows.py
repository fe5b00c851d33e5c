"""The rows of a log: when each was taken, and what it measures, in SI units."""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from worldmodel.episodes.clock import Clock, read_clock, snapped
from worldmodel.episodes.columns import TIME_UNITS, Columns, ColumnsError
from worldmodel.episodes.resampling import Track
from worldmodel.episodes.signals import Channel, Drive, Signal
from worldmodel.episodes.sources import Source, SourceError
from worldmodel.errors import near

WHOLE = 5e-4  # a rate that is a whole number of frames per second to this share is that number


@dataclasses.dataclass(frozen=True)
class Timed:
    """An episode of a log with a clock for each of its columns of time stamps."""

    where: str  # file and episode, as messages name them
    id: int | str
    columns: dict[str, np.ndarray]  # address → (rows,) what is read of it, as it is stored
    clocks: dict[str | None, Clock]  # the first is that of the rows; None: of a constant rate

    @property
    def main(self) -> str | None:
        """The column of the rows' time stamps."""
        return next(iter(self.clocks))

    def stamped(self, hz: float) -> "Timed":
        """Its clocks on the frames of a control rate, where they are close to them."""
        clocks = {name: snapped(clock, hz) for name, clock in self.clocks.items()}
        return dataclasses.replace(self, clocks=clocks)


@dataclasses.dataclass(frozen=True)
class Rows:
    """The rows of one signal or drive in an episode; NaN where it has no number."""

    time: np.ndarray  # (rows,) [s]
    values: np.ndarray  # (rows, w)
    rates: np.ndarray | None  # (rows, v) recorded velocities

    def track(self, turns: bool) -> Track:
        """Its samples: the rows that have a number."""
        finite = np.asarray(np.isfinite(self.values).all(axis=1))
        rows = np.flatnonzero(finite)
        hole = np.append(np.diff(rows) > 1, rows[-1:] < len(finite) - 1)
        rates = None if self.rates is None else self.rates[finite]
        return Track(self.time[finite], self.values[finite], rates, hole, turns)


def source_rate(source: Source, columns: Columns) -> float | None:
    """The constant rate of a log without time stamps, or None.

    Raises:
      ColumnsError: the log's own rate is another than the columns'.
    """
    given, own = columns.rate_hz, source.rate_hz
    if given is not None and own is not None and not np.isclose(given, own, rtol=1e-6):
        raise ColumnsError(
            f"{source.path}: rate_hz is {own}, not {given} as the columns say; correct one"
        )
    return own if given is None else given


def timed(
    source: Source, columns: Columns, rate: float | None, others: Iterable[str], wanted: set[str]
) -> list[Timed]:
    """The clocks of every episode.

    Args:
      rate: of the rows where no column has their time.
      others: columns of time stamps of single signals.
      wanted: every column that is read.

    Raises:
      ColumnsError: neither stamps nor a rate.
      InputError: see ``clock.read_clock``.
    """
    main = columns.time or (source.clock if columns.rate_hz is None else None)
    if main is None and rate is None:
        raise ColumnsError(
            f"{source.path}: nothing says when its rows were taken; give time, the column of the "
            f"time stamps, or rate_hz ({near('time', source.columns)})"
        )
    names = [main, *(name for name in sorted(others) if name != main)]
    out = []
    for log in source.logs:
        where = f"{source.path}: episode {log.id!r}"
        stored = {c: source.column(log, c) for c in {*wanted, *names} if c is not None}
        clocks: dict[str | None, Clock] = {}
        origin = None
        for name in names:
            if name is None:
                rows = max(map(len, stored.values()), default=0)
                clocks[name] = Clock(np.arange(rows) / (rate or 1.0), np.ones(rows, bool))
                continue
            unit = "s" if name == source.clock else columns.time_unit
            stamps = stored[name]
            repeats = _repeats([stored[c] for c in wanted - {name}], len(stamps))
            clock = read_clock(f"{where}: column '{name}'", stamps, unit, repeats)
            origin = stamps[:1] if origin is None else origin
            start = float((stamps[:1] - origin).sum()) * TIME_UNITS[unit]
            clocks[name] = dataclasses.replace(clock, start=start)
        out.append(Timed(where, log.id, stored, clocks))
    return out


def _repeats(columns: Iterable[np.ndarray], rows: int) -> np.ndarray:
    """(rows,) bool; where every number is that of the row before."""
    same = np.ones(rows, bool)
    for values in columns:
        values = values.astype(float)
        if len(values) == rows and rows:
            equal = (values[1:] == values[:-1]) | (np.isnan(values[1:]) & np.isnan(values[:-1]))
            same[1:] &= equal
    same[:1] = False
    return same


def frame_rate(path: object, episodes: Sequence[Timed]) -> float:
    """The rate of a log's own rows: of its median sample period, over the episodes.

    Raises:
      SourceError: no episode has two rows.
    """
    periods = np.array([episode.clocks[episode.main].period for episode in episodes])
    periods = periods[np.isfinite(periods)]
    if not len(periods):
        raise SourceError(f"{path}: none of its {len(episodes)} episodes has two frames to read")
    hz = 1.0 / float(np.median(periods))
    return float(round(hz)) if abs(hz / max(round(hz), 1) - 1) < WHOLE else hz


def fastest_rate(episodes: Sequence[Timed]) -> float:
    """The highest rate of any clock of a log, of its median sample period; 0 where none has two
    rows."""
    periods = [clock.period for episode in episodes for clock in episode.clocks.values()]
    return max((1.0 / period for period in periods if period > 0), default=0.0)


def rows_of(episode: Timed, channel: Channel) -> Rows | None:
    """The rows of a signal or a drive, in SI units, its clock still without the delay; None where
    it has no columns.

    Raises:
      SourceError: a column with other rows than its time stamps.
    """
    if not channel.columns:
        return None
    values = _stack(episode, channel, channel.columns) * channel.factor + channel.shift
    rates = None
    if isinstance(channel, Signal) and channel.rates:
        rates = _stack(episode, channel, channel.rates) * channel.factor
    clock = episode.clocks[channel.time or episode.main]
    return Rows(clock.time + clock.start, values, rates)


def _stack(episode: Timed, channel: Channel, columns: Sequence[str]) -> np.ndarray:
    """(kept rows, columns) as float64."""
    clock = channel.time or episode.main
    kept = episode.clocks[clock].kept
    parts = []
    for column in columns:
        values = episode.columns[column]
        if isinstance(channel, Drive) and len(values) == len(kept) - 1:
            values = np.append(
                values.astype(float), np.nan
            )  # none was sent after the last state: the one before is held
        if len(values) != len(kept):
            when = "the others have" if clock is None else f"its time '{clock}' has"
            raise SourceError(
                f"{episode.where}: column '{column}' has {len(values)} rows where {when} "
                f"{len(kept)}; give it its own time, or mend the log"
            )
        parts.append(values.astype(float)[kept])
    return np.stack(parts, axis=1)
