"""How a held-out simulation departs from its MJCF: a list of disturbances, each a small value.

A disturbance acts in one of three moments: on the model, once; on every command, before the step
that plays it; on every measurement. Those of one moment act in the order of the list. Some lie in
the family that a world model can fit (friction, mass, damping, gain), the others outside of it.
"""

import dataclasses
import math
from collections.abc import Mapping

import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.errors import InputError
from worldmodel.reality.plant import (
    Disturbance,
    OnCommand,
    OnMeasurement,
    Plant,
    dofs,
    index,
    indices,
)
from worldmodel.scene.actuators import driven_dof, is_position_servo
from worldmodel.scene.names import element_name
from worldmodel.types import Names

# On the model, once.


def _rubbing(model: mujoco.MjModel, geoms: tuple[str, ...]) -> list[int]:
    """The numbers of geoms, all where none is named, whose own friction is that of their contacts.

    Raises:
      InputError: one in a ``<pair>``, which has a friction of its own.
    """
    numbers = indices(model, "geom", geoms)
    for geom in sorted({*model.pair_geom1.tolist(), *model.pair_geom2.tolist()} & {*numbers}):
        raise InputError(
            f"geom '{element_name(model, 'geom', geom)}' touches in a <pair>, whose friction is "
            "not the geom's; name other geoms, or let reality's own MJCF have another friction"
        )
    return numbers


@dataclasses.dataclass(frozen=True)
class Friction(Disturbance):
    """Sliding friction of geoms, times ``factor``; of all geoms where none is named."""

    factor: float
    geoms: tuple[str, ...] = ()

    def change(self, model: mujoco.MjModel) -> None:
        model.geom_friction[_rubbing(model, self.geoms), 0] *= self.factor


@dataclasses.dataclass(frozen=True)
class Mass(Disturbance):
    """Mass and inertia of a body, times ``factor``."""

    body: str
    factor: float

    def change(self, model: mujoco.MjModel) -> None:
        body = index(model, "body", self.body)
        model.body_mass[body] *= self.factor
        model.body_inertia[body] *= self.factor


@dataclasses.dataclass(frozen=True)
class Damping(Disturbance):
    """Damping of joints, times ``factor``; of all joints where none is named."""

    factor: float
    joints: tuple[str, ...] = ()

    def change(self, model: mujoco.MjModel) -> None:
        model.dof_damping[dofs(model, self.joints)] *= self.factor


@dataclasses.dataclass(frozen=True)
class DryFriction(Disturbance):
    """Dry friction in joints (``frictionloss``), times ``factor``; all where none is named."""

    factor: float
    joints: tuple[str, ...] = ()

    def change(self, model: mujoco.MjModel) -> None:
        model.dof_frictionloss[dofs(model, self.joints)] *= self.factor


@dataclasses.dataclass(frozen=True)
class Gain(Disturbance):
    """Gain of actuators, of servos with their feedback, times ``factor``; all where none is
    named."""

    factor: float
    actuators: tuple[str, ...] = ()

    def change(self, model: mujoco.MjModel) -> None:
        which = indices(model, "actuator", self.actuators)
        model.actuator_gainprm[which, 0] *= self.factor
        model.actuator_biasprm[which, 1:3] *= self.factor


@dataclasses.dataclass(frozen=True)
class NoSlip(Disturbance):
    """Stiction: contacts that stick do not creep, by so many iterations of MuJoCo's noslip solver,
    which MJX does not have. On elliptic cones that solver does nothing where the bodies cannot move
    along both tangents, as in a planar task: there make the cones ``pyramidal``."""

    iterations: int = 20
    pyramidal: bool = False

    def change(self, model: mujoco.MjModel) -> None:
        model.opt.noslip_iterations = self.iterations
        if self.pyramidal:
            model.opt.cone = mujoco.mjtCone.mjCONE_PYRAMIDAL


@dataclasses.dataclass(frozen=True)
class CurrentLimit(Disturbance):
    """The actuator's force stays within ± ``force`` [N, N·m]."""

    actuator: str
    force: float

    def change(self, model: mujoco.MjModel) -> None:
        actuator = index(model, "actuator", self.actuator)
        model.actuator_forcelimited[actuator] = True
        model.actuator_forcerange[actuator] = (-self.force, self.force)


