"""Episodes with a planted acceleration that the physics lacks, and an arm regressed on them."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.episodes.windows import Windows, cut_windows
from worldmodel.finetune.regression import (
    RegressionConfig,
    RegressionData,
    regress,
    regression_data,
    standards,
)
from worldmodel.model import Network, Parameters, Velocity, WorldModel, init
from worldmodel.model.ensemble import members
from worldmodel.scene import FreeParameter, Scene, load_scene
from worldmodel.types import Episode

HZ, FRAMES = 50.0, 60
ARM = """<body><joint name="arm" axis="0 1 0" damping="0.01"/>
<geom type="capsule" fromto="0 0 0 0 0 -.3" size=".02" mass=".5" contype="0" conaffinity="0"/>
</body></worldbody><actuator><motor joint="arm"/></actuator><worldbody>"""
FREE_BODY = """<body><freejoint/><geom type="box" size=".05 .04 .03" mass=".3"/></body>"""
Acceleration = Callable[[np.ndarray], np.ndarray]  # velocities in the body's frame → (nv,)


def scene_of(bodies: str) -> Scene:
    return load_scene(
        f'<mujoco model="arm"><worldbody>{bodies}</worldbody></mujoco>',
        control_hz=HZ,
        substeps=1,
    )


def rotation_of(qpos: np.ndarray) -> np.ndarray:
    """Of a free body whose joint comes first; the identity where there is none."""
    matrix = np.eye(3).reshape(-1)
    if len(qpos) >= 7:
        mujoco.mju_quat2Mat(matrix, qpos[3:7])
    return matrix.reshape(3, 3)


def recorded(scene: Scene, acceleration: Acceleration, count: int, seed: int) -> list[Episode]:
    """C MuJoCo, and after every step the velocity that the acceleration adds in it."""
    m, rng, dt = scene.mj_model, np.random.default_rng(seed), 1.0 / HZ
    data, episodes = mujoco.MjData(m), []

    def frame(v: np.ndarray, rotation: np.ndarray) -> np.ndarray:
        return np.r_[rotation @ v[:3], v[3:]] if m.nv >= 6 else v

    for index in range(count):
        mujoco.mj_resetData(m, data)
        mujoco.mj_integratePos(m, data.qpos, rng.normal(size=m.nv), 1.0)
        data.qvel[:] = 2.0 * rng.normal(size=m.nv)
        ctrl = rng.normal() * np.sin(rng.uniform(2, 6) * np.arange(FRAMES) / HZ)[:, None]
        ctrl = ctrl[:, : m.nu]
        qpos, qvel = [], []
        for held in ctrl:
            qpos.append(data.qpos.copy())
            qvel.append(data.qvel.copy())
            rotation = rotation_of(qpos[-1])
            added = frame(dt * acceleration(frame(qvel[-1], rotation.T)), rotation)
            data.ctrl[:] = held
            mujoco.mj_step(m, data)
            mujoco.mj_integratePos(m, data.qpos, added, dt)
            data.qvel[:] += added
        played = {"qpos": np.stack(qpos), "qvel": np.stack(qvel), "ctrl": ctrl}
        episodes.append(Episode.regular(index, HZ, **played))
    return episodes


def windows_of(episodes: list[Episode], horizon: int, stride: int = 1) -> Windows:
    starts = np.arange(0, FRAMES - horizon, stride)
    return cut_windows(episodes, [starts] * len(episodes), horizon)


def drag(velocity: np.ndarray) -> np.ndarray:
    """Linear and quadratic, and a push: what no parameter of the scene can express."""
    return 2.0 - 1.5 * velocity - 0.3 * velocity * np.abs(velocity)


regressed = functools.partial(regress, stop=lambda: False)
REGRESSION = RegressionConfig(
    steps=600, batch=128, learning_rate=1e-2, weight_decay=1e-3, validate_every=50
)


@dataclasses.dataclass(frozen=True)
class Arm:
    """An arm whose reality is known, and what regression has learned of it."""

    world: WorldModel
    origin: Parameters
    train: list[Episode]
    validation: list[Episode]
    train_data: RegressionData
    validation_data: RegressionData
    start: Parameters
    rows: list[dict[str, Any]]


@functools.cache
def arm() -> Arm:
    """Regression of the arm's planted acceleration, run once."""
    scene = scene_of(ARM)
    network = Network(latent=4, width=16)
    world = WorldModel(
        scene, (FreeParameter("damping", "arm"),), correction=Velocity(), network=network
    )
    origin = members(init(world, jax.random.key(0)))[0]
    train, validation = (recorded(scene, drag, n, seed=n) for n in (8, 3))
    train_data, validation_data = (
        regression_data(world, origin, windows_of(e, 1)) for e in (train, validation)
    )
    origin["network"]["norm"] = standards(world, train_data)
    rows: list[dict[str, Any]] = []
    start = regressed(world, origin, train_data, validation_data, REGRESSION, record=rows.append)
    return Arm(world, origin, train, validation, train_data, validation_data, start, rows)


def leaves(tree: Any) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def equal(a: Any, b: Any) -> bool:
    """Whether two pytrees hold the same numbers, bit for bit."""
    return all(
        np.array_equal(x, y, equal_nan=True) for x, y in zip(leaves(a), leaves(b), strict=True)
    )
