"""Joints that can move without moving any mass are refused by name, in every keyframe."""

import warnings

import numpy as np
import pytest

from worldmodel.scene import SceneError, load_scene

HINGE = "<joint name='{0}' type='hinge' axis='0 1 0' {1}/>"
DOOR = "<body name='door'>{0}<geom size='.1' pos='.3 0 0'/></body>"


def scene(worldbody: str) -> str:
    return f"<mujoco><worldbody>{worldbody}</worldbody></mujoco>"


def test_joints_that_move_no_mass_are_named() -> None:
    twice = HINGE.format("left", "") + HINGE.format("right", "")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(SceneError, match=r"singular: joints left, right .*armature"):
            load_scene(scene(DOOR.format(twice)), control_hz=100.0, substeps=1)
    armed = HINGE.format("left", "") + HINGE.format("right", "armature='.01'")
    load_scene(scene(DOOR.format(armed)), control_hz=100.0, substeps=1)


def test_a_keyframe_whose_joints_move_no_mass_is_named() -> None:
    """Cardan's joint, whose first and third axes fall together at a right angle of the second."""
    axes = "".join(
        f"<joint name='{n}' axis='{a}'/>"
        for n, a in zip("zxy", ("0 0 1", "1 0 0", "0 1 0"), strict=True)
    )
    key = f"<keyframe><key name='locked' qpos='0.3 {np.pi / 2} 0'/></keyframe>"
    text = scene(DOOR.format(axes)).replace("</mujoco>", key + "</mujoco>")
    with pytest.raises(SceneError, match=r"singular in keyframe 'locked': joints z, y can"):
        load_scene(text, control_hz=100.0, substeps=1)
