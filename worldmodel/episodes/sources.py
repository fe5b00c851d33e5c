"""Logs as they lie on disk: LeRobot sets, Parquet, CSV and npz files → episodes of named arrays.

A file, or a folder of files of one kind. An .npz holds an array per column, rows first; with
``start`` (episodes + 1,) and ``id`` (episodes,) it holds many episodes, ``rate_hz`` is its rate.
Only what is asked for is read: videos, text and whatever else lies beside it is named, not refused.
"""

import dataclasses
import functools
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from worldmodel.episodes import lerobot
from worldmodel.episodes.columns import ColumnsError
from worldmodel.episodes.tables import csv_table, numbers, parquet_table
from worldmodel.errors import InputError, cause, near

FAMILIES = (".npz", ".csv", ".parquet")
_INDEXED = re.compile(r"(.+)\[(\d+)(?::(\d+))?\]")

Place = tuple[str, int]  # an array of a log, and the component of it


class SourceError(InputError):
    """A log that is absent, truncated, damaged or not of numbers."""


@dataclasses.dataclass(frozen=True)
class Log:
    """One episode as its source has it."""

    id: int | str
    arrays: dict[str, np.ndarray]  # (rows,) or (rows, components), as they are stored


@dataclasses.dataclass(frozen=True)
class Source:
    """The episodes of a log, and what else it holds."""

    path: Path
    logs: list[Log]
    names: Mapping[str, tuple[str, ...] | None]  # readable array → names of its components
    ignored: dict[str, str]  # what cannot be read → why
    rate_hz: float | None = None
    clock: str | None = None  # column of time stamps [s] that the format itself has
    damaged: tuple[str, ...] = ()  # what was lost of a set, and the remedy

    def column(self, log: Log, address: str) -> np.ndarray:
        """(rows,) the values at an address in one episode, as they are stored."""
        name, component = self.addresses[address]
        values = log.arrays[name]
        return values if values.ndim == 1 else values[:, component]

    def width(self, name: str) -> int:
        """How many components an array has; 0 of one that is not there."""
        if name not in self.names:
            return 0
        array = self.logs[0].arrays.get(name)
        if array is None:  # not read
            return len(self.names[name] or [name])
        return 1 if array.ndim == 1 else array.shape[1]

    @property
    def columns(self) -> list[str]:
        """The readable columns, each by its shortest address; arrays of several by their name."""
        aliases = {f"{name}[0]" for name in self.names if self.width(name) == 1}
        return [a for a in dict.fromkeys([*self.names, *self.addresses]) if a not in aliases]

    @functools.cached_property
    def addresses(self) -> dict[str, Place]:
        """Every address of a readable column, such as "q[1]" or "q.elbow", and its place."""
        out: dict[str, Place] = {}
        for name, components in self.names.items():
            width = self.width(name)
            if width == 1:
                out[name] = out[f"{name}[0]"] = (name, 0)
            for i in range(width) if width > 1 else ():
                out[f"{name}[{i}]"] = (name, i)
                if components:
                    out[f"{name}.{components[i]}"] = (name, i)
        return out


def expanded(columns: Iterable[str]) -> list[str]:
    """Columns with slices such as "qpos[0:3]" written out."""
    out: list[str] = []
    for column in columns:
        match = _INDEXED.fullmatch(column)
        if match and match[3]:
            out += [f"{match[1]}[{i}]" for i in range(int(match[2]), int(match[3]))]
        else:
            out.append(column)
    return out


def open_source(
    path: str | Path, wanted: Iterable[str] | None = None, episode: str | None = None
) -> Source:
    """Reads the wanted columns of a log; of LeRobot sets, also its time stamps.

    Args:
      path: a LeRobot folder, a .npz, .csv or .parquet, or a folder of files of one kind.
      wanted: addresses of columns; None reads every column that can be.
      episode: column that numbers the episodes of CSV and Parquet; without it a file is one.

    Raises:
      SourceError: nothing there, truncated or damaged files, pickles.
      ColumnsError: a wanted column that the log does not have, or that is text or video.
    """
    path = Path(path)
    columns = None if wanted is None else list(wanted)
    is_set = (path / "meta" / "info.json").is_file()
    if path.is_dir() and not is_set:
        files = {s: sorted(path.glob(f"*{s}")) for s in FAMILIES if list(path.glob(f"*{s}"))}
        if len(files) != 1:
            held = " and ".join(files) or f"no {', '.join(FAMILIES)} and no LeRobot set"
            raise SourceError(f"{path} holds {held}; give a folder of files of one kind")
        (alike,) = files.values()
        sources = [_file(file, columns, episode) for file in alike]
        for source in sources:
            _refuse_absent(source, columns or [], sources)
        return _together(path, sources)
    source = _lerobot(path) if is_set else _file(path, columns, episode)
    _refuse_absent(source, columns or [], [])
    return source


