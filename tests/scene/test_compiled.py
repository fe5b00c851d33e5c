"""A loaded scene holds MuJoCo's own numbers, and its MJCF compiles to them again."""

from pathlib import Path

import numpy as np
import pytest

from worldmodel._mujoco import mujoco
from worldmodel.scene import Scene, load_scene

RECORDINGS = Path(__file__).resolve().parents[2] / "experiments" / "recordings"
HZ = 500.0  # MuJoCo's own timestep

# The terms of the mass matrix that are stored, and frames that coincide with their body's: the
# general model has no shortcut for bodies whose inertial frame is their own.
SHORTCUTS = {"body_simple", "dof_simplenum", "M_rownnz", "M_rowadr", "M_colind"}
SHORTCUTS |= {"mapM2M", "mapM2D", "mapD2M"}
SHORTCUTS |= {"body_sameframe", "geom_sameframe", "site_sameframe"}

BOX = (
    '<body name="b" pos=".1 .2 .3" quat=".9 .1 .2 .3"><freejoint/>'
    '<geom type="box" size=".1 .2 .3" mass=".123456789"/></body>'
)
JOINTED = (
    '<body name="a" pos="0 0 1"><joint name="h" axis="0 1 .3" range="-1 1" {0}/>'
    '<geom type="capsule" fromto="0 0 0 .3 0 .1" size=".02"/><site name="s" pos=".1 .123456789 0"/>'
    '<body pos=".3 0 0"><joint name="k" axis="0 1 0" damping=".01"/>'
    '<geom type="capsule" fromto="0 0 0 .3 0 .1" size=".02"/>'
    '<site name="tip" pos=".3 .0123456789 0"/></body></body><site name="o" pos="0 0 1.5"/>'
)
ARM = JOINTED.format("")
SPATIAL = '<tendon><spatial name="t" {}><site site="o"/><site site="s"/></spatial></tendon>'
MESH = 'vertex="0 0 0 .123456789 0 0 0 .2 0 0 0 .3"'
OFFSET = (
    '<body name="b" pos="0 .1 .2" euler="10 20 30"><freejoint {}/>'
    '<geom type="box" size=".05 .1 .2" pos=".2 0 0" euler="1 2 3"/><site pos="1 0 0"/>'
    '<geom size=".1" pos="0 .1 .2"/></body><body><joint type="free"/><geom size=".1"/></body>'
)


def mjcf(worldbody: str, rest: str = "", top: str = "") -> str:
    return f"<mujoco>{top}<worldbody>{worldbody}</worldbody>{rest}</mujoco>"


