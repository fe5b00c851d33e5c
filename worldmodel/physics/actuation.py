"""Actuators where MJX's own derivative is not finite, or where its step is not C MuJoCo's."""

import jax.numpy as jnp
import numpy as np

from worldmodel._mujoco import mjx, mujoco

_WIDTH = 2  # column of a muscle's ``dynprm``: the width over which its time constant switches


def fwd_actuation(model: mjx.Model, data: mjx.Data) -> mjx.Data:
    """``mjx.fwd_actuation`` with a finite derivative of muscles in float32.

    A muscle's time constant switches from activation to deactivation within a width, which is 0
    unless an MJCF says otherwise. MJX divides by it before it selects the hard switch; the fifth
    power of that quotient overflows in float32 and makes the derivative NaN. So muscles of width
    0 are given a width there, and their rates are computed here (Millard et al. 2013).
    """
    muscles = np.flatnonzero(model.actuator_dyntype == int(mujoco.mjtDyn.mjDYN_MUSCLE))
    if not muscles.size or model.opt.disableflags & int(mujoco.mjtDisableBit.mjDSBL_ACTUATION):
        return mjx.fwd_actuation(model, data)
    prm = model.actuator_dynprm[muscles]
    hard = prm[:, _WIDTH] < mujoco.mjMINVAL
    width = jnp.where(hard, 1.0, prm[:, _WIDTH])
    switched = model.replace(actuator_dynprm=model.actuator_dynprm.at[muscles, _WIDTH].set(width))
    data = mjx.fwd_actuation(switched, data)

    ctrl = data.ctrl[muscles]
    if not model.opt.disableflags & int(mujoco.mjtDisableBit.mjDSBL_CLAMPCTRL):
        limited = np.asarray(model.actuator_ctrllimited)[muscles].astype(bool)
        low, high = model.actuator_ctrlrange[muscles].T
        ctrl = jnp.where(limited, jnp.clip(ctrl, low, high), ctrl)
    address = np.asarray(model.actuator_actadr)[muscles]
    act = data.act[address]
    effort = 0.5 + 1.5 * jnp.clip(act, 0, 1)
    excess = jnp.clip(ctrl, 0, 1) - act
    tau = jnp.where(excess > 0, prm[:, 0] * effort, prm[:, 1] / effort)
    rate = excess / jnp.maximum(mujoco.mjMINVAL, tau)
    rate = jnp.where(hard, rate, data.act_dot[address])
    return data.replace(act_dot=data.act_dot.at[address].set(rate))


def without_clamped_damping(model: mjx.Model, data: mjx.Data) -> mjx.Model:
    """``model`` for ``mjx.implicit``: an actuator whose force is at its limit damps nothing.

    MJX's implicit integrator counts the velocity term of a saturated servo, although its force
    does not change with velocity; C MuJoCo leaves such actuators out (``mjd_actuator_vel``).

    Args:
      model: the model.
      data: after ``fwd_actuation``.
    """
    limited = np.asarray(model.actuator_forcelimited).astype(bool)
    if not limited.any():
        return model
    force, (low, high) = data.actuator_force, model.actuator_forcerange.T
    acts = ~(limited & ((force <= low) | (force >= high)))
    gain, bias = model.actuator_gainprm, model.actuator_biasprm
    return model.replace(
        actuator_gainprm=gain.at[:, 2].multiply(acts),
        actuator_biasprm=bias.at[:, 2].multiply(acts),
    )
