"""Substeps and candidates for a bare MJCF, against closed forms."""

import math

import pytest

from worldmodel._mujoco import mujoco
from worldmodel.scene.defaults import candidates, name_elements, stepping, touching_geoms

MASS = 2.0


def slider(option: str = "", joint: str = "", actuator: str = "", geom: str = "") -> mujoco.MjModel:
    return mujoco.MjModel.from_xml_string(
        f"""<mujoco><option timestep="0.05" gravity="0 0 0" {option}/><worldbody>
        <body name="b"><joint name="j" type="slide" axis="1 0 0" {joint}/>
        <geom name="g" type="sphere" size=".1" mass="{MASS}" contype="0" conaffinity="0"/></body>
        {geom}</worldbody><actuator>{actuator}</actuator></mujoco>"""
    )


@pytest.mark.parametrize(
    ("parts", "longest"),
    [
        ({}, 0.05),
        ({"actuator": "<position joint='j' kp='800'/>"}, math.sqrt(MASS / 800)),
        ({"actuator": "<position joint='j' kp='800' gear='2'/>"}, math.sqrt(MASS / 3200)),
        # Velocity feedback limits an explicit integrator alone.
        ({"actuator": "<velocity joint='j' kv='400'/>"}, MASS / 400),
        (
            {"actuator": "<velocity joint='j' kv='400'/>", "option": "integrator='implicitfast'"},
            0.05,
        ),
        ({"actuator": "<general joint='j' dyntype='filter' dynprm='0.012'/>"}, 0.012),
        ({"joint": "limited='true' range='-1 1' solreflimit='0.03 1'"}, 0.015),
        ({"joint": "limited='true' range='-1 1' solreflimit='-900 -5'"}, 0.05),
    ],
)
def test_the_fastest_part_sets_the_timestep(parts: dict[str, str], longest: float) -> None:
    chosen = stepping(slider(**parts), 10.0)
    assert chosen.limits[0].seconds == pytest.approx(longest, rel=1e-6)
    assert chosen.substeps == math.ceil(0.1 / longest - 1e-6)
    assert chosen.timestep == pytest.approx(0.1 / chosen.substeps)


TOUCHING = """<mujoco><option timestep="0.01"/><worldbody>
<geom name="floor" type="plane" size="1 1 1" solref="0.008 1"/>
<body name="heavy" pos="0 0 1"><freejoint/><geom name="h" size=".1" mass="2"/>
<body name="light"><joint name="hinge"/><geom name="l" size=".05" pos=".2 0 0" mass="1"/></body>
</body><body name="arm" pos="2 0 1"><joint name="shoulder"/>
<geom name="a" size=".1" mass="1" contype="0" conaffinity="0"/></body></worldbody>
<actuator><position name="servo" joint="shoulder" kv="1"/></actuator></mujoco>"""


def test_contacts_that_can_touch_limit_the_timestep() -> None:
    chosen = stepping(mujoco.MjModel.from_xml_string(TOUCHING), 50.0)
    assert (chosen.limits[0].what, chosen.limits[0].seconds) == (
        "the contact of geom 'floor'",
        0.004,
    )
    assert chosen.substeps == 5


def test_a_contact_of_a_pair_limits_the_timestep_by_the_numbers_of_the_pair() -> None:
    """Those of its geoms do nothing, unless they touch another geom too."""
    paired = """<mujoco><option timestep="0.01"/><worldbody>
    <geom name="floor" type="plane" size="1 1 1" solref="0.002 1" contype="0" conaffinity="0"/>
    <body pos="0 0 1"><freejoint/><geom name="ball" size=".1" solref="0.004 1" contype="{type}"/>
    </body><body pos="2 0 1"><freejoint/><geom name="other" size=".1" contype="0"/></body>
    </worldbody><contact><pair geom1="floor" geom2="ball" solref="0.012 1"/></contact></mujoco>"""
    for contype, what, seconds in (
        (0, "the contact of geom 'floor' (world) against geom 'ball' (body 'body1')", 0.006),
        (1, "the contact of geom 'ball'", 0.002),
    ):
        model = mujoco.MjModel.from_xml_string(paired.format(type=contype))
        limit = stepping(model, 50.0).limits[0]
        assert (limit.what, limit.seconds) == (what, seconds)


