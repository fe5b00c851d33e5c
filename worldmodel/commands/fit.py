"""``worldmodel fit``: physics, then a network, to a log; resumes to the same numbers."""

import dataclasses
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tyro

from worldmodel import runtime
from worldmodel.commands.outcome import RESULT, Outcome, finish
from worldmodel.commands.problem import Problem, prepare
from worldmodel.commands.reading import digest
from worldmodel.commands.version import CORRECTIONS
from worldmodel.episodes.windows import Windows
from worldmodel.errors import InputError, near
from worldmodel.finetune.choice import Verdict, choose
from worldmodel.finetune.delay import Delay, delays
from worldmodel.finetune.gauss_newton import Identified
from worldmodel.finetune.hybrid import THROUGH_WINDOWS, FittedHybrid, HybridData, fit_hybrid
from worldmodel.finetune.least_squares import IdentifyConfig
from worldmodel.finetune.moved import numbers
from worldmodel.finetune.multi_start import FittedPhysics, PhysicsConfig, fit_physics
from worldmodel.finetune.regression import RegressionConfig
from worldmodel.model import Network, WorldModel
from worldmodel.physics.kinds import KINDS
from worldmodel.runtime import devices
from worldmodel.runtime.files import write_json
from worldmodel.runtime.records import append_row, config_hash, plain
from worldmodel.runtime.settings import check_options, claim, refuse_options
from worldmodel.scene import FreeParameter, SceneWarning

FEWEST = 32  # windows that a start is fitted to
CHOICE_WINDOWS = 128  # of the linearisation that chooses
SEARCHING = 5  # iterations of each stage of a start: they lead to the basin, the last fit into it
STEPS = 6e6  # physics steps of a degree of freedom in one linearisation: seconds on two cores
NETWORK_BATCH = 32  # windows of a step of the network's fit, a second of MJX on two cores
# Settings that the physics do not see.
NETWORK = ("network", "correction", "members", "engine", "steps")


@dataclasses.dataclass(frozen=True)
class FitOptions:
    """The command line of a fit; what is absent takes a default that is printed."""

    # MJCF of the robot.
    scene: tyro.conf.Positional[Path]
    # The log, as for the command check.
    data: Path
    # Folder for the results.
    out: Path
    # TOML; a draft by the names when absent.
    columns: Path | None = None
    # Whether a network learns what the physics gets wrong.
    network: bool = False
    # Of the starts and of the order of windows.
    seed: int = 0
    # Frames per second; the data's when absent.
    control_hz: float | None = None
    # Physics steps per frame; from the fastest contact or servo when absent.
    substeps: int | None = None
    # Parameters to fit, as kind:element (damping:elbow is elbow.damping of choice.json); those that
    # the data identify when absent.
    free: tuple[str, ...] = ()
    # Whether the drives' numbers are among those that the data may identify.
    drives: bool = False
    # Frames per window; half a second of a driven robot when absent.
    horizon: int | None = None
    # Of the least squares, at most; the first is the MJCF's own values.
    starts: int = 3
    # Of each start, at most.
    iterations: int = 40
    # Of each network's fit through windows, 300 when absent; a displacement has none.
    steps: int | None = None
    # What the network's output is added to; force of a driven robot and displacement of others when
    # absent.
    correction: Literal["displacement", "velocity", "force"] | None = None
    # Networks of the ensemble, each with physics of its own; 5 when absent.
    members: int | None = None
    # What a network of velocities or forces is fitted through: c is the physics linearised along
    # the windows by C MuJoCo, mjx the simulator, which compiles for minutes; c when absent.
    engine: Literal["c", "mjx"] | None = None