@dataclasses.dataclass(frozen=True)
class Displaced(Disturbance):
    """A body's frame or its centre of mass lies elsewhere than the MJCF has it."""

    body: str
    frame: tuple[float, float, float] = (0.0, 0.0, 0.0)  # [m] in the parent's frame
    turn: tuple[float, float, float] = (0.0, 0.0, 0.0)  # [rad] rotation vector in its own
    com: tuple[float, float, float] = (0.0, 0.0, 0.0)  # [m] in its own

    def change(self, model: mujoco.MjModel) -> None:
        body = index(model, "body", self.body)
        moved = any(self.frame) or any(self.turn)
        free = mujoco.mjtJoint.mjJNT_FREE
        if moved and model.body_jntnum[body] and model.jnt_type[model.body_jntadr[body]] == free:
            raise InputError(f"body '{self.body}' is free: it has no place to be displaced from")
        if any(self.com) and model.body_simple[body] == 1:
            raise InputError(
                f"MuJoCo has compiled body '{self.body}' for a centre of mass that never moves; "
                "give 'pos' of its inertial in that MJCF, or displace it in the task's own scene"
            )
        model.body_pos[body] += self.frame
        if any(self.turn):
            mujoco.mju_quatIntegrate(model.body_quat[body], np.array(self.turn), 1.0)
        if any(self.com):
            model.body_ipos[body] += self.com
            none = mujoco.mjtSameFrame.mjSAMEFRAME_NONE
            model.body_sameframe[body] = none
            model.geom_sameframe[model.geom_bodyid == body] = none
            model.site_sameframe[model.site_bodyid == body] = none


# On every command.


@dataclasses.dataclass(frozen=True)
class FrictionPatches(Disturbance):
    """Friction that differs from place to place, and with speed: that of ``geoms`` (sliding) and
    ``joints`` (dry) is multiplied, before every control step, by

        factor · (1 + speed · |v|) · (1 + amplitude · clip(√2 · mean of sines, −1, 1)),

    at the place of ``body`` and its speed in the plane. Its first two degrees of freedom are slides
    along x and y, or those of a free joint."""

    body: str
    geoms: tuple[str, ...] = ()
    joints: tuple[str, ...] = ()
    factor: float = 1.0
    amplitude: float = 0.0
    waves: tuple[tuple[float, float, float], ...] = ()  # kx, ky [rad/m], phase [rad] of each sine
    speed: float = 0.0  # [s/m]

    def factor_at(self, x: float, y: float, speed: float) -> float:
        """The factor at a place [m] and a speed [m/s]."""
        factor = self.factor * (1.0 + self.speed * speed)
        if self.waves:
            wave = sum(math.sin(kx * x + ky * y + phase) for kx, ky, phase in self.waves)
            wave *= math.sqrt(2.0) / len(self.waves)
            factor *= 1.0 + self.amplitude * min(max(wave, -1.0), 1.0)
        return factor

    def commands(self, plant: Plant) -> OnCommand:
        model, data, before = plant.model, plant.data, plant.before
        if not (self.geoms or self.joints):
            raise InputError(f"friction patches of body '{self.body}' name no geoms or joints")
        body = index(model, "body", self.body)
        first = int(model.body_dofadr[body])
        kinds = model.jnt_type[model.dof_jntid[first : first + 2]] if first >= 0 else []
        plane = (mujoco.mjtJoint.mjJNT_FREE, mujoco.mjtJoint.mjJNT_SLIDE)
        if len(kinds) < 2 or model.body_dofnum[body] < 2 or not np.isin(kinds, plane).all():
            raise InputError(
                f"body '{self.body}' has friction patches, and neither slides along x and y first "
                "nor a free joint"
            )
        # Views of MuJoCo's own memory: looked up once an episode.
        place, moving = data.xpos[body], data.qvel[first : first + 2]
        geoms = _rubbing(model, self.geoms) if self.geoms else []
        loose = dofs(model, self.joints) if self.joints else np.array([], int)
        slip, loss = model.geom_friction, model.dof_frictionloss
        base_slip, base_loss = before.geom_friction[geoms, 0], before.dof_frictionloss[loose]
        slip[geoms, 0], loss[loose] = base_slip, base_loss  # not those of the episode before

        def act(ctrl: np.ndarray) -> np.ndarray:
            x, y, _ = place.tolist()
            vx, vy = moving.tolist()
            factor = self.factor_at(x, y, math.hypot(vx, vy))
            slip[geoms, 0] = base_slip * factor
            loss[loose] = base_loss * factor
            return ctrl

        return act


