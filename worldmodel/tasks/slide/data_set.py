"""Episodes of task "slide" as a LeRobot data set.

Real and synthetic episodes have the same columns, so that their sets mix: a synthetic episode has
the positions and contacts that a robot without noise would have measured, and the model's own
velocities. The set's provenance names the source.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from worldmodel.episodes import lerobot
from worldmodel.errors import InputError
from worldmodel.tasks.slide import task
from worldmodel.types import Episode


def data_set(
    episodes: Sequence[Episode], provenance: dict[str, Any], *, intervention: bool
) -> lerobot.Dataset:
    """Episodes as a LeRobot data set.

    Args:
      episodes: captured or generated, at least one.
      provenance: JSON.
      intervention: whether they are corrections.

    Raises:
      InputError: an episode without contacts.
    """
    nq, nv = episodes[0].qpos.shape[1], episodes[0].qvel.shape[1]
    nu, pairs = episodes[0].ctrl.shape[1], len(task.TOUCH)
    flag = lerobot.Feature("bool", (1,))
    features = {
        "observation.state": lerobot.Feature("float32", (2 * nu,)),
        "observation.environment_state": lerobot.Feature("float32", (2,), ("x", "y")),
        "observation.context": lerobot.Feature("float64", (3,), ("start", "distance", "direction")),
        "action": lerobot.Feature("float32", (nu,)),
        "stroke": lerobot.Feature("float64", (2,), ("speed", "direction")),
        "next.reward": lerobot.Feature("float32", (1,)),
        "next.done": flag,
        "next.success": flag,
        "intervention": flag,
        "measured.qpos": lerobot.Feature("float64", (nq,)),
        "measured.qvel": lerobot.Feature("float64", (nv,)),
        "measured.contact": lerobot.Feature(
            "bool", (pairs,), tuple(" on ".join(pair) for pair in task.TOUCH)
        ),
    }
    return lerobot.Dataset(
        fps=round(task.CONTROL_HZ),
        robot_type="two_joint_pusher",
        features=features,
        episodes=[_columns(episode, intervention) for episode in episodes],
        tasks=["slide the puck onto the target"] * len(episodes),
        provenance=provenance,
    )


def _columns(episode: Episode, intervention: bool) -> dict[str, np.ndarray]:
    frames = len(episode.qpos)
    (context,), (stroke,) = task.examples([episode])
    target = task.Contexts(*context[:, None]).target
    miss = np.linalg.norm(episode.qpos[:, task.PUCK] - target, axis=1)
    last = np.arange(frames) == frames - 1
    joints = np.concatenate([episode.qpos[:, :2], episode.qvel[:, :2]], axis=1)
    if episode.contact is None:
        raise InputError(f"episode {episode.id} has no contacts; capture or generate it with TOUCH")
    return {
        "observation.state": joints.astype(np.float32),
        "observation.environment_state": episode.qpos[:, task.PUCK].astype(np.float32),
        "observation.context": np.tile(context, (frames, 1)),
        "action": episode.ctrl.astype(np.float32),
        "stroke": np.tile(stroke, (frames, 1)),
        "next.reward": np.where(last, -miss, 0.0).astype(np.float32),
        "next.done": last,
        "next.success": last & (miss < task.SUCCESS),
        "intervention": np.full(frames, intervention),
        "measured.qpos": episode.qpos,
        "measured.qvel": episode.qvel,
        "measured.contact": episode.contact,
    }


def read_examples(directory: Path) -> tuple[np.ndarray, np.ndarray]:
    """Contexts (episodes, 3) and strokes (episodes, 2) of a data set, to clone from.

    Raises:
      DatasetError: a foreign, truncated or damaged data set, or one without strokes.
    """
    read = lerobot.read(directory, ("observation.context", "stroke"))
    if read.damaged:
        raise lerobot.DatasetError("; ".join(read.damaged))
    rows = [(e["observation.context"][0], e["stroke"][0]) for e in read.episodes]
    contexts, strokes = (np.stack(column) for column in zip(*rows, strict=True))
    return contexts, strokes
