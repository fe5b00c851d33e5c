"""Parameters of drives and springs: their values in the MJCF, and which element has one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers.gradient_cases import DRIVES_FREE
from tests.helpers.scenes import drives
from tests.helpers.servos import servos
from worldmodel import physics
from worldmodel._mujoco import mujoco
from worldmodel.physics import parameters
from worldmodel.physics.parameters import ParameterError
from worldmodel.scene import FreeParameter, Scene, load_scene

OWN = {  # of the MJCF: value, prior width, and whether it moves in log space
    "servo.gain": (4.0, 0.7, True),
    "servo.kv": (0.3, 0.7, True),
    "shoulder.stiffness": (0.5, 1.0, True),
    "shoulder.springref": (np.radians(20), 0.2, False),
    "reach.stiffness": (8.0, 1.0, True),
    "reach.springref": (0.01, 0.02, False),  # [m]: a slide
    "servo.gear": (1.0, 0.5, True),
    "piston.gear": (-1.5, 0.5, True),  # it keeps its sign
    "twist.gear": (0.3, 0.5, True),  # the first number that is not zero
    "valve.time_constant": (0.05, 0.7, True),
    "piston.time_constant": (0.02, 0.7, True),
    "lower.mass": (0.2, 0.2, True),
}


@pytest.mark.parametrize("u", [0.0, 1.0, -2.0])
def test_values_are_those_of_the_mjcf_times_the_step(u: float) -> None:
    moved = parameters.values(drives(), DRIVES_FREE, {f.name: jnp.array([u]) for f in DRIVES_FREE})
    wanted = {k: x * np.exp(w * u) if log else x + w * u for k, (x, w, log) in OWN.items()}
    assert moved.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_allclose(moved[name], [value], rtol=1e-12, err_msg=name)


def test_the_fitted_mjcf_holds_every_value() -> None:
    """Read back by C MuJoCo, and nothing else has moved: kv leaves kp, a gear its other numbers."""
    scene = drives()
    text = parameters.to_mjcf(scene, DRIVES_FREE, {f.name: jnp.ones(1) for f in DRIVES_FREE})
    m = mujoco.MjModel.from_xml_string(text)
    wanted = {k: x * np.exp(w) if log else x + w for k, (x, w, log) in OWN.items()}
    kp, kv = wanted["servo.gain"], wanted["servo.kv"]
    np.testing.assert_allclose(m.actuator("servo").gainprm[:1], kp)
    np.testing.assert_allclose(m.actuator("servo").biasprm[:3], [0, -kp, -kv])
    np.testing.assert_allclose(m.actuator("speed").biasprm[:3], [0, 0, -0.2])
    np.testing.assert_allclose(m.actuator("twist").gear[:3], [0, wanted["twist.gear"], 0.1])
    np.testing.assert_allclose(m.actuator("piston").gear[0], wanted["piston.gear"])
    np.testing.assert_allclose(m.actuator("valve").dynprm[0], wanted["valve.time_constant"])
    np.testing.assert_allclose(m.jnt_stiffness[:2], [wanted["shoulder.stiffness"], 8 * np.e])
    np.testing.assert_allclose(m.qpos_spring[:2], [np.radians(20) + 0.2, 0.03])


MUSCLE = """
<mujoco model="limbs">
  <worldbody>
    <body name="free" pos="0 0 2"><freejoint name="free"/><geom size=".1"/></body>
    <body name="limb"><joint name="limb" axis="0 1 0"/><geom size=".1" pos=".2 0 0"/></body>
  </worldbody>
  <actuator>
    <muscle name="biceps" joint="limb" lengthrange="-1 1"/>
    <motor name="still" joint="limb" gear="0"/>
    <position name="servo" joint="limb" kp="3"/>
    <velocity name="speed" joint="limb" kv="2"/>
    <intvelocity name="slow" joint="limb" kp="4" actrange="-1 1"/>
  </actuator>
</mujoco>"""


@pytest.mark.parametrize(
    ("free", "message"),
    [
        (FreeParameter("kv", "servo"), r"servo.kv: .* has no velocity feedback .*none has"),
        (FreeParameter("kv", "speed"), "speed.kv: .* velocity servo is its gain; free the kind"),
        (FreeParameter("time_constant", "servo"), "has no filter .*none has"),
        (FreeParameter("gain", "biceps"), "biceps.gain: a muscle has no single gain"),
        (FreeParameter("gear", "biceps"), "a muscle has no single gear"),
        (FreeParameter("gear", "still"), r"still.gear: it is \[0.\] in the MJCF"),
        (FreeParameter("stiffness", "limb"), r"limb.stiffness: it is \[0.\].*positive starting"),
        (FreeParameter("springref", "limb"), "no spring; give it a stiffness"),
        (FreeParameter("springref", "free"), "motion of a free joint does not depend"),
        (FreeParameter("joint_zero", "free"), "only hinges and slides have a zero"),
        (FreeParameter("joint_scale", "free"), "only hinges and slides have a zero"),
        (FreeParameter("command_zero", "speed"), "has no command that is a position.*'servo'"),
        (FreeParameter("command_zero", "slow"), "has no command that is a position.*'servo'"),
        (FreeParameter("command_zero", "limb"), "no actuator 'limb'.*biceps, still"),
    ],
)
def test_an_element_that_lacks_the_number_is_refused(free: FreeParameter, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        parameters.check(load_scene(MUSCLE, control_hz=100.0, substeps=1), (free,))


def test_the_refusal_names_the_actuators_that_have_it() -> None:
    with pytest.raises(ParameterError, match=r"no filter .*in this scene 'valve', 'piston' has"):
        parameters.check(drives(), (FreeParameter("time_constant", "twist"),))
    with pytest.raises(ParameterError, match=r"feedback \(kv\) .* in this scene 'servo' has"):
        parameters.check(drives(), (FreeParameter("kv", "twist"),))


def test_without_a_drive_nothing_of_one_is_computed() -> None:
    def computed(scene: Scene) -> str:
        model, state = scene.mjx_model(), physics.initial_state(scene, np.zeros(2), np.ones(2))
        step = functools.partial(physics.control_step, scene)
        return str(jax.make_jaxpr(step)(model, state, np.zeros(2)))

    assert "tanh" not in computed(servos("12", "1")) and "tanh" in computed(servos())
    assert physics.initial_state(servos("12", "1"), np.zeros(2), np.ones(2)).drive.shape == (0, 2)
