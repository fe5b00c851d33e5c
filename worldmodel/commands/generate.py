"""``worldmodel generate``: an expert demonstrates a task in a version of the world model."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tyro

from worldmodel import loop, runtime
from worldmodel.commands import named
from worldmodel.commands.version import Engine, chosen_engine, described, version_of
from worldmodel.episodes import lerobot
from worldmodel.errors import InputError
from worldmodel.policies.plan import Expert
from worldmodel.runtime import devices
from worldmodel.runtime.settings import check_options, claim, differences, flat
from worldmodel.tasks import data_set
from worldmodel.tasks.task import Task
from worldmodel.types import Episode, Goal, Start

PART = 1000  # episodes that are in memory at once


@dataclasses.dataclass(frozen=True)
class Demonstration:
    """Who is to demonstrate what, and where."""

    task: Task
    expert: Expert
    version: loop.Version
    engine: str
    episodes: int
    seed: int
    penalty: float = 0.0

    @classmethod
    def of(
        cls,
        task: str,
        model: Path | None,
        expert: str | None,
        episodes: int,
        seed: int,
        engine: Engine,
        penalty: float = 0.0,
    ) -> "Demonstration":
        """What a command line names.

        Raises:
          InputError: references, folders or numbers that do not fit.
        """
        check_options(episodes=episodes)
        asked = named.task(task)
        version = version_of(asked, model)
        chosen = chosen_engine(version.world, engine)
        demonstrator = named.expert(expert, task, asked)
        return cls(asked, demonstrator, version, chosen, episodes, seed, penalty)

    @property
    def settings(self) -> dict[str, Any]:
        """What tells it from others, as JSON."""
        names = ("episodes", "seed", "engine", "penalty")
        drawn = {name: getattr(self, name) for name in names}
        return described(self.task, self.version) | drawn | flat("expert", self.expert)

    def play(self) -> tuple[Start, Goal, list[Episode]]:
        """The starts and goals of the episodes that do not diverge, and these."""
        return self._played(jax.random.key(self.seed), self.episodes)

    def parts(self) -> int:
        """How many parts of at most ``PART`` episodes there are."""
        return -(-self.episodes // PART)

    def part(self, number: int) -> list[Episode]:
        """The episodes of a part, which the expert plans by itself."""
        key = jax.random.fold_in(jax.random.key(self.seed), number)
        first = number * PART
        *_, played = self._played(key, min(PART, self.episodes - first))
        return [dataclasses.replace(e, id=first + int(e.id)) for e in played]

    def _played(self, key: jax.Array, count: int) -> tuple[Start, Goal, list[Episode]]:
        drawing, playing = jax.random.split(key)
        with named.contract(self.task):
            starts, goals = loop.draw(self.task, drawing, count)
            runtime.log(
                f"{count} episodes of {self.task.name} in {self.version.name}, engine {self.engine}"
            )
            played = loop.demonstrate(
                self.version,
                self.task,
                self.expert,
                starts,
                goals,
                playing,
                engine=self.engine,
                penalty=self.penalty,
            )
        devices.log_memory()
        kept = np.array([e.id for e in played], int)
        starts, goals = jax.tree.map(lambda x: x[kept], (starts, goals))
        return starts, goals, played


def generate(
    task: tyro.conf.Positional[str],
    out: Path,
    model: Path | None = None,
    expert: str | None = None,
    episodes: int = 64,
    seed: int = 0,
    engine: Engine = None,
    penalty: float = 0.0,
) -> dict[str, Any]:
    """Generates synthetic episodes: the task's expert demonstrates it in the world model.

    Args:
      task: file.py:name or package.module:name.
      out: folder for the LeRobot data set, written whole or not at all; a finished one is read.
        More than 1000 episodes are made in parts, and the same command goes on with those done.
      model: folder of a fit or of a version of the loop; the task's own MJCF when absent.
      expert: as the task is named; 'expert' of the task's file when absent.
      episodes: to generate.
      seed: of starts, goals and the expert's errors.
      engine: c (C MuJoCo) or mjx; c where the model is physics alone, when absent.
      penalty: above 0, an episode is kept with the probability exp(-penalty * d), where d is the
        disagreement of the model's members about its error, over the episodes' median.

    Raises:
      InputError: references, folders or numbers that do not fit; a set of other settings there.
    """
    asked = Demonstration.of(task, model, expert, episodes, seed, engine, penalty)
    if out.is_dir():
        former = next(lerobot.stream(out)).provenance.get("settings")
        if others := list(differences("settings", former, asked.settings)):
            raise InputError(
                f"--out {out} holds other episodes: {'; '.join(others)}; give another folder, or "
                "the former options"
            )
        runtime.log(f"{out} holds these episodes already")
    else:
        provenance = {"settings": asked.settings, "provenance": runtime.provenance()}
        if asked.parts() == 1:
            data_set.write(out, asked.task, asked.play()[-1], provenance)
        else:
            _in_parts(out, asked, provenance)
    result = loop.scores(asked.task, data_set.stream(out, asked.task))
    result |= {"thinned" if penalty else "diverged": episodes - result["episodes"]}
    return {"out": str(out), "version": asked.version.name} | result


def _in_parts(out: Path, asked: Demonstration, provenance: dict[str, Any]) -> None:
    """Writes a set that may be larger than the memory, by way of its parts in ``OUT.parts``: the
    same command goes on with those that are there."""
    place = out.with_name(f"{out.name}.parts")
    claim(place, asked.settings)
    folders = [place / f"{number:05d}" for number in range(asked.parts())]
    for number, folder in enumerate(folders):
        if not folder.is_dir():
            data_set.write(folder, asked.task, asked.part(number), {})
            runtime.log(f"part {number + 1} of {len(folders)} is done")
    every = (e for folder in folders for e in data_set.stream(folder, asked.task))
    data_set.write(out, asked.task, every, provenance)
    shutil.rmtree(place)
