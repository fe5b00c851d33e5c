"""A first draft of the ``Columns`` of a log: matched by names, then by size and order.

Units are guessed from the values against the MJCF's ranges. A draft is to be read by a person: the
notes say what was guessed and what was not matched.
"""

import dataclasses
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.episodes.columns import TIME_UNITS, Body, Columns, Command, Joint
from worldmodel.episodes.guess import Guess, alike, guessed
from worldmodel.episodes.signals import Drive, Signal, coupling, layout
from worldmodel.episodes.sources import Source, open_source
from worldmodel.scene.names import element_name

COMMANDS = "action actions act cmd command commands ctrl control target goal desired des ref"
RATES = "vel velocity velocities qvel rate speed dq qd qdot dot"
EFFORTS = "effort efforts torque torques current load tau force"
OTHER = "image images index done success reward temperature voltage raw"
TIMES = ("time", "timestamp", "stamp", "t", "time_s", "time_ms", "time_us", "time_ns", "seconds")
EPISODES = ("episode_index", "episode", "episode_id", "ep", "trial", "run", "trajectory")
STATES = ("qpos", "observation.state", "state", "joint_positions", "positions", "position", "q")
PLAYED = ("ctrl", "action", "actions", "command", "commands", "control", "u")
# What says nothing of which one.
_EMPTY = frozenset(["joint", "motor", "actuator", "servo", "drive", "pos", "position"])
_PARTS = (*"xyz", "qw", "qx", "qy", "qz")


@dataclasses.dataclass(frozen=True)
class _Named:
    """A column, what its name says, and its numbers."""

    address: str
    parts: frozenset[str]
    role: str  # "position", "velocity", "effort", "command" or "other"


def draft(path: str | Path, model: mujoco.MjModel) -> tuple[Columns, tuple[str, ...]]:
    """Guesses the columns of a log.

    Args:
      path: see ``sources.open_source``.
      model: the compiled MJCF.

    Returns:
      Columns that name every joint, body and actuator of the model, unknown where nothing matches;
      notes on what was guessed or not matched.

    Raises:
      SourceError: a log that cannot be read.
    """
    source = open_source(path)
    notes: list[str] = []
    named = _named(source)
    signals, drives = layout(_blank(model), model)
    columns = _timing(source, notes)
    joints = _joints(
        source, named, [s for s in signals if s.kind in ("hinge", "slide")], model, notes
    )
    bodies = _bodies(source, named, [s for s in signals if s.turns], model, notes)
    commands = _commands(source, named, drives, {j.name: j for j in joints}, notes)
    return dataclasses.replace(columns, joints=joints, commands=commands, bodies=bodies), (*notes,)


def _blank(model: mujoco.MjModel) -> Columns:
    """Columns that measure nothing of a model."""
    joints, bodies = [], []
    for j in range(model.njnt):
        name, kind = element_name(model, "joint", j), mujoco.mjtJoint(model.jnt_type[j])
        if kind in (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE):
            joints.append(Joint(name))
        else:
            bodies.append(Body(element_name(model, "body", model.jnt_bodyid[j])))
    commands = [Command(element_name(model, "actuator", u)) for u in range(model.nu)]
    return Columns((*joints,), (*commands,), (*bodies,))


def _named(source: Source) -> list[_Named]:
    """Every column once, by the address that says most."""
    best: dict[tuple[str, int | None], str] = {}
    for address, place in source.addresses().items():
        if place not in best or not address.endswith("]"):
            best[place] = address
    return [_Named(a, frozenset(_parts(a)), _role(a)) for a in best.values()]


def _parts(name: str) -> list[str]:
    """The letters and numbers in a name; an index in brackets says nothing."""
    return re.findall(r"[a-z]+|\d+", re.sub(r"\[\d+\]", "", name).lower())


def _role(address: str) -> str:
    parts = set(_parts(address))
    roles = {"other": OTHER, "command": COMMANDS, "velocity": RATES, "effort": EFFORTS}
    for role, marks in roles.items():
        if parts & set(marks.split()):
            return role
    return "position"


