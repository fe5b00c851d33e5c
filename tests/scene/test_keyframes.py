"""Keyframes: a start, a control apart from it, or a refusal with the reason."""

import pytest

from tests.helpers import scenes
from worldmodel import physics
from worldmodel.scene import SceneError, load_scene


def test_a_keyframe_is_a_start_or_says_why_not() -> None:
    scene = scenes.tray()
    state = physics.initial_state(scene, **scene.keyframe("on"))
    assert state.time == 0.5 and state.qvel.tolist() == [0.1, 0.2, 0, 1, 0, 0]
    with pytest.raises(SceneError, match=r"no keyframe 'in'; the scene has \['on', 'elsewhere'\]"):
        scene.keyframe("in")
    with pytest.raises(SceneError, match="'elsewhere' moves mocap body 'tray'"):
        scene.keyframe("elsewhere")
    assert scene.keyframe_ctrl("on").shape == (0,)


def test_a_keyframes_control_is_read_apart_from_its_state() -> None:
    held = load_scene(
        "<mujoco><worldbody><body><joint name='x'/><geom size='.1'/></body></worldbody>"
        "<actuator><motor joint='x'/></actuator>"
        "<keyframe><key name='held' qpos='0.1' ctrl='0.7'/></keyframe></mujoco>",
        control_hz=100.0,
        substeps=1,
    )
    assert physics.initial_state(held, **held.keyframe("held")).qpos == 0.1
    assert held.keyframe_ctrl("held") == 0.7
    with pytest.raises(SceneError, match=r"no keyframe 'loose'; the scene has \['held'\]"):
        held.keyframe_ctrl("loose")
