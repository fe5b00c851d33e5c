"""A task's episodes as a LeRobot data set, and back.

Real, deployed and generated episodes have the same columns, so that their sets mix and any LeRobot
policy trains on them: ``observation.state`` (joints), ``observation.object.<body>`` (pose, wxyz),
``contact.<a>_on_<b>``, ``force.<a>_on_<b>`` [N], ``action`` (the command that acted),
``task.action`` (the policy's), ``goal.<name>``, ``intervention``, ``next.done``, ``next.success``.
Columns ``measured.*`` hold the episode in full precision; ``meta/provenance.json`` names each
episode's id, source and success.
"""

import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from worldmodel.episodes import lerobot
from worldmodel.tasks import sensors
from worldmodel.tasks.errors import TaskError
from worldmodel.tasks.task import Task
from worldmodel.types import Episode

_FLAG = lerobot.Feature("bool", (1,))
_POSE = ("x", "y", "z", "qw", "qx", "qy", "qz")
_NOTED = ("id", "source", "success", "late")


def write(
    directory: Path | str, task: Task, episodes: Iterable[Episode], provenance: dict[str, Any]
) -> None:
    """Writes episodes of a task, whole or not at all.

    Args:
      directory: of the set; must not exist yet.
      episodes: captured or generated, at least one; taken one after the other.
      provenance: JSON.

    Raises:
      TaskError: an episode whose frames are not at the scene's rate from 0 on, without the task's
        touch sensors, or with another goal than the first one's.
      DatasetError: see ``lerobot.write``.
    """
    described: list[dict[str, Any]] = []
    episodes = iter(episodes)
    first = next(episodes, None)
    goal = {} if first is None else first.goal

    def rows() -> Iterator[tuple[lerobot.Rows, lerobot.Named]]:
        for e in itertools.chain([] if first is None else [first], episodes):
            if not np.allclose(e.time, np.arange(len(e.time)) / task.scene.control_hz):
                raise TaskError(
                    f"episode {e.id} is not sampled at {task.scene.control_hz:g} Hz from 0 on; "
                    "read it again at the scene's rate"
                )
            if e.goal.keys() != goal.keys():
                raise TaskError(
                    f"episode {e.id} has the goal {sorted(e.goal)}, the first of the set "
                    f"{sorted(goal)}; write them apart"
                )
            described.append({n: getattr(e, n) for n in _NOTED})
            yield _columns(task, e), task.name

    hz = task.scene.control_hz
    about = {"task": task.name, "goal": {name: np.shape(x) for name, x in goal.items()}}
    data = lerobot.Dataset(
        fps=int(hz) if float(hz).is_integer() else hz,
        robot_type=task.scene.name,
        features=_features(task, {} if first is None else _columns(task, first)),
        episodes=[],
        tasks=[],
        provenance=provenance | about | {"episodes": described},  # complete after the last row
    )
    lerobot.write(directory, data, rows())


def read(directory: Path | str, task: Task) -> list[Episode]:
    """Reads a task's episodes back, each number as it was written.

    What was wholly measured has no ``measured``; what was no person's command is False.

    Raises:
      TaskError: a set that ``write`` did not write, or one of another task or robot.
      DatasetError: no set there, or a damaged one.
    """
    data = lerobot.read(directory)
    if data.damaged:
        raise lerobot.DatasetError("; ".join(data.damaged))
    described = _noted(directory, data, task)
    if len(described) != len(data.episodes):
        raise TaskError(f"{directory} names other episodes than it holds; make it again")
    return _episodes(task, data, described)


def stream(directory: Path | str, task: Task) -> Iterator[Episode]:
    """``read`` of a set that may be larger than the memory: its episodes one after the other.

    Raises:
      TaskError, DatasetError: see ``read``, where the fault is met.
    """
    for data in lerobot.stream(directory):
        described = _noted(directory, data, task)
        yield from _episodes(task, data, [described[number] for number in data.ids])


def _noted(directory: Path | str, data: lerobot.Dataset, task: Task) -> list[dict[str, Any]]:
    """What a set notes of each episode; refuses one of another task, robot or writer."""
    described, provenance = data.provenance.get("episodes"), data.provenance
    if not isinstance(described, list):
        raise TaskError(
            f"{directory} does not name its episodes' sources: it was not written for a task; read "
            "it by its columns, as `worldmodel check --data` does"
        )
    if provenance.get("task") != task.name:
        raise TaskError(
            f"{directory} holds episodes of task '{provenance.get('task')}', not of '{task.name}'; "
            "give a set of this task"
        )
    wanted = _features(task, {f"goal.{n}": data.episodes[0][f"goal.{n}"] for n in _shapes(data)})
    for name in wanted.keys() | data.features.keys():
        have, want = data.features.get(name), wanted.get(name)
        if (have and (have.shape, have.names)) != (want and (want.shape, want.names)):
            raise TaskError(
                f"{directory}: column '{name}' is {_shown(have)} there, task '{task.name}' has "
                f"{_shown(want)}; the set is of another version of the task: make it again"
            )
    return described


def _shapes(data: lerobot.Dataset) -> dict[str, tuple[int, ...]]:
    """Of a goal's parts."""
    return {name: tuple(shape) for name, shape in data.provenance["goal"].items()}


