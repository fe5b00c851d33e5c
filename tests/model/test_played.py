"""Predictions whose physics C MuJoCo plays, or that is linearised, are those of MJX."""

import dataclasses

import jax
import numpy as np
import pytest

from tests.helpers.planted_arm import ARM, drag, recorded, scene_of, windows_of
from worldmodel.episodes.windows import Windows
from worldmodel.errors import InputError
from worldmodel.finetune.linear_path import STIFFEST, unit_along, with_path
from worldmodel.model import Displacement, Force, Network, Parameters, Velocity, WorldModel, init
from worldmodel.model.correction import Correction
from worldmodel.model.ensemble import make_forecaster, members
from worldmodel.scene import FreeParameter, Scene, load_scene

SCENE = scene_of(ARM)
SERVO = """<mujoco model="servo"><worldbody><body><joint name="arm" axis="0 1 0" damping=".05"/>
<geom type="capsule" fromto="0 0 0 0 0 -.3" size=".02" mass=".5" contype="0" conaffinity="0"/>
</body></worldbody><actuator><general name="arm" joint="arm" gaintype="fixed" biastype="affine"
gainprm="20 0 0 {drive}" biasprm="0 -20 -.5"/></actuator>
</mujoco>"""
CORRECTIONS = (Force(), Velocity(), Displacement())


def servo(drive: str = "") -> Scene:
    return load_scene(SERVO.format(drive=drive), control_hz=50.0, substeps=4)


def model(scene: Scene, correction: Correction, size: float) -> tuple[WorldModel, Parameters]:
    """An ensemble whose corrections are ``size`` times those of random weights."""
    network = Network(latent=3, width=8, members=2)
    free = (FreeParameter("damping", "arm"),)
    world = WorldModel(scene, free, correction=correction, network=network)
    parameters, generator = init(world, jax.random.key(0)), np.random.default_rng(1)
    parameters["network"]["weights"] = jax.tree.map(
        lambda w: w + 0.3 * generator.normal(size=w.shape), parameters["network"]["weights"]
    )
    norm = parameters["network"]["norm"]
    norm["residual"] = size * norm["residual"]
    return world, parameters


def windows(scene: Scene) -> Windows:
    return windows_of(recorded(scene, drag, 2, seed=0), 20, 10)


@pytest.mark.parametrize("correction", CORRECTIONS, ids=lambda c: type(c).__name__)
def test_c_mujoco_plays_what_mjx_computes(correction: Correction) -> None:
    world, parameters = model(SCENE, correction, 1.0)
    by_mjx, by_c = (make_forecaster(world, 4, e)(parameters, windows(SCENE)) for e in ("mjx", "c"))
    np.testing.assert_allclose(by_c.members, by_mjx.members, atol=1e-10)
    np.testing.assert_allclose(by_c.deviation, by_mjx.deviation, atol=1e-10)
    off = make_forecaster(world.without_network(), 4)(parameters | {"network": {}}, windows(SCENE))
    assert np.abs(by_c.mean - off.mean).max() > 1e-2


def test_a_drive_is_played_under_a_force() -> None:
    scene = servo(".013 .02 .02 0 0 .05 .3")  # delay, lag, backlash, stiction
    world, parameters = model(scene, Force(), 1.0)
    by_mjx, by_c = (make_forecaster(world, 4, e)(parameters, windows(scene)) for e in ("mjx", "c"))
    np.testing.assert_allclose(by_c.members, by_mjx.members, atol=1e-6)


@pytest.mark.parametrize("correction", CORRECTIONS[:2], ids=lambda c: type(c).__name__)
def test_a_small_correction_does_in_the_linearisation_what_it_does_in_the_physics(
    correction: Correction,
) -> None:
    world, parameters = model(SCENE, correction, 0.02)
    given = windows(SCENE)
    along = with_path(world, parameters["physics"], given)
    assert np.asarray(along.scored).all()
    off = make_forecaster(world.without_network(), 4)(parameters | {"network": {}}, given).mean
    one = dataclasses.replace(world, network=dataclasses.replace(world.network, members=1))
    for member in members(parameters):
        exact, near = (make_forecaster(one, 4)(member, w).mean for w in (given, along))
        moved = np.abs(exact - off).max()
        assert moved > 1e-2
        assert np.abs(near - exact).max() < 0.02 * moved


def test_the_unit_is_what_a_stiff_servo_needs() -> None:
    """Held still, a servo yields to a torque τ by τ / (kp + m g l / 2): a hand calculation."""
    scene = servo()
    world, parameters = model(scene, Force(), 1.0)
    still = windows(scene)
    rest = np.zeros_like(np.asarray(still.target))
    history = dataclasses.replace(
        still.history,
        qpos=np.zeros_like(still.history.qpos),
        qvel=np.zeros_like(still.history.qvel),
    )
    still = dataclasses.replace(
        still, history=history, ctrl=np.zeros_like(still.ctrl), target=rest + 0.01
    )
    along = with_path(world, parameters["physics"], still)
    unit = unit_along(world, parameters["physics"], along, np.array([1e-2]))
    stiffness = 20.0 + 0.5 * 9.81 * 0.15
    wanted = 0.01 * stiffness / (scene.mj_model.dof_M0[0] * scene.control_hz)
    assert 1e-2 < wanted < STIFFEST * 1e-2
    np.testing.assert_allclose(unit, wanted, rtol=0.02)


def test_frames_beyond_which_a_change_grows_are_not_scored() -> None:
    """A pendulum upright: a change of its pose grows as cosh(t √(m g l / I))."""
    upright = ARM.replace('damping="0.01"', 'damping="0"').replace("0 0 -.3", "0 0 .3")
    scene = scene_of(upright)
    world = WorldModel(scene, correction=Force(), network=Network())
    given = windows_of(recorded(scene, lambda v: 0.0 * v, 1, seed=0), 59, 10)
    history = dataclasses.replace(
        given.history, qpos=0.0 * given.history.qpos, qvel=0.0 * given.history.qvel
    )
    given = dataclasses.replace(given, history=history, ctrl=0.0 * np.asarray(given.ctrl))
    m = scene.mj_model
    rate = np.sqrt(m.body_mass[1] * 9.81 * m.body_ipos[1, 2] / m.dof_M0[0])
    last = np.arccosh(10.0) / rate * scene.control_hz
    scored = np.asarray(with_path(world, {}, given).scored).sum(1)
    np.testing.assert_allclose(scored, last, atol=1.5)


def test_a_model_without_physics_is_refused() -> None:
    world = WorldModel.latent(SCENE, Network())
    with pytest.raises(InputError, match="latent model has no physics"):
        with_path(world, {}, windows(SCENE))
