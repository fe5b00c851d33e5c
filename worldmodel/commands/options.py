"""What ``worldmodel fit`` is asked for: the command line and its help follow from this."""

import dataclasses
from pathlib import Path
from typing import Literal

import tyro

from worldmodel.errors import InputError


@dataclasses.dataclass(frozen=True)
class FitOptions:
    """The command line of a fit; what is absent takes a default that is printed.

    Raises:
      InputError: a number that is too small; the message names it.
    """

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
    # Frames per window; half a second of a driven robot when absent.
    horizon: int | None = None
    # Of the least squares, at most; the first is the MJCF's own values.
    starts: int = 3
    # Of each start, at most.
    iterations: int = 40
    # Of the network's fit through windows.
    steps: int = 60
    # What the network's output is added to.
    correction: Literal["displacement", "velocity", "force"] = "displacement"
    # Of the network, whose mean is the correction.
    members: int = 4

    def __post_init__(self) -> None:
        at_least = {"seed": 0, "starts": 1, "iterations": 1, "steps": 1, "members": 1}
        for name, least in at_least.items():
            if getattr(self, name) < least:
                raise InputError(f"--{name} {getattr(self, name)}: at least {least}")
