"""The arm reaches behind a block on the desk and pushes it to a place: a task, an expert, a robot."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel import FreeParameter, Start, Task, load_scene
from worldmodel.policies.plan import Demonstrator, SearchConfig
from worldmodel.reality import SimulatedRobot
from worldmodel.reality.disturbances import Backlash, Damping, Delay, Friction
from worldmodel.rollout import Replay
from worldmodel.types import Family

RADIUS = 0.3  # [m] of the arc on which the block lies and is pushed
ABOVE, DOWN = [0.38, 0.34, -0.52, 0.0, 0.0], [0.84, 0.22, -0.86, 0.0, 0.0]  # [rad] all but the pan


class Push(Task):
    scene = load_scene(Path(__file__).with_name("push.xml"), control_hz=30, substeps=20)
    horizon = 75
    free = (
        *(FreeParameter(kind, "shoulder_pan") for kind in ("gain", "damping", "frictionloss")),
        *(FreeParameter("frictionloss", joint) for joint in ("block_x", "block_y")),
    )

    def reset(self, key):  # the block's angle around the base, and where it is to be pushed
        a, b = jax.random.split(key)
        angle = jax.random.uniform(a, (), float, -0.3, 0.1)
        target = RADIUS * arc(angle + jax.random.uniform(b, (), float, 0.3, 0.7))
        block = RADIUS * arc(angle) - jnp.array([RADIUS, 0.0])
        qpos = jnp.concatenate([jnp.zeros(1), jnp.array(ABOVE), block])
        return Start(qpos, jnp.zeros(8)), {"angle": angle, "target": target}

    def observe(self, measured, goal):  # how far it has come, the block, and where that is to go
        block = measured.joints[6:] + jnp.array([RADIUS, 0.0])
        return jnp.concatenate([measured.applied[:3], block, goal["target"], goal["angle"][None]])

    def reward(self, before, action, after, goal):
        block = after.joints[6:] + jnp.array([RADIUS, 0.0])
        return -jnp.linalg.norm(block - goal["target"])

    def error(self, episode):  # [m] from where the block came to rest to its target
        block = episode.qpos[-1, 6:] + [RADIUS, 0.0]
        return float(np.linalg.norm(block - episode.goal["target"]))

    def success(self, episode):
        return self.error(episode) < 0.03


def arc(angle):
    return jnp.stack([jnp.cos(angle), jnp.sin(angle)])


def sweep(end, goal):  # behind the block from above, down, and around to the pan ``end``
    pan, times = goal["angle"] - 0.3, jnp.linspace(0.0, 2.5, Push.horizon)
    poses = [[0.0, *ABOVE], [pan, *ABOVE], [pan, *DOWN], [end[0], *DOWN], [end[0], *DOWN]]
    ways = jnp.array(poses).T
    return Replay(task.action(None, jax.vmap(lambda y: jnp.interp(times, KNOTS, y))(ways).T, goal))


KNOTS = jnp.array([0.0, 0.5, 0.8, 2.0, 2.5])  # [s]
task = Push()
arm = Family(sweep, low=np.array([-0.3]), high=np.array([0.9]), absolute=0.03)
expert = Demonstrator(task, arm, SearchConfig(samples=16, elites=4, iterations=3), planned=16)
hidden = [Damping(1.5), Friction(0.7), Backlash("shoulder_pan", 0.02), Delay(1)]
robot = SimulatedRobot(task, hidden)
