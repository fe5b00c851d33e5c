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

    repository: str  # owner/name on GitHub
    path: str  # of the MJCF in the repository
    assets: str = ""  # owner/name/folder with its meshes, where its project passes them by name

    @property
    def name(self) -> str:
        """Repository and path."""
        return f"{self.repository}/{self.path}"

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


def _of(repository: str, folder: str, files: str, assets: str = "") -> list[PublicScene]:
    """Scenes of one folder; the files' endings are left out."""
    return [PublicScene(repository, f"{folder}/{f}.xml", assets) for f in files.split()]


_PLAYGROUND = "google-deepmind/mujoco_playground"
_LOCOMOTION = "mujoco_playground/_src/locomotion"
_MENAGERIE = "google-deepmind/mujoco_menagerie"

SCENES: tuple[PublicScene, ...] = (
    *_of(
        "Farama-Foundation/Gymnasium",
        "gymnasium/envs/mujoco/assets",
        "inverted_pendulum inverted_double_pendulum reacher hopper pusher_v5 humanoid",
    ),
    *_of(
        "google-deepmind/dm_control",
        "dm_control/suite",
        "acrobot pendulum cartpole point_mass reacher ball_in_cup finger hopper walker cheetah",
    ),
    *_of(
        _PLAYGROUND,
        "mujoco_playground/_src/dm_control_suite/xmls",
        "ball_in_cup finger walker hopper fish",
    ),
    *_of(
        "google-deepmind/mujoco",
        "mjx/mujoco/mjx/test_data",
        "pendula actuator/tendon_force_clamp tendon/site_wrap tendon/tendon "
        "barkour_v0/assets/barkour_v0_mjx",
    ),
    *_of(
        "Farama-Foundation/Gymnasium-Robotics",
        "gymnasium_robotics/envs/assets",
        "fetch/reach",
    ),
    *_of(
        _PLAYGROUND,
        f"{_LOCOMOTION}/go1/xmls",
        "scene_mjx_feetonly_flat_terrain",
        f"{_MENAGERIE}/unitree_go1/assets",
    ),
    *_of(
        _PLAYGROUND,
        f"{_LOCOMOTION}/berkeley_humanoid/xmls",
        "scene_mjx_feetonly_flat_terrain",
        f"{_MENAGERIE}/berkeley_humanoid/assets",
    ),
    *_of(
        _PLAYGROUND,
        f"{_LOCOMOTION}/g1/xmls",
        "scene_mjx_feetonly_flat_terrain",
        f"{_MENAGERIE}/unitree_g1/assets",
    ),
    PublicScene(_MENAGERIE, "unitree_go1/scene_mjx.xml"),
    PublicScene(_MENAGERIE, "unitree_a1/scene.xml"),
    PublicScene(_MENAGERIE, "google_barkour_vb/scene_mjx.xml"),
    PublicScene(_MENAGERIE, "universal_robots_ur5e/scene.xml"),
    PublicScene(_MENAGERIE, "franka_emika_panda/mjx_single_cube.xml"),
    PublicScene(_MENAGERIE, "robotiq_2f85/scene.xml"),
    PublicScene(_MENAGERIE, "shadow_hand/scene_right.xml"),
)

# Written by this project in the manner of others'; measured by the tests.
QUICK: tuple[PublicScene, ...] = tuple(
    PublicScene("quick", f"{name}.xml")
    for name in ("cart_pole", "ball_in_cup", "planar_hopper", "finger", "quadruped")
)
