"""Closed-loop episodes of a task in C MuJoCo: for a whole batch one rollout and one compiled
decision per control step. What observes, acts and commands is ``play``'s.
"""

import copy
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.scene.collisions import contact_pairs
from worldmodel.scene.replay import Replayer
from worldmodel.tasks import play, sensors
from worldmodel.tasks.errors import TaskError
from worldmodel.tasks.task import Task
from worldmodel.types import Array, Contacts, Goal, Measurement, Policy, Start, State


def simulate_in_c(
    task: Task, model: mujoco.MjModel, *, substeps: int | None = None
) -> play.Simulate:
    """C MuJoCo as the world in which a batch of a task's episodes is played.

    The task's ``sense`` gets states without distances and forces of contacts (NaN), but for the
    active contacts and the normal forces that the task's sensors name.

    Args:
      model: with the joints and actuators of the task's scene, in its order; its timestep is set.
      substeps: physics steps per control step; the task's scene's when absent.

    Raises:
      TaskError: a model of other sizes, or without a geom that the sensors name, or with drives
        where they name forces; from what is returned, a policy that cannot be compiled.
    """
    scene = task.scene
    sizes = [(m.nq, m.nv, m.na, m.nu) for m in (model, scene.mj_model)]
    if sizes[0] != sizes[1]:
        raise TaskError(
            f"the model's (nq, nv, na, nu) are {sizes[0]}, those of scene '{scene.name}' "
            f"{sizes[1]}; give a model with the scene's joints and actuators"
        )
    substeps = substeps or scene.substeps
    replayer = Replayer(copy.copy(model), timestep=1.0 / (scene.control_hz * substeps))
    touching = _Touching(replayer, task)
    begin, advance, failed, split = _compiled(task, replayer)

    def simulate(policy: Policy, start: Start, goal: Goal, key: Array) -> play.Played:
        if not policy.traceable:
            raise TaskError(
                f"a {type(policy).__name__} cannot be compiled, which a batch of episodes needs; "
                "play it with reality.deploy"
            )
        rows = replayer.states(np.asarray(start.qpos), np.asarray(start.qvel))
        warmstart, memory = np.zeros((len(rows), model.nv)), replayer.memory(len(rows), substeps)
        fixed = (policy, goal, *split(jax.random.split(key, len(rows))))
        now = begin(fixed, rows)
        frames, farthest = [now[:3]], np.abs(rows[:, replayer.qpos])
        for t in range(1, task.horizon + 1):
            ctrl = np.asarray(now[2])[:, None]
            played, memory = replayer.play(rows, ctrl, substeps, memory, warmstart)
            before = played[:, -2] if substeps > 1 else rows
            rows = played[:, -1]
            farthest = np.maximum(farthest, np.abs(rows[:, replayer.qpos]))
            change = rows[:, replayer.qvel] - before[:, replayer.qvel]
            warmstart = change / replayer.model.opt.timestep
            now = advance(fixed, rows, *touching(before, ctrl[:, 0]), t, now)
            frames.append(now[:3])
        measured, action, ctrl = jax.tree.map(lambda *x: np.stack(x, axis=1), *frames)
        over = failed(measured, goal)
        return play.Played(measured, ctrl[:, :-1], action[:, :-1], over, farthest)

    return simulate


