"""The scenes whose gradients are timed: from a cube on a plane to a gripper that holds one."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from experiments.recordings.problems import CUBE, ELBOW, free_parameters
from worldmodel.scene import FreeParameter, Scene, load_scene

STEP_HZ = 500.0
HERE = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Bench:
    """A scene, what is differentiated, and a state in which everything touches."""

    scene: Scene
    free: tuple[FreeParameter, ...]
    qpos: np.ndarray  # (nq,)
    qvel: np.ndarray  # (nv,)
    ctrl: np.ndarray  # (nu,) held


def _load(mjcf: Path) -> Scene:
    return load_scene(mjcf, control_hz=STEP_HZ, substeps=1)


def cube() -> Bench:
    """The tossed cube, tilted, an edge in the table."""
    qpos = np.array([0, 0, 0.0640, np.cos(0.15), 0.0, np.sin(0.15), 0])
    qvel = np.array([0.5, 0.2, -0.1, 0.3, 0.4, 1.0])
    return Bench(_load(CUBE.mjcf), CUBE.free, qpos, qvel, np.zeros(0))


def elbow() -> Bench:
    """The tossed elbow, flat and a millimetre deep in the table, turning and opening."""
    qpos = np.array([0, 0, 0.0240, 1.0, 0, 0, 0, 0.0])
    qvel = np.array([0.6, 0.3, 0.0, 0.0, 0.0, 2.0, 1.0])
    return Bench(_load(ELBOW.mjcf), ELBOW.free, qpos, qvel, np.zeros(0))


def t_block() -> Bench:
    """A T on the table, pushed off its centre."""
    free = (
        *free_parameters("mass com inertia", "block"),
        *free_parameters("friction solref solimp geom_size geom_pos", "bar", "stem"),
        *free_parameters("friction solref solimp", "pusher"),
        *free_parameters("damping armature", "push_x", "push_y"),
        *free_parameters("gain", "servo_x", "servo_y"),
    )
    qpos = np.array([0, 0, 0.0198, 1, 0, 0, 0, 0, 0])
    qvel = np.array([0, -0.2, 0, 0, 0, -0.5, 0.0, -0.25])
    return Bench(_load(HERE / "t_block.xml"), free, qpos, qvel, np.array([0.0, -0.05]))


def hopper() -> Bench:
    """A planar hopper that lands on its foot."""
    free = (
        *free_parameters("mass com inertia", "torso", "thigh", "leg", "foot"),
        *free_parameters("damping armature", "hip", "knee", "ankle"),
        *free_parameters("gain", "hip", "knee", "ankle"),
        *free_parameters("friction solref solimp", "foot"),
    )
    qpos = np.array([0, 0.009, 0.02, -0.05, -0.1, 0.07])
    qvel = np.array([0.8, -0.6, 0.2, 0.5, -0.5, 0.3])
    return Bench(_load(HERE / "hopper.xml"), free, qpos, qvel, np.array([0.1, -0.2, 0.1]))


def gripper() -> Bench:
    """Two fingers that squeeze a cube on the table and begin to lift it."""
    free = (
        *free_parameters("mass com inertia", "cube"),
        *free_parameters("friction solref geom_size", "cube"),
        *free_parameters("friction solref", "left", "right"),
        *free_parameters("damping armature", "lift", "left", "right"),
        *free_parameters("gain", "lift", "left", "right"),
    )
    qpos = np.array([0, 0, 0.0249, 1, 0, 0, 0, 0, -0.0008, -0.0008])
    qvel = np.array([0, 0, 0, 0, 0, 0, 0.1, 0.02, 0.03])
    return Bench(_load(HERE / "gripper.xml"), free, qpos, qvel, np.array([0.02, 4.0, 4.0]))


SCENES: dict[str, Callable[[], Bench]] = {
    "cube": cube,
    "elbow": elbow,
    "t_block": t_block,
    "hopper": hopper,
    "gripper": gripper,
}