def _file(path: Path, wanted: list[str] | None, episode: str | None) -> Source:
    if not path.is_file():
        raise SourceError(f"no file {path}; give a log: {', '.join(FAMILIES)} or a LeRobot folder")
    if path.suffix.lower() == ".npz":
        if episode is not None:
            raise ColumnsError(
                f"episode is '{episode}', but {path} is an .npz, whose episodes are its arrays "
                "start and id; leave episode out"
            )
        return _npz(path, wanted)
    if path.suffix.lower() not in FAMILIES:
        raise SourceError(f"{path} is no {', '.join(FAMILIES)} file; convert it to one")
    return _table(path, wanted, episode)


def _together(path: Path, sources: list[Source]) -> Source:
    """One source of several files; ids that occur twice are preceded by the file's name."""
    ids = [log.id for source in sources for log in source.logs]
    logs = [
        log if len(set(ids)) == len(ids) else Log(f"{source.path.stem}/{log.id}", log.arrays)
        for source in sources
        for log in source.logs
    ]
    rates = {source.rate_hz for source in sources}
    if len(rates) > 1:
        raise SourceError(f"{path}: the files have the rates {sorted(map(str, rates))}; sort them")
    for source in sources[1:]:
        for having, lacking in ((sources[0], source), (source, sources[0])):
            for column in sorted(having.names.keys() - lacking.names.keys()):
                raise SourceError(_incomplete(column, having, lacking))
    ignored = {k: why for source in sources for k, why in source.ignored.items()}
    return dataclasses.replace(sources[0], path=path, logs=logs, ignored=ignored)


def _incomplete(column: str, having: Source, lacking: Source) -> str:
    return (
        f"{lacking.path} has no column '{column}', which {having.path.name} has; complete it, or "
        "take the file out of the folder"
    )


def _refuse_absent(source: Source, wanted: list[str], others: list[Source]) -> None:
    """Refuses columns that are not there; where none is, the log is another robot's.

    Args:
      others: files of the same folder.
    """
    absent = [column for column in wanted if column not in source.addresses]
    for column in absent:
        for why in (source.ignored[n] for n in _holders(column) if n in source.ignored):
            raise ColumnsError(f"{source.path}: column '{column}' cannot be read: {why}")
    if absent:
        having = [other for other in others if absent[0] in other.addresses]
        if having:
            raise ColumnsError(_incomplete(absent[0], having[0], source))
        remedy = near(absent[0], source.columns)
        if len(absent) < len(wanted):
            raise ColumnsError(f"{source.path} has no column '{absent[0]}'; {remedy}")
        raise ColumnsError(
            f"{source.path} has none of the {len(absent)} columns ('{absent[0]}' first); is it the "
            f"log of another robot? {remedy}"
        )


def _arrays_of(wanted: list[str] | None, names: Iterable[str]) -> list[str]:
    """The arrays that hold the wanted columns."""
    if wanted is None:
        return list(names)
    holders = (next((n for n in _holders(c) if n in names), None) for c in wanted)
    return [name for name in dict.fromkeys(holders) if name is not None]


def _holders(column: str) -> list[str]:
    """What an array that an address is of may be called, the most likely first."""
    match, parts = _INDEXED.fullmatch(column), column.split(".")
    before = [".".join(parts[:n]) for n in range(len(parts) - 1, 0, -1)]
    return [column, *([match[1]] if match else []), *before]


def _npz(path: Path, wanted: list[str] | None) -> Source:
    try:
        opened = np.load(path, allow_pickle=False)
        if isinstance(opened, np.ndarray):
            raise SourceError(f"{path} is a single array, not an .npz; save named arrays")
        with opened as archive:
            special = {n: archive[n] for n in ("start", "id", "rate_hz") if n in archive.files}
            names = [n for n in archive.files if n not in special]
            arrays, ignored = {}, {}
            for name in _arrays_of(wanted, names):
                try:
                    arrays[name] = archive[name]
                except ValueError as error:
                    if "allow_pickle" not in str(error) or wanted is not None:
                        raise
                    ignored[name] = "pickled objects, which are never loaded"
    except InputError:
        raise
    except Exception as error:  # zlib.error, struct.error and zipfile's have no common base
        if "allow_pickle" in str(error) and zipfile.is_zipfile(path):
            why = "holds pickled objects, which are never loaded; save plain arrays"
            raise SourceError(f"{path} {why}") from error
        why = f" ({cause(error)})" if zipfile.is_zipfile(path) else ", or no .npz"
        raise SourceError(f"{path} is truncated or damaged{why}; copy it again") from error
    return _cut(path, arrays, names, ignored, special, wanted is not None)


