"""The reader of recordings: NumPy archives of one layout, checked on the way in.

An archive holds ``qpos`` (frames, nq), ``qvel`` (frames, nv), ``start`` (episodes + 1,), ``id``
(episodes,) and ``rate_hz`` or, per frame, ``time`` [s]; where the robot was driven also the
command of every frame. Conventions are those of ``worldmodel.types``. Any archive of a layout can
be read, with any ids. An error names the array and the episode.
"""

import dataclasses
import zipfile
from pathlib import Path
from typing import NoReturn, Protocol

import numpy as np

from worldmodel.episodes.resampling import resampled
from worldmodel.episodes.windows import WindowGrid
from worldmodel.errors import InputError
from worldmodel.types import Episode

LONGEST = 3600.0  # [s] an episode with its own clock; more is a clock that is not in seconds


class RecordingError(InputError):
    """An unknown recording, or an archive that is damaged or does not match its layout."""


class Rejects(Protocol):
    """A rule that rejects frames; a frozen dataclass, so that a config can hold it."""

    def rejected(self, qpos: np.ndarray) -> np.ndarray:
        """(frames, nq) of an episode → (frames,) bool, True where a frame is not valid."""
        ...


@dataclasses.dataclass(frozen=True)
class Recording:
    """A kind of recording: its layout, its rates and where its prediction windows start."""

    name: str
    nq: int
    nv: int
    nu: int
    quaternions: tuple[tuple[int, int, int, int], ...]  # indices into qpos, wxyz
    hinges: tuple[int, ...]  # indices into qpos of angles that are unwrapped
    rate_hz: float | None  # sampling rate of the archive; None where it holds ``time``
    control_hz: float  # rate of the episodes that are read
    windows: WindowGrid  # the protocol of its prediction windows
    command: str | None = None  # array with the command of every sample, where there is one
    rejects: Rejects | None = None  # frames that are not valid

    def __post_init__(self) -> None:
        if self.rate_hz is None:
            if self.quaternions or self.hinges or self.rejects or self.command is None:
                raise RecordingError(
                    f"{self.name} has a clock of its own: it is read with a command, and without "
                    "quaternions, wrapped hinges and rejected frames; resample it first"
                )
        elif self.rate_hz != self.control_hz:
            raise RecordingError(
                f"{self.name} is sampled at {self.rate_hz} Hz and read at {self.control_hz} Hz; "
                "give both the same rate"
            )


def load(path: str | Path, recording: Recording) -> list[Episode]:
    """Reads and checks an archive of a recording's layout.

    Wrapped hinge angles are unwrapped; frames that ``recording.rejects`` names are not ``valid``.
    An archive with a clock of its own is resampled to ``control_hz``, with velocities estimated
    anew (``resampling``).

    Args:
      path: the .npz.
      recording: its layout.

    Raises:
      RecordingError: no such file, truncated, pickled, arrays missing or of another shape,
        values not finite, quaternions not unit, time not increasing, another rate.
    """
    path = Path(path)
    arrays = _read(path, recording)
    _check(path, arrays, recording)
    start, ids = arrays["start"], arrays["id"]
    episodes = []
    for i, identity in enumerate(ids.tolist()):
        part = slice(int(start[i]), int(start[i + 1]))
        qpos, qvel = arrays["qpos"][part].astype(float), arrays["qvel"][part].astype(float)
        ctrl = np.zeros((len(qpos), recording.nu))
        if recording.command is not None:
            ctrl = arrays[recording.command][part].astype(float)
        if recording.rate_hz is None:
            time = arrays["time"][part].astype(float)
            episodes.append(resampled(identity, time, qpos, qvel, ctrl, recording.control_hz))
            continue
        for hinge in recording.hinges:
            qpos[:, hinge] = np.unwrap(qpos[:, hinge])
        for quaternion in map(list, recording.quaternions):
            qpos[:, quaternion] /= np.linalg.norm(qpos[:, quaternion], axis=1, keepdims=True)
        rejects = recording.rejects
        valid = np.ones(len(qpos), bool) if rejects is None else ~rejects.rejected(qpos)
        episodes.append(
            Episode.regular(
                identity, recording.control_hz, qpos=qpos, qvel=qvel, ctrl=ctrl, valid=valid
            )
        )
    return episodes


