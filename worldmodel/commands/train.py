"""``worldmodel train``: a policy by cloning, by planning, or by learning in the world model."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
import tyro

from worldmodel import loop, runtime
from worldmodel.commands import named
from worldmodel.commands.generate import Demonstration
from worldmodel.commands.reading import digest
from worldmodel.commands.version import Engine, chosen_engine, described, version_of
from worldmodel.errors import InputError
from worldmodel.policies import actor, onnx_policy
from worldmodel.policies import clone as cloning
from worldmodel.rollout import Replay
from worldmodel.runtime import checkpoint
from worldmodel.runtime.records import plain, write_arrays
from worldmodel.runtime.settings import check_options, claim, refuse_options
from worldmodel.tasks import data_set
from worldmodel.tasks.play import repeated
from worldmodel.tasks.task import Task
from worldmodel.types import Start, Trial

PLAN = "plan.npz"
_LEARNING = ("width", "steps", "learning_rate", "environments", "discount", "entropy")
_PLAYING = ("model", "episodes", "engine")
OPTIONS = {  # of each method
    "clone": ("data", "width", "steps", "learning_rate", "weight_decay", "history", "chunk"),
    "plan": (*_PLAYING, "expert"),
    "ppo": (*_PLAYING, *_LEARNING),
    "gradient": (*_PLAYING, *_LEARNING, "horizon"),
}


def train(
    task: tyro.conf.Positional[str],
    out: Path,
    method: Literal["clone", "plan", "ppo", "gradient"] = "clone",
    data: tuple[Path, ...] = (),
    seed: int = 0,
    width: int | None = None,
    steps: int | None = None,
    learning_rate: float | None = None,
    weight_decay: float | None = None,
    history: int | None = None,
    chunk: int | None = None,
    model: Path | None = None,
    expert: str | None = None,
    episodes: int | None = None,
    engine: Engine = None,
    environments: int | None = None,
    discount: float | None = None,
    entropy: float | None = None,
    horizon: int | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Trains a policy: clones data sets, plans open loop in the world model, or learns in it.

    Args:
      task: file.py:name or package.module:name.
      out: folder for the policy.
      method: clone; plan; ppo, or gradient, which differentiates the model: both learn in it.
      data: clone: data sets, of generate, deploy or loop; real and synthetic ones mix.
      seed: of the first weights, or of the planned starts and goals.
      width: clone, ppo, gradient: of the network's layers, 64 when absent.
      steps: clone: of Adam, over all rows, 1000 when absent; ppo, gradient: control steps of all
        environments, 3 million and 600 thousand when absent, rounded up to whole epochs.
      learning_rate: clone: at first, 5e-3 when absent; it falls to zero. ppo: 1e-3, gradient: 5e-3
        when absent.
      weight_decay: clone: divided by the number of rows; 30 when absent.
      history: clone: observations that the policy sees, 1 when absent.
      chunk: clone: actions that it decides on at once, 1 when absent.
      model: plan, ppo, gradient: as for generate.
      expert: plan: as for generate.
      episodes: plan: to plan, each for its own start and goal; ppo, gradient: that the trained
        policy plays; 8 when absent.
      engine: plan, ppo, gradient: of what is played, as for generate; learning is in mjx.
      environments: ppo, gradient: that are stepped at once, 256 and 64 when absent.
      discount: ppo, gradient: of the reward of a later step, 0.98 when absent.
      entropy: ppo, gradient: reward for exploring, 0.01 when absent.
      horizon: gradient: control steps that a derivative passes through, 32 when absent.
      stop: ppo, gradient: asked after every epoch; the same command goes on.

    Raises:
      InputError: references, sets, folders or numbers that do not fit, or a folder of another run.
      Interrupted: ``stop`` returned True.
    """
    sizes: dict[str, Any] = {"width": width, "steps": steps, "history": history, "chunk": chunk}
    sizes |= {"environments": environments, "horizon": horizon}
    check_options(**sizes, episodes=episodes)
    if learning_rate is not None and not 0 < learning_rate < math.inf:
        raise InputError(f"--learning-rate {learning_rate:g}: above 0")
    if weight_decay is not None and not 0 <= weight_decay < math.inf:
        raise InputError(f"--weight-decay {weight_decay:g}: from 0 on")
    settings = sizes | {"learning_rate": learning_rate, "weight_decay": weight_decay}
    settings |= {"discount": discount, "entropy": entropy}
    where = {"data": data, "model": model, "expert": expert}
    where |= {"episodes": episodes, "engine": engine}
    for name, value in (settings | where).items():
        if name not in OPTIONS[method]:
            users = ", ".join(m for m, names in OPTIONS.items() if name in names)
            refuse_options(f"--method {users}, not of {method}", **{name: value})
    settings = {name: value for name, value in settings.items() if value is not None}
    many = episodes or 8
    if method == "plan":
        with runtime.at_once():
            return _plan(out, Demonstration.of(task, model, expert, many, seed, engine))
    if method == "clone":
        with runtime.at_once():
            settings = {"width": 64, "steps": 1000, **settings}
            return _clone(task, data, out, cloning.CloneConfig(**settings), seed)
    return _learn(task, model, out, method, settings, many, seed, engine, stop)


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
    claim(out, settings | {"method": "clone"} | plain(config))
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
    return {"out": str(out), "method": "clone", **counts, "action_error": float(off)}


