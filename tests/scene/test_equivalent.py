"""What MJX does not read and is replaced by its equal: MuJoCo moves the scene as it did before."""

import jax
import numpy as np
import pytest

from worldmodel._mujoco import mjx, mujoco
from worldmodel.physics import oracle
from worldmodel.scene import load_scene

ARM = """<mujoco>
  <option timestep=".004" integrator="{integrator}" {option}><flag {flag}/></option>
  <default><default class="geared"><general armature=".02" damping=".1"/></default></default>
  <worldbody>
    <body pos="0 0 1">
      <joint name="h" axis="0 1 0" {hip}/>
      <geom type="capsule" fromto="0 0 0 .3 .05 0" size=".02"/>
      <body pos=".3 0 0" gravcomp=".6">
        <joint name="k" axis="0 1 0" damping=".01"/>
        <geom type="capsule" fromto="0 0 0 .3 0 .1" size=".02"/>
      </body>
    </body>
  </worldbody>
  <tendon><fixed name="t" damping=".02" stiffness="3" springlength=".1">
    <joint joint="h" coef=".7"/><joint joint="k" coef="-1.3"/></fixed></tendon>
  <actuator>{actuators}</actuator>
</mujoco>"""

ACTUATORS = {
    "armature": '<motor joint="h" gear="3" armature=".1"/>',
    "damping": '<motor joint="h" gear="3" damping=".1"/>',
    "limited force": '<motor joint="h" gear="3" damping=".1" armature=".1" forcerange="-.1 .1"/>',
    "tendon": '<motor tendon="t" gear="2" damping=".1" armature=".1"/>',
    "two on a joint": '<motor joint="h" gear="3" armature=".1"/><motor joint="h" damping=".2"/>',
    "in the parent": '<motor jointinparent="k" gear="-2" armature=".1" damping=".2"/>',
    "a servo": '<position joint="h" kp="10" gear="3" dampratio="1" armature=".1"/>',
    "a class": '<general class="geared" joint="k"/><general class="geared" tendon="t"/>',
}


def trajectory(model: mujoco.MjModel) -> np.ndarray:
    ctrl = np.random.default_rng(0).normal(size=(100, model.nu))
    return oracle.trajectory(model, model.qpos0, np.array([0.5, -0.8]), ctrl, 1)[1]


def assert_same_motion(text: str) -> mujoco.MjModel:
    """The scene, and its MJCF compiled in C, move as C MuJoCo's own compile does, to rounding."""
    scene = load_scene(text, control_hz=250.0, substeps=1)
    plain = trajectory(mujoco.MjModel.from_xml_string(text))
    assert np.abs(plain[-1] - plain[0]).max() > 0.1
    for model in (scene.mj_model, mujoco.MjModel.from_xml_string(scene.mjcf)):
        np.testing.assert_allclose(trajectory(model), plain, rtol=0.0, atol=1e-11)
    return scene.mj_model


@pytest.mark.parametrize("integrator", ["Euler", "implicitfast", "RK4"])
@pytest.mark.parametrize("name", list(ACTUATORS))
def test_armature_and_damping_of_actuators(name: str, integrator: str) -> None:
    text = ARM.format(
        integrator=integrator,
        option="",
        flag="",
        hip='springdamper=".2 1"',
        actuators=ACTUATORS[name],
    )
    model = assert_same_motion(text)
    assert not model.actuator_armature.any() and not model.actuator_damping.any()


@pytest.mark.parametrize("medium", ["", 'density="500" viscosity=".3"'])
@pytest.mark.parametrize("integrator", ["Euler", "RK4"])
@pytest.mark.parametrize(
    "flag", ['spring="disable"', 'damper="disable"', 'spring="disable" damper="disable"']
)
def test_springs_and_dampers_that_a_flag_switches_off(
    flag: str, integrator: str, medium: str
) -> None:
    text = ARM.format(
        integrator=integrator,
        option=medium,
        flag=flag,
        hip='stiffness="3" damping=".5"',
        actuators='<motor joint="h"/>',
    )
    model = assert_same_motion(text)
    bits = mujoco.mjtDisableBit.mjDSBL_SPRING, mujoco.mjtDisableBit.mjDSBL_DAMPER
    off = [bool(model.opt.disableflags & int(bit)) for bit in bits]
    assert off == [flag.count("disable") == 2] * 2  # MJX does as C with both, not with one


@pytest.mark.parametrize("flag", ["energy", "fwdinv"])
def test_diagnostics_are_dropped(flag: str) -> None:
    text = ARM.format(integrator="Euler", option="", flag=f'{flag}="enable"', hip="", actuators="")
    assert assert_same_motion(text).opt.enableflags == 0


@pytest.mark.parametrize(
    "owner", ['</fixed></tendon><actuator><motor tendon="grip" armature="2"/></actuator>', ""]
)
def test_armature_of_a_tendon_across_branches_couples_nothing_in_mjx_as_in_mujoco(
    owner: str,
) -> None:
    text = f"""<mujoco><worldbody>
        <body pos="0 0 1"><joint name="a" axis="0 1 0"/><geom size=".05" pos=".3 0 0"/></body>
        <body pos="1 0 1"><joint name="b" type="slide"/><geom size=".05"/></body>
      </worldbody><tendon><fixed name="grip" armature="{0 if owner else 2}">
        <joint joint="a" coef="1"/><joint joint="b" coef="2"/>{owner or "</fixed></tendon>"}
    </mujoco>"""
    scene = load_scene(text, control_hz=250.0, substeps=1)
    model, inertia = scene.mjx_model(), np.zeros((2, 2))
    data = jax.jit(mjx.fwd_position)(model, mjx.make_data(scene.mj_model))
    plain = mujoco.MjModel.from_xml_string(text)
    start = mujoco.MjData(plain)
    mujoco.mj_forward(plain, start)
    mujoco.mj_fullM(plain, start, inertia)
    assert inertia[0, 0] > 2.0 and inertia[1, 1] > 8.0
    np.testing.assert_allclose(mjx.full_m(model, data), inertia, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("friction", ["0 0 0", "-1 .02 0", ".3 0 1e-9"])
@pytest.mark.parametrize("contact", ["", '<pair geom1="floor" geom2="ball" friction="0 0 0 0 0"/>'])
def test_friction_below_mujocos_least_becomes_that(contact: str, friction: str) -> None:
    text = f"""<mujoco><option cone="elliptic"/><worldbody>
        <geom name="floor" type="plane" size="1 1 1"/>
        <body pos="0 0 .099"><freejoint/>
          <geom name="ball" size=".1" condim="6" priority="1" friction="{friction}"/></body>
      </worldbody><contact>{contact}</contact></mujoco>"""
    scene, ends = load_scene(text, control_hz=500.0, substeps=1), []
    assert scene.mj_model.geom_friction.min() == 1e-5
    assert scene.mj_model.pair_friction.min(initial=1e-5) == 1e-5
    plain = mujoco.MjModel.from_xml_string(text)
    for model in (plain, scene.mj_model, mujoco.MjModel.from_xml_string(scene.mjcf)):
        data = mujoco.MjData(model)
        data.qvel[:] = 0.3
        mujoco.mj_step(model, data, nstep=100)
        ends.append(data.qpos.copy())
    np.testing.assert_allclose(ends[1:], [ends[0]] * 2, rtol=0.0, atol=1e-11)