def test_candidates_are_what_a_recording_can_show() -> None:
    model = mujoco.MjModel.from_xml_string(TOUCHING)
    assert [model.geom(g).name for g in touching_geoms(model)] == ["floor", "h", "l"]
    names = {f.name for f in candidates(model)}
    # Nothing drives the tossed bodies: only the ratio of their masses shows.
    assert {"light.mass", "arm.mass"} <= names and "heavy.mass" not in names
    assert {"h.friction", "l.friction", "h.solref"} <= names
    assert {"floor.friction", "a.friction"} & names == set()
    assert {"servo.gain", "servo.kv", "servo.command_zero", "shoulder.joint_zero"} <= names
    assert {f"hinge.{k}" for k in ("damping", "frictionloss", "armature")} <= names


def test_numbers_of_contacts_in_pairs_are_no_candidates() -> None:
    pair = '<contact><pair geom1="floor" geom2="a"/><pair geom1="floor" geom2="l"/></contact>'
    model = mujoco.MjModel.from_xml_string(TOUCHING.replace("<actuator>", f"{pair}<actuator>"))
    free = {f.name for f in candidates(model) if f.kind in ("friction", "solref")}
    assert free == {"h.friction", "h.solref"}


def test_what_has_no_name_is_named_by_its_index() -> None:
    spec = mujoco.MjSpec.from_string(
        "<mujoco><worldbody><body name='a'><joint/><geom size='1'/><geom name='n' size='1'/>"
        "</body></worldbody></mujoco>"
    )
    assert name_elements(spec) == ["joint0", "geom0"]
    model = spec.compile()
    assert (model.joint(0).name, model.geom(0).name, model.geom(1).name) == ("joint0", "geom0", "n")


def test_an_index_that_is_another_s_name_is_not_given_twice() -> None:
    spec = mujoco.MjSpec.from_string(
        "<mujoco><worldbody><body name='a'><joint name='j'/><geom size='1'/>"
        "<geom name='geom0' size='1'/></body></worldbody></mujoco>"
    )
    assert name_elements(spec) == ["geom0_"]
    assert spec.compile().ngeom == 2


MESHES = """<mujoco><asset><mesh name="m" vertex="0 0 0 .1 0 0 0 .1 0 0 0 .1"/></asset>
<default><geom type="mesh"/></default><worldbody>
<geom name="floor" type="plane" size="1 1 1"/><body pos="0 0 1"><joint name="j"/>
<geom name="m0" mesh="m"/><geom name="m1" mesh="m"/><geom name="m2" mesh="m" friction=".4"/>
<geom name="m3" mesh="m" solref=".03 1"/>
<geom name="box" type="box" size=".1 .1 .1"/></body></worldbody></mujoco>"""


def test_meshes_that_are_alike_share_their_friction() -> None:
    model = mujoco.MjModel.from_xml_string(MESHES)

    def contacts(geoms: list[str] | None) -> set[tuple[str, tuple[str, ...]]]:
        touching = None if geoms is None else [model.geom(name).id for name in geoms]
        free = candidates(model, touching)
        return {(f.name, f.also) for f in free if f.kind in ("friction", "solref")}

    assert contacts(None) == {
        ("m0.friction", ("m1", "m3")),
        ("m2.friction", ()),
        ("m0.solref", ("m1", "m2")),
        ("m3.solref", ()),
        ("box.friction", ()),
        ("box.solref", ()),
    }
    # Nothing depends on what does not touch. A contact has the larger friction of the two, so that
    # of a floor under one geom alone moves with it.
    assert contacts(["floor", "m1"]) == {("m1.friction", ("floor",)), ("m1.solref", ())}


def test_a_crate_on_a_slippery_table_can_be_fitted() -> None:
    feet = "".join(f'<geom name="f{i}" size=".01" pos="{i} 0 0"/>' for i in range(3))
    model = mujoco.MjModel.from_xml_string(
        f"""<mujoco><worldbody><geom name="table" type="plane" size="1 1 1"/><body pos="0 0 .1">
        <freejoint/>{feet}<geom name="lid" friction=".3" size=".01" pos="0 .1 0"/></body>
        <body pos="0 0 1"><joint/><geom name="tip" size=".01"/></body></worldbody></mujoco>"""
    )

    def frictions(*geoms: str) -> set[tuple[str, tuple[str, ...]]]:
        free = candidates(model, [model.geom(name).id for name in geoms])
        return {(f.element, f.also) for f in free if f.kind == "friction"}

    assert frictions("table", "f0", "f1", "f2") == {("f0", ("f1", "f2", "table"))}
    # Beneath two that may differ it stays as it is.
    assert frictions("table", "f0", "tip") == {("f0", ()), ("tip", ())}


def test_substeps_can_be_given() -> None:
    given, own = (stepping(slider(), 10.0, substeps) for substeps in (7, None))
    assert (given.substeps, given.timestep) == (7, pytest.approx(0.1 / 7))
    assert given.limits == own.limits and own.substeps == 2
