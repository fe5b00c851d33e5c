"""Scenes from MJCF and back, or a refusal by name; poses and their differences."""

from worldmodel.scene.free_parameter import FreeParameter
from worldmodel.scene.mjcf import to_mjcf
from worldmodel.scene.scene import Scene, compile_scene, load_scene, parse_mjcf
from worldmodel.scene.unsupported import SceneError

__all__ = [
    "FreeParameter",
    "Scene",
    "SceneError",
    "compile_scene",
    "load_scene",
    "parse_mjcf",
    "to_mjcf",
]
