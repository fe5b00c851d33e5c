"""Where a recording comes from: the real file, or a simulated stand-in where there is none.

The stand-in is made with C MuJoCo and hidden parameters, in exactly the layout of the real archive:
poses with tracking noise, velocities made as backward differences of the noisy poses, as the real
recordings' were.
"""

import dataclasses
import hashlib
import os
from pathlib import Path

import numpy as np

from experiments.recordings.problems import Problem, find_problem
from experiments.records import write_arrays
from worldmodel import runtime
from worldmodel._mujoco import mujoco
from worldmodel.episodes.split import split
from worldmodel.errors import InputError
from worldmodel.physics.oracle import trajectory
from worldmodel.scene.tangent import displaced, displacements
from worldmodel.types import Episode

SIMULATED_EPISODES = 80
POSITION_NOISE = 9e-5  # [m], as measured in free flight on the elbow
ANGLE_NOISE = 1e-3  # [rad] of a tracked pose; the elbow's hinge shows 1.5e-3
ENCODER_NOISE = 1e-4  # [rad] of the arm's joints: their encoders step by 1.9e-4
SUBSTEP = 2.5e-4  # [s] of the simulator, at most
FRAMES = {"double_pendulum": 1000}
DEFAULT_FRAMES = 120


@dataclasses.dataclass(frozen=True)
class Recording:
    """A recording's episodes and their origin."""

    problem: Problem
    simulated: bool
    digest: str  # SHA-256 of the file
    episodes: list[Episode]

    def part(self, name: str) -> list[Episode]:
        """The episodes of a split: "train", "validation" or "test"."""
        return [e for e in self.episodes if split(e.id) == name]


def read_recording(name: str, out: Path | None = None) -> Recording:
    """The recording of that name, in the folder WORLDMODEL_DATA.

    Args:
      out: folder of the run, for a simulated one where WORLDMODEL_DATA is not set; made when
        absent. None where a simulated one answers nothing.

    Raises:
      InputError: no such recording is known, or it must be real and WORLDMODEL_DATA is not set.
      FileNotFoundError: the folder lacks it.
    """
    problem, data = find_problem(name), os.environ.get("WORLDMODEL_DATA")
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    if data:
        path = Path(data) / f"{problem.name}.npz"
        if not path.is_file():
            raise FileNotFoundError(
                f"WORLDMODEL_DATA is {data}, but there is no {path.name} in it; "
                "correct it, or unset it to run on a simulated recording"
            )
    elif out is None:
        raise InputError(
            "WORLDMODEL_DATA is not set: set it to the folder with the real recordings "
            f"({problem.name}.npz); a table of simulated ones answers nothing"
        )
    else:
        path = out / f"simulated_{problem.name}.npz"
        runtime.log(
            "WORLDMODEL_DATA is not set: this run fits a SIMULATED recording, made with C MuJoCo "
            "and hidden parameters"
        )
        if not path.is_file():
            simulate(problem, episodes=SIMULATED_EPISODES, seed=0, out=path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Recording(problem, not data, digest, problem.episodes(path))


def simulate(problem: Problem, *, episodes: int, seed: int, out: Path) -> None:
    """Writes a simulated archive of a recording's layout.

    The hidden parameters are the sources' times exp(N(0, 0.25²)), friction exp(N(0, 0.4²)), and
    centres of mass moved by N(0, 3 mm) (in a planar scene: within the plane).

    Args:
      problem: whose layout and scene.
      episodes: how many; ids are 0, 1, 2, …
      seed: of everything random.
      out: written whole or not at all.
    """
    generator = np.random.default_rng(seed)
    spec = mujoco.MjSpec.from_file(str(problem.mjcf))
    rate = problem.columns.rate_hz or 500.0
    substeps = int(np.ceil(1 / (rate * SUBSTEP)))
    spec.option.timestep = 1 / (rate * substeps)
    _hide(spec, generator)
    model = spec.compile()
    frames = FRAMES.get(problem.name, DEFAULT_FRAMES)
    rolled = [_episode(model, frames, substeps, generator) for _ in range(episodes)]
    scene, exact = problem.scene(), np.stack([poses for poses, _ in rolled])
    moves = _noise(model) * generator.normal(size=(*exact.shape[:2], model.nv))
    qpos = displaced(scene, exact, moves)
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
    out.parent.mkdir(parents=True, exist_ok=True)
    write_arrays(out, arrays)


def _hide(spec: mujoco.MjSpec, generator: np.random.Generator) -> None:
    plane = all(joint.type != mujoco.mjtJoint.mjJNT_FREE for joint in spec.joints)
    for body in spec.bodies[1:]:
        factor = np.exp(0.25 * generator.normal(size=2))
        shift = 0.003 * generator.normal(size=3) * (np.array([1, 0, 1]) if plane else 1)
        body.mass, body.inertia = body.mass * factor[0], body.inertia * factor[0] * factor[1]
        body.ipos = body.ipos + shift
    for geom in spec.geoms:
        if geom.name != "table":
            friction = geom.friction[0] * np.exp(0.4 * generator.normal())
            geom.friction = [friction, *geom.friction[1:]]
    for joint in spec.joints:
        if np.any(joint.damping):
            joint.frictionloss = joint.frictionloss * np.exp(0.25 * generator.normal())


def _episode(
    model: mujoco.MjModel, frames: int, substeps: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Poses (frames, nq) and the torques played (frames, nu)."""
    start = mujoco.MjData(model)
    _throw(start, model, generator)
    torque = 0.8 * np.sin(np.cumsum(generator.normal(size=(frames, model.nu)), axis=0) / 40.0)
    after, _ = trajectory(model, start.qpos, start.qvel, torque[:-1], substeps)
    return np.vstack([start.qpos, after]), torque


def _throw(data: mujoco.MjData, model: mujoco.MjModel, generator: np.random.Generator) -> None:
    """A start like the real ones: released above the table, or hanging."""
    if model.nu:
        data.qpos[:] = 0.3 * generator.normal(size=model.nq)
        return
    flies = model.nq != model.nv  # with a quaternion in qpos[3:7]
    up = 2 if flies else 1
    data.qpos[up] = generator.uniform(0.12, 0.2)
    data.qvel[up] = generator.uniform(-1.5, 0.0)
    data.qvel[0] = generator.uniform(-1.0, 1.0)
    if flies:
        quaternion = generator.normal(size=4)
        data.qpos[3:7] = quaternion / np.linalg.norm(quaternion)
        data.qvel[3:6] = 5.0 * generator.normal(size=3)
    else:
        data.qpos[2], data.qvel[2] = generator.uniform(-np.pi, np.pi), 5.0 * generator.normal()
    for hinge in range(7, model.nq):
        data.qpos[hinge] = generator.uniform(-np.pi, np.pi)


def _noise(model: mujoco.MjModel) -> np.ndarray:
    """(nv,) deviation of a tracked pose [m, rad]."""
    if model.nu:
        return np.full(model.nv, ENCODER_NOISE)
    moves = 3 if model.nq != model.nv else 2  # in space, or in a plane
    return np.r_[np.full(moves, POSITION_NOISE), np.full(model.nv - moves, ANGLE_NOISE)]