SCENES = {
    "free body": mjcf(BOX),
    "inertiafromgeom": mjcf(BOX, top='<compiler inertiafromgeom="true"/>'),
    "no inertia from geoms": mjcf(
        '<body><geom size=".1"/></body><body><freejoint/><geom size=".1"/><inertial '
        'mass="1.1111111" pos="0 .0123456789 0" fullinertia="1.1 1.2 1.3 .1 .2 '
        '.012345678"/></body>',
        top='<compiler inertiafromgeom="false"/>',
    ),
    "bounded inertia": mjcf(
        BOX + ARM, top='<compiler boundmass=".2" boundinertia=".01" balanceinertia="true"/>'
    ),
    "align": mjcf(OFFSET.format('align="true"')),
    "alignfree": mjcf(OFFSET.format(""), top='<compiler alignfree="true"/>'),
    "dampratio": mjcf(
        ARM,
        '<actuator><position joint="h" kp="12.3456789" dampratio="1.123456789"/>'
        '<position joint="h" kp="3" timeconst=".0123456789" inheritrange="1"/></actuator>',
    ),
    "springdamper": mjcf(JOINTED.format('springdamper=".2123456789 1"')),
    "springdamper in the defaults": mjcf(
        ARM, top='<default><joint springdamper=".2123456789 1" armature=".0123456789"/></default>'
    ),
    "muscles": mjcf(
        ARM,
        SPATIAL.format('springlength=".1123456789 .2"')
        + '<actuator><muscle tendon="t"/><muscle joint="h"/></actuator>',
    ),
    "defaults": mjcf(
        '<geom class="c" size=".1"/><body childclass="c"><joint/><geom size=".1"/></body>' + ARM,
        SPATIAL.format("") + '<actuator><motor joint="h"/></actuator>',
        '<default><general gear="3.333333333" forcerange="-1.23456789 2"/><tendon '
        'damping=".123456789" springlength=".0123456789" range=".0123456789 .5"/>'
        '<default class="c"><geom margin=".0123456789" solmix=".3333333333" '
        'friction=".3333333333 .1 .1"/>'
        "<joint "
        'damping=".3333333333" stiffness=".123456789" range="-.33333333 1" margin=".012345678" '
        'solreflimit=".0212345678 1" actuatorfrcrange="-1.23456789 1" springref=".123456789" '
        'ref=".0123456789"/></default></default>',
    ),
    "options": mjcf(
        BOX,
        top='<option density="1.23456789" viscosity=".00123456789" wind="1.111111111 0 0" '
        'ls_tolerance=".0123456789" tolerance="1.23456789e-7" impratio="1.23456789" '
        'magnetic="0 -.123456789 0" cone="elliptic"/>',
    ),
    "frames": mjcf(
        '<frame pos=".1234567891 0 0" euler="10 0 0"><body gravcomp=".123456789"><joint/>'
        '<geom size=".1" pos=".01234567 0 0"/></body><frame euler="0 12.3456789 0"><body>'
        '<freejoint/><geom type="ellipsoid" size=".1 .2 .3"/></body></frame></frame>'
    ),
    "mesh": mjcf(
        '<body><freejoint/><geom type="mesh" mesh="m" pos=".0123456789 0 0"/></body>',
        top=f'<asset><mesh name="m" {MESH} scale="1 .3333333333 1" refpos=".0123456789 0 0" '
        'inertia="convex" maxhullvert="8"/></asset>',
    ),
    "fitted to a mesh": mjcf(
        '<body><freejoint/><geom type="box" mesh="m" pos=".0123456789 0 0"/></body>',
        top=f'<asset><mesh name="m" {MESH}/></asset>',
    ),
    "height field": mjcf(
        '<geom type="hfield" hfield="f" pos=".0123456789 0 0" euler="0 0 10"/><body pos="0 0 2">'
        '<freejoint/><geom size=".1"/></body>',
        top='<asset><hfield name="f" nrow="2" ncol="3" elevation=".123456789 0 1 0 .333333333 0" '
        'size="1 1 .333333333333 .1"/></asset>',
    ),
    "pairs": mjcf(
        '<geom name="g" type="plane" size="1 1 1"/><body name="b"><freejoint/>'
        '<geom name="q" size=".1"/></body>',
        '<contact><pair geom1="g" geom2="q" friction=".3333333333 .3333333333 .01 .001 .001" '
        'margin=".0123456789" solref=".0212345678 1" gap=".001234567"/></contact>',
    ),
    "equality": mjcf(
        ARM + BOX,
        '<equality><connect body1="a" body2="b" anchor=".123456789 .1 .1"/>'
        '<weld body1="a" body2="b" torquescale=".123456789"/><weld site1="s" site2="tip"/><joint '
        'joint1="h" joint2="k" polycoef="0 .123456789 0 0 0" solref=".02123456 1"/></equality>',
    ),
    "tendons": mjcf(
        ARM + '<body><joint name="r" ref="30"/><geom size=".1"/></body>'
        '<geom name="c" type="cylinder" size=".0123456789 .1" pos=".1 0 1.2" contype="0" '
        'conaffinity="0"/>',
        '<tendon><spatial name="t"><site site="o"/><geom geom="c"/><site site="s"/>'
        '<pulley divisor="2.123456789"/><site site="o"/><site site="tip"/></spatial><fixed>'
        '<joint joint="h" coef=".123456789"/></fixed><fixed><joint joint="r" coef="-1"/></fixed>'
        "</tendon>"
        '<actuator><motor tendon="t" gear="-5.123456789"/></actuator>',
    ),
    "replicate": mjcf(
        '<replicate count="3" offset=".3333333 0 0"><body><freejoint/><geom size=".1"/></body>'
        "</replicate>"
    ),
    "fusestatic": mjcf(
        '<body><joint/><geom size=".1"/><body pos=".1 0 0"><geom size=".1"/><body pos=".123456789 '
        '0 0"><joint/><geom size=".2"/></body></body></body>',
        top='<compiler fusestatic="true"/>',
    ),
    "discardvisual": mjcf(
        '<body><joint/><geom size=".1"/><geom size=".2" contype="0" conaffinity="0" mass="0"/>'
        "</body>",
        top='<compiler discardvisual="true"/>',
    ),
    "keyframe": mjcf(ARM, '<keyframe><key qpos=".123456789 0" qvel="0 .123456789"/></keyframe>'),
    "sensors": mjcf(
        BOX + ARM,
        '<sensor><accelerometer site="s" cutoff=".123456789"/><jointpos joint="h"/></sensor>',
    ),
    "mocap": mjcf('<body mocap="true" pos=".1 0 0"><geom size=".1"/></body>' + BOX),
    "sliders": mjcf(
        '<body><joint type="slide" axis="1 0 0"/><joint type="slide" axis="0 1 0"/>'
        '<geom size=".1"/></body>'
    ),
}
SCENES |= {path.stem: path.read_text() for path in RECORDINGS.glob("*.xml")}


