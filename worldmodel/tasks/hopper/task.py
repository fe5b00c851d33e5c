"""Task "hopper": a leg hops forward along a floor and does not fall."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel.scene import FreeParameter, load_scene
from worldmodel.tasks.task import Task
from worldmodel.types import Array, Episode, Goal, Measurement, Start

MJCF = Path(__file__).with_name("scene.xml")
LOWEST = -0.45  # [m] of the torso, from where it stands
STEEPEST = 0.6  # [rad] of its pitch
LOW, STEEP = 0.3, 0.3  # [m], [rad] at which an upright posture earns nothing
SUCCESS = 4.0  # [m]: 1 m/s
SHORTEST = 0.25  # [m]; less is no way: the foot of a leg that only topples slips by up to 0.2
THIGH, SHIN, HIP = 0.45, 0.5, 0.2  # [m] lengths of the links, and of the hip below the torso


class Hopper(Task):
    """The leg stands, and is to come forward. The error is the inverse of how far its foot comes
    [1/m] before it falls, and an episode in which it falls is lost."""

    horizon = 400

    def __init__(self) -> None:
        self.name = "hopper"
        self.scene = load_scene(MJCF, control_hz=100.0, substeps=1)
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
        return _fallen(up, pitch)

    def reward(self, before: Measurement, action: Array, after: Measurement, goal: Goal) -> Array:
        """() how upright the leg stands, 1 at most, and how fast it comes forward [m/s].

        Its slope grows towards a fall. Where the posture's reward saturates (a bell of widths 0.3 m
        and 0.5 rad), a fall at 1 rad has no derivative that warns of it: gradients lunged.
        """
        del goal
        speed = (after.joints[0] - before.joints[0]) * self.scene.control_hz
        _, up, pitch, *_ = after.joints
        low = jnp.minimum(up, 0.0)
        upright = 1.0 - jnp.square(low / LOW) - jnp.square(pitch / STEEP)
        return upright + speed - 0.01 * jnp.sum(jnp.square(action))

    def error(self, episode: Episode) -> float:
        """[1/m] the inverse of the ankle's way forward until the leg falls, at least ``SHORTEST``.

        The ankle's and not the torso's, which comes forward by 0.9 m as the leg collapses.
        """
        fallen = _fallen(episode.qpos[:, 1], episode.qpos[:, 2])
        last = np.argmax(fallen) if fallen.any() else -1
        ankle = _ankle(episode.qpos)
        return float(1.0 / max(ankle[last] - ankle[0], SHORTEST))

    def success(self, episode: Episode) -> bool:
        """Whether it comes ``SUCCESS`` forward."""
        return self.error(episode) < 1.0 / SUCCESS


def _fallen(up: Any, pitch: Any) -> Any:
    return (up < LOWEST) | (abs(pitch) > STEEPEST)


def _ankle(qpos: np.ndarray) -> np.ndarray:
    """(frames,) [m] where the ankle is along the floor, of qpos (frames, 6)."""
    forward, _, pitch, hip, knee, _ = qpos.T
    thigh = pitch - hip  # hip and knee turn against the pitch
    shin = thigh - knee
    return forward - HIP * np.sin(pitch) - THIGH * np.sin(thigh) - SHIN * np.sin(shin)
