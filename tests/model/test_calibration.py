"""Calibrations of a log: the robot's own motion comes out, and predictions are as logged."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from tests.helpers.logged_arm import Log, arm, recorded
from worldmodel.episodes.windows import Windows, cut_windows
from worldmodel.model.calibration import as_logged, calibrated, without_calibrations
from worldmodel.physics import parameters
from worldmodel.scene import FreeParameter, load_scene

LOG = Log(zero=(0.07, -0.02), scale=(1.0, 1.1), command_zero=(-0.05, 0.0))
FREE = (
    FreeParameter("joint_zero", "shoulder"),
    FreeParameter("joint_zero", "elbow"),
    FreeParameter("joint_scale", "elbow"),
    FreeParameter("command_zero", "shoulder"),
    FreeParameter("gain", "elbow"),
)
# In prior widths: those of ``LOG``.
U = {
    "shoulder.joint_zero": jnp.array([0.7]),
    "elbow.joint_zero": jnp.array([-0.2]),
    "elbow.joint_scale": jnp.array([np.log(1.1) / 0.1]),
    "shoulder.command_zero": jnp.array([-0.5]),
    "elbow.gain": jnp.array([0.3]),
}


def windows_of(log: Log) -> Windows:
    return cut_windows(recorded(log, episodes=2, frames=30), [np.array([3, 12])] * 2, 10)


def test_a_calibrated_log_is_the_robots_own_motion() -> None:
    """Position, velocity, command and target of a log, against the same recording undisturbed."""
    own, logged = windows_of(Log()), windows_of(LOG)
    back = calibrated(arm(), FREE, U, logged)
    assert np.abs(np.asarray(logged.target) - own.target).max() > 0.05
    for ours, truth in zip(jax.tree.leaves(back), jax.tree.leaves(own), strict=True):
        np.testing.assert_allclose(ours, truth, atol=1e-12)
    seen = as_logged(arm(), FREE, U, jnp.asarray(own.target))
    np.testing.assert_allclose(seen, logged.target, atol=1e-12)


def test_values_are_in_the_units_of_the_log() -> None:
    values = parameters.values(arm(), FREE, U)
    np.testing.assert_allclose(values["shoulder.joint_zero"], [0.07])
    np.testing.assert_allclose(values["elbow.joint_scale"], [1.1])
    np.testing.assert_allclose(values["shoulder.command_zero"], [-0.05])


def test_calibrations_move_no_model() -> None:
    scene = arm()
    own = without_calibrations(FREE)
    assert own == FREE[-1:]
    moved = parameters.apply(scene, scene.mjx_model(), FREE, U)
    alone = parameters.apply(scene, scene.mjx_model(), own, {"elbow.gain": U["elbow.gain"]})
    for ours, truth in zip(jax.tree.leaves(moved), jax.tree.leaves(alone), strict=True):
        np.testing.assert_array_equal(ours, truth)
    assert parameters.to_mjcf(scene, FREE[:-1], U) == scene.mjcf


def test_without_calibrations_windows_are_passed_on() -> None:
    windows = windows_of(LOG)
    assert calibrated(arm(), FREE[-1:], U, windows) is windows


GEARED = """<mujoco><worldbody><body><joint name="rail" type="slide" axis="1 0 0"/><geom size=".1"/>
<body><joint name="turn" axis="0 0 1"/><geom size=".1" pos=".2 0 0"/></body></body></worldbody>
<actuator><position name="geared" joint="turn" kp="3" gear="2"/>
<motor name="motor" joint="turn"/></actuator></mujoco>"""


def test_a_geared_servos_command_moves_by_the_gear_and_a_motors_not_at_all() -> None:
    scene = load_scene(GEARED, control_hz=50.0, substeps=1)
    free = (FreeParameter("joint_zero", "turn"), FreeParameter("joint_zero", "rail"))
    u = {f.name: jnp.ones(1) for f in free}
    windows = windows_of(Log())
    windows = dataclasses.replace(windows, ctrl=np.zeros_like(windows.ctrl))
    back = calibrated(scene, free, u, windows)
    np.testing.assert_allclose(back.ctrl, np.broadcast_to([-0.2, 0.0], back.ctrl.shape))
    moved = np.asarray(back.target) - windows.target
    np.testing.assert_allclose(moved, np.broadcast_to([-0.01, -0.1], moved.shape))  # m, rad
