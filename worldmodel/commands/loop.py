"""``worldmodel loop``: turns of the loop, generate → train → deploy → capture → finetune."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import tyro

from worldmodel import loop as turning
from worldmodel import runtime
from worldmodel.commands import named
from worldmodel.commands.deploy import on_robot
from worldmodel.commands.version import CORRECTIONS, Engine, chosen_engine, described, version_of
from worldmodel.finetune.adam import FitConfig
from worldmodel.finetune.hybrid import THROUGH_WINDOWS
from worldmodel.finetune.least_squares import IdentifyConfig
from worldmodel.loop.disagreement import check_penalty
from worldmodel.loop.versions import load_version, save_version
from worldmodel.model import Network
from worldmodel.model.ensemble import members
from worldmodel.model.saved import describe
from worldmodel.policies.clone import Clone, CloneConfig
from worldmodel.runtime.records import plain
from worldmodel.runtime.settings import check_options, claim, refuse_options

# Options that a later turn may have otherwise, and those that a turn itself has by their names.
ELSEWHERE = ("out", "turns", "watch", "operator", "expert", "engine", "penalty", "candidates")


@dataclasses.dataclass(frozen=True)
class LoopOptions:
    """The command line of the loop."""

    # file.py:name or package.module:name.
    task: tyro.conf.Positional[str]
    # Folder of all versions and turns.
    out: Path
    # As for deploy.
    robot: str | None = None
    # As for generate.
    expert: str | None = None
    # Version 0, as for generate.
    model: Path | None = None
    # In all; more of them go on from the last.
    turns: int = 1
    # Synthetic ones per turn.
    episodes: int = 64
    # Episodes on the robot per turn.
    corrections: int = 8
    # What a new network adds to, after the physics are finetuned; none: the physics alone, or the
    # network of the model alone where it has one.
    correction: Literal["none", "velocity", "force"] = "none"
    # Of each finetuning of physics: of Gauss-Newton in C MuJoCo, or of the gradient.
    steps: int = 40
    # Finetune the physics by gradient descent through MJX.
    gradient: bool = False
    # Values of the physics drawn from their prior; a finetuning begins at the best of them.
    draws: int = 64
    # Networks of the ensemble, 5 when absent.
    members: int | None = None
    # Of each of these, through whole episodes.
    network_steps: int = 300
    # Of everything that is drawn.
    seed: int = 0
    # As for generate.
    engine: Engine = None
    # On synthetic episodes about which the members of an ensemble disagree: as for generate.
    penalty: float = 0.0
    # Starts and goals drawn per episode on the robot; above 1, those are played that the members of
    # the version disagree most about.
    candidates: int = 1
    # As for deploy.
    watch: bool = False
    # As for deploy.
    operator: str | None = None
    # Of the policy's layers.
    width: int = 64
    # Of the policy's training.
    clone_steps: int = 1000
    # Observations that the policy sees.
    history: int = 1
    # Actions that it decides on at once.
    chunk: int = 1


def loop(
    options: LoopOptions,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Turns the loop: generate, train, deploy, capture, finetune; the same command goes on.

    Returns:
      The line that is printed: the last version, and what came out of every turn.

    Raises:
      InputError: references, folders or numbers that do not fit, or a folder of another run; the
        robot failed.
      Interrupted: ``stop`` returned True.
    """
    counted = ("turns", "episodes", "corrections", "candidates", "steps", "clone_steps")
    sizes = ("members", "network_steps", "width", "history", "chunk")
    check_options(**{name: getattr(options, name) for name in (*counted, *sizes)})
    check_options(0, draws=options.draws)
    check_penalty(options.penalty)
    if options.correction == "none":
        refuse_options("--correction", members=options.members)
    task = named.task(options.task)
    expert = named.expert(options.expert, options.task, task)
    robot, reference = named.robot(options.robot, options.task)
    network = Network(members=options.members or 5)
    version = dataclasses.replace(version_of(task, options.model, "v0"), parent=None)
    first = described(task, version)
    settings = {name: value for name, value in plain(options).items() if name not in ELSEWHERE}
    settings |= {"task": task.name, "robot": reference, "members": network.members}
    claim(options.out, settings | {"model": first["parameters"]})
    version = _kept(options.out / "versions", version, first)
    correction = CORRECTIONS.get(options.correction)
    config: FitConfig | IdentifyConfig = IdentifyConfig(iterations=options.steps, engine="c")
    if options.gradient:
        config = FitConfig(steps=options.steps, batch=options.corrections, start_spread=0.0)
    learning = dataclasses.replace(THROUGH_WINDOWS, steps=options.network_steps)
    method = turning.Method(config, correction, network, learning, draws=options.draws)
    clone = Clone(
        CloneConfig(
            width=options.width,
            steps=options.clone_steps,
            history=options.history,
            chunk=options.chunk,
        )
    )
    outcomes = []
    for number in range(options.turns):
        runtime.log(f"turn {number + 1} of {options.turns}, from {version.name}")
        ensemble = len(members(version.parameters)) > 1
        if not ensemble and (options.penalty or options.candidates > 1):
            runtime.log(f"{version.name} has one member: no --penalty and no --candidates here")
        with named.contract(task):
            following = turning.turn(
                options.out,
                task,
                version,
                on_robot(robot, task, options.watch, options.operator, stop),
                expert,
                clone,
                method,
                generated=options.episodes,
                deployed=options.corrections,
                seed=options.seed,
                engine=chosen_engine(version.world, options.engine),
                penalty=options.penalty if ensemble else 0.0,
                candidates=options.candidates if ensemble else 1,
                stop=stop,
            )
        outcome = json.loads((options.out / version.name / "outcome.json").read_text())
        robots = outcome["robot"]
        runtime.log(
            f"{version.name}'s policy on the robot: error {_shown(robots['error'])}, success "
            f"{_shown(robots['success'])} ({robots['unmeasured']} not measured, "
            f"{robots['unjudged']} not judged), in the version "
            f"{_shown(outcome['predicted']['error'])}"
        )
        outcomes.append(outcome)
        version = following
    return {"out": str(options.out), "version": version.name, "turns": outcomes}


def _shown(number: float | None) -> str:
    return "unknown" if number is None else f"{number:.4g}"


def _kept(directory: Path, version: turning.Version, run: dict[str, Any]) -> turning.Version:
    """Version 0, saved once."""
    settings = {"world": describe(version.world), "run": run}
    finished = load_version(directory, "v0", version.world, settings)
    if finished is None:
        save_version(directory, version, settings)
    return finished or version
