"""A simulated machine in an episode, and the moments in which a disturbance acts on it."""

import dataclasses
from collections.abc import Callable

import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.errors import InputError
from worldmodel.scene.names import element_name
from worldmodel.types import Names

OnCommand = Callable[[np.ndarray], np.ndarray]
OnMeasurement = Callable[[np.ndarray, np.ndarray], None]
_COUNTS = {"geom": "ngeom", "joint": "njnt", "body": "nbody", "actuator": "nu"}


@dataclasses.dataclass(frozen=True)
class Plant:
    """One episode of a simulated machine, at rest at its start."""

    model: mujoco.MjModel
    before: mujoco.MjModel  # the model before its first episode
    data: mujoco.MjData
    held: np.ndarray  # (nu,) the commands that hold the start
    control_hz: float


class Disturbance:
    """Subclass it as a frozen dataclass, and override the moment in which it acts."""

    def change(self, model: mujoco.MjModel) -> None:
        """Changes the model, once; derived constants are computed again afterwards. A factor that
        varies within an episode multiplies the number of ``Plant.before``."""

    def commands(self, plant: Plant) -> OnCommand | None:
        """Of an episode: what is called with every command, (nu,), before its control step, and
        returns the command that is passed on."""

    def measurements(self, names: Names, generator: np.random.Generator) -> OnMeasurement | None:
        """What is called with the joints, (joints,), and objects, (objects, 7), of every
        measurement, and changes them in place."""


def index(model: mujoco.MjModel, kind: str, name: str) -> int:
    """The number of an element.

    Raises:
      InputError: the MJCF has none of that name.
    """
    names = [element_name(model, kind, i) for i in range(getattr(model, _COUNTS[kind]))]
    if name not in names:
        raise InputError(f"the simulated robot's MJCF has no {kind} '{name}'; it has {names}")
    return names.index(name)


def indices(model: mujoco.MjModel, kind: str, names: tuple[str, ...]) -> list[int]:
    """The numbers of elements; all where none is named."""
    if not names:
        return list(range(getattr(model, _COUNTS[kind])))
    return [index(model, kind, name) for name in names]


def dofs(model: mujoco.MjModel, joints: tuple[str, ...]) -> np.ndarray:
    """The degrees of freedom of joints; all where none is named."""
    return np.flatnonzero(np.isin(model.dof_jntid, indices(model, "joint", joints)))
