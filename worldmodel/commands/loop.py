"""``worldmodel loop``: turns of the loop, generate → train → deploy → capture → finetune."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from worldmodel import loop, runtime
from worldmodel.commands import named
from worldmodel.commands.deploy import on_robot
from worldmodel.commands.version import chosen_engine, described, version_of
from worldmodel.errors import InputError
from worldmodel.finetune.adam import FitConfig
from worldmodel.finetune.least_squares import IdentifyConfig
from worldmodel.loop.versions import load_version, save_version
from worldmodel.model import Displacement, Force, Velocity
from worldmodel.model.saved import describe
from worldmodel.policies.clone import Clone, CloneConfig

CORRECTIONS = {
    "none": None,
    "displacement": Displacement(),
    "velocity": Velocity(),
    "force": Force(),
}


@dataclasses.dataclass(frozen=True)
class LoopOptions:
    """What the command line says."""

    task: str
    out: Path
    robot: str | None
    expert: str | None
    model: Path | None
    turns: int
    episodes: int  # generated in a turn
    corrections: int  # deployed in a turn
    correction: str  # of ``CORRECTIONS``
    steps: int  # of each finetuning
    gradient: bool  # whether physics alone are finetuned through MJX, too
    seed: int
    engine: str | None
    watch: bool
    clone: CloneConfig

    def __post_init__(self) -> None:
        for name in ("turns", "episodes", "corrections", "steps"):
            if getattr(self, name) < 1:
                raise InputError(f"--{name} {getattr(self, name)}: at least 1")


def turns(options: LoopOptions, stop: Callable[[], bool]) -> dict[str, Any]:
    """Goes round the loop; the same call goes on, and more turns go on from the last.

    Returns:
      The line that is printed: the last version, and what came out of every turn.

    Raises:
      InputError: references, folders or numbers that do not fit, or a folder of another run; the
        robot failed.
      Interrupted: ``stop`` returned True.
    """
    task = named.task(options.task)
    expert = named.part(options.expert, options.task, "expert", "plan")
    robot = named.part(options.robot, options.task, "robot", "step")
    version = _first(options, task)
    correction = CORRECTIONS[options.correction]
    config: FitConfig | IdentifyConfig = IdentifyConfig(iterations=options.steps, engine="c")
    if correction is not None or options.gradient:
        config = FitConfig(steps=options.steps, batch=options.corrections, start_spread=0.0)
    method = loop.Method(config, correction)
    outcomes = []
    for number in range(options.turns):
        runtime.log(f"turn {number + 1} of {options.turns}, from {version.name}")
        following = loop.turn(
            options.out,
            task,
            version,
            on_robot(robot, task, options.watch, stop),
            expert,
            Clone(options.clone),
            method,
            generated=options.episodes,
            deployed=options.corrections,
            seed=options.seed,
            engine=chosen_engine(version, options.engine),
            stop=stop,
        )
        outcome = json.loads((options.out / version.name / "outcome.json").read_text())
        robots = outcome["robot"]
        runtime.log(
            f"{version.name}'s policy on the robot: error {robots['error']}, success "
            f"{robots['success']}, in the version {outcome['predicted']['error']}"
        )
        outcomes.append(outcome)
        version = following
    return {"out": str(options.out), "version": version.name, "turns": outcomes}


def _first(options: LoopOptions, task: Any) -> loop.Version:
    """Version 0: that of the model that is given, or the MJCF's own numbers; saved once."""
    version = dataclasses.replace(version_of(task, options.model, "v0"), parent=None)
    settings = {"world": describe(version.world), "run": described(task, version)}
    finished = load_version(options.out / "versions", "v0", version.world, settings)
    if finished is None:
        save_version(options.out / "versions", version, settings)
    return finished or version
