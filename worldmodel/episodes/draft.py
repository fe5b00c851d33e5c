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
from worldmodel.episodes.guess import guessed, guessed_rate
from worldmodel.episodes.signals import Drive, Signal, coupling, layout
from worldmodel.episodes.sources import Place, Source, open_source
from worldmodel.scene.actuators import is_velocity_servo
from worldmodel.scene.names import element_name

# What a column is, by a part of its name; the first that fits.
ROLES = {
    "other": "image images index done success reward temperature voltage raw",
    "command": "action actions act cmd command commands ctrl control target goal desired des ref",
    "velocity": "vel velocity velocities qvel rate speed dq qd qdot dot",
    "effort": "effort efforts torque torques current load tau force",
}
TIME = re.compile(r"(time|time[ _]?stamp|stamp|t|seconds)([ _]*[\[(]?(s|sec|ms|us|ns)[\])]?)?")
EPISODES = ("episode_index", "episode", "episode_id", "ep", "trial", "run", "trajectory")
STATES = ("qpos", "observation.state", "state", "joint_positions", "positions", "position", "q")
PLAYED = ("ctrl", "action", "actions", "command", "commands", "control", "u")
# What says nothing of which one.
_EMPTY = frozenset(["joint", "motor", "actuator", "servo", "drive", "pos", "position"])
_POSE = (*"xyz", "qw", "qx", "qy", "qz")


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
    best: dict[Place, str] = {}  # every column once, by what says most
    for address, place in source.addresses.items():
        if place not in best or not address.endswith("]"):
            best[place] = address
    log = _Log(source, model, [*best.values()])
    signals, drives = layout(_blank(model), model)
    columns = _timing(log)
    joints = _joints(log, [s for s in signals if s.kind in ("hinge", "slide")])
    bodies = tuple(_body(log, signal) for signal in signals if signal.turns)
    commands = _commands(log, drives, {j.name: j for j in joints})
    columns = dataclasses.replace(columns, joints=joints, commands=commands, bodies=bodies)
    return columns, tuple(log.notes)


@dataclasses.dataclass(frozen=True)
class _Log:
    """A log whose columns are matched with a model's elements."""

    source: Source
    model: mujoco.MjModel
    columns: list[str]  # the address of each
    notes: list[str] = dataclasses.field(default_factory=list)

    def of_role(self, role: str) -> list[str]:
        """The columns that are, by their names, of one of ``ROLES``, or "position"."""
        return [address for address in self.columns if _role(address) == role]

    def values(self, address: str) -> np.ndarray:
        """(n,) the numbers in a column, of all episodes, the finite ones."""
        logs = self.source.logs
        values = np.concatenate([self.source.column(log, address).astype(float) for log in logs])
        return values[np.isfinite(values)]

    def array(self, names: Iterable[str], width: int, role: str) -> str | None:
        """An array of that width, by its name, else by its role."""
        fitting = [name for name in self.source.names if self.source.width(name) == width]
        known = [name for name in names if name in fitting]
        return next(iter(known or [name for name in fitting if _role(name) == role]), None)


def _blank(model: mujoco.MjModel) -> Columns:
    """Columns that measure nothing of a model."""
    joints, bodies = [], []
    for j, kind in enumerate(model.jnt_type.tolist()):
        if kind in (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE):
            joints.append(Joint(element_name(model, "joint", j)))
        else:
            bodies.append(Body(element_name(model, "body", model.jnt_bodyid[j])))
    commands = [Command(element_name(model, "actuator", u)) for u in range(model.nu)]
    return Columns((*joints,), (*commands,), (*bodies,))


def _parts(name: str) -> list[str]:
    """The letters and numbers in a name; an index in brackets says nothing."""
    return re.findall(r"[a-z]+|\d+", re.sub(r"\[\d+\]", "", name).lower())


def _role(address: str) -> str:
    parts = set(_parts(address))
    return next((r for r, marks in ROLES.items() if parts & set(marks.split())), "position")


def _timing(log: _Log) -> Columns:
    """Which column has the time and the episode."""
    source = log.source
    if source.clock is not None:
        return Columns()
    lowered = {address.lower(): address for address in source.addresses}
    numbered = EPISODES if source.path.suffix != ".npz" else ()
    episode = next((lowered[n] for n in numbered if n in lowered), None)
    times = sorted(
        (n for n in lowered if TIME.fullmatch(n)), key=lambda n: not n.startswith("time")
    )
    time = lowered[times[0]] if times else None
    if time is None:
        if source.rate_hz is None:
            log.notes.append("no column has the time: give rate_hz, the rows per second")
        return Columns(episode=episode, rate_hz=source.rate_hz)
    step = np.diff(source.column(source.logs[0], time))
    usual = float(np.median(step[step > 0])) if (step > 0).any() else 1.0
    unit = next((u for u, factor in TIME_UNITS.items() if 1e-4 <= usual * factor < 0.5), "s")
    if unit != "s":
        log.notes.append(f"time: '{time}' is taken for {unit}, as it rises by {usual:.4g} a row")
    return Columns(time=time, time_unit=unit, episode=episode)