def _learn(
    task: str,
    model: Path | None,
    out: Path,
    method: str,
    given: dict[str, Any],
    episodes: int,
    seed: int,
    engine: Engine,
    stop: Callable[[], bool],
) -> dict[str, Any]:
    """Learns in a version, and plays what it has learned there."""
    from worldmodel.loop.environment import environment  # Brax takes a second to load
    from worldmodel.policies import gradient, ppo

    asked = named.task(task)
    methods: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
        "ppo": (ppo.PPOConfig, ppo.train),
        "gradient": (gradient.GradientConfig, gradient.train),
    }
    configured, train = methods[method]
    config = configured(**given)
    version = version_of(asked, model)
    where = described(asked, version)
    claim(out, where | {"seed": seed, "method": method} | plain(config), growing="steps")
    runtime.log(
        f"{method} of {asked.name} in {version.name}, {config.environments} environments at once: "
        f"{-(-config.steps // config.epoch)} epochs of {config.epoch} control steps, a line each; "
        "the first one compiles, for a minute or more"
    )
    with named.contract(asked):
        env = environment(version, asked)
        policy, epochs = train(env, config, out, seed=seed, settings=where, stop=stop)
        drawing, playing = jax.random.split(jax.random.key(seed))
        starts, goals = loop.draw(asked, drawing, episodes)
        played = loop.generate(
            version,
            asked,
            repeated(policy, episodes),
            starts,
            goals,
            playing,
            engine=chosen_engine(version.world, engine),
        )
    return {
        "out": str(out),
        "method": method,
        "steps": epochs[-1]["steps"],
        "return": epochs[-1]["return"],
        "seconds": sum(epoch["seconds"] for epoch in epochs),
        **loop.scores(asked, played),
        "diverged": episodes - len(played),
    }


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
        judged = [np.nan if e.success is None else float(e.success) for e in played]
        arrays["success"] = np.array(judged)
        write_arrays(out / PLAN, arrays)
    else:
        runtime.log(f"{out} holds this plan already")
    with np.load(out / PLAN) as archive:
        errors, success = archive["error"], archive["success"]
    measured, judged = errors[np.isfinite(errors)], success[np.isfinite(success)]
    return {
        "out": str(out),
        "method": "plan",
        "episodes": len(errors),
        "error": float(measured.mean()) if len(measured) else None,
        "success": float(judged.mean()) if len(judged) else None,
        "unmeasured": len(errors) - len(measured),
        "diverged": asked.episodes - len(errors),
    }


def trials(task: Task, folder: Path, count: int | None, seed: int) -> list[Trial]:
    """What a trained policy is to play: of a plan its own episodes, all when absent; of another
    policy ``count`` that the task draws, 8 when absent.

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
    exported = (folder / onnx_policy.FILE).is_file()
    policy = onnx_policy.load(folder, task) if exported else kept_policy(folder, task)
    many = 8 if count is None else count
    return loop.trials_of(*loop.draw(task, jax.random.key(seed), many), policy, many)


def kept_policy(folder: Path, task: Task) -> actor.Actor | cloning.Cloned:
    """The policy that ``train`` or a turn of the loop left in a folder, by cloning or learning; the
    folder, or ``policy`` in it.

    Raises:
      InputError: no policy there, or one of another task.
    """
    kept = folder / "policy"
    if folder.name == kept.name and not kept.is_dir():
        kept = folder
    if (folder / PLAN).is_file():
        raise InputError(
            f"--policy {folder}: an open-loop plan, which `worldmodel deploy` plays and nothing "
            "exports; give a policy of another --method"
        )
    if checkpoint.latest(kept) is None:
        raise InputError(f"--policy {folder}: no policy in it; give a folder of `worldmodel train`")
    learned = "actor" in checkpoint.read_metadata(kept)
    return actor.restore(kept, task) if learned else cloning.restore(kept, task)