def _timing(source: Source, notes: list[str]) -> Columns:
    """Which column has the time and the episode."""
    addresses = source.addresses()
    lowered = {address.lower(): address for address in addresses}
    episode = next((lowered[n] for n in EPISODES if n in lowered), None)
    if source.path.suffix == ".npz" or source.clock is not None:
        episode = None
    if source.clock is not None:
        return Columns()
    time = next((lowered[n] for n in TIMES if n in lowered), None)
    if time is None:
        if source.rate_hz is None:
            notes.append("no column has the time: give rate_hz, the rows per second")
        return Columns(episode=episode, rate_hz=source.rate_hz)
    stamps = source.logs[0].column(addresses[time])
    step = np.diff(stamps)
    usual = float(np.median(step[step > 0])) if (step > 0).any() else 1.0
    unit = next((u for u, factor in TIME_UNITS.items() if 1e-4 <= usual * factor < 0.5), "s")
    if unit != "s":
        notes.append(f"time: '{time}' is taken for {unit}, as it rises by {usual:.4g} a row")
    return Columns(time=time, time_unit=unit, episode=episode)


def _matched(
    elements: Sequence[str], named: Sequence[_Named], aliases: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """Element → the address whose name holds the element's, with the fewest words more."""
    pairs = []
    for element in elements:
        for name in (element, *aliases.get(element, ())):
            own = set(_parts(name)) - _EMPTY or set(_parts(name))
            for column in named:
                joined = "".join(_parts(name)) in "".join(_parts(column.address))
                if own <= column.parts or (joined and len(name) > 2):
                    pairs.append((len(column.parts - own), element, column.address))
    out: dict[str, str] = {}
    for _, element, address in sorted(pairs):
        if element not in out and address not in out.values():
            out[element] = address
    return out


def _block(source: Source, names: Iterable[str], width: int, role: str) -> str | None:
    """An array of that width, by its name."""
    places = set(source.addresses().values())
    fitting = [n for n in source.names if sum(array == n for array, _ in places) == width > 0]
    known = [name for name in names if name in fitting]
    return next(iter(known or [name for name in fitting if _role(name) == role]), None)


def _joints(
    source: Source,
    named: Sequence[_Named],
    signals: Sequence[Signal],
    model: mujoco.MjModel,
    notes: list[str],
) -> tuple[Joint, ...]:
    names = [signal.joint for signal in signals]
    positions = _matched(names, [c for c in named if c.role == "position"], {})
    rates = _matched(names, [c for c in named if c.role == "velocity"], {})
    if names and not positions:
        places = {signal.joint: signal.q[0] for signal in signals}
        block = _block(source, ("qpos",), model.nq, "position")
        if block is None:
            places = {name: i for i, name in enumerate(names)}
            block = _block(source, STATES, len(names), "position")
        if block is not None:
            positions = {name: f"{block}[{i}]" for name, i in places.items()}
            notes.append(f"joints are taken from '{block}' by their order")
        if "qvel" in source.names and block == "qpos":
            rates = {signal.joint: f"qvel[{signal.v[0]}]" for signal in signals}
    addresses = source.addresses()
    rates = {n: a for n, a in rates.items() if a in addresses and n in positions}
    positions = {n: a for n, a in positions.items() if a in addresses}
    guesses: dict[str, Guess] = {}
    for signal in signals:
        if signal.joint in positions:
            values = _values(source, positions[signal.joint])
            guesses[signal.joint] = guessed(signal, values)
    joints = []
    for signal in signals:
        name = signal.joint
        leader = None
        if name not in positions:
            leader = coupling(model, int(np.flatnonzero(model.jnt_qposadr == signal.q[0])[0]))
        if leader is not None and element_name(model, "joint", leader[0]) in positions:
            continue  # it follows from the other's column
        if name not in positions:
            notes.append(f"joint '{name}': no column matches; it is unknown as it stands")
            joints.append(Joint(name))
            continue
        guess = alike(guesses[name], guesses.values())
        if guess.note:
            notes.append(f"joint '{name}': '{positions[name]}' is taken for {guess.note}")
        joints.append(Joint(name, positions[name], rates.get(name), guess.unit, range=guess.range))
    return tuple(joints)


def _values(source: Source, address: str) -> np.ndarray:
    place = source.addresses()[address]
    values = np.concatenate([log.column(place).astype(float) for log in source.logs])
    return values[np.isfinite(values)]


def _bodies(
    source: Source,
    named: Sequence[_Named],
    signals: Sequence[Signal],
    model: mujoco.MjModel,
    notes: list[str],
) -> tuple[Body, ...]:
    """The poses of free and ball joints: of qpos by order, or of columns with the body's name."""
    addresses, out = source.addresses(), []
    whole = f"qpos[{model.nq - 1}]" in addresses and f"qpos[{model.nq}]" not in addresses
    rated = f"qvel[{model.nv - 1}]" in addresses and f"qvel[{model.nv}]" not in addresses
    for signal in signals:
        joint = int(np.flatnonzero(model.jnt_qposadr <= signal.q[0])[-1])
        name = element_name(model, "body", model.jnt_bodyid[joint])
        free = mujoco.mjtJoint(model.jnt_type[joint]) == mujoco.mjtJoint.mjJNT_FREE
        q, v = signal.q[0] - 3 * free, signal.v[0] - 3 * free
        if whole:
            place = (f"qpos[{q}:{q + 3}]",) if free else ()
            turn, size = (f"qpos[{signal.q[0]}:{signal.q[0] + 4}]",), 6 if free else 3
            rates = (f"qvel[{v}:{v + size}]",) if rated else ()
            out.append(Body(name, place, turn, velocity=rates))
            notes.append(f"body '{name}' is taken from 'qpos' by its order, its quaternion as wxyz")
            continue
        own = set(_parts(name))
        block = next(
            (
                array
                for array in source.names
                if own <= set(_parts(array))
                and f"{array}[6]" in addresses
                and f"{array}[7]" not in addresses
            ),
            None,
        )
        parts = {
            last: c.address
            for c in named
            if own <= c.parts and (last := _parts(c.address)[-1]) in _PARTS
        }
        if block is not None and free:
            out.append(Body(name, (f"{block}[0:3]",), (f"{block}[3:7]",)))
            notes.append(f"body '{name}' is taken from '{block}', its quaternion as wxyz")
        elif len(parts) == len(_PARTS) and free:
            out.append(Body(name, tuple(map(parts.get, "xyz")), tuple(map(parts.get, _PARTS[3:]))))  # type: ignore[arg-type]
        else:
            out.append(Body(name))
            notes.append(f"body '{name}': no columns match; it is unknown as it stands")
    return tuple(out)


def _commands(
    source: Source,
    named: Sequence[_Named],
    drives: Sequence[Drive],
    joints: dict[str, Joint],
    notes: list[str],
) -> tuple[Command, ...]:
    names = [drive.name for drive in drives]
    aliases = {d.name: (d.joint,) for d in drives if d.joint is not None}
    matched = _matched(names, [c for c in named if c.role == "command"], aliases)
    efforts = [d.name for d in drives if not d.servo and d.name not in matched]
    matched |= _matched(efforts, [c for c in named if c.role == "effort"], aliases)
    if names and not matched:
        block = _block(source, PLAYED, len(names), "command")
        if block is not None:
            matched = {name: f"{block}[{i}]" for i, name in enumerate(names)}
            notes.append(f"commands are taken from '{block}' by their order")
    out = []
    for drive in drives:
        if drive.name not in matched:
            notes.append(f"actuator '{drive.name}': no column matches; it is 0 as it stands")
            out.append(Command(drive.name))
            continue
        joint = joints.get(drive.joint or "") if drive.servo else None
        unit, span = (joint.unit, joint.range) if joint is not None else ("", None)
        out.append(Command(drive.name, matched[drive.name], unit, range=span))
    return tuple(out)
