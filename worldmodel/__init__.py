"""Differentiable-physics world models in JAX: MuJoCo's contact simulator, fitted to reality.

The public names are imported when they are first used, so that ``import worldmodel`` costs nothing
and the scoreboard runs without JAX. What shares its name with a room is imported from there:
``worldmodel.rollout.rollout``, ``worldmodel.loop.finetune``, ``worldmodel.trust``.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from worldmodel.episodes.columns import Columns
    from worldmodel.episodes.errors import Channels, episode_errors
    from worldmodel.episodes.reading import read_episodes
    from worldmodel.episodes.windows import WindowGrid, Windows
    from worldmodel.errors import InputError
    from worldmodel.finetune.adam import FitConfig, fit
    from worldmodel.finetune.gauss_newton import IdentifyConfig, identify
    from worldmodel.loop import Version, generate
    from worldmodel.model import Displacement, Force, Network, Velocity, WorldModel, init
    from worldmodel.model.simulate import predict, simulate
    from worldmodel.physics import step
    from worldmodel.reality import capture, deploy
    from worldmodel.runtime import configure
    from worldmodel.scene import FreeParameter, Scene, load_scene
    from worldmodel.tasks.task import Task
    from worldmodel.types import Episode, Measurement, Policy, Start, State

__version__ = "0.1.0"

_HOMES = {
    "episodes.columns": ("Columns",),
    "episodes.errors": ("Channels", "episode_errors"),
    "episodes.reading": ("read_episodes",),
    "episodes.windows": ("WindowGrid", "Windows"),
    "errors": ("InputError",),
    "finetune.adam": ("FitConfig", "fit"),
    "finetune.gauss_newton": ("IdentifyConfig", "identify"),
    "loop": ("Version", "generate"),
    "model": ("Displacement", "Force", "Network", "Velocity", "WorldModel", "init"),
    "model.simulate": ("predict", "simulate"),
    "physics": ("step",),
    "reality": ("capture", "deploy"),
    "runtime": ("configure",),
    "scene": ("FreeParameter", "Scene", "load_scene"),
    "tasks.task": ("Task",),
    "types": ("Episode", "Measurement", "Policy", "Start", "State"),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'worldmodel' has no attribute '{name}'")
    return getattr(importlib.import_module(f"worldmodel.{_HOME[name]}"), name)
