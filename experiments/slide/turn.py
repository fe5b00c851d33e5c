"""The stages that every experiment on the loop shares: demonstrate, clone, deploy, refit.

They know neither cells nor alpha. Each stage is taken from its folder where an earlier run finished
it.
"""

import contextlib
import dataclasses
import functools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.records import append_row
from experiments.slide.study import Study
from worldmodel import loop, runtime
from worldmodel.model import Velocity, WorldModel
from worldmodel.policies import clone
from worldmodel.policies.clone import CloneConfig
from worldmodel.reality import Robot, capture
from worldmodel.runtime.files import write_json
from worldmodel.tasks.slide import task
from worldmodel.tasks.slide.expert import Noise, Table, demonstrations, make_table
from worldmodel.types import Episode

Examples = tuple[np.ndarray, ...]  # contexts (episodes, 3), strokes (episodes, 2)


class Clock:
    """Seconds per stage, and a line when one begins."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.seconds: dict[str, float] = json.loads(path.read_text()) if path.is_file() else {}
        self._began = time.monotonic()

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Logs that a stage begins, and adds its time; a stage that raises adds none."""
        began = time.monotonic()
        runtime.log(f"── {name} ({began - self._began:.0f} s so far)")
        yield
        spent = self.seconds.get(name, 0.0) + time.monotonic() - began
        self.seconds[name] = round(spent, 2)
        write_json(self._path, self.seconds, indent=None)


def claim(out: Path, settings: dict[str, Any]) -> None:
    """Reserves a folder for one study; its settings, as JSON has them, go to study.json.

    Raises:
      LoopError: ``out`` was begun with other settings.
    """
    path = out / "study.json"
    if path.is_file() and json.loads(path.read_text()) != settings:
        raise loop.LoopError(
            f"{path} is of other sizes, settings or recordings; give another --out"
        )
    out.mkdir(parents=True, exist_ok=True)
    write_json(path, settings)


def physics(study: Study) -> WorldModel:
    """The world model of version 0: physics alone."""
    return WorldModel(task.scene(), task.FREE, network=study.network)


def hybrid(world: WorldModel) -> WorldModel:
    """A physics world model with a network that corrects its velocities."""
    return dataclasses.replace(world, correction=Velocity())


def real_demonstrations(
    directory: Path,
    robot: Robot,
    table: Table,
    count: int,
    noise: Noise,
    rng: np.random.Generator,
    stop: Callable[[], bool],
) -> list[Episode]:
    """Episodes of the demonstrator on a robot, captured in ``directory``.

    Args:
      table: of reality; the demonstrator knows the robot.
    """
    play = functools.partial(capture, directory, robot, task.scene(), stop=stop)
    return demonstrations(table, play, count, noise, rng)


def synthetic_demonstrations(
    version: loop.Version, count: int, noise: Noise, rng: np.random.Generator
) -> tuple[Table, list[Episode]]:
    """The same demonstrator in a world model: the table that it plans with, and its episodes."""
    table = make_table(loop.simulator(version))
    play = functools.partial(loop.generate, version, touch=task.TOUCH)
    return table, demonstrations(table, play, count, noise, rng)


def clone_policies(data: Sequence[Examples], seeds: Sequence[int], recipe: CloneConfig) -> list:
    """One policy per set of examples, see ``clone.clone``."""
    pairs = [(task.observe(c), task.encode(c, s)) for c, s in data]
    return clone.clone(pairs, seeds, recipe)


def strokes_of(weights: Any, contexts: task.Contexts, recipe: CloneConfig) -> np.ndarray:
    """A cloned policy's strokes: (episodes, 2) speed [m/s], direction [rad]."""
    table = contexts.table
    answers = clone.answer(weights, task.observe(table), task.ANSWERED, recipe)
    return task.decode(table, answers)


def deploy(
    out: Path,
    name: str,
    synthetic: Sequence[Episode],
    contexts: task.Contexts,
    robot: Robot,
    study: Study,
    stop: Callable[[], bool],
    *,
    seed: int = 0,
) -> list[Episode]:
    """Clones a version's policy from its synthetic episodes, and captures it on the robot.

    Args:
      contexts: one per correction.
      seed: of the policy's first weights.
    """
    examples = task.examples(synthetic[: study.deployed])
    (weights,) = clone_policies([examples], [seed], study.recipe)
    clone.save(out / "policies" / name, weights, study.recipe, {"version": name})
    trials = task.trials(contexts, strokes_of(weights, contexts, study.recipe))
    return capture(out / "corrections" / name, robot, task.scene(), trials, stop=stop)


def refit(
    out: Path,
    parent: loop.Version,
    name: str,
    world: WorldModel,
    corrections: Sequence[Episode],
    study: Study,
    stop: Callable[[], bool],
    *,
    seed: int = 0,
) -> loop.Version:
    """The next version, finetuned as the study has it; one row per step goes to metrics.jsonl.

    Args:
      world: the next version's, see ``loop.finetune``.
      corrections: all that it has cost, ancestors' included.
      seed: of the network's first weights and of the order of the windows.
    """
    config = study.hybrid if world.learns else study.physics
    return loop.finetune(
        out / "versions",
        parent,
        name,
        world,
        corrections,
        task.channels(world.scene),
        dataclasses.replace(config, seed=seed),
        residual=task.RESIDUAL,
        held_out=len(corrections) // study.held_out,
        spent=len(corrections),
        record=lambda row: append_row(out / "metrics.jsonl", {"version": name} | row),
        stop=stop,
    )
