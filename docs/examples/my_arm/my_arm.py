"""The arm reaches behind a block and pushes it to a place: a task, its expert, its robot."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel import FreeParameter, Start, Task, load_scene
from worldmodel.policies.plan import Demonstrator, SearchConfig
from worldmodel.reality import SimulatedRobot
from worldmodel.reality.disturbances import Backlash, Damping, Delay
from worldmodel.rollout import Replay
from worldmodel.types import Family

RADIUS = 0.3  # [m] of the arc on which the block lies and is pushed
LOW, HIGH = jnp.array([-0.3, 0.3]), jnp.array([0.1, 0.7])  # [rad] where it lies, how far to go
ABOVE, DOWN = [0.38, 0.34, -0.52, 0.0, 0.0], [0.84, 0.22, -0.86, 0.0, 0.0]  # [rad] all but the pan


class Push(Task):
    scene = load_scene(Path(__file__).with_name("push.xml"), control_hz=30, substeps=20)
    horizon = 75
    free = tuple(FreeParameter("damping", j) for j in ("shoulder_pan", "block_x", "block_y"))

    def reset(self, key):  # the block's angle around the base, and where it is to be pushed
        angle, way = jax.random.uniform(key, (2,), float, LOW, HIGH)
        qpos = jnp.concatenate([jnp.zeros(1), jnp.array(ABOVE), arc(angle)])
        return Start(qpos, jnp.zeros(8)), {"angle": angle, "target": arc(angle + way)}

    def observe(self, measured, goal):  # how far it has come, the block, and where that is to go
        seen = measured.applied[:3], measured.joints[6:]
        return jnp.concatenate([*seen, goal["target"], goal["angle"][None]])

    def reward(self, before, action, after, goal):
        return -jnp.linalg.norm(after.joints[6:] - goal["target"])

    def error(self, episode):  # [m] from where the block came to rest to its target
        return float(np.linalg.norm(episode.qpos[-1, 6:] - episode.goal["target"]))

    def success(self, episode):
        return self.error(episode) < 0.04  # its own width


def arc(angle):  # places [m] as the block's joints have them
    return RADIUS * jnp.stack([jnp.cos(angle) - 1.0, jnp.sin(angle)])


def sweep(end, goal):  # behind the block from above, down, and around to the pan ``end``
    pan, at, step = goal["angle"] - 0.3, jnp.array([0, 15, 24, 60]), jnp.arange(Push.horizon)
    poses = jnp.array([[0.0, *ABOVE], [pan, *ABOVE], [pan, *DOWN], [end[0], *DOWN]])
    ctrl = jax.vmap(lambda y: jnp.interp(step, at, y), 1, 1)(poses)
    return Replay(task.action(None, ctrl, goal))


task = Push()
arm = Family(sweep, low=np.array([-0.3]), high=np.array([0.9]), absolute=0.02)
expert = Demonstrator(task, arm, SearchConfig(samples=16, elites=4, iterations=3), planned=16)
robot = SimulatedRobot(task, [Damping(1.5), Backlash("shoulder_pan", 0.02), Delay(1)])
