"""A held-out simulation of reality: C MuJoCo from an MJCF, with physics that no model knows.

It stands in for a machine in tests and experiments. Part of the hidden physics lies in the family
that a world model can fit (friction, mass, damping), part outside of it: friction that differs from
place to place and with speed, actuators that lag and answer late, sensors that are noisy.
"""

import copy
import dataclasses
import math

import jax
import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.tasks import sensors
from worldmodel.tasks.task import Task
from worldmodel.types import Measurement, Start


@dataclasses.dataclass(frozen=True)
class HiddenPhysics:
    """How the held-out simulation departs from its MJCF."""

    friction: float = 1.0  # factor of the sliding friction
    mass: float = 1.0  # factor of the moved body's mass and inertia
    damping: float = 1.0  # factor of all joints' damping
    patches: float = 0.0  # relative amplitude of the friction's variation over the table
    waves: tuple[tuple[float, float, float], ...] = ()  # kx, ky [rad/m], phase [rad] of patches
    speed: float = 0.0  # [s/m] relative rise of friction with sliding speed
    lag: float = 0.0  # [s] time constant of the actuators
    delay: int = 0  # control steps before a command takes effect
    noise: tuple[float, ...] = ()  # standard deviation of each measured position [m, rad]

    def friction_at(self, x: float, y: float, speed: float) -> float:
        """The factor of the sliding friction at a place [m] and a speed [m/s]."""
        factor = self.friction * (1.0 + self.speed * speed)
        if self.waves:
            wave = 0.0
            for kx, ky, phase in self.waves:
                wave += math.sin(kx * x + ky * y + phase)
            wave *= math.sqrt(2.0) / len(self.waves)
            factor *= 1.0 + self.patches * min(max(wave, -1.0), 1.0)
        return factor


class SimulatedRobot:
    """A ``Robot``: C MuJoCo with hidden physics.

    Args:
      task: whose scene it departs from; all its positions are hinges and slides.
      hidden: how it departs from that.
      body, geom: the sliding body (its first two degrees of freedom are slides along x and y),
        whose place and speed decide its geom's friction.
      seed: of the sensors' noise.
    """

    def __init__(
        self, task: Task, hidden: HiddenPhysics, *, body: str, geom: str, seed: int
    ) -> None:
        self._model = copy.copy(task.scene.mj_model)
        self._data = mujoco.MjData(self._model)
        self._hidden = hidden
        self._body = self._model.body(body).id
        self._geom = self._model.geom(geom).id
        self.names = task.sensors
        touch = self.names.touch
        self._touch = [{self._model.geom(a).id, self._model.geom(b).id} for a, b in touch]
        self._friction = float(self._model.geom_friction[self._geom, 0])
        self._substeps = task.scene.substeps
        self._rng = np.random.default_rng(seed)
        self._model.body_mass[self._body] *= hidden.mass
        self._model.body_inertia[self._body] *= hidden.mass
        self._model.dof_damping[:] *= hidden.damping
        mujoco.mj_setConst(self._model, self._data)
        self.control_hz = task.scene.control_hz
        self.max_rate = np.full(self._model.nu, np.inf)
        first = int(self._model.body_dofadr[self._body])
        # Views of MuJoCo's own memory: looked up once, not 160 times an episode.
        self._qpos, self._ctrl = self._data.qpos, self._data.ctrl
        self._place = self._data.xpos[self._body]
        self._moving = self._data.qvel[first : first + 2]
        self._slip = self._model.geom_friction[self._geom]
        self._noise = np.array(hidden.noise)
        self._blank = jax.tree.map(np.asarray, sensors.blank(self.names))
        lag = hidden.lag
        self._keep = math.exp(-1.0 / (self.control_hz * lag)) if lag > 0 else 0.0
        self._late: list[np.ndarray] = []
        self._held = np.zeros(self._model.nu)

    def connect(self) -> None:
        """Nothing to open."""

    def reset(self, start: Start) -> Measurement:
        """Everything at rest at the start; the actuators hold where the joints are."""
        mujoco.mj_resetData(self._model, self._data)
        self._data.qpos[:] = start.qpos
        self._held = self._data.qpos[self._model.jnt_qposadr[self._model.actuator_trnid[:, 0]]]
        self._late = [self._held] * self._hidden.delay
        mujoco.mj_forward(self._model, self._data)
        return self._measure()

    def step(self, ctrl: np.ndarray) -> Measurement:
        """Plays one command for one control step."""
        hidden = self._hidden
        self._late.append(np.asarray(ctrl, float))
        arrived = self._late.pop(0)
        self._held = self._keep * self._held + (1.0 - self._keep) * arrived
        self._ctrl[:] = self._held
        x, y, _ = self._place.tolist()
        vx, vy = self._moving.tolist()
        self._slip[0] = self._friction * hidden.friction_at(x, y, math.hypot(vx, vy))
        mujoco.mj_step(self._model, self._data, self._substeps)
        return self._measure()

    def stop(self) -> None:
        """Nothing moves between two calls."""

    def close(self) -> None:
        """Nothing to let go of."""

    def _measure(self) -> Measurement:
        data = self._data
        qpos = self._qpos.copy()
        if self._noise.size:
            qpos += self._noise * self._rng.standard_normal(self._noise.size)
        pairs = [set(pair) for pair in data.contact.geom[: data.ncon].tolist()]
        touch = np.array([touch in pairs for touch in self._touch])
        return dataclasses.replace(self._blank, joints=qpos, touch=touch)
