"""What MuJoCo acts on and MJX never reads: refused by name, and only where it acts."""

import warnings

import numpy as np
import pytest

from worldmodel._mujoco import mujoco
from worldmodel.scene import SceneError, SceneWarning, load_scene

ARM = """<mujoco>
  {top}
  <worldbody>
    <geom name="floor" type="plane" size="1 1 .1" {floor}/>
    <body name="upper" pos="0 0 1">
      <joint name="hip" axis="0 1 0" {hip}/><geom name="thigh" size=".1" {thigh}/>
    </body>
    <body name="loose" pos="1 0 1">
      <joint name="ball" type="ball"/><geom name="head" size=".1" pos=".1 0 0"/>{loose}
    </body>
  </worldbody>
  <tendon><fixed name="cord" {cord}><joint joint="hip" coef="1"/></fixed></tendon>
  <actuator>{actuator}</actuator>
  {rest}
</mujoco>"""

CABLE = '<extension><plugin plugin="mujoco.elasticity.cable">{}</plugin></extension>'
BEND = (
    '<plugin plugin="mujoco.elasticity.cable">'
    '<config key="twist" value="1e7"/><config key="bend" value="1e7"/></plugin>'
)
PAIR = '<contact><pair name="hold" geom1="floor" geom2="thigh" adhesion="2"/></contact>'
GRIP = (  # a tendon on joints of two branches
    '<worldbody><body name="jaw" pos="0 1 1"><joint name="close"/><geom size=".1"/></body>'
    '</worldbody><tendon><fixed name="grip" {}><joint joint="hip" coef="1"/>'
    '<joint joint="close" coef="1"/></fixed></tendon>'
)
DELAYED = '<sensor><jointpos name="late" joint="hip" delay=".1" nsample="60"/></sensor>'
SPARSE = '<sensor><jointpos name="rare" joint="hip" interval=".1"/></sensor>'

REFUSED = {
    "joint damping": ({"hip": 'damping=".1 .5"'}, "joint 'hip': a damping polynomial.*linear"),
    "joint stiffness": ({"hip": 'stiffness="1 5"'}, "joint 'hip': a stiffness polynomial"),
    "tendon damping": ({"cord": 'damping=".1 .5"'}, "tendon 'cord': a damping polynomial"),
    "tendon stiffness": ({"cord": 'stiffness="1 5"'}, "tendon 'cord': a stiffness polynomial"),
    "actuator polynomial": (
        {"actuator": '<motor name="m" joint="hip" damping=".1 .5"/>'},
        "actuator 'm': a damping polynomial.*linear",
    ),
    "damping of a ball": (
        {"actuator": '<motor name="m" joint="ball" gear="0 0 1" damping=".1"/>'},
        "actuator 'm': damping on a transmission.*give the joint damping instead",
    ),
    "armature of a ball": (
        {"actuator": '<motor name="m" joint="ball" gear="0 0 1" armature=".1"/>'},
        "actuator 'm': armature on a transmission.*give the joint armature instead",
    ),
    "delay": (
        {"actuator": '<motor name="m" joint="hip" delay=".02" nsample="20"/>'},
        "actuator 'm': delay .*delay=0, and give it the delay of a drive",
    ),
    "actearly": (
        {
            "actuator": '<general name="m" joint="hip" dyntype="filter" dynprm=".1" '
            'actearly="true"/>'
        },
        "actuator 'm': actearly.*actearly='false'",
    ),
    "dcmotor": (
        {"actuator": '<dcmotor name="m" joint="hip" motorconst=".05" resistance="1"/>'},
        "actuator 'm': mj.*DCMOTOR is not in MJX; remove or replace it",
    ),
    "disabled group": (
        {
            "top": '<option actuatorgroupdisable="2"/>',
            "actuator": '<motor name="m" joint="hip" group="2"/><motor joint="hip"/>',
        },
        "actuator 'm': option actuatorgroupdisable.*remove",
    ),
    "ellipsoid fluid": (
        {"top": '<option density="1.2"/>', "thigh": 'fluidshape="ellipsoid"'},
        "geom 'thigh': fluidshape='ellipsoid'.*fluidshape='none'",
    ),
    "surfacevel": ({"floor": 'surfacevel="1 0 0"'}, "geom 'floor': surfacevel.*remove"),
    "adhesion": ({"thigh": 'adhesion="3"'}, "geom 'thigh': adhesion"),
    "adhesion of a pair": ({"rest": PAIR}, "pair 'hold': adhesion"),
    "delayed sensor": ({"rest": DELAYED}, "sensor 'late': a delay or an interval.*remove delay"),
    "sensor at intervals": ({"rest": SPARSE}, "sensor 'rare': a delay or an interval"),
    "plugin": ({"top": CABLE.format(""), "loose": BEND}, "body 'loose': a plugin.*replace"),
    "sleep": ({"top": '<option><flag sleep="enable"/></option>'}, "sleep=.*remove it"),
    "exact diagonal": (
        {"top": '<option><flag diagexact="enable"/></option>'},
        "<flag diagexact=.*remove it",
    ),
    "override": ({"top": '<option><flag override="enable"/></option>'}, "<flag override="),
    "discrete": ({"top": '<option integrator="discrete"/>'}, "'discrete' is not in MJX.*RK4"),
    "fluid under implicitfast": (
        {"top": '<option integrator="implicitfast" density="1.2"/>'},
        "density.*'implicitfast'.*use integrator='Euler'",
    ),
}

