"""``worldmodel fit``: physics, then a network, to a log; resumes to the same numbers."""

import dataclasses
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from worldmodel import runtime
from worldmodel.commands.outcome import Outcome, finish
from worldmodel.commands.problem import Problem, prepare
from worldmodel.commands.reading import digest
from worldmodel.errors import InputError
from worldmodel.finetune.adam import FitConfig
from worldmodel.finetune.choice import Verdict, choose
from worldmodel.finetune.delay import Delay, delays
from worldmodel.finetune.hybrid import HybridData, fit_hybrid
from worldmodel.finetune.least_squares import IdentifyConfig
from worldmodel.finetune.moved import numbers
from worldmodel.finetune.multi_start import FittedPhysics, PhysicsConfig, fit_physics
from worldmodel.finetune.regression import RegressionConfig
from worldmodel.model import Displacement, Force, Network, Parameters, Velocity, WorldModel
from worldmodel.runtime.checkpoint import config_hash
from worldmodel.runtime.records import append_row, plain
from worldmodel.runtime.settings import LENGTHS, claim
from worldmodel.scene import FreeParameter, SceneWarning

FEWEST = 32  # windows that a start is fitted to
CHOICE_WINDOWS = 128  # of the linearisation that chooses
STEPS = 1e6  # physics steps of one linearisation of the fit: seconds on two cores
NETWORK = ("network", "correction", "members", *LENGTHS)  # settings that the physics do not see
CORRECTIONS = {"displacement": Displacement(), "velocity": Velocity(), "force": Force()}


@dataclasses.dataclass(frozen=True)
class FitOptions:
    """What the command line says; None takes the default that is printed."""

    scene: Path
    data: Path
    out: Path
    columns: Path | None = None
    network: bool = False
    seed: int = 0
    control_hz: float | None = None
    substeps: int | None = None
    free: tuple[str, ...] = ()
    horizon: int | None = None
    starts: int = 3  # of the least squares; the first is the MJCF's own values
    iterations: int = 40  # of each, at most
    steps: int = 60  # Adam steps of the network's fit through windows
    correction: Literal["displacement", "velocity", "force"] = "displacement"
    members: int = 4  # of the network

    def __post_init__(self) -> None:
        at_least = {"seed": 0, "starts": 1, "iterations": 1, "steps": 1, "members": 1}
        for name, least in at_least.items():
            if getattr(self, name) < least:
                raise InputError(f"--{name} {getattr(self, name)}: at least {least}")


def fit(options: FitOptions, stop: Callable[[], bool]) -> dict[str, Any]:
    """Fits a scene to a log and writes the results into ``options.out``.

    Args:
      options: the command line.
      stop: asked between steps; True raises ``runtime.Interrupted``, and the same call goes on.

    Returns:
      The line that is printed.

    Raises:
      InputError: a path, option, column or value that does not fit, or a folder of another run.
      Interrupted: ``stop`` returned True.
    """
    for name in ("scene", "data"):
        if not getattr(options, name).exists():
            raise InputError(f"{getattr(options, name)}: no such file; give the {name}'s path")
    settings = plain(options)
    settings.pop("out")
    settings |= {
        name: digest(path)
        for name in ("scene", "data", "columns")
        if (path := getattr(options, name)) is not None
    }
    longer = claim(options.out, settings)
    finished = options.out / "fit.json"
    if finished.is_file() and not longer:
        runtime.log(f"{options.out} holds this fit already")
        return json.loads(finished.read_text())["line"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SceneWarning)
        problem = prepare(
            options.scene,
            options.data,
            options.columns,
            control_hz=options.control_hz,
            substeps=options.substeps,
            horizon=options.horizon,
        )
        free, verdicts = _chosen(problem, options)
        scene, starts = problem.scene(free)
    for message in dict.fromkeys(str(warning.message) for warning in caught):
        runtime.log(f"scene: {message}")
    for name, value in starts.items():
        runtime.log(f"{name} is 0 in the MJCF; it starts at {value:g}")
    world = WorldModel(scene, free)
    fitted, late = _physics(world, problem, options, settings, stop)
    network = None
    if options.network:
        config = {"settings": _without(settings, *LENGTHS)}
        network = _network(world, fitted.parameters, problem, options, config, stop)
    outcome = Outcome(world, starts, verdicts, fitted.identified, late, network)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SceneWarning)  # logged above
        return finish(options.out, problem, outcome)


