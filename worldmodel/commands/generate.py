"""``worldmodel generate``: an expert demonstrates a task in a version of the world model."""

import dataclasses
from typing import Any

import jax

from worldmodel import loop, runtime
from worldmodel.commands import named
from worldmodel.commands.loop_options import GenerateOptions
from worldmodel.commands.version import chosen_engine, described, version_of
from worldmodel.episodes import lerobot
from worldmodel.errors import InputError
from worldmodel.policies.plan import Expert
from worldmodel.runtime import settings
from worldmodel.tasks import data_set
from worldmodel.tasks.task import Task
from worldmodel.types import Episode, Goal, Start


@dataclasses.dataclass(frozen=True)
class Demonstration:
    """Who is to demonstrate what, and where."""

    task: Task
    expert: Expert
    version: loop.Version
    engine: str
    episodes: int
    seed: int

    @classmethod
    def of(cls, options: GenerateOptions) -> "Demonstration":
        """What a command line names.

        Raises:
          InputError: references or folders that do not fit.
        """
        task = named.task(options.task)
        expert = named.expert(options.expert, options.task, task)
        version = version_of(task, options.model)
        engine = chosen_engine(version, options.engine)
        return cls(task, expert, version, engine, options.episodes, options.seed)

    @property
    def settings(self) -> dict[str, Any]:
        """What tells it from others, as JSON."""
        drawn = {"episodes": self.episodes, "seed": self.seed, "engine": self.engine}
        return described(self.task, self.version) | drawn | settings.flat("expert", self.expert)

    def play(self) -> tuple[Start, Goal, list[Episode]]:
        """The starts and goals that are drawn, and the episodes."""
        drawing, playing = jax.random.split(jax.random.key(self.seed))
        starts, goals = loop.draw(self.task, drawing, self.episodes)
        runtime.log(
            f"{self.episodes} episodes of {self.task.name} in {self.version.name}, engine "
            f"{self.engine}"
        )
        played = loop.demonstrate(
            self.version, self.task, self.expert, starts, goals, playing, engine=self.engine
        )
        return starts, goals, played


def generate(options: GenerateOptions) -> dict[str, Any]:
    """Writes a LeRobot data set, whole or not at all; a finished one is read.

    Raises:
      InputError: references, folders or numbers that do not fit; a set of other settings there.
    """
    asked, out = Demonstration.of(options), options.out
    if out.is_dir():
        if lerobot.read(out, []).provenance.get("settings") != asked.settings:
            raise InputError(
                f"--out {out} holds other episodes; give another folder, or the former options"
            )
        runtime.log(f"{out} holds these episodes already")
    else:
        *_, played = asked.play()
        provenance = {"settings": asked.settings, "provenance": runtime.provenance()}
        data_set.write(out, asked.task, played, provenance)
    result = loop.scores(asked.task, data_set.read(out, asked.task))
    return {"out": str(out), "version": asked.version.name} | result
