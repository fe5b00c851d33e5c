"""Whole windows replayed by C MuJoCo, on all cores."""

import copy
import os

import numpy as np

from worldmodel._mujoco import c_rollout, mujoco


def replayed(
    model: mujoco.MjModel, substeps: int, qpos: np.ndarray, qvel: np.ndarray, ctrl: np.ndarray
) -> np.ndarray:
    """Positions after every control step, each window from its own start.

    A state that is not finite stays so: MuJoCo's automatic reset is off.

    Args:
      model: its timestep is that of a substep.
      substeps: physics steps per control step.
      qpos, qvel: (windows, nq), (windows, nv) at the start.
      ctrl: (windows, steps, nu), each held for one control step.

    Returns:
      (windows, steps, nq).
    """
    model = copy.copy(model)
    model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_AUTORESET)
    full, data = mujoco.mjtState.mjSTATE_FULLPHYSICS, mujoco.MjData(model)
    states = np.empty((len(qpos), mujoco.mj_stateSize(model, full)))
    for row, q, v in zip(states, np.asarray(qpos), np.asarray(qvel), strict=True):
        data.qpos[:], data.qvel[:] = q, v
        mujoco.mj_getState(model, data, row, full)
    held = np.repeat(np.asarray(ctrl, float), substeps, axis=1)
    played, _ = c_rollout.rollout(
        model,
        [mujoco.MjData(model) for _ in range(os.cpu_count() or 1)],
        states,
        held if model.nu else None,
        nstep=held.shape[1],
        persistent_pool=True,
    )
    first = mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_TIME)
    return played[:, substeps - 1 :: substeps, first : first + model.nq]


def touching(
    model: mujoco.MjModel, substeps: int, qpos: np.ndarray, qvel: np.ndarray, ctrl: np.ndarray
) -> frozenset[int]:
    """Geoms that touch something while windows are replayed; the arguments are ``replayed``'s."""
    model = copy.copy(model)
    model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_AUTORESET)
    data, geoms = mujoco.MjData(model), set[int]()
    for q, v, held in zip(*map(np.asarray, (qpos, qvel, ctrl)), strict=True):
        mujoco.mj_resetData(model, data)
        data.qpos[:], data.qvel[:] = q, v
        for command in np.repeat(held, substeps, axis=0):
            data.ctrl[:] = command
            mujoco.mj_step(model, data)
            if data.ncon:
                geoms.update(data.contact.geom.ravel().tolist())
    return frozenset(geoms)
