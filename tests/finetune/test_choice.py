"""The choice of parameters: of two that the data cannot tell apart one stays."""

import numpy as np
import pytest

from worldmodel._mujoco import mujoco
from worldmodel.episodes.windows import WindowGrid
from worldmodel.errors import InputError
from worldmodel.finetune.choice import choose, eliminate
from worldmodel.model import WorldModel
from worldmodel.scene import FreeParameter, load_scene
from worldmodel.types import Episode


def test_numbers_without_curvature_are_held() -> None:
    deviation, free = eliminate(np.diag([99.0, 0.0]))
    assert free.tolist() == [True, False]
    np.testing.assert_allclose(deviation, [0.1, 1.0])


def test_of_two_that_do_the_same_one_stays() -> None:
    rows = np.array([[10.0, 10.0, 0.0], [0.0, 0.0, 5.0]])  # the first two columns are one
    deviation, free = eliminate(rows.T @ rows)
    assert free.sum() == 2 and free[2] and free[0] != free[1]
    # Alone, the one that stays has 1 / √(100 + 1).
    np.testing.assert_allclose(deviation[free][0], 1 / np.sqrt(101))


PENDULUM = """<mujoco model="p"><option timestep="0.005"/><worldbody>
<body name="link"><joint name="hinge" axis="0 1 0" damping="{damping}"/>
<geom name="g" type="capsule" fromto="0 0 0 0 0 -.4" size=".02" mass=".5"
contype="0" conaffinity="0"/></body></worldbody></mujoco>"""


def swings() -> list[Episode]:
    model = mujoco.MjModel.from_xml_string(PENDULUM.format(damping=0.02))
    episodes = []
    for i in range(3):
        data = mujoco.MjData(model)
        data.qpos[:] = 0.8 + 0.4 * i
        rows = []
        for _ in range(80):
            rows.append((data.qpos.copy(), data.qvel.copy()))
            mujoco.mj_step(model, data, nstep=4)
        qpos, qvel = map(np.array, zip(*rows, strict=True))
        episodes.append(Episode.regular(i, 50.0, qpos=qpos, qvel=qvel, ctrl=np.zeros((80, 0))))
    return episodes


def test_a_swing_shows_damping_and_not_what_lies_along_the_axis() -> None:
    scene = load_scene(PENDULUM.format(damping=0.05), control_hz=50.0, substeps=4)
    free = (FreeParameter("damping", "hinge"), FreeParameter("com", "link"))
    windows, _ = WindowGrid(1, 10, 25).cut(swings())
    kept, verdicts = choose(WorldModel(scene, free), windows)
    assert kept[0] == free[0]
    along = next(v for v in verdicts if (v.name, v.index) == ("link.com", 1))
    assert (along.kept, along.moves, along.deviation) == (False, False, pytest.approx(1.0))
    assert str(along) == "nothing recorded depends on it"


def test_more_windows_say_more() -> None:
    scene = load_scene(PENDULUM.format(damping=0.05), control_hz=50.0, substeps=4)
    windows, _ = WindowGrid(1, 10, 25).cut(swings())
    world = WorldModel(scene, (FreeParameter("damping", "hinge"),))
    some, many = (
        choose(world, windows, count=count)[1][0].deviation for count in (None, 9 * len(windows))
    )
    assert 1 / many**2 - 1 == pytest.approx(9 * (1 / some**2 - 1))  # the data's, less the prior's


def test_nothing_to_choose_from_is_refused() -> None:
    scene = load_scene(PENDULUM.format(damping=0.05), control_hz=50.0, substeps=4)
    windows, _ = WindowGrid(1, 10, 25).cut(swings())
    with pytest.raises(InputError, match="no candidate"):
        choose(WorldModel(scene), windows)
