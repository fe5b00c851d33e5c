"""Bad input is named with its remedy; what is merely unusual loads."""

from typing import Any

import numpy as np
import pytest

from worldmodel.scene import SceneError, SceneWarning, load_scene

BALL = (
    '<mujoco>{top}<worldbody><body name="b"><freejoint name="f"/>'
    '<geom name="ball" size=".1" {geom}/></body></worldbody>{rest}</mujoco>'
)


def ball(top: str = "", geom: str = "", rest: str = "") -> str:
    return BALL.format(top=top, geom=geom, rest=rest)


def key(numbers: str) -> str:
    return f'<keyframe><key name="home" {numbers}/></keyframe>'


@pytest.mark.filterwarnings("ignore")  # MuJoCo's own, of a NaN in the XML
@pytest.mark.parametrize(
    ("text", "message"),
    [
        (ball(geom='friction="nan 1 1"'), r"geom 'ball': geom_friction is \[nan.*finite number"),
        (ball(geom='pos="0 inf 0"'), r"geom 'ball': geom_pos is \[ *0\. +inf"),
        (ball(geom='solref="nan 1"'), "geom 'ball': geom_solref"),
        (ball('<option gravity="0 0 nan"/>'), r"option gravity is \[.*nan\]"),
        (ball('<option density="inf"/>'), "option density is inf"),
        (ball(rest=key('qpos="0 0 nan 1 0 0 0"')), r"key 'home': key_qpos is"),
        (ball(rest=key('qpos="1 2 3 4 5 6 7 8"')), "keyframe 'home': invalid qpos size"),
        (ball(rest=key('ctrl="1"')), "keyframe 0: invalid ctrl size, expected length 0"),
        (
            ball('<extension><plugin plugin="my.thing"/></extension>'),
            "plugin my.thing .*not in MJX; remove",
        ),
    ],
)
def test_bad_numbers_and_parts_are_named(text: str, message: str) -> None:
    with pytest.raises(SceneError, match=f"(?s){message}"):
        load_scene(text, control_hz=100.0, substeps=1)


@pytest.mark.parametrize("hz", [1e-320, 1e308])
def test_a_rate_whose_timestep_is_no_number_is_named(hz: float) -> None:
    with pytest.raises(SceneError, match=r"give a timestep of (inf|0\.0) s; give the rate"):
        load_scene(ball(), control_hz=hz, substeps=100)


def test_a_timestep_of_the_mjcf_is_replaced_whatever_it_is() -> None:
    scene = load_scene(ball('<option timestep="nan"/>'), control_hz=100.0, substeps=2)
    assert scene.mj_model.opt.timestep == 0.005


def test_a_short_keyframe_is_warned_of() -> None:
    with pytest.warns(SceneWarning, match=r"keyframe 'home' has 3 numbers of qpos, the scene 7"):
        scene = load_scene(ball(rest=key('qpos="1 2 3"')), control_hz=100.0, substeps=1)
    np.testing.assert_array_equal(scene.keyframe("home")["qpos"], [1, 2, 3, 1, 0, 0, 0])


@pytest.mark.filterwarnings("error")
def test_limits_may_be_infinite_and_contacts_absent() -> None:
    slider = (
        '<mujoco><worldbody><geom name="floor" type="plane" size="1 1 .1" contype="0" '
        'conaffinity="0"/><body><joint name="x" type="slide" range="-inf 1" limited="true"/>'
        '<geom size=".1"/></body></worldbody></mujoco>'
    )
    scene = load_scene(slider, control_hz=100.0, substeps=1)
    np.testing.assert_array_equal(scene.mj_model.jnt_range[0], [-np.inf, 1.0])
    assert load_scene(scene.mjcf, control_hz=100.0, substeps=1).digest == scene.digest


@pytest.mark.parametrize(
    ("mjcf", "assets", "message"),
    [
        ("x" * 5000, None, "no MJCF file xxx"),
        (b"<mujoco/>", None, "a bytes is no MJCF"),
        (None, None, "a NoneType is no MJCF"),
        ("<mujoco/>", {"cup.obj": "v 0 0 0"}, r"assets\['cup.obj'\] is a str; give its bytes"),
    ],
)
def test_what_is_no_mjcf_or_no_file_is_named(mjcf: Any, assets: Any, message: str) -> None:
    with pytest.raises(SceneError, match=message):
        load_scene(mjcf, control_hz=100.0, substeps=1, assets=assets)
