"""Capture: trials played on a robot, each episode in a file of its own as soon as it ends."""

import dataclasses
import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from worldmodel import runtime
from worldmodel.errors import InputError
from worldmodel.reality.deploy import deploy
from worldmodel.reality.robot import Robot, RobotError
from worldmodel.rollout import replay
from worldmodel.runtime.files import write_bytes
from worldmodel.scene import Scene
from worldmodel.types import Episode, Trial


class CaptureError(InputError):
    """A captured episode that is damaged, or of another trial than the one to be played."""


def capture(
    directory: Path,
    robot: Robot,
    scene: Scene,
    trials: Sequence[Trial],
    *,
    stop: Callable[[], bool] = lambda: False,
) -> list[Episode]:
    """Plays trials on a robot and captures what comes back, one file per episode.

    Episodes that the folder already has are read, not played again.

    Args:
      scene: of the robot, see ``deploy``.
      stop: asked between episodes.

    Raises:
      RobotError: the robot failed; the frames before are kept in ``<number>.failed.npz``, and
        running again goes on with that episode.
      CaptureError: the folder holds a damaged episode, or one of another goal, action or commands.
      runtime.Interrupted: ``stop`` returned True.
    """
    directory.mkdir(parents=True, exist_ok=True)
    captured = []
    for i, trial in enumerate(trials):
        path = directory / f"{i:05d}.npz"
        if path.is_file():
            episode = _read(path)
            if not _is_of(episode, trial):
                raise CaptureError(
                    f"{path} was captured for another goal, action or commands; give another "
                    "--out, or move that folder away"
                )
        else:
            if stop():
                raise runtime.Interrupted(
                    f"stopped before episode {i}; run the same command to go on"
                )
            try:
                played = deploy(robot, replay(trial.ctrl), scene, trial.start, len(trial.ctrl), i)
            except RobotError as error:
                if error.episode is not None:
                    _write(directory / f"{i:05d}.failed.npz", error.episode, trial)
                raise
            episode = _write(path, played, trial)
        captured.append(episode)
    return captured


def _is_of(episode: Episode, trial: Trial) -> bool:
    def same(a: Any, b: Any) -> bool:
        return np.shape(a) == np.shape(b) and np.allclose(a, b)

    return (
        episode.goal.keys() == trial.goal.keys()
        and same(episode.action, trial.action)
        and same(episode.ctrl[:-1], trial.ctrl)
        and all(same(value, trial.goal[name]) for name, value in episode.goal.items())
    )


def _write(path: Path, episode: Episode, trial: Trial) -> Episode:
    episode = dataclasses.replace(episode, goal=trial.goal, action=trial.action)
    arrays = {name: getattr(episode, name) for name in _ARRAYS}
    arrays |= {f"goal.{name}": value for name, value in trial.goal.items()}
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays)
    write_bytes(path, buffer.getvalue())
    return episode


_ARRAYS = ("time", "qpos", "qvel", "ctrl", "valid", "fresh", "contact", "action")


def _read(path: Path) -> Episode:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        goal = {k.removeprefix("goal."): v for k, v in arrays.items() if k.startswith("goal.")}
        number = int(path.name.split(".")[0])
        return Episode(number, goal=goal, **{name: arrays[name] for name in _ARRAYS})
    except Exception as error:  # zipfile, zlib and struct errors have no common base
        raise CaptureError(
            f"{path} is damaged ({error}); move it away, and the episode is played again"
        ) from error
