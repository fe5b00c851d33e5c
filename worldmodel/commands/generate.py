"""``worldmodel generate``: an expert demonstrates a task in a version of the world model."""

from pathlib import Path
from typing import Any

import jax

from worldmodel import loop, runtime
from worldmodel.commands import named
from worldmodel.commands.version import chosen_engine, described, version_of
from worldmodel.episodes import lerobot
from worldmodel.errors import InputError
from worldmodel.tasks import data_set


def generate(
    task: str,
    out: Path,
    model: Path | None,
    expert: str | None,
    *,
    episodes: int,
    seed: int,
    engine: str | None,
) -> dict[str, Any]:
    """Writes a LeRobot data set, whole or not at all; a finished one is read.

    Raises:
      InputError: references, folders or numbers that do not fit; a set of other settings there.
    """
    if episodes < 1:
        raise InputError(f"--episodes {episodes}: at least one")
    asked = named.task(task)
    teacher = named.part(expert, task, "expert", "plan")
    version = version_of(asked, model)
    engine = chosen_engine(version, engine)
    settings = described(asked, version) | {"episodes": episodes, "seed": seed, "engine": engine}
    if out.is_dir():
        if lerobot.read(out, []).provenance.get("settings") != settings:
            raise InputError(
                f"--out {out} holds other episodes; give another folder, or the former options"
            )
        runtime.log(f"{out} holds these episodes already")
    else:
        drawing, playing = jax.random.split(jax.random.key(seed))
        contexts = loop.draw(asked, drawing, episodes)
        runtime.log(f"{episodes} episodes of {asked.name} in {version.name}, engine {engine}")
        played = loop.demonstrate(version, asked, teacher, *contexts, playing, engine=engine)
        provenance = {"settings": settings, "provenance": runtime.provenance()}
        data_set.write(out, asked, played, provenance)
    result = loop.scores(asked, data_set.read(out, asked))
    return {"out": str(out), "version": version.name} | result
