"""Simulated archives in the layouts of the recordings, for tests that need no real one."""

import functools
from pathlib import Path

import numpy as np

from experiments.recordings.problems import Problem
from worldmodel._mujoco import mujoco
from worldmodel.physics.oracle import trajectory
from worldmodel.runtime.records import write_arrays
from worldmodel.scene.tangent import displaced, displacements

POSITION_NOISE, ANGLE_NOISE = 9e-5, 1e-3  # [m], [rad] of a tracked pose
ENCODER_NOISE = 1e-4  # [rad] of the arm's joints


def simulate(problem: Problem, *, episodes: int, seed: int, out: Path, frames: int = 0) -> None:
    """Writes an archive, with C MuJoCo: masses and frictions are hidden, poses are noisy, and
    velocities are backward differences of them, as the real recordings' are.

    Args:
      episodes: how many; ids are 0, 1, 2, …
      frames: of each; 120, of the arm 1000, where 0.
    """
    generator = np.random.default_rng(seed)
    spec = mujoco.MjSpec.from_file(str(problem.mjcf))
    rate = problem.columns.rate_hz or 500.0
    frames = frames or (120 if problem.columns.rate_hz else 1000)
    substeps = int(np.ceil(4000.0 / rate))
    spec.option.timestep = 1 / (rate * substeps)
    for body in spec.bodies[1:]:
        factor = np.exp(0.25 * generator.normal(size=2))
        body.mass, body.inertia = body.mass * factor[0], body.inertia * factor[0] * factor[1]
    for geom in spec.geoms:
        if geom.name != "table":
            factor = np.exp(0.4 * generator.normal())
            geom.friction = [geom.friction[0] * factor, *geom.friction[1:]]
    model = spec.compile()
    played = functools.partial(_episode, model, frames, substeps, generator)
    rolled = [played() for _ in range(episodes)]
    scene, exact = problem.scene(), np.stack([poses for poses, _ in rolled])
    qpos = displaced(
        scene, exact, _noise(model) * generator.normal(size=(*exact.shape[:2], model.nv))
    )
    qvel = displacements(scene, qpos[:, :-1], qpos[:, 1:]) * rate
    qvel = np.concatenate([qvel[:, :1], qvel], axis=1)  # the first frame has none before it
    arrays: dict[str, np.ndarray] = {
        "qpos": np.concatenate(qpos).astype(np.float32),
        "qvel": np.concatenate(qvel).astype(np.float32),
        "start": np.arange(episodes + 1) * frames,
        "id": np.arange(episodes),
    }
    if problem.columns.rate_hz is None:
        torque = np.concatenate([u for _, u in rolled]).astype(np.float32)
        arrays |= {"ctrl": torque, "torque_measured": torque}
        arrays |= {"time": np.tile(np.arange(frames) / rate, episodes)}
    else:
        arrays |= {"rate_hz": np.array(rate)}
    write_arrays(out, arrays)


def _episode(
    model: mujoco.MjModel, frames: int, substeps: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Poses (frames, nq) of an arm that is driven, or of what is thrown, and the torques played
    (frames, nu)."""
    qpos, qvel = np.array(model.qpos0), np.zeros(model.nv)
    flies = model.nq != model.nv  # with a quaternion in qpos[3:7]
    if model.nu:
        qpos += 0.3 * generator.normal(size=model.nq)
    else:
        up, spin, angles = (2, slice(3, 6), slice(7, None)) if flies else (1, 2, slice(2, None))
        qpos[up], qvel[up] = generator.uniform(0.12, 0.2), generator.uniform(-1.5, 0.0)
        qvel[0] = generator.uniform(-1.0, 1.0)
        qvel[spin] = 5.0 * generator.normal(size=np.shape(qvel[spin]))
        qpos[angles] = generator.uniform(-np.pi, np.pi, len(qpos[angles]))
    if flies:
        quaternion = generator.normal(size=4)
        qpos[3:7] = quaternion / np.linalg.norm(quaternion)
    torque = 0.8 * np.sin(np.cumsum(generator.normal(size=(frames, model.nu)), axis=0) / 40.0)
    after, _ = trajectory(model, qpos, qvel, torque[:-1], substeps)
    return np.vstack([qpos, after]), torque


def _noise(model: mujoco.MjModel) -> np.ndarray:
    """(nv,) deviation of a tracked pose [m, rad]."""
    if model.nu:
        return np.full(model.nv, ENCODER_NOISE)
    moves = 3 if model.nq != model.nv else 2  # in space, or in a plane
    return np.r_[np.full(moves, POSITION_NOISE), np.full(model.nv - moves, ANGLE_NOISE)]
