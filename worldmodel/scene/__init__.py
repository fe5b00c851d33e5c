"""Scenes from MJCF and back, or a refusal by name; poses and their differences."""

from worldmodel.scene.free_parameter import FreeParameter
from worldmodel.scene.mjcf import to_mjcf
from worldmodel.scene.report import Report, report
from worldmodel.scene.scene import Scene, compile_scene, load_scene, parse_mjcf
from worldmodel.scene.unsupported import SceneError, SceneWarning

__all__ = [
    "FreeParameter",
    "Report",
    "Scene",
    "SceneError",
    "SceneWarning",
    "compile_scene",
    "load_scene",
    "parse_mjcf",
    "report",
    "to_mjcf",
]
