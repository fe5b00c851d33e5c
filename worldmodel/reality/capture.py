"""Capture: episodes that reality, or a world model, played; kept whole, never lost.

Each captured episode is a file of its own the moment it ends. Finished sets leave as LeRobot
data sets, and policies are cloned from what our reader reads back.
"""

import dataclasses
import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from worldmodel import runtime
from worldmodel.episodes import lerobot
from worldmodel.policies import stroke as task
from worldmodel.reality import Operator, Robot, RobotError, run_policy
from worldmodel.types import Episode, InputError


class CaptureError(InputError):
    """Captured episodes that are damaged, or of other contexts than those asked for."""


@dataclasses.dataclass(frozen=True)
class Captured:
    """One episode that was played in reality."""

    episode: Episode
    contact: np.ndarray  # (frames, pairs) bool
    context: np.ndarray  # (3,) what was asked for
    stroke: np.ndarray  # (2,) what was played


def capture(
    directory: Path,
    robot: Robot,
    contexts: task.Contexts,
    strokes: np.ndarray,
    *,
    stop: Callable[[], bool] = lambda: False,
) -> list[Captured]:
    """Deploys strokes on a robot and captures what comes back, one file per episode.

    Episodes that the folder already has are read, not played again.

    Raises:
      RobotError: the robot failed; what it had reported is kept as ``<number>.failed.npz``, and
        running again goes on with that episode.
      CaptureError: the folder holds episodes of other contexts or strokes.
      runtime.Interrupted: ``stop`` said so, between two episodes.
    """
    directory.mkdir(parents=True, exist_ok=True)
    commands = task.play(contexts.start, strokes)
    places = task.initial_qpos(contexts.start, strokes)
    captured = []
    for i, (context, stroke) in enumerate(zip(contexts.table, strokes, strict=True)):
        path = directory / f"{i:05d}.npz"
        if path.is_file():
            found = _read_captured(path)
            if not (np.allclose(found.context, context) and np.allclose(found.stroke, stroke)):
                raise CaptureError(
                    f"{path} was captured for another context or stroke; give another --out, or "
                    "move that folder away"
                )
        else:
            if stop():
                raise runtime.Interrupted(
                    f"stopped before episode {i}; run the same command to go on"
                )
            try:
                episode, contact = run_policy(
                    robot, lambda t, _, c=commands[i]: c[t], places[i], len(commands[i]), i
                )
            except RobotError as error:
                if error.episode is not None:
                    partial = Captured(error.episode, np.zeros((0, 0), bool), context, stroke)
                    _write_captured(directory / f"{i:05d}.failed.npz", partial)
                raise
            found = Captured(episode, contact, context, stroke)
            _write_captured(path, found)
        captured.append(found)
    return captured


def _write_captured(path: Path, captured: Captured) -> None:
    episode = captured.episode
    buffer = io.BytesIO()
    np.savez(
        buffer,
        time=episode.time,
        qpos=episode.qpos,
        qvel=episode.qvel,
        ctrl=episode.ctrl,
        contact=captured.contact,
        context=captured.context,
        stroke=captured.stroke,
    )
    write_whole(path, buffer.getvalue())


def _read_captured(path: Path) -> Captured:
    try:
        with np.load(path, allow_pickle=False) as archive:
            read = {name: archive[name] for name in archive.files}
        frames = len(read["qpos"])
        episode = Episode(
            id=int(path.name.split(".")[0]),
            time=read["time"],
            qpos=read["qpos"],
            qvel=read["qvel"],
            ctrl=read["ctrl"],
            valid=np.ones(frames, bool),
            fresh=np.ones(frames, bool),
        )
        return Captured(episode, read["contact"], read["context"], read["stroke"])
    except Exception as error:  # zipfile, zlib and struct errors have no common base
        raise CaptureError(
            f"{path} is damaged ({error}); move it away, and the episode is played again"
        ) from error


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file that is there whole or not at all."""
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def demonstrations(
    directory: Path, robot: Robot, operator: Operator, episodes: int, rng: np.random.Generator
) -> list[Captured]:
    """Real training episodes: an operator demonstrates, the robot records."""
    contexts = task.draw_contexts(episodes, rng)
    return capture(directory, robot, contexts, operator.demonstrate(contexts.table, rng))


def data_set(
    captured: Sequence[Captured], provenance: dict[str, Any], *, intervention: bool
) -> lerobot.Dataset:
    """Episodes as a LeRobot data set."""
    scalar = lerobot.Feature("bool", (1,))
    vector = ("float32", lambda n: (n,))
    nq, nu = captured[0].episode.qpos.shape[1], captured[0].episode.ctrl.shape[1]
    pairs = captured[0].contact.shape[1]
    features = {
        "observation.state": lerobot.Feature(vector[0], (2 * nu,)),
        "observation.environment_state": lerobot.Feature(vector[0], (2,), ("x", "y")),
        "observation.context": lerobot.Feature("float64", (3,), ("start", "distance", "direction")),
        "action": lerobot.Feature(vector[0], (nu,)),
        "stroke": lerobot.Feature("float64", (2,), ("speed", "direction")),
        "next.reward": lerobot.Feature("float32", (1,)),
        "next.done": scalar,
        "next.success": scalar,
        "intervention": scalar,
        "sim.qpos": lerobot.Feature("float64", (nq,)),
        "sim.qvel": lerobot.Feature("float64", (nq,)),
        "sim.contact_active": lerobot.Feature("bool", (pairs,)),
    }
    return lerobot.Dataset(
        fps=round(task.CONTROL_HZ),
        robot_type="two_joint_pusher",
        features=features,
        episodes=[_columns(c, intervention) for c in captured],
        tasks=["slide the puck onto the target"] * len(captured),
        provenance=provenance,
    )


def _columns(captured: Captured, intervention: bool) -> dict[str, np.ndarray]:
    episode = captured.episode
    frames = len(episode.qpos)
    contexts = task.Contexts(*(captured.context[None, i] for i in range(3)))
    miss = np.linalg.norm(episode.qpos[:, task.PUCK] - contexts.target, axis=1)
    last = np.arange(frames) == frames - 1
    joints = np.concatenate([episode.qpos[:, :2], episode.qvel[:, :2]], axis=1)
    return {
        "observation.state": joints.astype(np.float32),
        "observation.environment_state": episode.qpos[:, task.PUCK].astype(np.float32),
        "observation.context": np.tile(captured.context, (frames, 1)),
        "action": episode.ctrl.astype(np.float32),
        "stroke": np.tile(captured.stroke, (frames, 1)),
        "next.reward": np.where(last, -miss, 0.0).astype(np.float32),
        "next.done": last,
        "next.success": last & (miss < task.SUCCESS),
        "intervention": np.full(frames, intervention),
        "sim.qpos": episode.qpos,
        "sim.qvel": episode.qvel,
        "sim.contact_active": captured.contact,
    }


def read_examples(directory: Path) -> tuple[np.ndarray, np.ndarray]:
    """Contexts (episodes, 3) and strokes (episodes, 2) of a data set, to clone from.

    Raises:
      DatasetError: a foreign, truncated or damaged data set, or one without strokes.
    """
    found = lerobot.read(directory)
    for name in ("observation.context", "stroke"):
        if name not in found.features:
            raise lerobot.DatasetError(
                f"{directory} has no feature '{name}'; it is no data set of this task"
            )
    rows = [(e["observation.context"][0], e["stroke"][0]) for e in found.episodes]
    contexts, strokes = (np.stack(column) for column in zip(*rows, strict=True))
    return contexts, strokes
