"""Task "push": a fingertip pushes a T into a pose, closed loop.

Observation and action are in the T's frame, so that what a policy learns in one place holds in all.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel.scene import FreeParameter, load_scene
from worldmodel.tasks.task import Task
from worldmodel.types import Array, Episode, Goal, Measurement, Start

MJCF = Path(__file__).with_name("scene.xml")
SPEED = 0.3  # [m/s] of the fingertip, of an action of length 1
BAR = -0.0343 - 0.02  # [m] the bar's flat side, y in the T's frame
RADIUS = 0.015  # [m] of the fingertip
SCALE = np.array([0.1, 0.1, 0.1, 0.1, 0.5])  # [m, m, m, m, rad] of what is observed
POINTS = np.array([[-0.08, -0.0343], [0.08, -0.0343], [0.0, 0.1057]])  # [m] the T's three ends
SUCCESS = 0.02  # [m]
REACH = 0.3  # of the reward for the T's way: for the fingertip's to it


class Push(Task):
    """The fingertip starts in front of the T's bar. The goal is a pose of the T, ``x``, ``y`` [m]
    and ``yaw`` [rad], ahead of it. The error is the mean distance of the T's three ends."""

    horizon = 125

    def __init__(self) -> None:
        self.scene = load_scene(MJCF, control_hz=50.0, substeps=4)
        self.free = (
            FreeParameter("frictionloss", "tee_x"),
            FreeParameter("frictionloss", "tee_y"),
            FreeParameter("frictionloss", "tee_yaw"),
            FreeParameter("friction", "tip"),
            FreeParameter("mass", "tee"),
            FreeParameter("gain", "finger_x", 0.2 / 0.7),  # a deviation of 20 %
            FreeParameter("gain", "finger_y", 0.2 / 0.7),
        )

    def reset(self, key: Array) -> tuple[Start, Goal]:
        """The T within 2 cm and 0.3 rad; the goal 8 to 18 cm from it, within 0.35 rad of straight
        ahead, and turned as one push can turn it: that way, by 0.3 rad more or less."""
        one, two = jax.random.split(key)
        tee = jax.random.uniform(one, (3,), float, -1.0, 1.0) * jnp.array([0.02, 0.02, 0.3])
        u = jax.random.uniform(two, (3,), float, -1.0, 1.0)
        bearing = 0.35 * u[1]
        way = (0.13 + 0.05 * u[0]) * jnp.array([-jnp.sin(bearing), jnp.cos(bearing)])
        x, y = tee[:2] + rotation(tee[2]) @ way
        start = Start(jnp.concatenate([jnp.array([0.0, -0.15]), tee]), jnp.zeros(5))
        return start, {"x": x, "y": y, "yaw": tee[2] + 1.2 * bearing + 0.3 * u[2]}

    def observe(self, measured: Measurement, goal: Goal) -> Array:
        """(5,) the fingertip, and the goal's pose, in the T's frame, of order one."""
        tip, tee = measured.joints[:2], measured.joints[2:]
        place = jnp.stack([goal["x"], goal["y"]])
        turn = rotation(-tee[2])
        there = turn @ (tip - tee[:2]), turn @ (place - tee[:2]), goal["yaw"] - tee[2]
        return jnp.concatenate([jnp.atleast_1d(a) for a in there]) / SCALE

    def command(self, measured: Measurement, action: Array, goal: Goal) -> Array:
        """(2,) [m/s] the fingertip's velocity, of an action in the T's frame."""
        del goal
        return SPEED * rotation(measured.joints[4]) @ action

    def action(self, measured: Measurement, ctrl: Array, goal: Goal) -> Array:
        """The inverse of ``command``."""
        del goal
        return rotation(-measured.joints[4]) @ ctrl / SPEED

    def reward(self, before: Measurement, action: Array, after: Measurement, goal: Goal) -> Array:
        """() how much nearer the T has come, in units of ``SUCCESS``, and the fingertip the T's
        bar; their sum is that of the whole episode."""
        del action
        nearer = distance(before.joints[2:], goal, jnp) - distance(after.joints[2:], goal, jnp)
        reached = _gap(before.joints) - _gap(after.joints)
        return (nearer + REACH * reached) / SUCCESS

    def error(self, episode: Episode) -> float:
        """[m] at the end."""
        return float(distance(episode.qpos[-1, 2:], episode.goal, np))

    def success(self, episode: Episode) -> bool:
        """Whether the error is below ``SUCCESS``."""
        return self.error(episode) < SUCCESS


def _gap(joints: Array) -> Array:
    """() [m] between the fingertip and the middle of the bar's flat side."""
    there = rotation(-joints[4]) @ (joints[:2] - joints[2:4])
    x, y = there[0], there[1] - (BAR - RADIUS)
    return jnp.sqrt(x**2 + y**2 + 1e-6)


def rotation(angle: Any) -> Array:
    """(2, 2) from a frame that is turned by ``angle`` [rad] to the world's."""
    c, s = jnp.cos(angle), jnp.sin(angle)
    return jnp.stack([jnp.stack([c, -s]), jnp.stack([s, c])])


def distance(tee: Any, goal: Goal, numpy: Any) -> Any:
    """() [m] mean distance of the T's three ends from where the goal has them."""

    def ends(x: Any, y: Any, yaw: Any) -> Any:
        c, s = numpy.cos(yaw), numpy.sin(yaw)
        a, b = POINTS.T
        return numpy.stack([x + c * a - s * b, y + s * a + c * b])

    apart = ends(tee[0], tee[1], tee[2]) - ends(goal["x"], goal["y"], goal["yaw"])
    return numpy.mean(numpy.sqrt(numpy.sum(apart**2, axis=0) + 1e-12))
