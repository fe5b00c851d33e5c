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
from worldmodel.scene.defaults import driven_dof, is_position_servo
from worldmodel.scene.names import element_name

_LENGTHS, _ANGLES = ("m", "mm", "cm"), ("rad", "deg")
_POSES = (mujoco.mjtJoint.mjJNT_FREE, mujoco.mjtJoint.mjJNT_BALL)


@dataclasses.dataclass(frozen=True)
class Signal:
    """A part of the state that one set of columns measures: value = factor · raw + shift."""

    element: str  # as messages name it: "joint 'elbow'", "rotation of 'cube'"
    joint: str  # of the MJCF
    kind: str  # "hinge", "slide", "position" or "rotation"
    q: tuple[int, ...]  # into qpos
    v: tuple[int, ...]  # into qvel
    columns: tuple[str, ...] = ()  # of the source; none: not measured
    rates: tuple[str, ...] = ()  # of its recorded velocity
    factor: float = 1.0
    shift: float = 0.0
    delay: float = 0.0  # [s]
    time: str | None = None  # its own time stamps
    assumed: tuple[float, ...] | None = None
    bounds: tuple[float, float] | None = None  # [rad, m] of a limited joint
    order: str = "wxyz"  # of a rotation's columns in the log; ``columns`` are wxyz
    inferred: bool = False  # the columns are those of a joint that it is coupled to

    @property
    def turns(self) -> bool:
        """Whether it is a quaternion."""
        return self.kind == "rotation"

    @property
    def angular(self) -> bool:
        return self.kind in ("hinge", "rotation")

    @property
    def label(self) -> str:
        """Its columns, as messages name them."""
        return f"column '{self.columns[0]}' ({self.element})"


@dataclasses.dataclass(frozen=True)
class Drive:
    """An actuator and the column of its command: value = factor · raw + shift."""

    element: str  # "actuator 'elbow'"
    name: str  # of the MJCF
    index: int  # into ctrl
    column: str | None
    factor: float
    shift: float
    delay: float  # [s]
    time: str | None
    bounds: tuple[float, float] | None  # of a limited command
    joint: str | None  # the hinge or slide that it drives
    servo: bool  # whether it commands that joint's position

    @property
    def label(self) -> str:
        return f"column '{self.column}' ({self.element})"


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
        if posed[j]:
            given = bodies.get(name) or bodies.get(body)
            if name != body and name in bodies and body in bodies:
                raise ColumnsError(f"body '{body}' and its joint '{name}' are both given; keep one")
            if given is None:
                raise ColumnsError(
                    f"nothing measures body '{body}': give its columns, or what is assumed, or "
                    f"[bodies.{body}] alone where it is unknown"
                )
            signals += _poses(given, model, j)
        else:
            follower = None if name in joints else _follower(joints, model, j)
            if follower is not None:
                signals.append(follower)
                continue
            if name not in joints:
                raise ColumnsError(
                    f"nothing measures joint '{name}': give its column, or what is assumed, or "
                    f"[joints.{name}] alone where it is unknown"
                )
            signals.append(_joint(joints[name], model, j))
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


