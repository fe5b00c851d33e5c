"""Unknown objects: refused where what is scored depends on them, else left as the MJCF has them."""

import dataclasses

import numpy as np
import pytest

from worldmodel._mujoco import mujoco
from worldmodel.episodes.unknown import resolve_unknown
from worldmodel.episodes.windows import WindowGrid
from worldmodel.errors import InputError
from worldmodel.types import Episode

ARM = """<body name="arm"><joint name="shoulder"/><geom name="arm" size=".1" {0}/>
<body pos="0 0 .3"><joint name="{1}"/><geom name="hand" size=".05" {0}/></body></body>"""
CUP = """<body name="cup" pos="{0} 0 0"><freejoint/><geom name="cup" size=".1" {1}/></body>"""
APART = 'contype="0" conaffinity="0"'


def model_of(*bodies: str, more: str = "") -> mujoco.MjModel:
    table = '<geom name="table" type="plane" size="1 1 .1"/>'
    text = f"<mujoco><worldbody>{table}{''.join(bodies)}</worldbody>{more}</mujoco>"
    return mujoco.MjModel.from_xml_string(text)


def episodes_of(model: mujoco.MjModel, *unknown: int) -> list[Episode]:
    """Two episodes at the MJCF's pose, the positions ``unknown`` NaN and not measured."""
    qpos = np.tile(model.qpos0, (6, 1))
    qpos[:, list(unknown)] = np.nan
    still, none = np.zeros((6, model.nv)), np.zeros((6, model.nu))
    return [
        Episode.regular(i, 10.0, qpos=qpos, qvel=still, ctrl=none, measured=np.isfinite(qpos))
        for i in range(2)
    ]


CUP_OF = range(2, 9)  # qpos of the cup after the arm's two joints


@pytest.mark.parametrize(
    ("cups", "more", "refused"),
    [
        ([CUP.format(1, "")], "", True),
        ([CUP.format(1, APART)], '<contact><pair geom1="arm" geom2="cup"/></contact>', True),
        (
            [CUP.format(1, APART)],
            '<equality><weld name="grasp" body1="cup" body2="arm"/></equality>',
            True,
        ),
        (
            [CUP.format(1, APART).replace("<geom", '<site name="s"/><geom'), '<site name="o"/>'],
            '<tendon><spatial name="rope"><site site="s"/><site site="o"/></spatial></tendon>',
            False,  # it ends at the world: nothing else moves with it
        ),
    ],
)
def test_what_can_act_on_the_scored_is_refused_by_name(
    cups: list[str], more: str, refused: bool
) -> None:
    model = model_of(ARM.format("", "elbow"), *cups, more=more)
    episodes = episodes_of(model, *CUP_OF)
    if not refused:
        assert resolve_unknown(model, episodes)[1] == ("body 'cup'",)
        return
    named = "body 'cup' is unknown in every frame.*joint 'shoulder'.*assume a value.*remove"
    with pytest.raises(InputError, match=named):
        resolve_unknown(model, episodes)


def test_a_chain_of_contacts_and_a_joint_of_the_same_arm_count() -> None:
    masks = ('contype="2" conaffinity="0"', 'contype="4" conaffinity="2"', 'conaffinity="4"')
    ball = '<body name="ball" pos="2 0 0"><freejoint/><geom name="ball" size=".1" {}/></body>'
    model = model_of(ARM.format(masks[0], "elbow"), CUP.format(1, masks[2]), ball.format(masks[1]))
    with pytest.raises(InputError, match="body 'cup' is unknown in every frame"):
        resolve_unknown(model, episodes_of(model, *CUP_OF))  # arm, ball, cup
    alone = model_of(ARM.format(APART, "finger"))
    with pytest.raises(InputError, match="joint 'finger' is unknown"):
        resolve_unknown(alone, episodes_of(alone, 1))


def test_what_nothing_depends_on_stands_where_the_mjcf_has_it_and_is_never_scored() -> None:
    model = model_of(ARM.format("", "elbow"), CUP.format(1, APART))
    episodes = episodes_of(model, *CUP_OF)
    episodes[1] = dataclasses.replace(episodes[1], qvel=np.full((6, model.nv), np.nan))
    with pytest.raises(InputError, match="positions are known to start from"):
        WindowGrid(0, 1, 2).cut(episodes)
    placed, names = resolve_unknown(model, episodes[:1])
    assert names == ("body 'cup'",)
    np.testing.assert_array_equal(placed[0].qpos[:, CUP_OF], np.tile(model.qpos0[CUP_OF], (6, 1)))
    assert placed[0].measured is not None
    assert not placed[0].measured[:, CUP_OF].any() and placed[0].measured[:, :2].all()
    windows, skipped = WindowGrid(0, 1, 2).cut(placed)
    assert (len(windows), skipped) == (4, 0)


def test_a_joint_that_some_frame_knows_is_not_unknown() -> None:
    model = model_of(ARM.format("", "elbow"), CUP.format(1, ""))
    episodes = episodes_of(model, *CUP_OF)
    episodes[1] = episodes_of(model)[0]
    same, names = resolve_unknown(model, episodes)
    assert names == () and same[0] is episodes[0]
