"""``worldmodel loop``: turns of the loop, generate → train → deploy → capture → finetune."""

import dataclasses
import json
from collections.abc import Callable
from typing import Any

from worldmodel import loop, runtime
from worldmodel.commands import named
from worldmodel.commands.deploy import on_robot
from worldmodel.commands.loop_options import LoopOptions
from worldmodel.commands.version import chosen_engine, described, version_of
from worldmodel.finetune.adam import FitConfig
from worldmodel.finetune.least_squares import IdentifyConfig
from worldmodel.loop.versions import load_version, save_version
from worldmodel.model import Displacement, Force, Velocity
from worldmodel.model.saved import describe
from worldmodel.policies.clone import Clone, CloneConfig
from worldmodel.runtime.settings import claim

CORRECTIONS = {
    "none": None,
    "displacement": Displacement(),
    "velocity": Velocity(),
    "force": Force(),
}


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
    expert = named.expert(options.expert, options.task, task)
    robot, reference = named.robot(options.robot, options.task)
    claim(options.out, {"task": task.name, "robot": reference})
    trainer = Clone(
        CloneConfig(
            width=options.width,
            steps=options.clone_steps,
            history=options.history,
            chunk=options.chunk,
        )
    )
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
            trainer,
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
