"""Simulated arms whose parameters are known, and what they record.

Positions and velocities are seen through noise, also those that a prediction starts from; nothing
else differs from the model that is fitted.
"""

import dataclasses
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.finetune.moved import numbers, unpacked
from worldmodel.model import WorldModel
from worldmodel.physics import parameters as physical
from worldmodel.scene import FreeParameter, load_scene
from worldmodel.types import Episode

CONTROL_HZ, SUBSTEPS = 50.0, 2
FRAMES = 100  # of an episode
HELD = 10  # frames between two goals of the command
POSE_NOISE, RATE_NOISE = 5e-4, 5e-3  # [rad], [rad/s]


@dataclasses.dataclass(frozen=True)
class Arm:
    """An arm, what is unknown of it, and what its commands are drawn from."""

    name: str
    joints: tuple[str, ...]
    kinds: tuple[str, ...]  # of each joint
    drives: tuple[str, ...]  # of each actuator, which are named as their joints

    @property
    def mjcf(self) -> Path:
        """The scene, next to this file."""
        return Path(__file__).with_name(f"{self.name}.xml")

    def world(self) -> WorldModel:
        """The model that is fitted; its own values are where the fit starts."""
        scene = load_scene(self.mjcf, control_hz=CONTROL_HZ, substeps=SUBSTEPS)
        free = [FreeParameter(kind, joint) for joint in self.joints for kind in self.kinds]
        # Drives whose gain is known to 20 %.
        free += [FreeParameter(k, j, 0.2 / 0.7) for j in self.joints for k in self.drives]
        return WorldModel(scene, tuple(free))


ROBOTS = (
    Arm("two_joints", ("shoulder", "elbow"), ("damping", "frictionloss", "armature"), ()),
    Arm(
        "six_joints",
        ("pan", "lift", "elbow", "pitch", "roll", "jaw"),
        ("damping", "frictionloss"),
        ("gain",),
    ),
)


def hidden(world: WorldModel, rng: np.random.Generator) -> np.ndarray:
    """(numbers,) true parameters, within one prior width of where the fit starts."""
    return rng.uniform(-1.0, 1.0, len(numbers(world)))


def record(
    world: WorldModel, u: np.ndarray, rng: np.random.Generator, episodes: int
) -> list[Episode]:
    """Episodes under the parameters ``u``, played by C MuJoCo on ramps between random commands."""
    scene = world.scene
    leaves = unpacked(world, jnp.asarray(u))
    text = physical.to_mjcf(scene, world.free, leaves)
    m = mujoco.MjModel.from_xml_string(text, scene.assets)
    d = mujoco.MjData(m)
    low, high = m.actuator_ctrlrange.T
    out = []
    for identity in range(episodes):
        mujoco.mj_resetData(m, d)
        goals = rng.uniform(low, high, (FRAMES // HELD + 2, m.nu))
        ramp = np.arange(FRAMES) / HELD
        ctrl = np.stack([np.interp(ramp, np.arange(len(goals)), g) for g in goals.T], axis=1)
        d.qpos[:] = rng.uniform(-0.5, 0.5, m.nq)
        qpos, qvel = np.zeros((FRAMES, m.nq)), np.zeros((FRAMES, m.nv))
        for k in range(FRAMES):
            qpos[k], qvel[k] = d.qpos, d.qvel
            d.ctrl[:] = ctrl[k]
            mujoco.mj_step(m, d, nstep=SUBSTEPS)
        out.append(
            Episode.regular(
                identity,
                CONTROL_HZ,
                qpos=qpos + POSE_NOISE * rng.normal(size=qpos.shape),
                qvel=qvel + RATE_NOISE * rng.normal(size=qvel.shape),
                ctrl=ctrl,
            )
        )
    return out