def _matched(
    elements: Sequence[str],
    addresses: Iterable[str],
    aliases: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, str]:
    """Element → the address whose name holds the element's, with the fewest words more."""
    pairs = []
    for address in addresses:
        there = set(_parts(address))
        for element in elements:
            for name in (element, *(aliases or {}).get(element, ())):
                own = set(_parts(name)) - _EMPTY or set(_parts(name))
                joined = "".join(_parts(name)) in "".join(_parts(address))
                if own <= there or (joined and len(name) > 2):
                    pairs.append((len(there - own), element, address))
    out: dict[str, str] = {}
    for _, element, address in sorted(pairs):
        if element not in out and address not in out.values():
            out[element] = address
    return out


def _joints(log: _Log, signals: Sequence[Signal]) -> tuple[Joint, ...]:
    model, notes, names = log.model, log.notes, [signal.joint for signal in signals]
    positions = _matched(names, log.of_role("position"))
    rates = _matched(names, log.of_role("velocity"))
    if names and not positions:
        block, places = log.array(("qpos",), model.nq, "position"), [s.q[0] for s in signals]
        if block is None:
            block, places = log.array(STATES, len(names), "position"), range(len(names))
        if block is not None:
            positions = {name: f"{block}[{i}]" for name, i in zip(names, places, strict=True)}
            notes.append(f"joints are taken from '{block}' by their order")
        if block == "qpos" and log.source.width("qvel") == model.nv:
            rates = {signal.joint: f"qvel[{signal.v[0]}]" for signal in signals}
    values = {name: log.values(address) for name, address in positions.items()}
    known = [(signal, values[signal.joint]) for signal in signals if signal.joint in values]
    units = {guessed(s, v).unit for s, v in known}
    guesses = {s.joint: guessed(s, v, units) for s, v in known}
    joints = []
    for signal in signals:
        name = signal.joint
        if name in positions:
            guess, column = guesses[name], positions[name]
            if guess.note:
                notes.append(f"joint '{name}': '{column}' is taken for {guess.note}")
            joints.append(Joint(name, column, rates.get(name), guess.unit, range=guess.range))
            continue
        leader = coupling(model, int(np.flatnonzero(model.jnt_qposadr == signal.q[0])[0]))
        if leader is None or element_name(model, "joint", leader[0]) not in positions:
            notes.append(f"joint '{name}': no column matches; it is unknown as it stands")
            joints.append(Joint(name))  # one that is coupled follows from the other's column
    return tuple(joints)


def _body(log: _Log, rotation: Signal) -> Body:
    """The pose of a free or ball joint: of qpos by order, or of columns with the body's name."""
    source, model, notes = log.source, log.model, log.notes
    q, v = rotation.q[0], rotation.v[0]
    joint = int(np.flatnonzero(model.jnt_qposadr <= q)[-1])
    name = element_name(model, "body", model.jnt_bodyid[joint])
    free = model.jnt_type[joint] == mujoco.mjtJoint.mjJNT_FREE
    if source.width("qpos") == model.nq:
        place = (f"qpos[{q - 3}:{q}]",) if free else ()
        rates = (f"qvel[{v - 3 if free else v}:{v + 3}]",)
        rates = rates if source.width("qvel") == model.nv else ()
        notes.append(f"body '{name}' is taken from 'qpos' by its order, its quaternion as wxyz")
        return Body(name, place, (f"qpos[{q}:{q + 4}]",), velocity=rates)
    own = set(_parts(name))
    for block in source.names if free else ():
        if own <= set(_parts(block)) and source.width(block) == 7:
            notes.append(f"body '{name}' is taken from '{block}', its quaternion as wxyz")
            return Body(name, (f"{block}[0:3]",), (f"{block}[3:7]",))
    pose = {_parts(a)[-1]: a for a in log.columns if own < set(_parts(a))}
    if free and set(_POSE) <= pose.keys():
        addresses = [pose[part] for part in _POSE]
        return Body(name, (*addresses[:3],), (*addresses[3:],))
    notes.append(f"body '{name}': no columns match; it is unknown as it stands")
    return Body(name)


def _commands(
    log: _Log, drives: Sequence[Drive], joints: Mapping[str, Joint]
) -> tuple[Command, ...]:
    notes, names = log.notes, [drive.name for drive in drives]
    aliases = {d.name: (d.joint,) for d in drives if d.joint}
    matched = _matched(names, log.of_role("command"), aliases)
    efforts = [d.name for d in drives if not d.servo and d.name not in matched]
    matched |= _matched(efforts, log.of_role("effort"), aliases)
    if names and not matched:
        block = log.array(PLAYED, len(names), "command")
        if block is not None:
            matched = {name: f"{block}[{i}]" for i, name in enumerate(names)}
            notes.append(f"commands are taken from '{block}' by their order")
    out = []
    for drive in drives:
        if drive.name not in matched:
            notes.append(f"actuator '{drive.name}': no column matches; it is 0 as it stands")
            out.append(Command(drive.name))
            continue
        joint = joints.get(drive.joint)
        unit, span = "", None
        if joint is not None and drive.servo:
            unit, span = joint.unit, joint.range
        elif joint is not None and is_velocity_servo(log.model, drive.index):
            unit = guessed_rate(log.values(matched[drive.name]), drive.bounds, joint.unit)
            if unit:
                notes.append(
                    f"actuator '{drive.name}': '{matched[drive.name]}' is taken for {unit}/s"
                )
        out.append(Command(drive.name, matched[drive.name], unit, range=span))
    return tuple(out)
