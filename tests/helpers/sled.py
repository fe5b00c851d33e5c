"""A mass that a motor pushes along x, over a floor or in the air: a task, and its robot."""

import dataclasses
from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from worldmodel.reality import SimulatedRobot
from worldmodel.reality.plant import Disturbance
from worldmodel.rollout import Replay
from worldmodel.scene import load_scene
from worldmodel.tasks import sensors
from worldmodel.tasks.task import Task
from worldmodel.types import Array, Episode, Goal, Measurement, Start, Trial

FRICTION, MASS, HZ = 0.1, 0.5, 1000.0
TOUCH = (("sled", "floor"),)


def mjcf(*, floor: bool = True, damping: float = 0.0) -> str:
    return f"""
        <mujoco model="sled">
          <option cone="elliptic" tolerance="1e-12" iterations="50"/>
          <worldbody>
            <geom name="floor" type="plane" size="0 0 .1"/>
            <body name="sled" pos="0 0 0.005">
              <joint name="x" type="slide" axis="1 0 0" damping="{damping}"/>
              <joint name="y" type="slide" axis="0 1 0"/>
              {'<joint name="z" type="slide" axis="0 0 1"/>' if floor else ""}
              <geom name="sled" size="0.005" mass="{MASS}" friction="{FRICTION} 0 0" priority="1"
                    contype="{int(floor)}" conaffinity="{int(floor)}"/>
            </body>
          </worldbody>
          <actuator><motor name="push" joint="x"/></actuator>
        </mujoco>
    """


class Sled(Task):
    """Stop at x; an action is a force of up to 10 N."""

    def __init__(self, *, floor: bool = True, damping: float = 0.0, horizon: int = 40) -> None:
        self.mjcf = mjcf(floor=floor, damping=damping)
        self.scene = load_scene(self.mjcf, control_hz=HZ, substeps=1)
        self.sensors = sensors.all_sensors(self.scene, TOUCH if floor else ())
        self.horizon = horizon

    def command(self, measured: Measurement, action: Array, goal: Goal) -> Array:
        return 10.0 * action

    def action(self, measured: Measurement, ctrl: Array, goal: Goal) -> Array:
        return ctrl / 10.0

    def error(self, episode: Episode) -> float:
        return float(abs(episode.qpos[-1, 0] - episode.goal["x"]))

    def success(self, episode: Episode) -> bool:
        return self.error(episode) < 0.01


def robot(task: Sled, disturbances: Sequence[Disturbance] = (), seed: int = 0) -> SimulatedRobot:
    return SimulatedRobot(task, disturbances, mjcf=task.mjcf, seed=seed)


def rest(task: Task, qpos: Sequence[float] | None = None) -> Start:
    m = task.scene.mj_model
    return Start(m.qpos0.copy() if qpos is None else np.array(qpos, float), np.zeros(m.nv))


def trial(task: Sled, push: float, x: float = 0.0) -> Trial:
    """A constant force [N]."""
    action = jnp.full((task.horizon, 1), push / 10.0)
    return Trial(rest(task), {"x": jnp.asarray(x)}, Replay(action))


@dataclasses.dataclass(frozen=True)
class Path:
    """Where a robot went."""

    qpos: np.ndarray  # (steps + 1, nq)

    @property
    def speed(self) -> np.ndarray:
        """(steps,) [m/s] along x: speed[k] from frame k to k + 1."""
        return np.diff(self.qpos[:, 0]) * HZ


def play(
    task: Sled,
    disturbances: Sequence[Disturbance],
    ctrl: np.ndarray,
    qpos: Sequence[float] | None = None,
) -> Path:
    """The robot under commands, (steps, 1)."""
    machine = robot(task, disturbances)
    measured = [machine.reset(rest(task, qpos)), *map(machine.step, ctrl)]
    return Path(np.stack([m.joints for m in measured]))
