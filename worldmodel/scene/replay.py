"""C MuJoCo's rollouts of many rows at once, on all cores."""

import copy
import os
from collections.abc import Iterator

import numpy as np

from worldmodel._mujoco import c_rollout, mujoco
from worldmodel.scene import drives

FULL = mujoco.mjtState.mjSTATE_FULLPHYSICS  # time, qpos, qvel, act, …
_STATE = mujoco.mjtState
_FORCED = int(_STATE.mjSTATE_CTRL) | int(_STATE.mjSTATE_QFRC_APPLIED)


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
        self.driven, self.plays = drives.has_drives(model), drives.has_play(model)
        if self.driven:
            self.model.opt.disableflags |= drives.CLAMP_OFF

    def states(self, qpos: np.ndarray, qvel: np.ndarray) -> np.ndarray:
        """(rows, state) at time 0, of qpos (rows, nq) and qvel (rows, nv)."""
        states = np.empty((len(qpos), mujoco.mj_stateSize(self.model, FULL)))
        mujoco.mj_getState(self.model, mujoco.MjData(self.model), states[0], FULL)
        states[1:] = states[0]
        states[:, self.qpos], states[:, self.qvel] = qpos, qvel
        return states

    def memory(
        self, rows: int, substeps: int, past: tuple[np.ndarray, np.ndarray] | None = None
    ) -> np.ndarray:
        """What the drives remember at ``rows`` starts.

        Args:
          substeps: physics steps per control step.
          past: (rows, frames, nu) commands held before the start, the latest first, and (rows,
            frames) bool whether each is known; none when absent.

        Returns:
          (rows, …), see ``drives.blank_memory``.
        """
        blank = drives.blank_memory(self.model, substeps)
        memory = np.broadcast_to(blank, (rows, *blank.shape))
        if past is None:
            return memory
        ctrl, known = past
        return drives.remembered(self.model, memory, np.asarray(ctrl), np.asarray(known), substeps)

    def play(
        self,
        states: np.ndarray,
        ctrl: np.ndarray,
        substeps: int,
        memory: np.ndarray,
        warmstart: np.ndarray | None = None,
        force: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """States after every physics step, through the model's drives.

        Args:
          states: (rows, state) to start from.
          ctrl: (rows, steps, nu), each held for one control step.
          substeps: physics steps per control step.
          memory: (rows, …) of the drives.
          warmstart: (rows, nv) accelerations that the first solve begins with; zeros when absent.
          force: (rows, nv) generalised force held over all steps [N, N·m]; none when absent.

        Returns:
          (rows, steps · substeps, state), and the drives' memory after it.
        """
        ctrl = np.asarray(ctrl, float)
        if not self.driven:
            held = np.repeat(ctrl, substeps, axis=1)
            return self._roll(states, held, warmstart, force), memory
        varies = drives.acts_on_state(self.model)
        if not self.plays and not varies:
            sent = []
            for step in range(ctrl.shape[1]):
                each, memory = drives.commands(self.model, memory, ctrl[:, step], substeps)
                sent.append(each)
            return self._roll(states, np.concatenate(sent, axis=1), warmstart, force), memory
        parts, held = [], 1 if varies else substeps  # physics steps in which the drives act alike
        for step in range(ctrl.shape[1]):
            each, memory = drives.commands(self.model, memory, ctrl[:, step], substeps)
            if self.plays:
                at = states[:, self.qpos], states[:, self.qvel]
                memory = meshed(self.model, self._data[0], memory, *at, substeps)
            play = drives.in_play(memory)[:, None]
            for k in range(0, substeps, held):
                at = states[:, None, self.qpos], states[:, None, self.qvel]
                sent, friction = drives.actuated(self.model, each[:, k : k + held], play, *at)
                total = friction[:, 0] if force is None else friction[:, 0] + force
                rows = self._roll(states, sent, warmstart, total)
                # The next solve begins with the last one's acceleration, as in one rollout.
                before = rows[:, -2] if held > 1 else states
                change = rows[:, -1, self.qvel] - before[:, self.qvel]
                warmstart, states = change / self.model.opt.timestep, rows[:, -1]
                parts.append(rows)
        return np.concatenate(parts, axis=1), memory

    def _roll(
        self,
        states: np.ndarray,
        control: np.ndarray,
        warmstart: np.ndarray | None,
        force: np.ndarray | None,
    ) -> np.ndarray:
        """States after every physics step: (rows, steps, state).

        Args:
          control: (rows, steps, nu), a row per physics step.
          force: as of ``play``.
        """
        spec = int(_STATE.mjSTATE_CTRL)
        if force is not None:
            spec = _FORCED
            held = np.broadcast_to(force[:, None], (*control.shape[:2], force.shape[1]))
            control = np.concatenate([control, held], axis=2)
        played, _ = c_rollout.rollout(
            self.model,
            self._data,
            states,
            control if control.shape[2] else None,
            nstep=control.shape[1],
            control_spec=spec,
            initial_warmstart=warmstart,
            persistent_pool=True,
        )
        return played


def meshed(
    model: mujoco.MjModel,
    data: mujoco.MjData,
    memory: np.ndarray,
    qpos: np.ndarray,
    qvel: np.ndarray,
    substeps: int,
) -> np.ndarray:
    """``drives.meshed`` of rows, under the loads of C MuJoCo's inverse dynamics.

    Args:
      data: overwritten.
    """
    seconds = substeps * model.opt.timestep
    qacc = drives.acceleration(model, memory, qvel, seconds)
    load = np.empty(qvel.shape)
    for row, (q, v, a) in enumerate(zip(qpos, qvel, qacc, strict=True)):
        data.qpos[:], data.qvel[:], data.qacc[:] = q, v, a
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_comVel(model, data)
        mujoco.mj_rne(model, data, 1, load[row])
    return drives.meshed(model, memory, qpos, qvel, load, seconds)


def replayed(
    model: mujoco.MjModel,
    substeps: int,
    qpos: np.ndarray,
    qvel: np.ndarray,
    ctrl: np.ndarray,
    past: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """Positions after every control step, each window from its own start.

    Args:
      model: its timestep is that of a substep.
      substeps: physics steps per control step.
      qpos, qvel: (windows, nq), (windows, nv) at the start.
      ctrl: (windows, steps, nu), each held for one control step.
      past: what was held before the start, see ``Replayer.memory``.

    Returns:
      (windows, steps, nq).
    """
    replayer = Replayer(copy.copy(model))
    states = replayer.states(np.asarray(qpos), np.asarray(qvel))
    played, _ = replayer.play(states, ctrl, substeps, replayer.memory(len(qpos), substeps, past))
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
        for _ in controlled(model, data, held, substeps):
            mujoco.mj_step(model, data)
            if data.ncon:
                geoms.update(data.contact.geom.ravel().tolist())
    return frozenset(geoms)


def controlled(
    model: mujoco.MjModel,
    data: mujoco.MjData,
    ctrl: np.ndarray,
    substeps: int,
    memory: np.ndarray | None = None,
) -> Iterator[None]:
    """Before each physics step of one window: sets what acts in it, through the model's drives.

    Args:
      model: of a ``Replayer``.
      data: steps between the iterations.
      ctrl: (steps, nu), each held for one control step.
      substeps: physics steps per control step.
      memory: (rows, nu) of the drives; nothing before the first command when absent.
    """
    driven, plays = drives.has_drives(model), drives.has_play(model)
    scratch = mujoco.MjData(model)
    memory = drives.blank_memory(model, substeps) if memory is None else memory
    for held in np.asarray(ctrl, float):
        each = np.broadcast_to(held, (substeps, model.nu))
        if driven:
            each, memory = drives.commands(model, memory, held, substeps)
        if plays:
            at = (np.asarray(x)[None] for x in (memory, data.qpos, data.qvel))
            memory = meshed(model, scratch, *at, substeps)[0]
        for command in each:
            data.ctrl[:] = command
            if driven:
                play = drives.in_play(memory)
                data.ctrl[:], data.qfrc_applied[:] = drives.actuated(
                    model, command, play, data.qpos, data.qvel
                )
            yield
