"""Loaders of real recordings: NumPy archives of one layout, checked on the way in.

An archive holds ``qpos`` (frames, nq), ``qvel`` (frames, nv), ``start`` (episodes + 1,), ``id``
(episodes,) and ``rate_hz`` or, per frame, ``time`` [s]; the double pendulum also the joint
torques. Conventions are those of ``worldmodel.types``. Any archive of a layout loads, with any
ids. What is wrong with one is said by array and episode.
"""

import dataclasses
import zipfile
from pathlib import Path
from typing import NoReturn

import numpy as np

from worldmodel.episodes.resampling import resampled
from worldmodel.types import Episode, InputError


class RecordingError(InputError):
    """An unknown recording, or an archive that is damaged, foreign or not what it should be."""


@dataclasses.dataclass(frozen=True)
class Channels:
    """Which positions are what: indices into ``qpos``."""

    position: tuple[int, ...] = ()  # [m]
    quaternion: tuple[int, ...] = ()  # wxyz
    angle: tuple[int, ...] = ()  # the rotation of a body in a plane [rad]
    joints: tuple[int, ...] = ()  # hinges [rad]


@dataclasses.dataclass(frozen=True)
class Recording:
    """A kind of recording: its layout, its rates and its protocol of prediction windows."""

    name: str
    nq: int
    nv: int
    nu: int
    channels: Channels
    rate_hz: float | None  # sampling rate of the archive; None where it holds ``time``
    control_hz: float  # rate of the episodes that come out
    first: int  # frame at which the first prediction window starts
    stride: int  # frames between the starts of windows
    horizon: int  # frames predicted, unless said otherwise


FREE_BODY = Channels(position=(0, 1, 2), quaternion=(3, 4, 5, 6))
CUBE_TOSS = Recording("cube_toss", 7, 6, 0, FREE_BODY, 148.0, 148.0, 8, 8, 16)
ELBOW_TOSS = Recording(
    "elbow_toss", 8, 7, 0, dataclasses.replace(FREE_BODY, joints=(7,)), 148.0, 148.0, 8, 8, 16
)
SQUARE_DROP = Recording(
    "square_drop", 3, 3, 0, Channels(position=(0, 1), angle=(2,)), 250.0, 250.0, 8, 8, 16
)
# 0.5 s windows every 0.25 s.
DOUBLE_PENDULUM = Recording(
    "double_pendulum", 2, 2, 2, Channels(joints=(0, 1)), None, 200.0, 0, 50, 100
)
RECORDINGS = (CUBE_TOSS, ELBOW_TOSS, SQUARE_DROP, DOUBLE_PENDULUM)

# The square's tracking glitches. It meets the table at 2.6 m/s at most, which as rotation alone
# would be 106 rad/s; spins of 60 to 75 rad/s that last a whole flight are real.
MAX_TURN = 100.0  # [rad/s]
MAX_TURN_CHANGE = 60.0  # [rad/s] from one frame to the next, if it is taken back
MAX_VELOCITY_CHANGE = 6.0  # [m/s] likewise; an impact changes it by 4 m/s
TAKEN_BACK = 0.3  # part of a change that the frame before or after must undo
LONGEST = 3600.0  # [s] an episode with its own clock; more is a clock that is not in seconds


def find(name: str) -> Recording:
    """The recording of that name.

    Raises:
      RecordingError: an unknown name; the message lists the known ones.
    """
    for recording in RECORDINGS:
        if recording.name == name:
            return recording
    known = ", ".join(r.name for r in RECORDINGS)
    raise RecordingError(f"unknown recording '{name}'; known: {known}")