def _compiled(task: Task, replayer: Replayer) -> tuple:
    """What is compiled, of a batch: the first decision, one step's, failures, and keys."""
    scene, names = task.scene, task.sensors
    at = sensors.places(scene, names)
    slots, nv = len(contact_pairs(scene.mj_model)), scene.mj_model.nv

    def sense(row: Array, touched: Array, force: Array, noise: Array, t: Any) -> Measurement:
        row = jnp.asarray(row, float)
        unknown = jnp.full((slots, 4), jnp.nan, row.dtype)
        active = jnp.zeros(slots, bool).at[at.touch].set(touched)
        forces = unknown[:, 1:].at[at.forces, 0].set(jnp.asarray(force, row.dtype))
        state = State(
            qpos=row[replayer.qpos],
            qvel=row[replayer.qvel],
            act=row[replayer.act],
            time=row[0],
            qacc_warmstart=jnp.zeros(nv, row.dtype),
            contacts=Contacts(active, unknown[:, 0], forces),
            latent=jnp.zeros(0, row.dtype),
            correction=jnp.zeros(0, row.dtype),
            variance=jnp.zeros(0, row.dtype),
            drive=jnp.zeros((0, scene.mj_model.nu), row.dtype),
        )
        return task.sense(state, jax.random.fold_in(noise, t))

    def first(fixed: tuple, row: Array) -> tuple:
        policy, goal, noise, keys = fixed
        nothing = jnp.zeros(len(names.touch), bool), jnp.zeros(len(names.forces))
        measured = play.begin(task, sense(row, *nothing, noise, 0))
        carry = policy.init(task.observe(measured, goal), keys[0])
        return measured, *play.decide(task, policy, carry, measured, goal, keys[1])

    def then(
        fixed: tuple, row: Array, touched: Array, force: Array, t: Array, last: tuple
    ) -> tuple:
        policy, goal, noise, keys = fixed
        before, _, ctrl, carry = last
        measured = sense(row, touched, force, noise, t)
        measured = play.follow(task, before, measured, ctrl, jnp.zeros((), bool))
        return measured, *play.decide(task, policy, carry, measured, goal, keys[t + 1])

    def split(key: Array) -> tuple[Array, Array]:
        noise, acting = jax.random.split(key)
        return noise, jax.random.split(acting, task.horizon + 1)

    return (
        jax.jit(jax.vmap(first)),
        jax.jit(jax.vmap(then, (0, 0, 0, 0, None, 0))),
        jax.jit(jax.vmap(jax.vmap(task.failed, (0, None)))),
        jax.jit(jax.vmap(split)),
    )


class _Touching:
    """What a task's sensors of touch and force report in a state: its contacts, as its solve has
    them."""

    def __init__(self, replayer: Replayer, task: Task) -> None:
        self._model, self._replayer, names = replayer.model, replayer, task.sensors
        if names.forces and replayer.driven:
            raise TaskError(
                f"task '{task.name}' measures forces, which C MuJoCo does not report of a model "
                "with drives; play it with engine 'mjx'"
            )
        self._data = mujoco.MjData(self._model)
        self._touch, self._forces = (
            [self._geoms(pair, task) for pair in pairs] for pairs in (names.touch, names.forces)
        )

    def _geoms(self, pair: tuple[str, str], task: Task) -> frozenset[int]:
        ids = [mujoco.mj_name2id(self._model, mujoco.mjtObj.mjOBJ_GEOM, g) for g in pair]
        if -1 in ids:
            raise TaskError(
                f"the model has no geom '{pair[ids.index(-1)]}', which the sensors of task "
                f"'{task.name}' name; name it in the MJCF"
            )
        return frozenset(ids)

    def __call__(self, rows: np.ndarray, ctrl: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(rows, touch) bool and (rows, forces) [N], of states under commands, (rows, nu)."""
        touch = np.zeros((len(rows), len(self._touch)), bool)
        force = np.zeros((len(rows), len(self._forces)))
        data, model, at = self._data, self._model, self._replayer
        for i, row in enumerate(rows if self._touch or self._forces else []):
            data.qpos[:] = row[at.qpos]
            if self._forces:
                data.qvel[:], data.act[:], data.ctrl[:] = row[at.qvel], row[at.act], ctrl[i]
                mujoco.mj_forward(model, data)
                force[i] = sensors.normal_forces(model, data, self._forces)
            else:
                mujoco.mj_kinematics(model, data)
                mujoco.mj_collision(model, data)
            touch[i] = sensors.touching(data, self._touch)
        return touch, force