def _cut(
    path: Path,
    arrays: dict[str, np.ndarray],
    names: list[str],
    ignored: dict[str, str],
    special: dict[str, np.ndarray],
    strict: bool,
) -> Source:
    """The episodes of an .npz by its arrays ``start`` and ``id``."""
    start, ids = special.get("start"), special.get("id")
    rate = special.get("rate_hz")
    if rate is not None and (rate.shape != () or rate.dtype.kind not in "fiu"):
        raise SourceError(f"{path}: rate_hz has shape {rate.shape}; give one number")
    if start is not None:
        whole = start.ndim == 1 and start.dtype.kind in "iu" and len(start) > 1
        start = start.astype(np.int64) if whole else start  # unsigned differences wrap around
        ids = np.arange(start.size - 1) if ids is None else ids
        why = ""
        if not whole:
            of = f"shape {start.shape} and type {start.dtype}"
            why = f"start has {of}, not (episodes + 1,) integers"
        elif start[0] != 0 or (np.diff(start) < 0).any():
            why = "start must rise from 0; the file is damaged"
        elif ids.shape != (len(start) - 1,):
            why = f"id has shape {ids.shape} where start names {len(start) - 1} episodes"
        elif ids.dtype.kind not in "iuU":
            why = f"id is of type {ids.dtype}; ids are whole numbers or text"
        elif len(set(ids.tolist())) != len(ids):
            why = "id names an episode twice; rename one"
        if why:
            raise SourceError(f"{path}: array {why}")
    for name, array in list(arrays.items()):
        rows = None if start is None else int(start[-1])
        why = ""
        if array.dtype.kind not in "fiub":
            why = f"it is of type {array.dtype}, not numbers"
        elif array.ndim not in (1, 2):
            why = f"its shape is {array.shape}, not (rows,) or (rows, components)"
        elif rows is not None and len(array) != rows:
            why = f"it has {len(array)} rows where start names {rows}; it is truncated, or no log"
        if why and strict:
            raise SourceError(f"{path}: array {name}: {why}")
        if why:
            ignored[name] = why
            del arrays[name]
    kept = {name: None for name in names if name not in ignored}
    logs = [Log(path.stem, arrays)]
    if start is not None:
        logs = [
            Log(identity, {n: a[start[i] : start[i + 1]] for n, a in arrays.items()})
            for i, identity in enumerate(np.asarray(ids).tolist())
        ]
    return Source(path, logs, kept, ignored, None if rate is None else float(rate))


def _table(path: Path, wanted: list[str] | None, episode: str | None) -> Source:
    """A CSV or Parquet file, cut where the episode column changes."""
    table = csv_table(path) if path.suffix.lower() == ".csv" else parquet_table(path)
    if not table.num_rows:
        raise SourceError(f"{path} has columns but no row; record it again, or take it away")
    columns = {name: numbers(table.column(name)) for name in table.column_names}
    if episode is not None and episode not in columns:
        raise ColumnsError(f"{path} has no column '{episode}'; {near(episode, columns)}")
    labels = None if episode is None else columns.pop(episode)
    readable = {n: values for n, values in columns.items() if not isinstance(values, str)}
    names = dict.fromkeys(readable)
    ignored = {n: why for n, why in columns.items() if isinstance(why, str)}
    arrays = {name: readable[name] for name in _arrays_of(wanted, names)}
    if labels is None:
        return Source(path, [Log(path.stem, arrays)], names, ignored)
    if isinstance(labels, str):  # of text, which numbers episodes as well
        labels = np.array(table.column(episode).to_pylist(), dtype=str)
    if labels.dtype.kind == "f":
        if not np.isfinite(labels).all():
            row = int(np.flatnonzero(~np.isfinite(labels))[0])
            raise SourceError(f"{path}: column '{episode}' is empty at row {row}; number it")
        labels = labels.astype(np.int64) if (labels % 1 == 0).all() else labels.astype(str)
    values, first, which = np.unique(labels, return_index=True, return_inverse=True)
    logs = [
        Log(values[i].item(), {n: a[which == i] for n, a in arrays.items()})
        for i in np.argsort(first)
    ]
    return Source(path, logs, names, ignored)


def _lerobot(path: Path) -> Source:
    """A LeRobot set, with its time stamps as its clock; the only place that knows its reader."""
    dataset = lerobot.read(path)
    names = {name: feature.names for name, feature in dataset.features.items()}
    logs = [
        Log(identity, {name: values for name, values in episode.items() if name != "task_index"})
        for identity, episode in zip(dataset.ids, dataset.episodes, strict=True)
    ]
    names |= {"timestamp": None}
    fps = float(dataset.fps)
    return Source(path, logs, names, dataset.ignored, fps, "timestamp", dataset.damaged)