def load(path: str | Path, recording: Recording) -> list[Episode]:
    """Reads and checks an archive of a recording's layout.

    Elbow: the wrapped hinge angle is unwrapped. Square: frames next to a tracking glitch are not
    ``valid`` (``glitches``). Double pendulum: resampled to ``control_hz``, with
    velocities of its own (``resampling``).

    Args:
      path: the .npz.
      recording: the layout to hold it against.

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
        if recording.rate_hz is None:
            torque = arrays["torque_measured"][part].astype(float)
            time = arrays["time"][part].astype(float)
            episodes.append(resampled(identity, time, qpos, qvel, torque, recording.control_hz))
            continue
        for hinge in recording.channels.joints:
            qpos[:, hinge] = np.unwrap(qpos[:, hinge])
        quaternion = list(recording.channels.quaternion)
        if quaternion:
            qpos[:, quaternion] /= np.linalg.norm(qpos[:, quaternion], axis=1, keepdims=True)
        frames = len(qpos)
        bad = glitches(qpos, recording) if recording.channels.angle else np.zeros(frames, bool)
        episodes.append(
            Episode(
                id=identity,
                time=np.arange(frames) / recording.control_hz,
                qpos=qpos,
                qvel=qvel,
                ctrl=np.zeros((frames, recording.nu)),
                valid=~bad,
                fresh=np.ones(frames, bool),
            )
        )
    return episodes


def glitches(qpos: np.ndarray, recording: Recording) -> np.ndarray:
    """Frames of a planar recording that follow a jump or are a spike: (frames,) bool.

    A frame is a glitch where the angle turned faster than ``MAX_TURN`` since the last one, or
    where the rate of turning changes by more than ``MAX_TURN_CHANGE``, or the velocity by more
    than ``MAX_VELOCITY_CHANGE``, from the step before the frame to the step after it, and the
    change before or after that one undoes at least ``TAKEN_BACK`` of it (a bounce changes the
    velocity once, a spike there and back, a jump of the pose there and back too). Its
    successor, whose stored velocity is the difference to it, goes with it.
    """
    rate = recording.control_hz
    angle = qpos[:, list(recording.channels.angle)]
    bad = np.zeros(len(qpos), bool)
    bad[1:] = np.abs(np.diff(angle, axis=0)).max(axis=1) * rate > MAX_TURN
    for values, limit in (
        (angle, MAX_TURN_CHANGE),
        (qpos[:, list(recording.channels.position)], MAX_VELOCITY_CHANGE),
    ):
        change = np.diff(values, n=2, axis=0) * rate  # at the frame in the middle
        square = np.sum(change**2, axis=1)
        undone = np.zeros(len(change), bool)
        opposed = np.sum(change[1:] * change[:-1], axis=1)
        undone[1:] |= opposed < -TAKEN_BACK * square[1:]
        undone[:-1] |= opposed < -TAKEN_BACK * square[:-1]
        spike = np.flatnonzero((square > limit**2) & undone) + 1
        bad[spike] = True
        bad[np.minimum(spike + 1, len(qpos) - 1)] = True
    return bad


def _read(path: Path, recording: Recording) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise RecordingError(f"no file {path}; give the .npz of {recording.name}")
    wanted = ["qpos", "qvel", "start", "id"]
    wanted += ["time", "torque_measured"] if recording.rate_hz is None else ["rate_hz"]
    try:
        opened = np.load(path, allow_pickle=False)
        if isinstance(opened, np.ndarray):
            raise RecordingError(f"{path} is a single array, not an .npz of {recording.name}")
        with opened as archive:
            missing = [name for name in wanted if name not in archive.files]
            if missing:
                raise RecordingError(
                    f"{path} has no array {', '.join(missing)} (it has "
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
    widths = {"qpos": recording.nq, "qvel": recording.nv, "torque_measured": recording.nu}
    for name, width in widths.items():
        if name in arrays and arrays[name].shape != (frames, width):
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
    for name in ("qpos", "qvel", "time", "torque_measured"):
        if name in arrays:
            finite = np.isfinite(arrays[name][part]).reshape(part.stop - part.start, -1).all(1)
            if not finite.all():
                frame = int(np.flatnonzero(~finite)[0])
                raise RecordingError(
                    f"{where}: {name} is not finite at frame {frame}; cut or mend the episode"
                )
    quaternion = list(recording.channels.quaternion)
    if quaternion:
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
