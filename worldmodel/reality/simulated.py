"""A held-out simulation of reality: C MuJoCo from any MJCF, with disturbances that no model knows.

It stands in for a machine in tests and experiments.
"""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.errors import InputError
from worldmodel.reality.plant import Disturbance, Plant, index
from worldmodel.reality.robot import RobotError, measurement
from worldmodel.scene.errors import SceneError
from worldmodel.scene.names import element_name
from worldmodel.scene.scene import compile_spec, parse_mjcf
from worldmodel.tasks import play, sensors
from worldmodel.tasks.task import Task
from worldmodel.types import Array, Goal, Measurement, Policy, Start

TOGETHER = 128  # robots that ``simulate`` steps side by side


class SimulatedRobot:
    """A ``Robot``: C MuJoCo with disturbances.

    Args:
      task: what it is asked to do; its scene is the machine, unless ``mjcf`` is.
      disturbances: how reality departs from that, in the order in which they act.
      mjcf: path or text of reality's own MJCF, which MJX need not be able to run; it has the
        joints, bodies, geoms and actuators that the task names.
      substeps: physics steps per control step; the task's scene's when absent.
      max_rate: (nu,) of commands [their unit/s]; no limit when absent.
      seed: of the sensors' noise.

    Raises:
      InputError: an MJCF that does not compile, or lacks what is named.
    """

    def __init__(
        self,
        task: Task,
        disturbances: Sequence[Disturbance] = (),
        *,
        mjcf: str | Path | None = None,
        substeps: int | None = None,
        max_rate: np.ndarray | None = None,
        seed: int = 0,
    ) -> None:
        scene, self.names = task.scene, task.sensors
        theirs = scene.mj_model
        model = copy.copy(theirs) if mjcf is None else _compiled(mjcf)
        actuators = tuple(element_name(model, "actuator", a) for a in range(model.nu))
        if actuators != self.names.actuators:
            raise InputError(
                f"the simulated robot's MJCF has the actuators {list(actuators)}, task "
                f"'{task.name}' needs {list(self.names.actuators)}, in this order"
            )
        self.control_hz = scene.control_hz
        self.max_rate = np.full(model.nu, np.inf) if max_rate is None else np.asarray(max_rate)
        self._substeps = substeps or scene.substeps
        model.opt.timestep = 1.0 / (self.control_hz * self._substeps)
        model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_AUTORESET)  # NaN stays NaN
        for disturbance in disturbances:
            disturbance.change(model)
        self._scene, self._model, self._data = scene, model, mujoco.MjData(model)
        mujoco.mj_setConst(model, self._data)
        if mjcf is None:  # without the shortcut of a body that only slides, as the scene is
            plain = scene.plain_sliders & (model.body_ipos == 0).all(axis=1)
            model.body_invweight0[plain, 0] = 1.0 / model.body_mass[plain]
        self._before = copy.copy(model)
        self._warnings = self._data.warning.number
        self._disturbances = tuple(disturbances)
        self._acting: list[Callable[[np.ndarray], np.ndarray]] = []
        self._seed = seed
        self._draw_noise(np.random.default_rng(seed))
        at = sensors.places(scene, self.names)
        ours = _addresses(theirs, model)
        self._taken = np.flatnonzero(ours >= 0), ours[ours >= 0]
        self._joints, self._objects = ours[at.joints], ours[at.objects]
        unknown = [n for n, q in zip(self.names.joints, self._joints, strict=True) if q < 0]
        unknown += [n for n, q in zip(self.names.objects, self._objects, strict=True) if q[0] < 0]
        if unknown:
            raise InputError(f"the simulated robot's MJCF lacks {unknown}, which the task measures")
        self._touch, self._forces = (
            [frozenset(index(model, "geom", geom) for geom in pair) for pair in pairs]
            for pairs in (self.names.touch, self.names.forces)
        )

    def connect(self) -> None:
        """Nothing is to be opened."""

    def begin(self, key: Array) -> None:
        """The noise of the sensors is that of an episode's key from now on, so that a capture that
        goes on has the noise of one that was never stopped."""
        numbers = np.asarray(jax.random.key_data(key)).ravel().tolist()
        self._draw_noise(np.random.default_rng([self._seed, *numbers]))

    def _draw_noise(self, generator: np.random.Generator) -> None:
        sensing = [d.measurements(self.names, generator) for d in self._disturbances]
        self._sensing = [act for act in sensing if act is not None]

    def reset(self, start: Start) -> Measurement:
        """Everything at rest at ``start``; the actuators hold where the joints are. What the task's
        scene does not have is where its own MJCF puts it.

        Raises:
          RobotError: a start of another size, or one that moves.
        """
        qpos = np.asarray(start.qpos, float)
        if qpos.shape != (self._scene.mj_model.nq,) or np.asarray(start.qvel).any():
            raise RobotError(
                f"a start with {qpos.size} positions and velocities {np.asarray(start.qvel)}; a "
                f"robot starts at rest, this one at {self._scene.mj_model.nq} positions"
            )
        model, data = self._model, self._data
        mujoco.mj_resetData(model, data)
        theirs, ours = self._taken
        data.qpos[ours] = qpos[theirs]
        held = np.asarray(sensors.holding(self._scene, qpos), float)
        plant = Plant(model, self._before, data, held, self.control_hz)
        acting = [d.commands(plant) for d in self._disturbances]
        self._acting = [act for act in acting if act is not None]
        mujoco.mj_forward(model, data)
        return self.measure()

    def step(self, ctrl: np.ndarray) -> Measurement:
        """Plays one command for one control step.

        Raises:
          RobotError: the simulation diverges.
        """
        ctrl = np.asarray(ctrl, float)
        for act in self._acting:
            ctrl = act(ctrl)
        self._data.ctrl[:] = ctrl
        mujoco.mj_step(self._model, self._data, self._substeps)
        if self._warnings.any():  # of values that are not finite, or huge
            raise RobotError(
                f"the simulation diverges at {self._data.time:g} s; its disturbances, or the "
                "commands, are too strong for its timestep"
            )
        return self.measure()

    def measure(self) -> Measurement:
        """Reads the sensors."""
        data = self._data
        joints, objects = data.qpos[self._joints], data.qpos[self._objects]
        for act in self._sensing:
            act(joints, objects)
        touch = sensors.touching(data, self._touch)
        force = sensors.normal_forces(self._model, data, self._forces)
        return measurement(self.names, joints, objects=objects, touch=touch, force=force)

    def clock(self) -> float:
        """[s] of the simulation, which is never late."""
        return float(self._data.time)

    def stop(self) -> None:
        """Time stands still between steps."""

    def close(self) -> None:
        """Nothing is to be let go of."""