@dataclasses.dataclass(frozen=True)
class Lag(Disturbance):
    """Actuators follow their commands with a time constant [s], in steps of the control rate."""

    seconds: float
    actuators: tuple[str, ...] = ()  # all where none is named

    def commands(self, plant: Plant) -> OnCommand:
        which = np.zeros(plant.model.nu, bool)
        which[indices(plant.model, "actuator", self.actuators)] = True
        keep = math.exp(-1.0 / (plant.control_hz * self.seconds)) if self.seconds > 0 else 0.0
        held = plant.held

        def act(ctrl: np.ndarray) -> np.ndarray:
            nonlocal held
            held = np.where(which, keep * held + (1.0 - keep) * ctrl, ctrl)
            return held

        return act


@dataclasses.dataclass(frozen=True)
class Delay(Disturbance):
    """A command takes effect later: by control ``steps``, or ``seconds`` that are a whole number of
    them."""

    steps: int = 0
    seconds: float = 0.0

    def commands(self, plant: Plant) -> OnCommand:
        steps = self.steps + self.seconds * plant.control_hz
        if steps < 0 or abs(steps - round(steps)) > 1e-6:
            raise InputError(
                f"a delay of {steps:g} control steps at {plant.control_hz:g} a second is no whole "
                f"number of them; give a multiple of {1 / plant.control_hz:.4g} s, not below 0"
            )
        late = [plant.held] * round(steps)

        def act(ctrl: np.ndarray) -> np.ndarray:
            late.append(ctrl)
            return late.pop(0)

        return act


@dataclasses.dataclass(frozen=True)
class Backlash(Disturbance):
    """Play between motor and joint: the target of the position servo on ``joint`` stays where it
    is until the command has moved through ``width`` [rad, m] (the play operator, ±width/2)."""

    joint: str
    width: float

    def commands(self, plant: Plant) -> OnCommand:
        model = plant.model
        dof = model.jnt_dofadr[index(model, "joint", self.joint)]
        servos = [a for a in range(model.nu) if is_position_servo(model, a)]
        which = [a for a in servos if driven_dof(model, a) == dof]
        if not which:
            raise InputError(f"no position servo drives joint '{self.joint}', which has backlash")
        half = 0.5 * self.width * np.abs(model.actuator_gear[which, 0])
        held = plant.held[which]

        def act(ctrl: np.ndarray) -> np.ndarray:
            nonlocal held
            held = np.clip(held, ctrl[which] - half, ctrl[which] + half)
            out = ctrl.copy()
            out[which] = held
            return out

        return act


# On every measurement.


@dataclasses.dataclass(frozen=True)
class SensorNoise(Disturbance):
    """White noise of sensors, by its standard deviation; it stays out of the dynamics."""

    joints: float | Mapping[str, float] = 0.0  # [rad, m] of all, or of those named
    position: float = 0.0  # [m] of every coordinate of an object
    angle: float = 0.0  # [rad] of an object about every axis

    def measurements(self, names: Names, generator: np.random.Generator) -> OnMeasurement:
        widths = np.zeros(len(names.joints))
        if isinstance(self.joints, Mapping):
            for name, width in self.joints.items():
                if name not in names.joints:
                    raise InputError(
                        f"the noisy joint '{name}' is not measured; those are {list(names.joints)}"
                    )
                widths[names.joints.index(name)] = width
        else:
            widths[:] = self.joints

        def act(joints: np.ndarray, objects: np.ndarray) -> None:
            if widths.any():
                joints += widths * generator.standard_normal(len(widths))
            if self.position or self.angle:
                for row in objects:
                    row[:3] += self.position * generator.standard_normal(3)
                    turn = self.angle * generator.standard_normal(3)
                    mujoco.mju_quatIntegrate(row[3:], turn, 1.0)

        return act
