"""Tosses of a cube that never land, tracked with known noise."""

import numpy as np

from experiments.recordings.problems import CUBE
from experiments.tosses_alpha.versions import recorded, tracked
from worldmodel._mujoco import mujoco
from worldmodel.types import Episode

SCENE = CUBE.scene()


def flights(count: int, noise: np.ndarray, frames: int = 40) -> list[Episode]:
    """Free flights of a spinning cube from 3 m, tracked with noise of deviation (nv,) [m, rad]."""
    m, rate = SCENE.mj_model, SCENE.control_hz
    rng = np.random.default_rng(0)
    out = np.empty((count, frames, m.nq))
    for toss in out:
        qpos, qvel = m.qpos0.copy(), rng.normal(size=m.nv)
        qpos[2] = 3.0
        for k in range(frames):
            toss[k] = qpos
            mujoco.mj_integratePos(m, qpos, qvel, 1.0 / rate)
            qvel[2] -= 9.81 / rate
    return recorded(SCENE, tracked(SCENE, out, noise, [1]), np.full(count, frames))