def simulate(task: Task, robot: Callable[[], SimulatedRobot]) -> play.Simulate:
    """Reality as the world in which a batch of a task's episodes is played: for an operator who
    knows it, and as its own world model.

    Each episode has a robot of its own, and all of them step side by side, so that a batch is
    decided in one call. Each goes on to ``task.horizon``, failed or not, as in a model.

    Args:
      robot: makes one; without noise of its sensors where an episode is to be repeatable.
    """
    machines: list[SimulatedRobot] = []
    begin = jax.jit(jax.vmap(lambda sensed: play.begin(task, sensed)))
    init = jax.jit(jax.vmap(lambda p, m, goal, key: p.init(task.observe(m, goal), key)))
    decide = jax.jit(jax.vmap(lambda *x: play.decide(task, *x)))
    follow = jax.jit(jax.vmap(lambda *x: play.follow(task, *x)))
    failed = jax.jit(jax.vmap(jax.vmap(task.failed, (0, None))))

    def batch(policy: Policy, start: Start, goal: Goal, keys: Array) -> play.Played:
        count = len(keys)
        machines.extend(robot() for _ in range(count - len(machines)))
        robots = machines[:count]
        limit = np.stack([r.max_rate / r.control_hz for r in robots])
        starts = zip(robots, np.asarray(start.qpos), np.asarray(start.qvel), strict=True)
        first = _stacked([r.reset(Start(qpos, qvel)) for r, qpos, qvel in starts])
        now = jax.device_get(begin(first))
        keys = jax.vmap(lambda key: jax.random.split(key, task.horizon + 1))(keys)
        carry = init(policy, now, goal, keys[:, 0])
        measured, commands, actions = [now], [], []
        for t in range(task.horizon):
            action, ctrl, carry = decide(policy, carry, now, goal, keys[:, t + 1])
            ctrl = np.clip(np.asarray(ctrl, float), now.applied - limit, now.applied + limit)
            sensed = _stacked([r.step(c) for r, c in zip(robots, ctrl, strict=True)])
            now = jax.device_get(follow(now, sensed, ctrl, np.zeros(count, bool)))
            measured.append(now)
            commands.append(ctrl)
            actions.append(np.asarray(action))
        rows = jax.tree.map(lambda *x: np.stack(x, axis=1), *measured)
        over = np.asarray(failed(rows, goal))
        return play.Played(rows, np.stack(commands, 1), np.stack(actions, 1), over)

    def play_all(policy: Policy, start: Start, goal: Goal, key: Array) -> play.Played:
        if not policy.traceable:
            raise InputError("a policy that cannot be traced is deployed, one episode at a time")
        rows = policy, start, goal, jax.random.split(key, len(np.asarray(start.qpos)))
        parts = [
            batch(*jax.tree.map(lambda x, i=i: x[i : i + TOGETHER], rows))
            for i in range(0, len(rows[-1]), TOGETHER)
        ]
        return jax.tree.map(lambda *x: np.concatenate(x), *parts)

    return play_all


def _stacked(measured: list[Measurement]) -> Measurement:
    return jax.tree.map(lambda *x: np.stack(x), *measured)


def _compiled(mjcf: str | Path) -> mujoco.MjModel:
    try:
        return compile_spec(parse_mjcf(mjcf))
    except SceneError as error:
        raise InputError(f"the simulated robot: {error}") from error


def _addresses(theirs: mujoco.MjModel, ours: mujoco.MjModel) -> np.ndarray:
    """(nq of theirs,) where our qpos has what theirs has, by the joints' names; −1: nowhere."""
    sizes = np.diff([*theirs.jnt_qposadr, theirs.nq])
    known = {_joint_name(ours, j): j for j in range(ours.njnt)}
    out = np.full(theirs.nq, -1)
    for j in range(theirs.njnt):
        k = known.get(_joint_name(theirs, j), -1)
        if k >= 0 and ours.jnt_type[k] == theirs.jnt_type[j]:
            numbers = np.arange(sizes[j])
            out[theirs.jnt_qposadr[j] + numbers] = ours.jnt_qposadr[k] + numbers
    return out


def _joint_name(model: mujoco.MjModel, joint: int) -> tuple[str, str]:
    """A joint's name; where it has none, its body's."""
    name = mujoco.mj_id2name(model, mujoco.mjtObj.mjOBJ_JOINT, joint)
    return (name, "") if name else ("", element_name(model, "body", int(model.jnt_bodyid[joint])))