def _without(settings: dict[str, Any], *names: str) -> dict[str, Any]:
    return {k: v for k, v in settings.items() if k not in names}


def _chosen(
    problem: Problem, options: FitOptions
) -> tuple[tuple[FreeParameter, ...], tuple[Verdict, ...]]:
    """The free parameters: those of the command line, or those that the data identify."""
    asked = problem.candidates(options.free)
    windows = problem.windows("train", CHOICE_WINDOWS)
    runtime.log(f"which of {len(asked)} parameters do {len(windows)} windows identify?")
    scene, _ = problem.scene(asked)
    free, verdicts = choose(WorldModel(scene, asked), windows)
    for v in verdicts:
        runtime.log(f"{v.name}[{v.index}]: {v} (deviation {v.deviation:.2f} of its prior's)")
    if options.free:
        return asked, tuple(dataclasses.replace(v, kept=True) for v in verdicts)
    if not free:
        raise InputError(
            "the data identify none of the scene's parameters: nothing that is recorded depends "
            "on them; look at `worldmodel check`, or name some with --free kind:element"
        )
    return free, verdicts


def _physics(
    world: WorldModel,
    problem: Problem,
    options: FitOptions,
    settings: dict[str, Any],
    stop: Callable[[], bool],
) -> tuple[FittedPhysics, tuple[Delay, ...]]:
    windows = _affordable(world, problem)
    config = PhysicsConfig(
        identify=IdentifyConfig(iterations=options.iterations, engine="c"),
        starts=options.starts,
        windows=windows,
        searched=max(FEWEST, min(64, windows // 2)),
        seed=options.seed,
    )
    train = problem.windows("train")
    fitted = fit_physics(
        world,
        train,
        problem.windows("validation"),
        config,
        options.out / "progress" / "physics",
        config_hash=config_hash(_without(settings, *NETWORK)),
        record=lambda row: append_row(options.out / "metrics.jsonl", {"stage": "physics"} | row),
        stop=stop,
    )
    late = delays(world, fitted.identified, train.take(fitted.rows), config.identify)
    for d in late:
        if d.late:
            runtime.log(
                f"WARNING: commands of {', '.join(d.actuators)} act {1e3 * d.seconds:.0f} ms "
                f"[{1e3 * d.low:.0f}, {1e3 * d.high:.0f}] later than the log says, which moves "
                "gains and damping; give the command a delay in the columns"
            )
    return fitted, late


def _affordable(world: WorldModel, problem: Problem) -> int:
    """Windows that a linearisation takes on in ``STEPS``, at most 512."""
    frames = problem.windows("train").target.shape[1]
    each = frames * world.scene.substeps * (1 + len(numbers(world)))
    return int(np.clip(STEPS / each, 2 * FEWEST, 512))


def _network(
    physics: WorldModel,
    parameters: Parameters,
    problem: Problem,
    options: FitOptions,
    metadata: dict[str, Any],
    stop: Callable[[], bool],
) -> tuple[WorldModel, Parameters]:
    world = dataclasses.replace(
        physics,
        correction=CORRECTIONS[options.correction],
        network=Network(members=options.members),
    )
    protocol = problem.protocol
    data = HybridData(
        problem.parts["train"],
        problem.parts["validation"],
        problem.training,
        protocol.windows,
        protocol.remember,
    )
    state = fit_hybrid(
        world,
        parameters,
        protocol.channels(world.scene),
        data,
        RegressionConfig(seed=options.seed),
        FitConfig(steps=options.steps, batch=128, learning_rate=0.02, seed=options.seed),
        options.out / "progress" / "network",
        metadata=metadata | {"scene": world.scene.name},
        record=lambda row: append_row(options.out / "metrics.jsonl", row),
        stop=stop,
    )
    return world, state.best
