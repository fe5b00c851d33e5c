"""Capture: trials played on a robot, each episode in a file of its own as soon as it ends."""

import contextlib
import dataclasses
import functools
import hashlib
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np

from worldmodel.errors import InputError
from worldmodel.reality.deploy import DEFAULT, NOBODY, check_robot, compiled_loop, deploy
from worldmodel.reality.robot import Robot, connect
from worldmodel.reality.safety import Operator, Safety
from worldmodel.runtime import log
from worldmodel.runtime.records import write_arrays
from worldmodel.tasks.task import Task
from worldmodel.types import Episode, Trial

LOGGED = 1.0  # [s] an episode that takes longer, as on a robot, is logged as it ends


class CaptureError(InputError):
    """A captured episode that is damaged, or of another trial than the one to be played."""


def capture(
    directory: str | Path,
    robot: Robot,
    task: Task,
    trials: Sequence[Trial],
    key: jax.Array,
    *,
    operator: Operator = NOBODY,
    safety: Safety = DEFAULT,
    stop: Callable[[], bool] = lambda: False,
) -> list[Episode]:
    """Plays trials on a robot and captures what comes back, one file per episode.

    Episodes that the folder already has are read, not played again. Everything is compiled before
    the operator and the robot are connected; both are closed however this ends.

    Args:
      trials: their policies have one structure.
      key: of the policies' randomness.
      operator, safety, stop: see ``deploy``.

    Raises:
      RobotError: the robot failed.
      CaptureError: the folder holds a damaged episode, or one of another start, goal or policy.
      InputError: the robot is not the task's, or a dry run.
      runtime.Interrupted: the operator or ``stop`` stopped the robot.

    Of an episode that did not come to its end, for these or any other reason, the frames so far are
    kept in ``<number>.failed.npz``, those of the next attempt in ``<number>.failed1.npz``; running
    again goes on with that episode.
    """
    if getattr(robot, "source", "real") != "real":
        raise InputError("a dry run is not captured; play it by 'dry_run'")
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    check_robot(robot, task)
    captured: dict[int, Episode] = {}
    for i, trial in enumerate(trials):
        path = directory / f"{i:05d}.npz"
        if path.is_file():
            captured[i] = _read(path, trial)
    open_trials = [i for i in range(len(trials)) if i not in captured]
    if open_trials:
        loop = compiled_loop(task, trials[0].policy, trials[0].goal)
        with contextlib.ExitStack() as last:
            last.callback(operator.close)  # the last one first, all of them
            connect(operator, "operator's device")
            last.callback(robot.close)
            last.callback(robot.stop)
            connect(robot, "robot")
            for i in open_trials:
                own, began = jax.random.fold_in(key, i), time.monotonic()
                if hasattr(robot, "begin"):
                    robot.begin(own)  # pyright: ignore[reportAttributeAccessIssue]
                episode = deploy(
                    robot,
                    task,
                    trials[i],
                    i,
                    own,
                    loop=loop,
                    operator=operator,
                    safety=safety,
                    stop=stop,
                    keep=functools.partial(_write, _attempt(directory, i), trials[i]),
                )
                _write(directory / f"{i:05d}.npz", trials[i], episode)
                captured[i] = episode
                if time.monotonic() - began > LOGGED:
                    judged = "success" if episode.success else "no success"
                    judged = "not judged" if episode.success is None else judged
                    log(
                        f"episode {i + 1} of {len(trials)}: {len(episode.qpos)} frames, "
                        f"{episode.late} late, {judged}"
                    )
    return [captured[i] for i in range(len(trials))]


def _attempt(directory: Path, i: int) -> Path:
    """The file of an episode's next attempt that does not come to its end."""
    before = len(list(directory.glob(f"{i:05d}.failed*.npz")))
    return directory / f"{i:05d}.failed{before or ''}.npz"


def _digest(trial: Trial) -> str:
    leaves = jax.tree.leaves((trial.start, trial.goal, trial.policy))
    numbers = [np.ascontiguousarray(x) for x in leaves]
    return hashlib.sha256(b"".join(x.tobytes() for x in numbers)).hexdigest()[:16]


def _write(path: Path, trial: Trial, episode: Episode) -> None:
    names = {f.name for f in dataclasses.fields(episode)} - {"id", "goal", "source"}
    arrays = {name: getattr(episode, name) for name in sorted(names)}
    arrays |= {f"goal.{name}": value for name, value in episode.goal.items()}
    arrays = {name: value for name, value in arrays.items() if value is not None}
    write_arrays(path, arrays | {"trial": _digest(trial)})


def _read(path: Path, trial: Trial) -> Episode:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = dict(archive)
        digest = str(arrays.pop("trial"))
        goals = [name for name in arrays if name.startswith("goal.")]
        goal = {name.removeprefix("goal."): arrays.pop(name) for name in goals}
        scalars = {n: arrays.pop(n).item() for n in ("success", "late") if n in arrays}
        episode = Episode(int(path.stem), goal=goal, **arrays, **scalars)
    except Exception as error:  # zipfile, zlib and struct errors have no common base
        raise CaptureError(
            f"{path} is damaged ({error}); move it away, and the episode is played again"
        ) from error
    if digest != _digest(trial):
        raise CaptureError(
            f"{path} was captured for another start, goal or policy; give another --out, or move "
            "that folder away"
        )
    return episode