def fit(
    options: FitOptions,
    stop: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Fits a scene's physics, then a network, to a log; the same command goes on after a stop.

    Leaves in the folder: checkpoint, fitted.xml, columns.toml, choice.json, fit.json, report.html.

    Args:
      options: the command line.
      stop: asked between steps; True raises ``runtime.Interrupted``, and the same call goes on.

    Returns:
      The line that is printed.

    Raises:
      InputError: a path, option, column or value that does not fit, or a folder of another run.
      Interrupted: ``stop`` returned True.
    """
    counts = ("starts", "iterations", "steps", "members")
    check_options(**{name: getattr(options, name) for name in counts})
    check_options(0, seed=options.seed)
    if not options.network:
        names = ("correction", "members", "steps", "engine")
        refuse_options("--network", **{name: getattr(options, name) for name in names})
    for name in ("scene", "data"):
        if not getattr(options, name).exists():
            raise InputError(f"{getattr(options, name)}: no such file; give the {name}'s path")
    named = tuple(map(_free_parameter, options.free))
    settings = plain(options)
    settings.pop("out")
    if options.network:
        settings |= {"members": options.members or 5, "steps": options.steps or 300}
    else:  # a network may come later
        settings = _without(settings, *NETWORK)
    settings |= {
        name: digest(path)
        for name in ("scene", "data", "columns")
        if (path := getattr(options, name)) is not None
    }
    result = options.out / RESULT
    if result.is_file():
        finished = json.loads(result.read_text())
        if finished.get("settings") == settings:
            runtime.log(f"{options.out} holds this fit already")
            return finished["line"]
    begun = (options.out / "progress" / "network").is_dir()
    claim(options.out, settings, growing="steps", later=() if begun else NETWORK)
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
        train = problem.windows("train")
        free, verdicts = _chosen(problem, train, named, options)
        scene, starts = problem.scene(free)
    for message in dict.fromkeys(str(warning.message) for warning in caught):
        runtime.log(f"scene: {message}")
    for name, value in starts.items():
        runtime.log(f"{name} is 0 in the MJCF; it starts at {value:g}")
    world = WorldModel(scene, free)
    fitted, late = _physics(world, problem, train, options, settings, stop)
    network = None
    if options.network:
        network = _network(world, fitted.identified, problem, options, settings, stop)
    engine = "mjx" if network is None else _engine(options, network.world)
    outcome = Outcome(world, starts, verdicts, fitted.identified, late, network, engine)
    devices.log_memory()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SceneWarning)  # logged above
        return finish(options.out, problem, outcome, settings)


def _without(settings: dict[str, Any], *names: str) -> dict[str, Any]:
    return {k: v for k, v in settings.items() if k not in names}


def _chosen(
    problem: Problem, train: Windows, named: tuple[FreeParameter, ...], options: FitOptions
) -> tuple[tuple[FreeParameter, ...], tuple[Verdict, ...]]:
    """The free parameters: those of the command line, or those that the data identify."""
    count = min(CHOICE_WINDOWS, len(train))
    windows = train.take(np.linspace(0, len(train) - 1, count).round().astype(int))
    asked = named or problem.candidates(windows, with_drives=options.drives)
    runtime.log(f"which of {len(asked)} parameters do {len(train)} windows identify?")
    scene, _ = problem.scene(asked)
    free, verdicts = choose(WorldModel(scene, asked), windows, count=len(train))
    if named:
        for v in verdicts:
            if not v.kept:
                runtime.log(f"WARNING: {v.name} is free as --free asks, but {v}")
        free, verdicts = asked, tuple(dataclasses.replace(v, kept=True) for v in verdicts)
    if not free:
        raise InputError(
            "the data identify none of the scene's parameters: nothing that is recorded depends "
            "on them; look at `worldmodel check`, or name some with --free kind:element"
        )
    for f in free:
        deviations = [f"{v.deviation:.2f}" for v in verdicts if v.kept and v.name == f.name]
        more = f" and {len(f.also)} geoms like it" if f.also else ""
        runtime.log(f"free: {f.name}{more}, to {', '.join(deviations)} of the prior's deviation")
    held = [v for v in verdicts if not v.kept]
    path = options.out / "choice.json"
    write_json(path, [plain(v) | {"verdict": str(v)} for v in verdicts])
    if held:
        runtime.log(
            f"{len(held)} of {len(verdicts)} numbers stay at the MJCF's values: of "
            f"{sum(v.moves for v in held)} the data cannot say more than the prior, on the others "
            f"nothing recorded depends; {path} lists them"
        )
    return free, verdicts


def _free_parameter(text: str) -> FreeParameter:
    """That of ``--free``."""
    kind, colon, element = text.partition(":")
    if not kind or (not colon and kind != "gravity_tilt"):
        raise InputError(f"--free {text}: give kind:element, such as damping:elbow or mass:forearm")
    if kind not in KINDS:
        raise InputError(f"--free {text}: no kind '{kind}' can be fitted; {near(kind, KINDS)}")
    return FreeParameter(kind, element)


def _physics(
    world: WorldModel,
    problem: Problem,
    train: Windows,
    options: FitOptions,
    settings: dict[str, Any],
    stop: Callable[[], bool],
) -> tuple[FittedPhysics, tuple[Delay, ...]]:
    # Those that a linearisation takes on in ``STEPS``.
    each = problem.horizon * world.scene.substeps * world.scene.mj_model.nv
    windows = int(np.clip(STEPS / each / (1 + len(numbers(world))), 2 * FEWEST, 512))
    config = PhysicsConfig(
        identify=IdentifyConfig(iterations=options.iterations, engine="c"),
        starts=options.starts,
        windows=windows,
        searching=SEARCHING,
        searched=max(FEWEST, min(64, windows // 2)),
        seed=options.seed,
    )
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
                "gains and damping; give the command a delay in the columns, or fit with --drives"
            )
    return fitted, late


def _network(
    physics: WorldModel,
    identified: Identified,
    problem: Problem,
    options: FitOptions,
    settings: dict[str, Any],
    stop: Callable[[], bool],
) -> FittedHybrid:
    driven = physics.scene.mj_model.nu > 0
    correction = options.correction or ("force" if driven else "displacement")
    runtime.log(f"the network corrects: {correction}")
    world = dataclasses.replace(
        physics,
        correction=CORRECTIONS[correction],
        network=Network(members=settings["members"]),
    )
    protocol = problem.protocol
    data = HybridData(
        problem.parts["train"],
        problem.parts["validation"],
        problem.training,
        protocol.windows,
        protocol.remember,
    )
    return fit_hybrid(
        world,
        identified.parameters,
        protocol.channels(world.scene),
        data,
        RegressionConfig(seed=options.seed),
        dataclasses.replace(
            THROUGH_WINDOWS, steps=settings["steps"], batch=NETWORK_BATCH, seed=options.seed
        ),
        options.out / "progress" / "network",
        covariance=identified.uncertainty.covariance,
        metadata={"settings": _without(settings, "steps"), "scene": world.scene.name},
        record=lambda row: append_row(options.out / "metrics.jsonl", row),
        stop=stop,
        engine=_engine(options, world),
    )


def _engine(options: FitOptions, world: WorldModel) -> Literal["c", "mjx"]:
    """What a network is fitted through and predicts in; of a displacement, MJX alone."""
    assert world.correction is not None
    if not world.correction.changes_state:
        return "mjx"
    return options.engine or "c"
