"""``worldmodel train``: a policy by cloning data sets, or by planning in the world model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import tyro

from worldmodel import loop, runtime
from worldmodel.commands import named
from worldmodel.commands.counts import check_counts
from worldmodel.commands.generate import Demonstration
from worldmodel.commands.reading import digest
from worldmodel.commands.version import Engine
from worldmodel.errors import InputError
from worldmodel.policies import clone as cloning
from worldmodel.rollout import Replay
from worldmodel.runtime import checkpoint
from worldmodel.runtime.records import write_arrays
from worldmodel.runtime.settings import claim, flat
from worldmodel.tasks import data_set
from worldmodel.tasks.task import Task
from worldmodel.types import Start, Trial

PLAN = "plan.npz"


def train(
    task: tyro.conf.Positional[str],
    out: Path,
    method: Literal["clone", "plan"] = "clone",
    data: tuple[Path, ...] = (),
    seed: int = 0,
    width: int = 64,
    steps: int = 1000,
    learning_rate: float = 5e-3,
    weight_decay: float = 30.0,
    history: int = 1,
    chunk: int = 1,
    model: Path | None = None,
    expert: str | None = None,
    episodes: int = 8,
    engine: Engine = None,
) -> dict[str, Any]:
    """Trains a policy: clones data sets, or plans open loop in the world model.

    Args:
      task: file.py:name or package.module:name.
      out: folder for the policy.
      method: clone or plan.
      data: clone: data sets, of generate, deploy or loop; real and synthetic ones mix.
      seed: of the first weights, or of the planned starts and goals.
      width: clone: of the network's layers.
      steps: clone: of Adam, over all rows.
      learning_rate: clone: at first; it falls to zero.
      weight_decay: clone: divided by the number of rows.
      history: clone: observations that the policy sees.
      chunk: clone: actions that it decides on at once.
      model: plan: as for generate.
      expert: plan: as for generate.
      episodes: plan: to plan, each for its own start and goal.
      engine: plan: as for generate.

    Raises:
      InputError: references, sets, folders or numbers that do not fit, or a folder of another run.
    """
    if method == "plan":
        return _plan(out, Demonstration.of(task, model, expert, episodes, seed, engine))
    check_counts(width=width, steps=steps, history=history, chunk=chunk)
    config = cloning.CloneConfig(width, steps, learning_rate, weight_decay, history, chunk)
    return _clone(task, data, out, config, seed)


def _clone(
    task: str, data: Sequence[Path], out: Path, config: cloning.CloneConfig, seed: int
) -> dict[str, Any]:
    if not data:
        raise InputError("--data: give the data sets to clone, at least one")
    asked = named.task(task)
    for path in data:
        if not path.is_dir():
            raise InputError(f"--data {path}: no such folder; `worldmodel generate` makes one")
    settings = {"task": asked.name, "data": [digest(path) for path in data], "seed": seed}
    claim(out, settings | flat("clone", config))
    with named.contract(asked):
        episodes = [e for path in data for e in data_set.read(path, asked)]
        if checkpoint.latest(out / "policy") is None:
            runtime.log(f"cloning {len(episodes)} episodes of {asked.name}")
            policy = cloning.Clone(config)(asked, episodes, seed)
            cloning.save(out / "policy", policy, asked, {"provenance": runtime.provenance()})
        else:
            runtime.log(f"{out} holds this policy already")
        policy = cloning.restore(out / "policy", asked)
        rows = [cloning.examples(asked, e, config) for e in episodes]
        x, y = (np.concatenate(part) for part in zip(*rows, strict=True))
        off = np.sqrt(np.mean(np.square(np.asarray(policy.actions(x)) - y)))
    counts = {"episodes": len(episodes), "rows": len(x)}
    return {"out": str(out), "method": "clone"} | counts | {"action_error": float(off)}


def _plan(out: Path, asked: Demonstration) -> dict[str, Any]:
    """Plans episodes in a version, and writes their starts, goals and actions."""
    claim(out, asked.settings)
    if not (out / PLAN).is_file():
        starts, goals, played = asked.play()
        arrays = {"qpos": starts.qpos, "qvel": starts.qvel}
        arrays |= {f"goal.{name}": value for name, value in goals.items()}
        arrays["task"] = np.array(asked.task.name)
        arrays["action"] = np.stack([e.action[:-1] for e in played if e.action is not None])
        arrays["error"] = np.array([asked.task.error(e) for e in played])
        write_arrays(out / PLAN, arrays)
    else:
        runtime.log(f"{out} holds this plan already")
    with np.load(out / PLAN) as archive:
        errors = archive["error"]
    measured = errors[np.isfinite(errors)]
    return {
        "out": str(out),
        "method": "plan",
        "episodes": len(errors),
        "error": float(measured.mean()) if len(measured) else None,
        "unmeasured": len(errors) - len(measured),
        "diverged": asked.episodes - len(errors),
    }


def trials(task: Task, folder: Path, count: int | None, seed: int) -> list[Trial]:
    """What a trained policy is to play: of a cloned one ``count`` episodes, 8 when absent, that the
    task draws; of a plan its own, all when absent.

    Raises:
      InputError: no policy there, one of another task, or more episodes than were planned.
    """
    if (folder / PLAN).is_file():
        with np.load(folder / PLAN) as archive:
            arrays = {name: archive[name] for name in archive.files}
        goals = {k.removeprefix("goal."): v for k, v in arrays.items() if k.startswith("goal.")}
        planned = len(arrays["action"])
        many = planned if count is None else count
        if str(arrays.get("task")) != task.name:
            raise InputError(
                f"{folder} is a plan of task '{arrays.get('task')}', not of '{task.name}'; plan "
                "again"
            )
        if arrays["action"].shape[1:] != (task.horizon, task.action_size) or many > planned:
            raise InputError(
                f"{folder} plans {planned} episodes of {arrays['action'].shape[1:]} actions; task "
                f"'{task.name}' takes {(task.horizon, task.action_size)}, and {many} episodes are "
                "asked for; plan again"
            )
        return [
            Trial(
                Start(arrays["qpos"][i], arrays["qvel"][i]),
                {name: value[i] for name, value in goals.items()},
                Replay(arrays["action"][i]),
            )
            for i in range(many)
        ]
    if not (folder / "policy").is_dir():
        raise InputError(f"--policy {folder}: no policy in it; give a folder of `worldmodel train`")
    policy = cloning.restore(folder / "policy", task)
    many = 8 if count is None else count
    return loop.trials_of(*loop.draw(task, jax.random.key(seed), many), policy, many)
