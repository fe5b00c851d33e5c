"""Task "hopper": a leg hops forward along a floor and does not fall."""

from pathlib import Path

import jax
import jax.numpy as jnp

from worldmodel.scene import FreeParameter, load_scene
from worldmodel.tasks.task import Task
from worldmodel.types import Array, Episode, Goal, Measurement, Start

MJCF = Path(__file__).with_name("scene.xml")
LOWEST = -0.45  # [m] of the torso, from where it stands
STEEPEST = 1.0  # [rad] of its pitch
SUCCESS = 4.0  # [m]: 1 m/s


class Hopper(Task):
    """The leg stands, and is to come forward. The error is the inverse of how far it comes [1/m],
    and an episode in which it falls is lost."""

    horizon = 200

    def __init__(self) -> None:
        self.name = "hopper"
        self.scene = load_scene(MJCF, control_hz=50.0, substeps=2)
        self.free = (FreeParameter("mass", "torso"), FreeParameter("friction", "foot"))

    def reset(self, key: Array) -> tuple[Start, Goal]:
        """Standing, each joint within 0.05 rad, at rest, the foot just above the floor."""
        u = jax.random.uniform(key, (4,), float, -1.0, 1.0)
        bent = jnp.array([0.05, 0.05, 0.05, 0.05]) * u - jnp.array([0.0, 0.1, 0.1, 0.0])
        return Start(jnp.concatenate([jnp.zeros(2), bent]), jnp.zeros(6)), {}

    def observe(self, measured: Measurement, goal: Goal) -> Array:
        """(11,) every joint but the way forward, and all velocities, of order one."""
        del goal
        return jnp.concatenate([measured.joints[1:], measured.velocities / 5.0])

    def failed(self, measured: Measurement, goal: Goal) -> Array:
        """Whether it has fallen."""
        del goal
        _, up, pitch, *_ = measured.joints
        return (up < LOWEST) | (jnp.abs(pitch) > STEEPEST)

    def reward(self, before: Measurement, action: Array, after: Measurement, goal: Goal) -> Array:
        """() how upright the leg stands, and how fast it comes forward [m/s]; both are smooth."""
        del goal
        speed = (after.joints[0] - before.joints[0]) * self.scene.control_hz
        _, up, pitch, *_ = after.joints
        low = jnp.minimum(up, 0.0)
        upright = jnp.exp(-jnp.square(low / 0.3) - jnp.square(pitch / 0.5))
        return 2.0 * upright + speed - 0.1 * jnp.sum(jnp.square(action))

    def error(self, episode: Episode) -> float:
        """[1/m] the inverse of the way forward."""
        return float(1.0 / max(episode.qpos[-1, 0] - episode.qpos[0, 0], 0.01))

    def success(self, episode: Episode) -> bool:
        """Whether it comes ``SUCCESS`` forward."""
        return self.error(episode) < 1.0 / SUCCESS
