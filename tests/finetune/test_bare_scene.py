"""Numbers that an MJCF leaves at zero are fitted from starting values."""

import numpy as np
import pytest

from tests.helpers.logged_arm import DRIVES, FREE, HZ, SUBSTEPS, Log, arm, recorded
from worldmodel.episodes.windows import cut_windows
from worldmodel.finetune.gauss_newton import IdentifyConfig, identify
from worldmodel.model import WorldModel
from worldmodel.physics import parameters
from worldmodel.physics.parameters import ParameterError
from worldmodel.physics.starting_values import starting_value
from worldmodel.scene.scene import compile_scene


def test_damping_and_friction_of_a_bare_arm_are_identified() -> None:
    spec, joints = arm().spec.copy(), ("shoulder", "elbow")
    for joint in joints:
        spec.joint(joint).damping = np.zeros(3)
        spec.joint(joint).frictionloss = 0.0
    bare = compile_scene(spec, control_hz=HZ, substeps=SUBSTEPS)
    with pytest.raises(ParameterError, match=r"shoulder.damping.*positive starting value"):
        parameters.check(bare, FREE)
    for joint in joints:
        spec.joint(joint).damping = [starting_value(bare.mj_model, "damping", joint), 0.0, 0.0]
        friction = starting_value(bare.mj_model, "frictionloss", joint)
        assert friction is not None
        spec.joint(joint).frictionloss = friction
    scene = compile_scene(spec, control_hz=HZ, substeps=SUBSTEPS)
    episodes = recorded(Log(), episodes=6)
    windows = cut_windows(episodes, [np.arange(1, 70, 10)] * 6, 15)
    world = WorldModel(scene, FREE)
    result = identify(world, windows, IdentifyConfig(engine="c", iterations=12))
    values = parameters.values(scene, FREE, result.parameters["physics"])
    for kind, truth in DRIVES.items():
        fitted = [float(values[f"{joint}.{kind}"][0]) for joint in joints]
        np.testing.assert_allclose(fitted, truth, rtol=0.1, err_msg=kind)
    assert all(number.identified for number in result.numbers)