def _read(path: Path, recording: Recording) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise RecordingError(f"no file {path}; give the .npz of {recording.name}")
    wanted = ["qpos", "qvel", "start", "id"]
    wanted += ["time" if recording.rate_hz is None else "rate_hz"]
    wanted += [recording.command] if recording.command is not None else []
    try:
        opened = np.load(path, allow_pickle=False)
        if isinstance(opened, np.ndarray):
            raise RecordingError(f"{path} is a single array, not an .npz of {recording.name}")
        with opened as archive:
            absent = [name for name in wanted if name not in archive.files]
            if absent:
                raise RecordingError(
                    f"{path} has no array {', '.join(absent)} (it has "
                    f"{', '.join(archive.files)}); is it a recording of {recording.name}?"
                )
            return {name: archive[name] for name in wanted}
    except RecordingError:
        raise
    except ValueError as error:
        if "allow_pickle" in str(error) and zipfile.is_zipfile(path):
            raise RecordingError(
                f"{path} holds pickled objects, which are never loaded; save plain arrays"
            ) from error
        raise RecordingError(f"{path} is damaged ({error}); fetch it again") from error
    except (OSError, zipfile.BadZipFile, EOFError, KeyError, NotImplementedError) as error:
        raise RecordingError(f"{path} is truncated or damaged ({error}); fetch it again") from error
    except Exception as error:  # zlib.error and struct.error have no common base
        raise RecordingError(f"{path} is damaged ({error}); fetch it again") from error


def _check(path: Path, arrays: dict[str, np.ndarray], recording: Recording) -> None:
    def refuse(what: str) -> NoReturn:
        raise RecordingError(f"{path}: {what}")

    for name, array in arrays.items():
        if name != "id" and array.dtype.kind not in "fiu":
            refuse(f"array {name} is of type {array.dtype}, not numbers")
    frames = arrays["qpos"].shape[0] if arrays["qpos"].ndim else 0
    widths = {"qpos": recording.nq, "qvel": recording.nv}
    widths |= {recording.command: recording.nu} if recording.command is not None else {}
    for name, width in widths.items():
        if arrays[name].shape != (frames, width):
            refuse(
                f"array {name} has shape {arrays[name].shape} where {recording.name} has "
                f"({frames}, {width}); is it another recording?"
            )
    if "time" in arrays and arrays["time"].shape != (frames,):
        refuse(f"array time has shape {arrays['time'].shape}, not ({frames},) as qpos has frames")
    start, ids = arrays["start"], arrays["id"]
    if start.ndim != 1 or start.dtype.kind not in "iu" or len(start) < 2:
        refuse(f"array start has shape {start.shape} and type {start.dtype}, not (episodes + 1,)")
    start = start.astype(np.int64)  # differences of unsigned numbers would wrap around
    if ids.dtype.kind not in "iuU":
        refuse(f"array id is of type {ids.dtype}; ids are whole numbers or text")
    if ids.shape != (len(start) - 1,):
        refuse(f"array id has shape {ids.shape} where start names {len(start) - 1} episodes")
    if len(set(ids.tolist())) != len(ids):
        refuse("array id names an episode twice; rename one")
    if start[0] != 0 or start[-1] != frames or (np.diff(start) < 2).any():
        refuse(
            f"array start must rise from 0 to {frames} by at least 2 frames per episode; "
            "the file is truncated or damaged"
        )
    if recording.rate_hz is not None:
        rate = arrays["rate_hz"]
        if rate.shape != () or not np.isclose(float(rate), recording.rate_hz, rtol=1e-6):
            refuse(f"rate_hz is {rate}, not {recording.rate_hz}; resample it or use its own kind")
    for i, identity in enumerate(ids.tolist()):
        part = slice(int(start[i]), int(start[i + 1]))
        _check_episode(f"{path}: episode {identity!r}", arrays, part, recording)


def _check_episode(
    where: str, arrays: dict[str, np.ndarray], part: slice, recording: Recording
) -> None:
    for name in ("qpos", "qvel", "time", recording.command):
        if name in arrays:
            finite = np.isfinite(arrays[name][part]).reshape(part.stop - part.start, -1).all(1)
            if not finite.all():
                frame = int(np.flatnonzero(~finite)[0])
                raise RecordingError(
                    f"{where}: {name} is not finite at frame {frame}; cut or mend the episode"
                )
    for quaternion in map(list, recording.quaternions):
        norm = np.linalg.norm(arrays["qpos"][part][:, quaternion], axis=1)
        if (np.abs(norm - 1) > 1e-3).any():
            frame = int(np.flatnonzero(np.abs(norm - 1) > 1e-3)[0])
            raise RecordingError(
                f"{where}: the quaternion at frame {frame} has norm {norm[frame]:.4f}, not 1; "
                "normalise it, or cut the episode"
            )
    if "time" in arrays and (np.diff(arrays["time"][part]) <= 0).any():
        frame = int(np.flatnonzero(np.diff(arrays["time"][part]) <= 0)[0]) + 1
        raise RecordingError(f"{where}: time does not increase at frame {frame}; sort the frames")
    if "time" in arrays and np.ptp(arrays["time"][part]) > LONGEST:
        raise RecordingError(f"{where}: time spans over {LONGEST:.0f} s; is it in seconds?")
