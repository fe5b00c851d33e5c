"""Scenes of other projects, named by repository and path; none of them is committed here.

Whoever measures them clones the repositories into one folder, as ``owner/name``.
"""

import dataclasses
from pathlib import Path

from worldmodel.scene import Scene, compile_scene, parse_mjcf

FOLDER = Path(__file__).parent  # of QUICK


@dataclasses.dataclass(frozen=True)
class PublicScene:
    """An MJCF of a public repository."""

    name: str  # owner/name on GitHub, and its path there
    assets: str = ""  # owner/name/folder with its meshes, where its project passes them by name

    def absent(self, folder: Path) -> str:
        """How to get what of it is not in the folder; empty where all is there."""
        for path in (self.name, self.assets):
            repository = "/".join(path.split("/")[:2])
            if not (folder / path).exists():
                return f"git clone https://github.com/{repository} FOLDER/{repository}"
        return ""

    def load(self, folder: Path) -> Scene:
        """The scene at its own timestep, one substep per control step.

        Raises:
          SceneError: it does not compile, or cannot run here.
        """
        paths = (folder / self.assets).iterdir() if self.assets else ()
        assets = {path.name: path.read_bytes() for path in paths if path.is_file()}
        spec = parse_mjcf(folder / self.name, assets)
        return compile_scene(spec, control_hz=1.0 / spec.option.timestep, substeps=1)


_PLAYGROUND = "google-deepmind/mujoco_playground/mujoco_playground/_src"
_MENAGERIE = "google-deepmind/mujoco_menagerie"
_FOLDERS = {
    "Farama-Foundation/Gymnasium/gymnasium/envs/mujoco/assets": (
        "inverted_pendulum inverted_double_pendulum reacher hopper pusher_v5 humanoid"
    ),
    "google-deepmind/dm_control/dm_control/suite": (
        "acrobot pendulum cartpole point_mass reacher ball_in_cup finger hopper walker cheetah"
    ),
    f"{_PLAYGROUND}/dm_control_suite/xmls": "ball_in_cup finger walker hopper fish",
    "google-deepmind/mujoco/mjx/mujoco/mjx/test_data": (
        "pendula actuator/tendon_force_clamp tendon/site_wrap tendon/tendon "
        "barkour_v0/assets/barkour_v0_mjx"
    ),
    "Farama-Foundation/Gymnasium-Robotics/gymnasium_robotics/envs/assets": "fetch/reach",
    **{
        f"{_PLAYGROUND}/locomotion/{robot}/xmls": "scene_mjx_feetonly_flat_terrain"
        for robot in ("go1", "berkeley_humanoid", "g1")
    },
    _MENAGERIE: (
        "unitree_go1/scene_mjx unitree_a1/scene google_barkour_vb/scene_mjx "
        "universal_robots_ur5e/scene franka_emika_panda/mjx_single_cube robotiq_2f85/scene "
        "shadow_hand/scene_right"
    ),
    "quick": "cart_pole ball_in_cup planar_hopper finger quadruped",
}
_MESHES = {
    f"{_PLAYGROUND}/locomotion/{robot}/xmls": f"{_MENAGERIE}/{meshes}/assets"
    for robot, meshes in (
        ("go1", "unitree_go1"),
        ("berkeley_humanoid", "berkeley_humanoid"),
        ("g1", "unitree_g1"),
    )
}
_ALL = [
    PublicScene(f"{folder}/{file}.xml", _MESHES.get(folder, ""))
    for folder, files in _FOLDERS.items()
    for file in files.split()
]
# Written by this project in the manner of others'; measured by the tests.
QUICK = tuple(scene for scene in _ALL if scene.name.startswith("quick/"))
SCENES = tuple(scene for scene in _ALL if scene not in QUICK)
