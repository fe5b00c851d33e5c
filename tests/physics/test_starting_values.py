"""Where a fit starts that the MJCF has at zero, and what it says of values that it cannot leave."""

import numpy as np
import pytest

from worldmodel._mujoco import mujoco
from worldmodel.physics import parameters
from worldmodel.physics.parameters import ParameterError
from worldmodel.physics.starting_values import starting_value
from worldmodel.scene import FreeParameter, load_scene

ROD = """<mujoco><worldbody><body><joint name="hinge" axis="0 1 0" {joint}/>
<inertial pos="0 0 -.5" mass="2" diaginertia=".1 .1 .1"/></body>
<body pos="1 0 0"><joint name="rail" type="slide" axis="1 0 0"/><geom size=".1" mass="3"/></body>
<body pos="2 0 0"><joint name="ball" type="ball"/><geom size=".1"/></body></worldbody>
<actuator><position name="servo" joint="hinge" kp="24" gear="3"/><motor name="push" joint="rail"/>
</actuator></mujoco>"""
INERTIA = 2 * 0.5**2 + 0.1  # of the rod about its hinge [kg·m²]


@pytest.mark.parametrize(
    ("kind", "element", "value"),
    [
        ("damping", "hinge", INERTIA),
        ("frictionloss", "hinge", INERTIA),
        ("armature", "hinge", 0.1 * INERTIA),
        ("damping", "rail", 3.0),
        ("kv", "servo", np.sqrt(24 * INERTIA) / 3),
        ("damping", "ball", None),
        ("stiffness", "hinge", None),
        ("kv", "push", None),
    ],
)
def test_starting_values_are_of_the_joints_inertia(
    kind: str, element: str, value: float | None
) -> None:
    model = mujoco.MjModel.from_xml_string(ROD.format(joint=""))
    start = starting_value(model, kind, element)
    assert start is None if value is None else start == pytest.approx(value)


def test_half_critical_damping_overshoots_by_a_sixth() -> None:
    """A servo with that kv, by C MuJoCo: a second-order system of damping ratio 0.5 overshoots its
    goal by exp(−π / √3)."""
    text = ROD.format(joint="").replace("<mujoco>", '<mujoco><option gravity="0 0 0"/>')
    kv = starting_value(mujoco.MjModel.from_xml_string(text), "kv", "servo")
    m = mujoco.MjModel.from_xml_string(text.replace('kp="24"', f'kp="24" kv="{kv}"'))
    m.opt.timestep, data, highest = 1e-4, mujoco.MjData(m), 0.0
    data.ctrl[0] = 3.0  # one radian, times the gear
    for _ in range(5000):
        mujoco.mj_step(m, data)
        highest = max(highest, data.qpos[0])
    assert highest == pytest.approx(1 + np.exp(-np.pi / np.sqrt(3)), rel=2e-3)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("0", r"hinge.damping: it is \[0.\] .* positive starting value there, such as 0.6"),
        ("1e-8", "hinge.damping: it is 1e-08 .* more than 8 prior widths below 0.6.*start there"),
        ("1e-4", "more than 8 prior widths"),
    ],
)
def test_a_value_that_a_fit_cannot_leave_is_refused_with_one_that_it_can(
    value: str, message: str
) -> None:
    scene = load_scene(ROD.format(joint=f'damping="{value}"'), control_hz=100.0, substeps=1)
    with pytest.raises(ParameterError, match=message):
        parameters.check(scene, (FreeParameter("damping", "hinge"),))


def test_a_small_value_within_reach_is_accepted() -> None:
    scene = load_scene(ROD.format(joint='damping="1e-3"'), control_hz=100.0, substeps=1)
    parameters.check(scene, (FreeParameter("damping", "hinge"),))