def load(text: str) -> Scene:
    return load_scene(text, control_hz=HZ, substeps=1)


def differing(model: mujoco.MjModel, other: mujoco.MjModel) -> set[str]:
    """Names of the arrays, and of the options, that are not bit for bit the same."""
    public = [n for n in dir(model) if not n.startswith("_")]
    names = [n for n in public if isinstance(getattr(model, n), np.ndarray)]
    options = [n for n in dir(model.opt) if not n.startswith("_")]
    return {n for n in names if not np.array_equal(getattr(model, n), getattr(other, n))} | {
        n for n in options if not np.array_equal(getattr(model.opt, n), getattr(other.opt, n))
    }


@pytest.mark.parametrize("name", list(SCENES))
def test_every_number_is_mujocos(name: str) -> None:
    spec = mujoco.MjSpec.from_string(SCENES[name])
    spec.option.timestep = 1.0 / HZ
    plain, scene = spec.compile(), load(SCENES[name])
    assert differing(plain, scene.mj_model) <= SHORTCUTS
    assert not scene.mj_model.body_simple[scene.mj_model.body_dofnum > 0].any()
    written = mujoco.MjModel.from_xml_string(scene.mjcf, scene.assets)
    assert differing(plain, written) == set()
    again = load(scene.mjcf)
    assert again.digest == scene.digest
    assert again.mjcf == scene.mjcf


@pytest.mark.parametrize("flag", ["auto", "true"])
def test_no_body_takes_the_shortcut(flag: str) -> None:
    scene = load(mjcf(BOX, top=f'<compiler inertiafromgeom="{flag}"/>'))
    moved = mujoco.MjData(scene.mj_model)
    scene.mj_model.body_ipos[1] += (0.05, 0.0, 0.0)
    mujoco.mj_forward(scene.mj_model, moved)
    full = np.empty((6, 6))
    mujoco.mj_fullM(scene.mj_model, moved, full)
    mass = scene.mj_model.body_mass[1]
    coupling = np.linalg.norm(full[:3, 3:])  # of mass · [offset]×
    assert coupling == pytest.approx(np.sqrt(2.0) * 0.05 * mass, rel=1e-12)


def test_a_light_in_a_frame_keeps_its_place_and_the_scene_its_digest() -> None:
    light = '<light pos=".123456789 0 2" dir="0 1 -1"/><geom size=".1" pos=".1 0 0"/><joint/>'
    text = mjcf(
        f'<frame pos=".1 .2 .3" euler="0 0 30"><body euler="5 0 0"><frame euler="0 7 0">'
        f"{light}</frame></body></frame>"
    )
    scene = load_scene(text, control_hz=HZ, substeps=1)
    plain = mujoco.MjModel.from_xml_string(text)
    for field in ("light_pos", "light_dir"):
        np.testing.assert_allclose(
            getattr(scene.mj_model, field), getattr(plain, field), rtol=0.0, atol=1e-15
        )
    assert load_scene(scene.mjcf, control_hz=HZ, substeps=1).digest == scene.digest
