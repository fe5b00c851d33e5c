"""A scene with nq ≠ nv: a free box on corner spheres, through deploy, windows and files."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from tests.helpers.sled import rest
from worldmodel.episodes.windows import WindowGrid
from worldmodel.reality import Robot, SimulatedRobot, capture, deploy, measurement
from worldmodel.rollout import Replay
from worldmodel.scene import load_scene
from worldmodel.tasks import sensors
from worldmodel.tasks.task import Task
from worldmodel.types import Measurement, Start, Trial

HZ = 50.0
CORNERS = "".join(
    f'<geom name="foot{i}" size=".01" pos="{x} {y} -.02" mass="0" friction=".6"/>'
    for i, (x, y) in enumerate([(-0.03, -0.03), (-0.03, 0.03), (0.03, -0.03), (0.03, 0.03)])
)
MJCF = f"""
<mujoco model="tray"><worldbody>
  <geom name="table" type="plane" size="0 0 .1"/>
  <body name="finger" pos="-.1 0 .03"><joint name="x" type="slide" axis="1 0 0" damping="1"/>
    <geom name="tip" size=".02" mass=".2"/></body>
  <body name="box" pos="0 .01 .03"><freejoint/>
    <geom type="box" size=".03 .03 .02" mass=".3" contype="0" conaffinity="0"/>
    <geom name="side" type="sphere" size=".02" pos="-.02 0 0" mass="0"/>{CORNERS}</body>
</worldbody><actuator><position name="x" joint="x" kp="200" kv="5" ctrlrange="-.2 .2"/></actuator>
</mujoco>
"""


class Push(Task):
    horizon = 50

    def __init__(self) -> None:
        self.scene = load_scene(MJCF, control_hz=HZ, substeps=10)
        self.sensors = sensors.all_sensors(self.scene, (("tip", "side"),))

    def success(self, episode: object) -> bool | None:
        return None


PUSH = Push()
TRIAL = Trial(rest(PUSH), {}, Replay(jnp.linspace(0.0, 1.0, PUSH.horizon)[:, None]))
KEY = jax.random.key(0)


def test_a_pushed_free_box_comes_back_from_robot_windows_and_files(tmp_path: Path) -> None:
    assert PUSH.scene.mj_model.nq == 8 and PUSH.scene.mj_model.nv == 7
    episode = deploy(SimulatedRobot(PUSH), PUSH, TRIAL, 0, KEY)
    assert episode.qpos.shape == (51, 8) and episode.qvel.shape == (51, 7)
    assert episode.contact is not None and episode.contact.any() and not episode.contact[0].any()
    moved = episode.qpos[-1] - episode.qpos[0]
    assert moved[1] > 0.05 and abs(episode.qpos[-1, 7]) > 0.01  # it slid, and turned about z

    windows, skipped = WindowGrid(first=0, stride=5, horizon=10).cut([episode])
    assert skipped == 0 and windows.target.shape == (9, 10, 8) and windows.qvel.shape == (9, 7)
    np.testing.assert_array_equal(windows.target[3], episode.qpos[16:26])
    np.testing.assert_array_equal(windows.ctrl[3], episode.ctrl[15:25])

    capture(tmp_path, SimulatedRobot(PUSH), PUSH, [TRIAL], KEY)
    (read,) = capture(tmp_path, SimulatedRobot(PUSH), PUSH, [TRIAL], KEY)
    for name in ("qpos", "qvel", "ctrl", "contact", "action", "time"):
        np.testing.assert_array_equal(getattr(read, name), getattr(episode, name), name)
    measured = sensors.measurements(PUSH.scene, PUSH.sensors, read)
    np.testing.assert_array_equal(measured.objects[:, 0], episode.qpos[:, 1:])


class Watched:
    """A camera that follows an even movement of the box, and does not see it in frame 3."""

    control_hz, names, max_rate = HZ, PUSH.sensors, np.array([np.inf])
    velocity, turn = np.array([0.3, -0.2, 0.1]), np.array([0.4, -1.0, 2.0])
    frame = -1

    def pose(self) -> np.ndarray:
        time, angle = self.frame / HZ, float(np.linalg.norm(self.turn))
        axis = self.turn / angle
        return np.array(
            [*self.velocity * time, np.cos(angle * time / 2), *np.sin(angle * time / 2) * axis]
        )

    def connect(self) -> None: ...

    def reset(self, start: Start) -> Measurement:
        self.frame = -1
        return self.step(np.zeros(1))

    def step(self, ctrl: np.ndarray) -> Measurement:
        self.frame += 1
        pose = np.full(7, np.nan) if self.frame == 3 else self.pose()
        return measurement(self.names, [0.5 * self.frame / HZ], objects=pose[None])

    def stop(self) -> None: ...

    def close(self) -> None: ...


def test_velocities_are_in_the_space_of_qvel_and_an_unseen_pose_is_not_measured() -> None:
    robot: Robot = Watched()
    episode = deploy(robot, PUSH, TRIAL, 0, KEY)
    expected = np.tile([0.5, *Watched.velocity, *Watched.turn], (51, 1))
    seen = np.ones(51, bool)
    seen[[0, 3, 4]] = False  # the first has no frame before it; of frame 3 there is no pose
    np.testing.assert_allclose(episode.qvel[seen], expected[seen], rtol=1e-9)
    assert not episode.qvel[0].any() and np.isnan(episode.qvel[3:5, 1:]).all()
    assert np.isfinite(episode.qvel[:, 0]).all()
    assert episode.measured is not None
    assert np.argwhere(~episode.measured).tolist() == [[3, i] for i in range(1, 8)]


def test_a_quaternion_that_is_none_is_refused() -> None:
    class Broken(Watched):
        def pose(self) -> np.ndarray:
            return 2.0 * super().pose()

    try:
        deploy(Broken(), PUSH, TRIAL, 0, KEY)
    except RuntimeError as error:
        assert "of 'box', which is no position and unit quaternion wxyz" in str(error)
    else:
        raise AssertionError("not refused")
