"""Which column of a log is which joint, actuator, body or time: a ``Columns`` value.

A source column is addressed by its name ("time", a CSV header), by a place in an array
("qpos[3]", "observation.state[0]") or by a component's name ("observation.state.elbow.pos");
"qpos[0:3]" stands for three. A number becomes SI units by

    value = sign · scale · unit(raw) + offset

where ``percent`` is 0 to 100 of a range (the joint's own unless ``range`` says otherwise). Zero and
scale of a log are calibrations of the columns, not of the robot. A ``delay`` [s] is how long after
its stamp a command acts, and how long before its stamp a state was measured.
"""

import dataclasses
import math
from typing import Protocol

import numpy as np

from worldmodel.errors import InputError

FACTORS = {"": 1.0, "rad": 1.0, "deg": math.pi / 180, "m": 1.0, "mm": 1e-3, "cm": 1e-2}
UNITS = (*FACTORS, "percent")
TIME_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
ORDERS = ("wxyz", "xyzw")
LONGEST_DELAY = 5.0  # [s] beyond that milliseconds were meant


class ColumnsError(InputError):
    """Columns that contradict themselves, the MJCF or the log."""


class Rejects(Protocol):
    """A rule that rejects frames; a frozen dataclass, so that a config can hold it."""

    def rejected(self, qpos: np.ndarray) -> np.ndarray:
        """(frames, nq) of an episode → (frames,) bool, True where a frame is not valid."""
        ...


@dataclasses.dataclass(frozen=True)
class Joint:
    """A hinge or slide of the MJCF. Without a position column nothing measures it: its value is
    ``assumed`` [rad, m], or unknown."""

    name: str
    position: str | None = None
    velocity: str | None = None  # in the position's unit per second
    unit: str = ""  # of ``UNITS``; "": rad or m
    sign: float = 1.0
    offset: float = 0.0  # [rad, m]
    delay: float = 0.0  # [s] how long before its stamp it was measured
    range: tuple[float, float] | None = None  # [rad, m] at 0 and at 100 per cent
    assumed: float | None = None
    scale: float = 1.0
    time: str | None = None  # its own column of time stamps

    def __post_init__(self) -> None:
        _check(f"joint '{self.name}'", self)
        if self.position is None and self.velocity is not None:
            raise ColumnsError(f"joint '{self.name}' has a velocity but no position; give both")


@dataclasses.dataclass(frozen=True)
class Command:
    """An actuator. Without a column its command is ``offset``, always."""

    name: str
    column: str | None = None
    unit: str = ""  # of ``UNITS``; "": what the MJCF's actuator takes
    sign: float = 1.0
    offset: float = 0.0
    delay: float = 0.0  # [s] how long after its stamp it acts
    range: tuple[float, float] | None = None  # at 0 and at 100 per cent
    scale: float = 1.0
    time: str | None = None  # its own column of time stamps

    def __post_init__(self) -> None:
        _check(f"actuator '{self.name}'", self)


@dataclasses.dataclass(frozen=True)
class Body:
    """A body with a free or ball joint, by its name or its joint's. What has no columns is
    ``assumed`` (position [m] and quaternion wxyz, 7 numbers, or 4 of a ball joint), or unknown."""

    name: str
    position: tuple[str, ...] = ()  # x, y, z
    quaternion: tuple[str, ...] = ()
    order: str = "wxyz"  # of the quaternion's columns
    unit: str = ""  # of the position and the linear velocity
    velocity: tuple[str, ...] = ()  # linear in the world, angular in the body [rad/s]: 6; ball: 3
    assumed: tuple[float, ...] | None = None
    delay: float = 0.0  # [s] how long before its stamp it was measured
    time: str | None = None  # its own column of time stamps

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise ColumnsError(f"body '{self.name}': order is '{self.order}'; give one of {ORDERS}")
        if self.unit not in ("", "m", "mm", "cm"):
            raise ColumnsError(f"body '{self.name}': unit is '{self.unit}'; give m, mm or cm")
        _check_delay(f"body '{self.name}'", self.delay)


@dataclasses.dataclass(frozen=True)
class Columns:
    """The columns of a kind of log."""

    joints: tuple[Joint, ...] = ()
    commands: tuple[Command, ...] = ()
    bodies: tuple[Body, ...] = ()
    time: str | None = None  # column of time stamps
    time_unit: str = "s"
    rate_hz: float | None = None  # a constant rate, where no column has the time
    episode: str | None = None  # column that numbers the episodes (CSV, Parquet)
    control_hz: float | None = None  # rate of the frames that are read; None: the source's
    rejects: Rejects | None = None  # frames that are not valid
    fastest: tuple[float, float] = (20.0, 100.0)  # [m/s, rad/s] what is faster is a mistake

    def __post_init__(self) -> None:
        kinds = {"joint": self.joints, "actuator": self.commands, "body": self.bodies}
        for kind, members in kinds.items():
            names = [member.name for member in members]
            for name in names:
                if names.count(name) > 1:
                    raise ColumnsError(f"{kind} '{name}' is named twice; keep one")
        states = [j.position for j in self.joints] + [j.velocity for j in self.joints]
        states += [c for b in self.bodies for c in (*b.position, *b.quaternion, *b.velocity)]
        for used in (states, [c.column for c in self.commands]):
            for column in used:
                if column is not None and used.count(column) > 1:
                    raise ColumnsError(
                        f"column '{column}' is named twice; one of the two is another column"
                    )
        if self.time_unit not in TIME_UNITS:
            raise ColumnsError(
                f"time_unit is '{self.time_unit}'; give one of {', '.join(TIME_UNITS)}"
            )
        for name in ("rate_hz", "control_hz"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ColumnsError(f"{name} is {value}; give frames per second, above 0")
        if self.time is not None and self.rate_hz is not None:
            raise ColumnsError(
                f"time is column '{self.time}' and rate_hz is {self.rate_hz}; give one of them"
            )
        if len(self.fastest) != 2 or not min(self.fastest) > 0:
            raise ColumnsError(f"fastest is {self.fastest}; give two speeds, m/s and rad/s")


def _check(where: str, channel: Joint | Command) -> None:
    if channel.unit not in UNITS:
        raise ColumnsError(
            f"{where}: unit is '{channel.unit}'; give one of {', '.join(UNITS[1:])} (of a velocity "
            "that of its position, per second)"
        )
    if channel.sign not in (1.0, -1.0):
        raise ColumnsError(f"{where}: sign is {channel.sign}; give 1 or -1, a factor as scale")
    for name in ("scale", "offset"):
        value = getattr(channel, name)
        if not math.isfinite(value) or (value == 0 and name == "scale"):
            raise ColumnsError(f"{where}: {name} is {value}; give a finite number, no zero factor")
    _check_delay(where, channel.delay)
    if channel.range is not None and not (
        len(channel.range) == 2 and channel.range[0] != channel.range[1]
    ):
        raise ColumnsError(f"{where}: range is {channel.range}; give its values at 0 and 100 %")


def _check_delay(where: str, delay: float) -> None:
    if not abs(delay) <= LONGEST_DELAY:
        raise ColumnsError(
            f"{where}: delay is {delay:g}; give seconds, at most {LONGEST_DELAY:g}: 0.045 is 45 ms"
        )
