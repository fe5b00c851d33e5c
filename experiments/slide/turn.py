"""One turn of the loop, of which the experiments on task slide consist: demonstrate, deploy, refit.
It knows neither cells nor alpha.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.slide.reality import Hidden, robot, simulator, slide_task
from experiments.slide.study import Study
from worldmodel import loop, runtime
from worldmodel.loop.versions import BATCH, C_STANDS_IN
from worldmodel.model import WorldModel
from worldmodel.model.ensemble import make_predictor
from worldmodel.policies import clone
from worldmodel.reality import capture
from worldmodel.rollout import Constant
from worldmodel.runtime.records import append_row
from worldmodel.tasks.play import Played, Simulate, episodes
from worldmodel.tasks.slide.expert import make_table
from worldmodel.types import Array, Episode, Goal, Policy, Start, Trial

DEMONSTRATIONS, TWIN, SYNTHETIC, DEPLOYED = 1, 2, 3, 4  # streams of random numbers


def physics(study: Study) -> WorldModel:
    """The world model of version 0: physics alone."""
    task = slide_task()
    return WorldModel(task.scene, task.free, network=study.network)


def key(first: int, *others: int) -> Array:
    """A key of random numbers of its own for every sequence of numbers."""
    return functools.reduce(jax.random.fold_in, others, jax.random.key(first))


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


def player(version: loop.Version, study: Study, *, in_turn: bool = False) -> Simulate:
    """A version as the world in which strokes are played: C MuJoCo where it has no network, and
    where MJX predicts the same of a few strokes, to ``loop.versions.C_STANDS_IN``.

    Args:
      in_turn: whether the members of an ensemble take turns with the strokes.
    """
    task, batch = slide_task(), study.physics.batch  # the fit's: compiled for it anyway
    if version.world.learns:
        return _whole_batches(loop.simulator(version, task, in_turn=in_turn))
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


@dataclasses.dataclass
class Turn:
    """One loop in a folder: its versions, what plays them and their synthetic episodes.

    Each stage is taken from the folder where an earlier run finished it.
    """

    out: Path
    study: Study
    seed: int  # of reality's sensors and of the streams of random numbers
    hidden: Hidden
    table: np.ndarray  # of reality's strokes, that its operator plans with
    workers: Executor  # that play reality
    stop: Callable[[], bool]
    versions: dict[str, loop.Version] = dataclasses.field(default_factory=dict)
    players: dict[str, Simulate] = dataclasses.field(default_factory=dict)
    pools: dict[str, list[Episode]] = dataclasses.field(default_factory=dict)

    def stage(self, name: str) -> None:
        """Logs that a stage begins; Interrupted where ``stop`` returns True."""
        if self.stop():
            raise runtime.Interrupted("stopped between two stages; run the same command to go on")
        runtime.log(f"── {name}")

    def key(self, *stream: int) -> Array:
        """A key of this reality's own for every stream."""
        return key(self.seed, *stream)

    def real(self, count: int, stream: int) -> list[Episode]:
        """Demonstrations in reality."""
        play = simulator(self.hidden, self.seed, stream, workers=self.workers)
        return demonstrate(play, self.study, self.table, count, self.key(stream), "real")

    def add(self, version: loop.Version) -> None:
        """A further version, and its synthetic episodes."""
        number = len(self.versions)
        count = max(self.study.seeds * max(self.study.m), self.study.deployed)
        self.stage(f"{version.name}: synthetic episodes")
        play = player(version, self.study)
        each = player(version, self.study, in_turn=True) if version.world.learns else play
        table, stream = make_table(play), self.key(SYNTHETIC, number)
        episodes = demonstrate(each, self.study, table, count, stream, version.name)
        self.versions[version.name], self.players[version.name] = version, play
        self.pools[version.name] = episodes

    def deploy(self, name: str, count: int) -> list[Episode]:
        """Corrections: a version's policy, cloned from its episodes, captured on the robot."""
        number = list(self.versions).index(name)
        task = slide_task()
        self.stage(f"{name}: train its policy, deploy it, capture {count} corrections")
        start, goal = draw(count, self.key(DEPLOYED, number))
        machine = robot(self.hidden, self.seed, 10 + number)
        data = [self.pools[name][: self.study.deployed]]
        (policy,) = clone.clone(task, data, [0], self.study.recipe)
        clone.save(self.out / "policies" / name, policy, task, {"version": name})
        trials = [
            Trial(*jax.tree.map(lambda x, i=i: x[i], (start, goal)), policy=policy)
            for i in range(count)
        ]
        folder = self.out / "corrections" / name
        return capture(folder, machine, task, trials, key(0), stop=self.stop)

    def refit(
        self, parent: str, name: str, world: WorldModel, corrections: Sequence[Episode]
    ) -> loop.Version:
        """The next version, finetuned as the study has it; ``add`` plays it. One row per step goes
        to metrics.jsonl.

        Args:
          world: the next version's, see ``loop.finetune``.
          corrections: all that it has cost, ancestors' included.
        """
        self.stage(f"{name}: finetune {world.name} from {parent} on {len(corrections)} episodes")
        return loop.finetune(
            self.out / "versions",
            self.versions[parent],
            name,
            world,
            corrections,
            slide_task().channels,
            self.study.hybrid if world.learns else self.study.physics,
            held_out=len(corrections) // self.study.held_out,
            spent=len(corrections),
            record=lambda row: append_row(self.out / "metrics.jsonl", {"version": name} | row),
            stop=self.stop,
        )
