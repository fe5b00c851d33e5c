"""What is fitted on each recording: scene, free parameters, windows, optimiser.

Frozen values beside the scripts that use them; a paper's configuration is another such value.
"""

import dataclasses
from pathlib import Path

from worldmodel.episodes.recordings import (
    CUBE_TOSS,
    DOUBLE_PENDULUM,
    ELBOW_TOSS,
    SQUARE_DROP,
    Recording,
    find,
)
from worldmodel.finetune import FitConfig
from worldmodel.physics.parameters import Free
from worldmodel.scene import ASSETS, Scene, load_scene


@dataclasses.dataclass(frozen=True)
class Problem:
    """One recording and how its physics is fitted."""

    recording: Recording
    substeps: int  # physics steps per frame of the fitted model
    source_substeps: int  # of the sources' own model, run in C MuJoCo
    free: tuple[Free, ...]
    train_stride: int  # frames between the starts of training windows
    fit: FitConfig

    @property
    def mjcf(self) -> Path:
        """MJCF with the sources' parameters: the fit's starting point."""
        return ASSETS / f"{self.recording.name}.xml"

    @property
    def default_mjcf(self) -> Path:
        """The same geometry with MuJoCo's default guess for everything else."""
        return ASSETS / f"{self.recording.name}_default.xml"

    def scene(self) -> Scene:
        """The scene that is fitted."""
        return load_scene(self.mjcf, control_hz=self.recording.control_hz, substeps=self.substeps)


_PLANAR = (1.0, 0.0, 1.0)  # x and z of a body that moves in the x–z plane

ELBOW = Problem(
    recording=ELBOW_TOSS,
    substeps=2,
    source_substeps=4,
    # Not link 1's mass: without a measured force only ratios of masses are observable.
    free=(
        Free("com", "link1"),
        Free("inertia", "link1"),
        Free("mass", "link2"),
        Free("com", "link2"),
        Free("inertia", "link2"),
        Free("friction", "link1"),
        Free("friction", "link2"),
        Free("solref", "link1"),
        Free("solref", "link2"),
        Free("solimp", "link1"),
        Free("solimp", "link2"),
        Free("geom_size", "link1"),
        Free("geom_size", "link2"),
        Free("geom_pos", "link1"),
        Free("geom_pos", "link2"),
        Free("damping", "hinge"),
        Free("frictionloss", "hinge"),
        Free("armature", "hinge"),
        Free("joint_pos", "hinge", (1.0, 0.0, 1.0)),  # a shift along the axis does nothing
        Free("joint_axis", "hinge"),
        Free("gravity_tilt", ""),
    ),
    train_stride=4,
    fit=FitConfig(),
)
CUBE = Problem(
    recording=CUBE_TOSS,
    substeps=4,
    source_substeps=10,
    free=(
        Free("com", "cube"),
        Free("inertia", "cube"),
        Free("friction", "cube"),
        Free("solref", "cube"),
        Free("solimp", "cube"),
        Free("geom_size", "cube"),
        Free("gravity_tilt", ""),
    ),
    train_stride=4,
    fit=FitConfig(),
)
SQUARE = Problem(
    recording=SQUARE_DROP,
    substeps=2,
    source_substeps=4,
    free=(
        Free("com", "square", _PLANAR),
        Free("inertia", "square", (1.0, 0.0, 1.0, 0.0, 0.0, 0.0)),
        Free("friction", "square"),
        Free("solref", "square"),
        Free("solimp", "square"),
        Free("geom_size", "square", _PLANAR),
        Free("gravity_tilt", "", (0.0, 1.0)),
    ),
    train_stride=4,
    fit=FitConfig(),
)
PENDULUM = Problem(
    recording=DOUBLE_PENDULUM,
    substeps=2,
    source_substeps=10,
    free=(
        Free("com", "link1", _PLANAR),
        Free("inertia", "link1", (1.0, 0.0, 1.0, 0.0, 0.0, 0.0)),
        Free("mass", "link2"),
        Free("com", "link2", _PLANAR),
        Free("inertia", "link2", (1.0, 0.0, 1.0, 0.0, 0.0, 0.0)),
        Free("damping", "shoulder"),
        Free("damping", "elbow"),
        Free("frictionloss", "shoulder"),
        Free("frictionloss", "elbow"),
        Free("armature", "shoulder"),
        Free("armature", "elbow"),
        Free("gain", "shoulder_motor"),
        Free("gain", "elbow_motor"),
    ),
    train_stride=5,
    fit=FitConfig(learning_rate=0.05),
)
PROBLEMS = {p.recording.name: p for p in (ELBOW, CUBE, SQUARE, PENDULUM)}


def find_problem(name: str) -> Problem:
    """The problem of a recording.

    Raises:
      RecordingError: an unknown name; the message lists the known ones.
    """
    return PROBLEMS[find(name).name]
