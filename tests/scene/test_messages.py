"""Refusals name what offends, and nothing that does not."""

import pytest

from worldmodel.scene import SceneError, load_scene

MUG = (
    '<body name="mug" pos="0 0 .3"><freejoint/>'
    '<geom name="{name}" type="cylinder" size=".03 .05" {rest}/></body>'
)
TABLE = '<geom name="table" type="box" size="1 1 .1"/>'
WEDGE = '<asset><mesh name="w" vertex="0 0 0 .1 0 0 0 .1 0 0 0 .1"/></asset>'


def scene(worldbody: str, rest: str = "", top: str = "") -> str:
    return f"<mujoco>{top}<worldbody>{worldbody}</worldbody>{rest}</mujoco>"


def refusal(text: str) -> str:
    with pytest.raises(SceneError) as caught:
        load_scene(text, control_hz=100.0, substeps=1)
    return str(caught.value)


def test_the_pair_without_a_collider_is_named_with_its_bodies() -> None:
    picture = '<geom name="picture" type="box" size=".1 .1 .1" contype="0" conaffinity="0"/>'
    one = refusal(scene(picture + TABLE + MUG.format(name="can", rest="")))
    assert "cylinder–box: geom 'can' (body 'mug') against geom 'table' (world); replace" in one
    assert "picture" not in one
    shelf = '<geom name="shelf" type="box" size="1 1 .1" pos="0 0 1"/>'
    two = refusal(scene(picture + TABLE + shelf + MUG.format(name="can", rest="")))
    assert "geom 'table' (world) and 1 more such pair; replace" in two


def test_pairs_that_are_kept_apart_are_not_named() -> None:
    apart = '<contact><exclude body1="world" body2="mug"/></contact>'
    load_scene(scene(TABLE + MUG.format(name="can", rest=""), apart), control_hz=100.0, substeps=1)
    masked = MUG.format(name="can", rest='contype="2" conaffinity="2"')
    load_scene(scene(TABLE + masked), control_hz=100.0, substeps=1)


def test_an_unnamed_geom_is_named_by_its_id_and_body() -> None:
    message = refusal(scene(TABLE + MUG.format(name="", rest="")))
    assert "geom 'geom1' (body 'mug') against geom 'table' (world)" in message


def test_margins_are_refused_where_mjx_has_none() -> None:
    worldbody = (
        '<geom name="floor" type="plane" size="1 1 .1"/>'
        '<geom name="shelf" type="box" size=".1 .1 .1" contype="2" conaffinity="2"/>'
        '<body pos="1 0 .3"><freejoint/><geom name="ball" size=".1" contype="2" conaffinity="2"/>'
        '</body><body name="b" pos="0 0 .3"><freejoint/>'
        '<geom name="wedge" type="mesh" mesh="w" {}/></body>'
    )
    everywhere = '<default><geom margin=".001"/></default>' + WEDGE
    both = refusal(scene(worldbody.format(""), top=everywhere))
    assert (
        "no contact margin at meshes and height fields: geom 'floor' (world) against geom" in both
    )
    assert both.endswith("set margin=0 on geom 'floor', geom 'wedge'")
    assert "ball" not in both and "shelf" not in both
    primitives = refusal(scene(worldbody.format('margin="0"'), top=everywhere))
    assert primitives.endswith("set margin=0 on geom 'floor'")

    untouched = worldbody.format('contype="0" conaffinity="0"')
    load_scene(scene(untouched, top=everywhere), control_hz=100.0, substeps=1)
    pair = '<contact><pair name="p" geom1="floor" geom2="wedge" margin=".1"/></contact>'
    assert refusal(scene(untouched, pair, everywhere)).endswith("set margin=0 on pair 'p'")


SENSED = (
    '<geom name="floor" type="plane" size="1 1 .1"/><body name="b" pos="0 0 1"><freejoint/>'
    '<geom name="ball" size=".1"/><site name="s"/></body>'
)


@pytest.mark.parametrize(
    ("sensor", "message"),
    [
        ('<rangefinder name="odd" site="s"/>', "sensor 'odd': MJX fails at mjSENS_RANGEFINDER"),
        ('<contact name="odd" body1="b"/>', "sensor 'odd': .*sense the contact of two geoms"),
        ('<distance name="odd" geom1="ball" geom2="floor"/>', "sensor 'odd': mjSENS_GEOMDIST"),
        ('<e_kinetic name="odd"/>', "sensor 'odd': mjSENS_E_KINETIC.*remove or replace"),
    ],
)
def test_the_sensor_that_mjx_fails_at_is_named(sensor: str, message: str) -> None:
    fine = '<framepos name="fine" objtype="site" objname="s"/><touch name="touch" site="s"/>'
    with pytest.raises(SceneError, match=message) as caught:
        text = scene(SENSED, f"<sensor>{fine}{sensor}</sensor>")
        load_scene(text, control_hz=100.0, substeps=1)
    assert "'fine'" not in str(caught.value) and "'touch'" not in str(caught.value)
    load_scene(scene(SENSED, f"<sensor>{fine}</sensor>"), control_hz=100.0, substeps=1)
