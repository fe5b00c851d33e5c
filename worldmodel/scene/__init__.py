"""Scenes from MJCF and back, or a refusal by name; poses and their differences."""

from worldmodel.scene.assets import write_mjcf
from worldmodel.scene.errors import SceneError, SceneWarning
from worldmodel.scene.free_parameter import FreeParameter
from worldmodel.scene.mjcf import to_mjcf
from worldmodel.scene.report import Report, report
from worldmodel.scene.scene import Scene, compile_scene, load_scene, parse_mjcf

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
    "write_mjcf",
]