LOADS = {
    "a plugin that is declared": {"top": CABLE.format("")},
    "a plugin's instance that nothing uses": {
        "top": CABLE.format('<instance name="i"><config key="twist" value="1"/></instance>')
    },
    "an ellipsoid without a medium": {"thigh": 'fluidshape="ellipsoid"'},
    "a history without a delay": {"actuator": '<motor joint="hip" nsample="20"/>'},
    "another group disabled": {
        "top": '<option actuatorgroupdisable="3"/>',
        "actuator": '<motor joint="hip" group="2"/>',
    },
}


def arm(**parts: str) -> str:
    empty = dict.fromkeys(("top", "floor", "hip", "thigh", "loose", "cord", "actuator", "rest"), "")
    return ARM.format(**(empty | parts))


@pytest.mark.parametrize("name", list(REFUSED))
def test_what_mjx_never_reads_is_refused_by_name(name: str) -> None:
    parts, message = REFUSED[name]
    with pytest.raises(SceneError, match=f"(?s){message}"):
        load_scene(arm(**parts), control_hz=100.0, substeps=1)


@pytest.mark.parametrize("name", list(LOADS))
def test_what_does_not_act_loads(name: str) -> None:
    text = arm(**LOADS[name])
    scene = load_scene(text, control_hz=500.0, substeps=1)
    ends = []
    for model in (mujoco.MjModel.from_xml_string(text), scene.mj_model):
        data = mujoco.MjData(model)
        data.ctrl[:] = 0.3
        mujoco.mj_step(model, data, nstep=100)
        ends.append(data.qvel.copy())
    np.testing.assert_allclose(ends[0], ends[1], rtol=0.0, atol=1e-11)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"top": '<option noslip_iterations="3"/>'}, "noslip_iterations=3 .*set it to 0"),
        (
            {
                "top": '<option integrator="implicitfast"/>',
                "hip": 'range="-1 1" limited="true"',
                "actuator": '<muscle name="m" joint="hip"/>',
            },
            "actuator 'm': .*damping of muscles.*'Euler'",
        ),
        (
            {
                "top": '<option integrator="implicitfast"/>',
                "actuator": '<general name="m" joint="hip" ctrlrange="-1 1" ctrllimited="true" '
                'gaintype="affine" gainprm="1 0 -3"/>',
            },
            "actuator 'm': .*limit of a control.*'Euler'",
        ),
        (
            {"top": '<option integrator="implicitfast"/>', "rest": GRIP.format('damping="1"')},
            "tendon 'grip': .*couples branches.*'Euler'",
        ),
        (
            {
                "top": '<option integrator="implicitfast"/>',
                "rest": GRIP.format(""),
                "actuator": '<position name="m" tendon="grip" kp="1" kv=".1"/>',
            },
            "tendon 'grip': .*couples branches.*'Euler'",
        ),
        (
            {
                "floor": 'contype="0" conaffinity="0"',
                "thigh": 'contype="0" conaffinity="0"',
                "loose": '<site name="s"/>',
                "rest": '<sensor><gyro site="s"/><accelerometer name="a" site="s"/></sensor>',
            },
            "sensor 'a': MJX leaves it 0 .*frictionloss",
        ),
        (
            {"loose": '<geom name="lid" type="box" size=".1 .1 .1" margin=".01"/>'},
            r"'floor' \(world\) against geom 'lid' .*margin=0",
        ),
        (
            {
                "loose": '<geom name="lid" type="box" size=".1 .1 .1"/>',
                "rest": '<contact><pair geom1="floor" geom2="lid" margin=".01"/></contact>',
            },
            r"'floor' \(world\) against geom 'lid' .*margin=0",
        ),
        (
            {
                "loose": '<site name="s"/></body><site name="o" pos="0 0 2"/><body>',
                "rest": '<tendon><spatial><site site="s"/><site site="o"/></spatial></tendon>'
                '<sensor><force name="f" site="s"/></sensor>',
            },
            "sensor 'f': .*spatial tendons",
        ),
    ],
)
def test_small_departures_are_warned_of(parts: dict[str, str], message: str) -> None:
    with pytest.warns(SceneWarning, match=message):
        load_scene(arm(**parts), control_hz=100.0, substeps=1)


@pytest.mark.parametrize("integrator", ["Euler", "implicitfast"])
def test_a_motor_on_a_tendon_across_branches_loads_without_a_warning(integrator: str) -> None:
    text = arm(
        top=f'<option integrator="{integrator}"/>',
        rest=GRIP.format(""),
        actuator='<motor name="m" tendon="grip"/>',
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", SceneWarning)
        load_scene(text, control_hz=100.0, substeps=1)


def test_a_margin_of_a_round_geom_is_no_reason_for_a_warning() -> None:
    lid = '<geom name="lid" type="box" size=".1 .1 .1" contype="0" conaffinity="0" margin=".1"/>'
    with warnings.catch_warnings():
        warnings.simplefilter("error", SceneWarning)
        load_scene(arm(thigh='margin=".1"', loose=lid), control_hz=100.0, substeps=1)
