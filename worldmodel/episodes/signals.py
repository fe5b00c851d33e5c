"""What a log is read into: the signals of a model's state and its drives, from ``Columns``.

A signal is a hinge, a slide, or the position or the rotation of a body; each is measured by its own
columns, so each has its own samples, gaps and faults.
"""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.episodes.columns import FACTORS, Body, Columns, ColumnsError, Command, Joint
from worldmodel.episodes.sources import expanded
from worldmodel.errors import near
from worldmodel.scene.actuators import driven_dof, is_position_servo, is_velocity_servo
from worldmodel.scene.names import element_name

_LENGTHS, _ANGLES = ("m", "mm", "cm"), ("rad", "deg")
_POSES = (mujoco.mjtJoint.mjJNT_FREE, mujoco.mjtJoint.mjJNT_BALL)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Channel:
    """Numbers of a log that are in columns of their own: value = factor · raw + shift."""

    element: str  # as messages name it: "joint 'elbow'", "rotation of 'cube'", "actuator 'elbow'"
    joint: str  # of the MJCF: what it measures, or the hinge or slide that it drives; "": none
    columns: tuple[str, ...] = ()  # of the source; none: not measured
    factor: float = 1.0
    shift: float = 0.0
    delay: float = 0.0  # [s]
    time: str | None = None  # its own time stamps
    bounds: tuple[float, float] | None = None  # [rad, m] of a limited joint, or of a command

    @property
    def label(self) -> str:
        """Its columns, as messages name them."""
        return f"column '{self.columns[0]}' ({self.element})"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Signal(Channel):
    """A part of the state that one set of columns measures."""

    kind: str  # "hinge", "slide", "position" or "rotation"
    q: tuple[int, ...]  # into qpos
    v: tuple[int, ...]  # into qvel
    rates: tuple[str, ...] = ()  # columns of its recorded velocity
    assumed: tuple[float, ...] | None = None
    order: str = "wxyz"  # of a rotation's columns in the log; ``columns`` are wxyz
    inferred: bool = False  # the columns are those of a joint that it is coupled to

    @property
    def turns(self) -> bool:
        """Whether it is a quaternion."""
        return self.kind == "rotation"

    @property
    def angular(self) -> bool:
        """Whether it is in radians."""
        return self.kind in ("hinge", "rotation")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drive(Channel):
    """An actuator and the column of its command."""

    name: str  # of the MJCF
    index: int  # into ctrl
    servo: bool  # whether it commands the position of its joint
    hinge: bool  # whether that joint is one


def layout(columns: Columns, model: mujoco.MjModel) -> tuple[list[Signal], list[Drive]]:
    """The signals and drives of a model, all of them, in the model's order.

    A joint that an equality of the MJCF couples to a measured one needs no columns: its value
    follows from the other's, and does not count as measured.

    Raises:
      ColumnsError: a joint, body or actuator that the model does not have, that no column is
        given for, or in a unit that it cannot have.
    """
    joints = {joint.name: joint for joint in columns.joints}
    bodies = {body.name: body for body in columns.bodies}
    commands = {command.name: command for command in columns.commands}
    posed = [mujoco.mjtJoint(kind) in _POSES for kind in model.jnt_type]
    names = [element_name(model, "joint", j) for j in range(model.njnt)]
    owners = [element_name(model, "body", int(body)) for body in model.jnt_bodyid]
    _known("joint", joints, [name for j, name in enumerate(names) if not posed[j]])
    moving = [j for j in range(model.njnt) if posed[j]]
    _known("body", bodies, [name for j in moving for name in (names[j], owners[j])])
    _known("actuator", commands, [element_name(model, "actuator", u) for u in range(model.nu)])
    signals: list[Signal] = []
    for j, (name, body) in enumerate(zip(names, owners, strict=True)):
        if posed[j] and name != body and name in bodies and body in bodies:
            raise ColumnsError(f"body '{body}' and its joint '{name}' are both given; keep one")
        given = (bodies.get(name) or bodies.get(body)) if posed[j] else joints.get(name)
        follower = None if posed[j] or given else _follower(joints, model, j)
        if follower is not None:
            signals.append(follower)
        elif isinstance(given, Body):
            signals += _poses(given, model, j)
        elif isinstance(given, Joint):
            signals.append(_joint(given, model, j))
        else:
            kind, table, name = ("body", "bodies", body) if posed[j] else ("joint", "joints", name)
            raise ColumnsError(
                f"nothing measures {kind} '{name}': give its column, or what is assumed, or "
                f"[{table}.{name}] alone where it is unknown"
            )
    drives = []
    for u in range(model.nu):
        name = element_name(model, "actuator", u)
        if name not in commands:
            raise ColumnsError(
                f"no column commands actuator '{name}': give it, or [commands.{name}] with "
                "offset alone where its command never changes"
            )
        drives.append(_drive(commands[name], model, u))
    return signals, drives


