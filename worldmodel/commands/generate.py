"""``worldmodel generate``: an expert demonstrates a task in a version of the world model."""

from pathlib import Path
from typing import Any

import jax
import tyro

from worldmodel import loop, runtime
from worldmodel.commands import named
from worldmodel.commands.version import Engine, chosen_engine, described, version_of
from worldmodel.episodes import lerobot
from worldmodel.errors import InputError
from worldmodel.tasks import data_set


def generate(
    task: tyro.conf.Positional[str],
    out: Path,
    model: Path | None = None,
    expert: str | None = None,
    episodes: int = 64,
    seed: int = 0,
    engine: Engine = None,
) -> dict[str, Any]:
    """Generates synthetic episodes: the task's expert demonstrates it in the world model.

    Args:
      task: file.py:name or package.module:name.
      out: folder for the LeRobot data set, written whole or not at all; a finished one is read.
      model: folder of a fit or of a version of the loop; the task's own MJCF when absent.
      expert: as the task is named; 'expert' of the task's file when absent.
      episodes: to generate.
      seed: of starts, goals and the expert's errors.
      engine: c (C MuJoCo) or mjx; c where the model is physics alone, when absent.

    Raises:
      InputError: references, folders or numbers that do not fit; a set of other settings there.
    """
    if episodes < 1:
        raise InputError(f"--episodes {episodes}: at least one")
    asked = named.task(task)
    teacher = named.part(expert, task, "expert", "plan")
    version = version_of(asked, model)
    chosen = chosen_engine(version.world, engine)
    settings = described(asked, version) | {"episodes": episodes, "seed": seed, "engine": chosen}
    if out.is_dir():
        if lerobot.read(out).provenance.get("settings") != settings:
            raise InputError(
                f"--out {out} holds other episodes; give another folder, or the former options"
            )
        runtime.log(f"{out} holds these episodes already")
    else:
        drawing, playing = jax.random.split(jax.random.key(seed))
        contexts = loop.draw(asked, drawing, episodes)
        runtime.log(f"{episodes} episodes of {asked.name} in {version.name}, engine {chosen}")
        played = loop.demonstrate(version, asked, teacher, *contexts, playing, engine=chosen)
        provenance = {"settings": settings, "provenance": runtime.provenance()}
        data_set.write(out, asked, played, provenance)
    result = loop.scores(asked, data_set.read(out, asked))
    return {"out": str(out), "version": version.name} | result
