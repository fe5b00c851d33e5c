"""The stages that every experiment on the loop shares: demonstrate, clone, deploy, refit.

They know neither cells nor alpha. Each stage is taken from its folder where an earlier run finished
it.
"""

import contextlib
import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.records import append_row
from experiments.slide.reality import slide_task
from experiments.slide.study import Study
from worldmodel import loop, runtime
from worldmodel.loop.versions import BATCH, C_STANDS_IN
from worldmodel.model import Velocity, WorldModel
from worldmodel.model.simulate import make_predictor
from worldmodel.policies import clone
from worldmodel.reality import Robot, capture
from worldmodel.rollout import Constant
from worldmodel.runtime.files import write_json
from worldmodel.tasks.play import Played, Simulate, episodes
from worldmodel.tasks.slide.task import RESIDUAL
from worldmodel.types import Array, Episode, Goal, Policy, Start, Trial


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
    task = slide_task()
    return WorldModel(task.scene, task.free, network=study.network)


def hybrid(world: WorldModel) -> WorldModel:
    """A physics world model with a network that corrects its velocities."""
    return dataclasses.replace(world, correction=Velocity())


def key(*numbers: int) -> Array:
    """A key of random numbers of its own for every sequence of numbers."""
    out = jax.random.key(numbers[0])
    for number in numbers[1:]:
        out = jax.random.fold_in(out, number)
    return out


def draw(count: int, key: Array) -> tuple[Start, Goal]:
    """Starts and goals of episodes, on the host."""
    return jax.device_get(jax.vmap(slide_task().reset)(jax.random.split(key, count)))


def demonstrate(
    simulate: Simulate, study: Study, table: np.ndarray, count: int, key: Array, source: str
) -> list[Episode]:
    """Episodes of the demonstrator in contexts drawn at random.

    Args:
      simulate: plays the strokes.
      table: that the demonstrator plans with, of the same world.
      source: "real", or a version's name.
    """
    drawing, acting, playing = jax.random.split(key, 3)
    start, goal = draw(count, drawing)
    policy = study.person.act(table, goal, acting)
    return episodes(slide_task(), simulate(policy, start, goal, playing), goal, source=source)


def player(version: loop.Version, study: Study) -> Simulate:
    """A version as the world in which strokes are played: C MuJoCo where it has no network, and
    where MJX predicts the same of a few strokes, to ``loop.versions.C_STANDS_IN``."""
    task, batch = slide_task(), study.physics.batch  # the fit's: compiled for it anyway
    if version.world.learns:
        return _whole_batches(loop.simulator(version, task))
    simulate = loop.simulator(version, task, engine="c")
    start, goal = draw(batch, key(0))
    strokes = Constant(np.linspace(-0.5, 0.5, 2 * batch).reshape(2, batch).T)
    played = episodes(task, simulate(strokes, start, goal, key(0)), goal, source=version.name)
    windows, _ = loop.WHOLE.cut(played)
    predicted = make_predictor(version.world, batch)(version.parameters, windows)
    farthest = float(np.abs(predicted - np.asarray(windows.target)).max())
    stands_in = farthest <= C_STANDS_IN
    runtime.log(
        f"{version.name}: MJX and C MuJoCo differ by at most {farthest:.1e} m or rad in {batch} "
        f"episodes; {'C MuJoCo' if stands_in else 'MJX'} plays it"
    )
    return simulate if stands_in else _whole_batches(loop.simulator(version, task))


def _whole_batches(simulate: Simulate) -> Simulate:
    """Plays no fewer than ``loop.versions.BATCH`` episodes at once, so that it is compiled once."""

    def whole(policy: Policy, start: Start, goal: Goal, key: Array) -> Played:
        count = len(np.asarray(start.qpos))
        index = np.arange(max(count, BATCH)) % count
        rows: Any = jax.tree.map(lambda x: np.asarray(x)[index], (policy, start, goal))
        return jax.tree.map(lambda x: x[:count], simulate(rows[0], rows[1], rows[2], key))

    return whole


def deploy(
    out: Path,
    name: str,
    synthetic: Sequence[Episode],
    contexts: tuple[Start, Goal],
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
    task = slide_task()
    (policy,) = clone.clone(task, [synthetic[: study.deployed]], [seed], study.recipe)
    clone.save(out / "policies" / name, policy, task, {"version": name})
    count = len(contexts[0].qpos)
    rows = [jax.tree.map(lambda x, i=i: x[i], contexts) for i in range(count)]
    trials = [Trial(start, goal, policy) for start, goal in rows]
    return capture(out / "corrections" / name, robot, task, trials, key(seed), stop=stop)


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
        slide_task().channels,
        dataclasses.replace(config, seed=seed),
        residual=RESIDUAL,
        held_out=len(corrections) // study.held_out,
        spent=len(corrections),
        record=lambda row: append_row(out / "metrics.jsonl", {"version": name} | row),
        stop=stop,
    )
