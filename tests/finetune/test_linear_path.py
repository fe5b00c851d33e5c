"""Physics linearised along windows: its chain of steps is the derivative of the whole."""

import dataclasses

import numpy as np
import pytest

from worldmodel.episodes.windows import HISTORY, History, Windows
from worldmodel.finetune.linear_path import POSE, RATE, with_path
from worldmodel.model import WorldModel
from worldmodel.scene import load_scene

HZ, FRAMES = 50.0, 12
ARM = """<mujoco><option integrator="implicitfast"/><worldbody><body>
<joint name="arm" axis="0 1 0" damping="1" armature=".01"/>
<geom type="capsule" size=".02" fromto="0 0 0 .3 0 0" mass=".5" contype="0" conaffinity="0"/>
</body></worldbody><actuator>
<general name="arm" joint="arm" gainprm="40 0 0 0 .005 {play}" biastype="affine"
biasprm="0 -40 -1"/>
</actuator></mujoco>"""


def window(qpos: float, qvel: float) -> Windows:
    """An arm that gravity loads follows half a swing."""
    ctrl = 0.6 * np.sin(2.0 * np.pi * np.arange(FRAMES) / HZ)[None, :, None]
    still = np.ones((1, HISTORY, 1))
    first, known = np.arange(HISTORY)[None] == 0, np.ones((1, HISTORY), bool)
    history = History(qpos * still, qvel * still, 0.0 * still, first, known)
    scored = np.ones((1, FRAMES), bool)
    return Windows(history, ctrl, np.zeros((1, FRAMES, 1)), scored, np.zeros(1, int))


@pytest.mark.parametrize("play", [0.0, 0.04])
def test_the_chain_of_steps_is_the_derivative_of_the_window(play: float) -> None:
    scene = load_scene(ARM.format(play=play), control_hz=HZ, substeps=10)
    world = WorldModel(scene, ())

    def end(qpos: float, qvel: float) -> np.ndarray:
        path = with_path(world, {}, window(qpos, qvel)).path
        assert path is not None
        return np.array([path.qpos[0, -1, 0], path.qvel[0, -1, 0]])

    path = with_path(world, {}, window(0.1, 0.2)).path
    assert path is not None
    chain = np.linalg.multi_dot(path.carry[0, ::-1])
    slopes = [
        (end(0.1 + a, 0.2 + b) - end(0.1 - a, 0.2 - b)) / (2.0 * (a + b))
        for a, b in ((POSE, 0.0), (0.0, RATE))
    ]
    # Where the link lies in its play is held; a rate taken for an acceleration would be 0.3 off.
    np.testing.assert_allclose(chain, np.stack(slopes, axis=1), atol=0.02 if play else 1e-6)


def test_nothing_is_carried_beyond_where_a_linearisation_holds() -> None:
    """Of a pendulum that falls from its top: a change grows tenfold in 0.07 s."""
    scene = load_scene(
        """<mujoco><worldbody><body><joint name="arm" axis="0 1 0"/>
        <geom pos="0 0 .01" size=".002"/></body></worldbody><actuator>
        <motor name="arm" joint="arm"/></actuator></mujoco>""",
        control_hz=HZ,
        substeps=10,
    )
    windows = window(1e-6, 0.0)
    along = with_path(
        WorldModel(scene, ()), {}, dataclasses.replace(windows, ctrl=0 * windows.ctrl)
    )
    assert along.path is not None
    scored = np.asarray(along.scored)[0]
    assert 0 < scored.sum() < FRAMES and np.logical_and.accumulate(scored).sum() == scored.sum()
    for slope in (along.path.carry[0], along.path.response[0]):
        assert np.abs(slope[scored]).sum((1, 2)).all() and not slope[~scored].any()