def _known(kind: str, given: Iterable[str], there: Sequence[str]) -> None:
    for name in given:
        if name not in there:
            remedy = near(name, there)
            raise ColumnsError(f"the MJCF has no {kind} '{name}' for these columns; {remedy}")


def _limits(limited: bool, span: np.ndarray) -> tuple[float, float] | None:
    return (float(span[0]), float(span[1])) if limited else None


def _some(*columns: str | None) -> tuple[str, ...]:
    return tuple(column for column in columns if column is not None)


def _joint(joint: Joint, model: mujoco.MjModel, j: int) -> Signal:
    hinge = model.jnt_type[j] == mujoco.mjtJoint.mjJNT_HINGE
    bounds = _limits(model.jnt_limited[j], model.jnt_range[j])
    element = f"joint '{joint.name}'"
    _check_unit(element, joint.unit, hinge)
    factor, shift = _affine(element, joint, bounds)
    return Signal(
        element=element,
        joint=joint.name,
        kind="hinge" if hinge else "slide",
        q=(int(model.jnt_qposadr[j]),),
        v=(int(model.jnt_dofadr[j]),),
        columns=_some(joint.position),
        rates=_some(joint.velocity),
        factor=factor,
        shift=shift,
        delay=joint.delay,
        time=joint.time,
        assumed=None if joint.assumed is None else (joint.assumed,),
        bounds=bounds,
    )


def coupling(model: mujoco.MjModel, j: int) -> tuple[int, float, float] | None:
    """The joint that an equality of the MJCF couples a joint to: its number, and factor and shift
    from its value to the joint's; None where there is none, or it is no straight line."""
    for e in range(model.neq):
        kind = mujoco.mjtEq(model.eq_type[e])
        one, other = int(model.eq_obj1id[e]), int(model.eq_obj2id[e])
        if kind != mujoco.mjtEq.mjEQ_JOINT or not model.eq_active0[e] or j not in (one, other):
            continue
        shift, factor, *higher = model.eq_data[e, :5].tolist()
        if other < 0 or any(higher) or factor == 0.0:
            continue
        first, second = (float(model.qpos0[model.jnt_qposadr[k]]) for k in (one, other))
        shift += first - factor * second
        return (other, factor, shift) if j == one else (one, 1 / factor, -shift / factor)
    return None


def _follower(joints: dict[str, Joint], model: mujoco.MjModel, j: int) -> Signal | None:
    """A joint without columns that is coupled to one with columns: it is read from those."""
    coupled = coupling(model, j)
    leader = None if coupled is None else joints.get(element_name(model, "joint", coupled[0]))
    if coupled is None or leader is None or leader.position is None:
        return None
    k, factor, shift = coupled
    signal = _joint(leader, model, k)
    own = _joint(Joint(element_name(model, "joint", j)), model, j)
    same = {name: getattr(own, name) for name in ("element", "joint", "kind", "q", "v", "bounds")}
    return dataclasses.replace(
        signal,
        **same,
        factor=factor * signal.factor,
        shift=factor * signal.shift + shift,
        assumed=None if signal.assumed is None else (factor * signal.assumed[0] + shift,),
        inferred=True,
    )


