"""A scene and a log as a problem of fitting: rate, substeps, windows, episodes held out."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from worldmodel import runtime
from worldmodel._mujoco import mujoco
from worldmodel.commands.consistency import consistency
from worldmodel.commands.findings import OK
from worldmodel.commands.reading import (
    Log,
    check_stepping,
    nothing_measured,
    read_log,
    repaired,
    settled,
)
from worldmodel.commands.starts import set_starts
from worldmodel.episodes.protocol import Protocol
from worldmodel.episodes.split import split_episodes
from worldmodel.episodes.unknown import resolve_unknown
from worldmodel.episodes.windows import HISTORY, WindowGrid, Windows
from worldmodel.errors import InputError
from worldmodel.runtime.settings import check_options
from worldmodel.scene import FreeParameter, Scene, compile_scene, parse_mjcf
from worldmodel.scene.defaults import Stepping, candidates, name_elements, touching_geoms
from worldmodel.scene.replay import touching
from worldmodel.types import Episode

PASSIVE_FRAMES = 16  # of a window of what nothing drives: a toss is chaotic beyond
DRIVEN_SECONDS = 0.5  # of a window of a driven robot
FEWEST_FRAMES = 4
PARTS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class Problem:
    """What a fit works on."""

    mjcf: Path
    log: Log
    stepping: Stepping
    protocol: Protocol  # columns and the windows that are scored
    training: WindowGrid
    parts: dict[str, list[Episode]]  # train, validation, test: whole episodes

    @property
    def control_hz(self) -> float:
        """Rate of the frames [1/s]."""
        return self.log.reading.control_hz

    @property
    def horizon(self) -> int:
        """Frames of a window."""
        assert self.training.horizon is not None
        return self.training.horizon

    def scene(self, free: tuple[FreeParameter, ...] = ()) -> tuple[Scene, dict[str, float]]:
        """The scene, with a positive start for what is free and 0 in the MJCF; those starts."""
        spec = _named_spec(self.mjcf)
        starts = set_starts(spec, spec.compile(), free)
        hz, substeps = self.control_hz, self.stepping.substeps
        return compile_scene(spec, control_hz=hz, substeps=substeps), starts

    def candidates(self, windows: Windows, *, with_drives: bool) -> tuple[FreeParameter, ...]:
        """The parameters that the scene offers: of contacts, those of geoms that touch while
        ``windows`` are replayed; and the drives' where ``with_drives``."""
        model = _named_spec(self.mjcf).compile()
        model.opt.timestep = self.stepping.timestep
        substeps = self.stepping.substeps
        touch = touching(model, substeps, windows.qpos, windows.qvel, windows.ctrl)
        still = [g for g in touching_geoms(model) if g not in touch]
        if still:
            runtime.log(
                f"{len(still)} geoms that can touch do not in these windows: their friction and "
                "solref are no candidates"
            )
        measured = {j.name for j in self.log.columns.joints if j.position is not None}
        return tuple(
            f
            for f in candidates(model, touch, with_drives=with_drives)
            if f.kind != "joint_zero" or f.element in measured
        )

    def windows(self, part: str) -> Windows:
        """Windows of a part of the episodes."""
        grid = self.training if part == "train" else self.protocol.windows
        windows, skipped = grid.cut(self.parts[part])
        if skipped:
            runtime.log(f"{part}: {skipped} windows skipped, whose frames are not valid")
        return windows

    def settled(self) -> dict[str, Any]:
        """The rate, substeps, windows and held out episodes, as JSON."""
        return {
            "control_hz": self.control_hz,
            "substeps": self.stepping.substeps,
            "stepping": str(self.stepping),
            "windows": dataclasses.asdict(self.protocol.windows),
            "episodes": {part: [str(e.id) for e in self.parts[part]] for part in PARTS},
        }


def _named_spec(mjcf: Path) -> mujoco.MjSpec:
    spec = parse_mjcf(mjcf)
    name_elements(spec)
    return spec


def prepare(
    scene: Path,
    data: Path,
    columns: Path | None,
    *,
    control_hz: float | None = None,
    substeps: int | None = None,
    horizon: int | None = None,
) -> Problem:
    """Reads scene and log and settles what is not given; every choice is logged.

    Raises:
      InputError: paths, columns, data or options that do not fit; too few or too short episodes.
    """
    check_stepping(control_hz, substeps)
    check_options(horizon=horizon)
    model = _named_spec(scene).compile()
    log = read_log(data, columns, model, control_hz)
    for note in (*log.notes, *log.reading.notes):
        runtime.log(f"log: {note}")
    for line in repaired(log.reading.repairs):
        runtime.log(f"repaired: {line}")
    if (text := nothing_measured(log)) is not None:
        raise InputError(f"{data}: {text}")
    episodes, unknown = resolve_unknown(model, log.reading.episodes)
    if unknown:
        runtime.log(f"not measured, and nothing measured depends on it: {', '.join(unknown)}")
    hz, chosen = settled(model, log, control_hz, substeps)
    runtime.log(f"{hz:g} frames/s, {chosen}")
    model.opt.timestep = chosen.timestep
    for finding in consistency(model, chosen.substeps, log.reading.episodes, hz):
        if finding.level != OK:
            runtime.log(f"{finding.level}: {finding.subject}: {finding.text}")
    judged, training = grids(episodes, model.nu > 0, hz, horizon)
    split = split_episodes([e.id for e in episodes])
    parts = {part: [e for e in episodes if split[e.id] == part] for part in PARTS}
    for part, members in parts.items():
        ids = ", ".join(str(e.id) for e in members[:12]) + (" …" if len(members) > 12 else "")
        runtime.log(f"{part}: {len(members)} episodes ({ids})")
    if not parts["test"]:
        raise InputError(
            f"{data} has {len(episodes)} episodes: none is held out to test the fit; record at "
            "least three"
        )
    judged.cut(parts["test"])  # refused before anything is fitted
    problem = Problem(scene, log, chosen, Protocol(log.columns, judged), training, parts)
    runtime.log(f"windows of {problem.horizon} frames, {problem.horizon / hz:.2f} s")
    return problem


def grids(
    episodes: Sequence[Episode], driven: bool, control_hz: float, horizon: int | None
) -> tuple[WindowGrid, WindowGrid]:
    """Where windows that are scored start, and those that are fitted.

    A driven robot's windows last ``DRIVEN_SECONDS``, others ``PASSIVE_FRAMES``; at most half of
    what the shorter half of the episodes has after the network's history.

    Raises:
      InputError: the episodes are too short.
    """
    lengths = sorted(len(e.qpos) for e in episodes)
    if not lengths:
        raise InputError("the log holds no episode; record at least three")
    middle = lengths[len(lengths) // 2]
    first = HISTORY - 1 if middle > 4 * HISTORY else 1
    room = (middle - 1 - first) // 2
    if horizon is None:
        wanted = round(DRIVEN_SECONDS * control_hz) if driven else PASSIVE_FRAMES
        horizon = min(max(wanted, FEWEST_FRAMES), room)
    if horizon < 1 or horizon > middle - 1 - first:
        raise InputError(
            f"half of the {len(lengths)} episodes have at most {middle} frames: too short for "
            f"windows of {max(horizon, 1)} frames; record longer ones, or give a shorter --horizon"
        )
    stride = max(1, horizon // 2)
    return WindowGrid(first, stride, horizon), WindowGrid(1, stride, horizon)
