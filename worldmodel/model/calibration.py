"""Calibrations of a log against the robot: the zero and scale of its joints and commands.

    logged position  = scale · true position + joint_zero
    logged velocity  = scale · true velocity
    logged command   = scale · (true command + command_zero) + gear · joint_zero

The last line is of position servos: a servo reads its goal through the encoder of its joint, so a
joint's zero and scale move its command as well, and ``command_zero`` is what the command is off
against the joint. Other actuators' commands stay. Gravity and limits show the joint's zero; where
a servo comes to rest shows the command's. Where a log has the state alone displaced, the joint's
zero is that displacement and the command's zero the negative.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel.episodes.windows import Windows
from worldmodel.physics import parameters as physical
from worldmodel.physics.kinds import CALIBRATIONS, KINDS
from worldmodel.physics.refusals import position_servos
from worldmodel.scene import FreeParameter, Scene

Free = tuple[FreeParameter, ...]


@dataclasses.dataclass(frozen=True)
class Calibration:
    """logged = scale · true + zero, by column; 1 and 0 where nothing is free."""

    qpos_scale: jax.Array  # (nq,)
    qpos_zero: jax.Array  # (nq,) [m, rad]
    qvel_scale: jax.Array  # (nv,)
    ctrl_scale: jax.Array  # (nu,)
    ctrl_zero: jax.Array  # (nu,) in the actuators' units


def calibrates(free: Free) -> bool:
    """Whether any parameter is a calibration."""
    return any(f.kind in CALIBRATIONS for f in free)


def without_calibrations(free: Free) -> Free:
    """The parameters that move the model."""
    return tuple(f for f in free if f.kind not in CALIBRATIONS)


def calibration(scene: Scene, free: Free, parameters: physical.Parameters) -> Calibration:
    """The maps from the robot to its log; differentiable in ``parameters``."""
    m = scene.mj_model
    scale, zero, command = jnp.ones(m.njnt), jnp.zeros(m.njnt), jnp.zeros(m.nu)
    for f in free:
        if f.kind not in CALIBRATIONS:
            continue
        step = (jnp.asarray(physical.widths(scene, f)) * parameters[f.name])[0]
        if KINDS[f.kind].element == "actuator":
            command = command.at[m.actuator(f.element).id].set(step)
        elif f.kind == "joint_scale":
            scale = scale.at[m.joint(f.element).id].set(jnp.exp(step))
        else:
            zero = zero.at[m.joint(f.element).id].set(step)
    servo = position_servos(m)
    joint = np.where(servo, m.actuator_trnid[:, 0], 0)
    ctrl_scale = jnp.where(servo, scale[joint], 1.0)
    gear = m.actuator_gear[:, 0]
    return Calibration(
        jnp.ones(m.nq).at[m.jnt_qposadr].set(scale),
        jnp.zeros(m.nq).at[m.jnt_qposadr].set(zero),
        jnp.ones(m.nv).at[m.jnt_dofadr].set(scale),
        ctrl_scale,
        jnp.where(servo, gear * zero[joint] + ctrl_scale * command, 0.0),
    )


def calibrated(
    scene: Scene, free: Free, parameters: physical.Parameters, windows: Windows
) -> Windows:
    """Windows of a log in the robot's own coordinates; differentiable in ``parameters``.

    Args:
      scene, free: static.
      windows: as logged, of any number of leading dimensions.
    """
    if not calibrates(free):
        return windows
    c, history = calibration(scene, free, parameters), windows.history
    past = (jnp.asarray(history.ctrl) - c.ctrl_zero) / c.ctrl_scale
    return dataclasses.replace(
        windows,
        history=dataclasses.replace(
            history,
            qpos=(jnp.asarray(history.qpos) - c.qpos_zero) / c.qpos_scale,
            qvel=jnp.asarray(history.qvel) / c.qvel_scale,
            ctrl=past.at[..., 0, :].set(0.0),  # not known yet
        ),
        ctrl=(jnp.asarray(windows.ctrl) - c.ctrl_zero) / c.ctrl_scale,
        target=(jnp.asarray(windows.target) - c.qpos_zero) / c.qpos_scale,
    )


def as_logged(
    scene: Scene, free: Free, parameters: physical.Parameters, qpos: jax.Array
) -> jax.Array:
    """(…, nq) positions of the robot as its log has them: what errors are compared in, so that no
    scale can shrink them."""
    if not calibrates(free):
        return qpos
    c = calibration(scene, free, parameters)
    return c.qpos_scale * qpos + c.qpos_zero