def _check_unit(element: str, unit: str, hinge: bool, servo: str = "") -> None:
    if unit in (_LENGTHS if hinge else _ANGLES):
        kind, units = ("hinge", "rad or deg") if hinge else ("slide", "m, cm or mm")
        raise ColumnsError(f"{element} is a {kind}{servo}: its unit is {units}, not '{unit}'")


def _affine(
    where: str, given: Joint | Command, bounds: tuple[float, float] | None
) -> tuple[float, float]:
    """Factor and shift from a raw number to SI units."""
    size = given.sign * given.scale
    if given.unit != "percent":
        return size * FACTORS[given.unit], given.offset
    ends = given.range or bounds
    if ends is None:
        raise ColumnsError(f"{where}: per cent of what? the MJCF has no range for it; give range")
    return size * (ends[1] - ends[0]) / 100.0, size * ends[0] + given.offset


def _poses(body: Body, model: mujoco.MjModel, j: int) -> list[Signal]:
    moved = 3 if model.jnt_type[j] == mujoco.mjtJoint.mjJNT_FREE else 0
    q, v, where = int(model.jnt_qposadr[j]), int(model.jnt_dofadr[j]), f"body '{body.name}'"
    place, turn, rates = map(expanded, (body.position, body.quaternion, body.velocity))
    if len(place) not in (0, moved) or len(turn) not in (0, 4):
        raise ColumnsError(
            f"{where} has {len(place)} position and {len(turn)} quaternion columns; give "
            f"{moved} and 4, or none"
        )
    if len(rates) not in (0, moved + 3):
        raise ColumnsError(f"{where} has {len(rates)} velocity columns; give {moved + 3}, or none")
    assumed = None if body.assumed is None else tuple(body.assumed)
    if assumed is not None and len(assumed) != moved + 4:
        raise ColumnsError(f"{where}: assumed has {len(assumed)} numbers; give {moved + 4}")
    if assumed is not None and abs(np.linalg.norm(assumed[moved:]) - 1) > 1e-3:
        raise ColumnsError(f"{where}: the assumed quaternion {assumed[moved:]} is not of norm 1")
    common = {"joint": element_name(model, "joint", j), "delay": body.delay, "time": body.time}
    position = Signal(
        element=f"position of '{body.name}'",
        kind="position",
        q=(q, q + 1, q + 2),
        v=(v, v + 1, v + 2),
        columns=tuple(place),
        rates=tuple(rates[:3]) if place else (),
        factor=FACTORS[body.unit],
        assumed=None if assumed is None else assumed[:3],
        **common,
    )
    rotation = Signal(
        element=f"rotation of '{body.name}'",
        kind="rotation",
        q=tuple(range(q + moved, q + moved + 4)),
        v=tuple(range(v + moved, v + moved + 3)),
        columns=tuple(turn[3:] + turn[:3] if body.order == "xyzw" else turn),
        rates=tuple(rates[moved:]) if turn else (),
        assumed=None if assumed is None else assumed[moved:],
        order=body.order,
        **common,
    )
    return [position, rotation] if moved else [rotation]


def _drive(command: Command, model: mujoco.MjModel, u: int) -> Drive:
    element = f"actuator '{command.name}'"
    bounds = _limits(model.actuator_ctrllimited[u], model.actuator_ctrlrange[u])
    dof = driven_dof(model, u)
    j = None if dof is None else int(model.dof_jntid[dof])
    servo = j is not None and is_position_servo(model, u)
    hinge = j is not None and bool(model.jnt_type[j] == mujoco.mjtJoint.mjJNT_HINGE)
    if servo:
        bounds = bounds or _limits(model.jnt_limited[j], model.jnt_range[j])
    if servo or (j is not None and is_velocity_servo(model, u)):
        _check_unit(element, command.unit, hinge, "'s servo")
    factor, shift = 1.0, command.offset
    if command.column is not None:
        factor, shift = _affine(element, command, bounds)
    return Drive(
        element=element,
        name=command.name,
        index=u,
        columns=_some(command.column),
        factor=factor,
        shift=shift,
        delay=command.delay,
        time=command.time,
        bounds=bounds,
        joint="" if j is None else element_name(model, "joint", j),
        servo=servo,
        hinge=hinge,
    )
