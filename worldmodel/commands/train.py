"""``worldmodel train``: a policy by cloning data sets, or by planning in the world model."""

from pathlib import Path
from typing import Any

import jax
import numpy as np

from worldmodel import loop, runtime
from worldmodel.commands import named
from worldmodel.commands.generate import Demonstration
from worldmodel.commands.loop_options import GenerateOptions, TrainOptions
from worldmodel.commands.reading import digest
from worldmodel.errors import InputError
from worldmodel.policies import clone as cloning
from worldmodel.rollout import Replay
from worldmodel.runtime import checkpoint, settings
from worldmodel.runtime.records import write_arrays
from worldmodel.tasks import data_set
from worldmodel.tasks.task import Task
from worldmodel.types import Start, Trial

PLAN = "plan.npz"


def clone(options: TrainOptions) -> dict[str, Any]:
    """Clones the episodes of data sets, real and synthetic alike, and writes the policy.

    Raises:
      InputError: references, sets or numbers that do not fit, or a folder of another run.
    """
    data, out, seed = options.data, options.out, options.seed
    if not data:
        raise InputError("--data: give the data sets to clone, at least one")
    task = named.task(options.task)
    for path in data:
        if not path.is_dir():
            raise InputError(f"--data {path}: no such folder; `worldmodel generate` makes one")
    config = cloning.CloneConfig(
        width=options.width,
        steps=options.steps,
        learning_rate=options.learning_rate,
        weight_decay=options.weight_decay,
        history=options.history,
        chunk=options.chunk,
    )
    claimed = {"task": task.name, "data": [digest(path) for path in data], "seed": seed}
    settings.claim(out, claimed | settings.flat("clone", config))
    episodes = [e for path in data for e in data_set.read(path, task)]
    if checkpoint.latest(out / "policy") is None:
        runtime.log(f"cloning {len(episodes)} episodes of {task.name}")
        policy = cloning.Clone(config)(task, episodes, seed)
        cloning.save(out / "policy", policy, task, {"provenance": runtime.provenance()})
    else:
        runtime.log(f"{out} holds this policy already")
    policy = cloning.restore(out / "policy", task)
    rows = [cloning.examples(task, e, config) for e in episodes]
    x, y = (np.concatenate(part) for part in zip(*rows, strict=True))
    off = np.sqrt(np.mean(np.square(np.asarray(policy.actions(x)) - y)))
    counts = {"episodes": len(episodes), "rows": len(x)}
    return {"out": str(out), "method": "clone"} | counts | {"action_error": float(off)}


def plan(options: TrainOptions) -> dict[str, Any]:
    """Plans episodes in a version, and writes their starts, goals and actions.

    Raises:
      InputError: references, folders or numbers that do not fit, or a folder of another run.
    """
    shared = ("task", "out", "model", "expert", "episodes", "seed", "engine")
    asked = Demonstration.of(GenerateOptions(**{n: getattr(options, n) for n in shared}))
    out = options.out
    settings.claim(out, asked.settings)
    if not (out / PLAN).is_file():
        starts, goals, played = asked.play()
        arrays = {"qpos": starts.qpos, "qvel": starts.qvel}
        arrays |= {f"goal.{name}": value for name, value in goals.items()}
        arrays["action"] = np.stack([e.action[:-1] for e in played if e.action is not None])
        arrays["error"] = np.array([asked.task.error(e) for e in played])
        write_arrays(out / PLAN, arrays)
    else:
        runtime.log(f"{out} holds this plan already")
    with np.load(out / PLAN) as archive:
        error = float(np.mean(archive["error"]))
    return {"out": str(out), "method": "plan", "episodes": options.episodes, "error": error}


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
    policy = cloning.restore(folder / "policy", task)
    many = 8 if count is None else count
    return loop.trials_of(*loop.draw(task, jax.random.key(seed), many), policy, many)
