"""Task "swing_up": a cart swings its pole up and holds it there. It touches nothing."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel.scene import FreeParameter, load_scene
from worldmodel.tasks.task import Task
from worldmodel.types import Array, Episode, Goal, Measurement, Start

MJCF = Path(__file__).with_name("scene.xml")
RAIL = 1.5  # [m] from the middle to its ends
HELD = 25  # frames at the end: one second
SUCCESS = 0.2  # [rad]


class SwingUp(Task):
    """The pole hangs; the cart is to swing it up, by a force that cannot lift it at once. The error
    is its mean angle from upright [rad] over the last second."""

    horizon = 125

    def __init__(self) -> None:
        self.name = "swing_up"
        self.scene = load_scene(MJCF, control_hz=25.0, substeps=2)
        self.free = (
            FreeParameter("mass", "pole"),
            FreeParameter("damping", "cart"),
            FreeParameter("damping", "pole"),
        )

    def reset(self, key: Array) -> tuple[Start, Goal]:
        """The cart within 0.2 m of the middle, the pole within 0.3 rad of hanging, at rest."""
        qpos = jax.random.uniform(key, (2,), float, -1.0, 1.0) * jnp.array([0.2, 0.3])
        return Start(qpos, jnp.zeros(2)), {}

    def observe(self, measured: Measurement, goal: Goal) -> Array:
        """(5,) the cart [of the rail], the pole's direction, and both velocities, of order one."""
        del goal
        (x, angle), (v, turning) = measured.joints, measured.velocities
        return jnp.stack([x / RAIL, jnp.sin(angle), jnp.cos(angle), v / 2.0, turning / 8.0])

    def failed(self, measured: Measurement, goal: Goal) -> Array:
        """Whether the cart has left the rail."""
        del goal
        return jnp.abs(measured.joints[0]) > RAIL

    def reward(self, before: Measurement, action: Array, after: Measurement, goal: Goal) -> Array:
        """() at most 1: where the pole is upright, at rest, and the cart in the middle."""
        del before, goal
        (x, angle), (_, turning) = after.joints, after.velocities
        upright = 0.5 * (1.0 - jnp.cos(angle))
        calm = jnp.exp(-0.05 * jnp.square(turning) * upright)
        near = jnp.exp(-jnp.square(x / RAIL))
        return upright * calm * near - 0.01 * jnp.sum(jnp.square(action))

    def error(self, episode: Episode) -> float:
        """[rad] mean angle from upright over the last second."""
        angle = episode.qpos[-HELD:, 1]
        return float(np.mean(np.abs(np.mod(angle, 2.0 * np.pi) - np.pi)))

    def success(self, episode: Episode) -> bool:
        """Whether the error is below ``SUCCESS``."""
        return self.error(episode) < SUCCESS