def _joint(joint: Joint, model: mujoco.MjModel, j: int) -> Signal:
    hinge = model.jnt_type[j] == mujoco.mjtJoint.mjJNT_HINGE
    bounds = (float(model.jnt_range[j, 0]), float(model.jnt_range[j, 1]))
    bounds = bounds if model.jnt_limited[j] else None
    element = f"joint '{joint.name}'"
    _check_unit(element, "", joint.unit, hinge)
    factor, shift = _affine(element, joint, bounds)
    return Signal(
        element,
        joint.name,
        "hinge" if hinge else "slide",
        (int(model.jnt_qposadr[j]),),
        (int(model.jnt_dofadr[j]),),
        () if joint.position is None else (joint.position,),
        () if joint.velocity is None else (joint.velocity,),
        factor,
        shift,
        joint.delay,
        joint.time,
        None if joint.assumed is None else (joint.assumed,),
        bounds,
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
    signal, name = _joint(leader, model, k), element_name(model, "joint", j)
    own = _joint(Joint(name), model, j)
    return dataclasses.replace(
        own,
        columns=signal.columns,
        rates=signal.rates,
        factor=factor * signal.factor,
        shift=factor * signal.shift + shift,
        delay=signal.delay,
        time=signal.time,
        assumed=None if signal.assumed is None else (factor * signal.assumed[0] + shift,),
        inferred=True,
    )


def _check_unit(element: str, servo: str, unit: str, hinge: bool) -> None:
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
    free = model.jnt_type[j] == mujoco.mjtJoint.mjJNT_FREE
    q, v, where = int(model.jnt_qposadr[j]), int(model.jnt_dofadr[j]), f"body '{body.name}'"
    place, turn = expanded(body.position), expanded(body.quaternion)
    rates, moved = expanded(body.velocity), 3 if free else 0
    if len(place) not in (0, moved) or len(turn) not in (0, 4):
        raise ColumnsError(
            f"{where} has {len(place)} position and {len(turn)} quaternion columns; give "
            f"{moved} and 4, or none"
        )
    if len(rates) not in (0, moved + 3):
        raise ColumnsError(f"{where} has {len(rates)} velocity columns; give {moved + 3}, or none")
    assumed = body.assumed
    if assumed is not None and len(assumed) != moved + 4:
        raise ColumnsError(f"{where}: assumed has {len(assumed)} numbers; give {moved + 4}")
    if assumed is not None and abs(np.linalg.norm(assumed[moved:]) - 1) > 1e-3:
        raise ColumnsError(f"{where}: the assumed quaternion {assumed[moved:]} is not of norm 1")
    if body.order == "xyzw":
        turn = turn[3:] + turn[:3]
    common = {"delay": body.delay, "time": body.time}
    joint = element_name(model, "joint", j)
    place_signal = Signal(
        f"position of '{body.name}'",
        joint,
        "position",
        (q, q + 1, q + 2),
        (v, v + 1, v + 2),
        tuple(place),
        tuple(rates[:3]) if place else (),
        FACTORS[body.unit],
        assumed=None if assumed is None else assumed[:3],
        **common,
    )
    turn_signal = Signal(
        f"rotation of '{body.name}'",
        joint,
        "rotation",
        tuple(range(q + moved, q + moved + 4)),
        tuple(range(v + moved, v + moved + 3)),
        tuple(turn),
        tuple(rates[moved:]) if turn else (),
        assumed=None if assumed is None else assumed[moved:],
        order=body.order,
        **common,
    )
    return [place_signal, turn_signal] if free else [turn_signal]


def _drive(command: Command, model: mujoco.MjModel, u: int) -> Drive:
    element = f"actuator '{command.name}'"
    bounds = (float(model.actuator_ctrlrange[u, 0]), float(model.actuator_ctrlrange[u, 1]))
    bounds = bounds if model.actuator_ctrllimited[u] else None
    dof = driven_dof(model, u)
    j = None if dof is None else int(model.dof_jntid[dof])
    servo = is_position_servo(model, u)
    if j is not None and servo:
        if bounds is None and model.jnt_limited[j]:
            bounds = (float(model.jnt_range[j, 0]), float(model.jnt_range[j, 1]))
        hinge = model.jnt_type[j] == mujoco.mjtJoint.mjJNT_HINGE
        _check_unit(element, "'s servo", command.unit, hinge)
    factor, shift = 1.0, command.offset
    if command.column is not None:
        factor, shift = _affine(element, command, bounds)
    return Drive(
        element,
        command.name,
        u,
        command.column,
        factor,
        shift,
        command.delay,
        command.time,
        bounds,
        None if j is None else element_name(model, "joint", j),
        j is not None and servo,
    )