def _episodes(
    task: Task, data: lerobot.Dataset, described: Sequence[dict[str, Any]]
) -> list[Episode]:
    out = []
    for row, about in zip(data.episodes, described, strict=True):
        episode = _episode(task, row, _shapes(data), about["id"])
        out.append(dataclasses.replace(episode, **{n: about[n] for n in _NOTED}))
    return out


def _shown(feature: lerobot.Feature | None) -> str:
    if feature is None:
        return "absent"
    return f"{feature.shape[0]} numbers" + (f" {list(feature.names)}" if feature.names else "")


def _features(task: Task, row: dict[str, np.ndarray]) -> dict[str, lerobot.Feature]:
    """Every column of a task's set; a goal's types are those of a row."""
    names, m = task.sensors, task.scene.mj_model
    out = {
        "observation.state": lerobot.Feature("float32", (len(names.joints),), names.joints),
        **{_object(body): lerobot.Feature("float32", (7,), _POSE) for body in names.objects},
        **{_contact(pair): _FLAG for pair in names.touch},
        **{_force(pair): lerobot.Feature("float64", (1,)) for pair in names.forces},
        "action": lerobot.Feature("float32", (m.nu,), names.actuators),
        "task.action": lerobot.Feature("float64", (task.action_size,)),
        "intervention": _FLAG,
        "next.done": _FLAG,
        "next.success": _FLAG,
        "measured.qpos": lerobot.Feature("float64", (m.nq,)),
        "measured.qvel": lerobot.Feature("float64", (m.nv,)),
        "measured.ctrl": lerobot.Feature("float64", (m.nu,), names.actuators),
        "measured.known": lerobot.Feature("bool", (m.nq,)),
        "measured.valid": _FLAG,
        "measured.fresh": _FLAG,
    }
    for name, values in row.items():
        if name.startswith("goal."):
            size = values.shape[1] if values.ndim > 1 else 1
            out[name] = lerobot.Feature(str(values.dtype), (size,))
    return {name: feature for name, feature in out.items() if feature.shape[0]}


def _object(body: str) -> str:
    return f"observation.object.{body}"


def _contact(pair: tuple[str, str]) -> str:
    return f"contact.{pair[0]}_on_{pair[1]}"


def _force(pair: tuple[str, str]) -> str:
    return f"force.{pair[0]}_on_{pair[1]}"


def _columns(task: Task, episode: Episode) -> dict[str, np.ndarray]:
    names, frames = task.sensors, len(episode.qpos)
    m = sensors.measurements(task.scene, names, episode)
    last = np.arange(frames) == frames - 1
    nothing = np.full((frames, task.action_size), np.nan)
    known, hers = episode.measured, episode.intervention
    out = {
        "observation.state": np.asarray(m.joints),
        **{_object(b): np.asarray(m.objects)[:, i] for i, b in enumerate(names.objects)},
        **{_contact(p): np.asarray(m.touch)[:, i] for i, p in enumerate(names.touch)},
        **{_force(p): np.asarray(m.force)[:, i] for i, p in enumerate(names.forces)},
        "action": episode.ctrl,
        "task.action": nothing if episode.action is None else episode.action,
        "intervention": np.zeros(frames, bool) if hers is None else hers,
        "next.done": last,
        "next.success": last & bool(episode.success),
        "measured.qpos": episode.qpos,
        "measured.qvel": episode.qvel,
        "measured.ctrl": episode.ctrl,
        "measured.known": np.ones_like(episode.qpos, bool) if known is None else known,
        "measured.valid": episode.valid,
        "measured.fresh": episode.fresh,
    }
    for name, value in episode.goal.items():
        flat = np.asarray(value).reshape(-1)
        out[f"goal.{name}"] = np.tile(flat, (frames, 1))
    return {name: values for name, values in out.items() if values.ndim == 1 or values.shape[1]}


def _episode(
    task: Task, row: dict[str, np.ndarray], shapes: dict[str, tuple[int, ...]], identity: int | str
) -> Episode:
    frames = len(row["measured.qpos"])
    wide = {n: row[f"measured.{n}"].reshape(frames, -1) for n in ("qpos", "qvel", "ctrl", "known")}
    known = wide.pop("known")
    action = row["task.action"].reshape(frames, -1)
    pairs = [row[_contact(pair)] for pair in task.sensors.touch]
    forces = [row[_force(pair)].reshape(frames) for pair in task.sensors.forces]
    return Episode.regular(
        identity,
        task.scene.control_hz,
        qpos=wide["qpos"],
        qvel=wide["qvel"],
        ctrl=wide["ctrl"],
        valid=row["measured.valid"],
        fresh=row["measured.fresh"],
        measured=None if known.all() else known,
        contact=np.stack(pairs, axis=1) if pairs else np.zeros((frames, 0), bool),
        force=np.stack(forces, axis=1) if forces else np.zeros((frames, 0)),
        goal={name: row[f"goal.{name}"][:1].reshape(shape) for name, shape in shapes.items()},
        action=None if np.isnan(action).all() else action,
        intervention=row["intervention"],
    )
