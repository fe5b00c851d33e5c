"""C MuJoCo's rollouts of many rows at once, on all cores."""

import copy
import os

import numpy as np

from worldmodel._mujoco import c_rollout, mujoco

FULL = mujoco.mjtState.mjSTATE_FULLPHYSICS  # time, qpos, qvel, act, …


class Replayer:
    """C MuJoCo's model for rollouts. A state that is not finite stays so: MuJoCo's automatic reset
    is off.

    Args:
      model: taken over; its options are set. Give a copy of one that serves elsewhere.
      timestep: [s] of a physics step; the model's when absent.
    """

    def __init__(self, model: mujoco.MjModel, timestep: float | None = None) -> None:
        self.model = model
        self.model.opt.timestep = timestep or model.opt.timestep
        self.model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_AUTORESET)
        self._data = [mujoco.MjData(self.model) for _ in range(os.cpu_count() or 1)]
        first = mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_TIME)
        self.qpos = slice(first, first + model.nq)  # columns of a state
        self.qvel = slice(self.qpos.stop, self.qpos.stop + model.nv)
        self.act = slice(self.qvel.stop, self.qvel.stop + model.na)

    def states(self, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
        """(rows, state) at time 0, of qpos (rows, nq) and qvel (rows, nv)."""
        states = np.empty((len(qpos), mujoco.mj_stateSize(self.model, FULL)))
        mujoco.mj_getState(self.model, mujoco.MjData(self.model), states[0], FULL)
        states[1:] = states[0]
        states[:, self.qpos], states[:, self.qvel] = qpos, qvel
        return states

    def roll(
        self, states: np.ndarray, ctrl: np.ndarray, warmstart: np.ndarray | None = None
    ) -> np.ndarray:
        """States after every physics step.

        Args:
          states: (rows, state) to start from.
          ctrl: (rows, steps, nu), a row of it per physics step.
          warmstart: (rows, nv) accelerations that the first solve begins with; zeros when absent.

        Returns:
          (rows, steps, state).
        """
        played, _ = c_rollout.rollout(
            self.model,
            self._data,
            states,
            np.asarray(ctrl, float) if self.model.nu else None,
            nstep=ctrl.shape[1],
            initial_warmstart=warmstart,
            persistent_pool=True,
        )
        return played


def replayed(
    model: mujoco.MjModel, substeps: int, qpos: np.ndarray, qvel: np.ndarray, ctrl: np.ndarray
) -> np.ndarray:
    """Positions after every control step, each window from its own start.

    Args:
      model: its timestep is that of a substep.
      substeps: physics steps per control step.
      qpos, qvel: (windows, nq), (windows, nv) at the start.
      ctrl: (windows, steps, nu), each held for one control step.

    Returns:
      (windows, steps, nq).
    """
    replayer = Replayer(copy.copy(model))
    states = replayer.states(np.asarray(qpos), np.asarray(qvel))
    played = replayer.roll(states, np.repeat(np.asarray(ctrl, float), substeps, axis=1))
    return played[:, substeps - 1 :: substeps, replayer.qpos]


def touching(
    model: mujoco.MjModel, substeps: int, qpos: np.ndarray, qvel: np.ndarray, ctrl: np.ndarray
) -> frozenset[int]:
    """Geoms that touch something while windows are replayed; the arguments are ``replayed``'s."""
    model = Replayer(copy.copy(model)).model
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
