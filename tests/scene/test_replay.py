"""Windows replayed on all cores are what a loop of MuJoCo's own step computes."""

import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.scene.replay import replayed, touching

ARM = """<mujoco><option timestep="0.004"/><worldbody><body><joint name="j" axis="0 1 0"/>
<geom type="capsule" fromto="0 0 0 .3 0 0" size=".02"/></body></worldbody>
<actuator><motor joint="j"/></actuator></mujoco>"""


def test_replayed_is_stepped() -> None:
    model, rng = mujoco.MjModel.from_xml_string(ARM), np.random.default_rng(0)
    qpos, qvel, ctrl = rng.normal(size=(5, 1)), rng.normal(size=(5, 1)), rng.normal(size=(5, 7, 1))
    played = replayed(model, 3, qpos, qvel, ctrl)
    data = mujoco.MjData(model)
    for window in range(5):
        mujoco.mj_resetData(model, data)
        data.qpos[:], data.qvel[:] = qpos[window], qvel[window]
        for k in range(7):
            data.ctrl[:] = ctrl[window, k]
            mujoco.mj_step(model, data, nstep=3)
            np.testing.assert_array_equal(played[window, k], data.qpos)


def test_what_explodes_stays_so() -> None:
    model = mujoco.MjModel.from_xml_string(ARM)
    played = replayed(model, 1, np.zeros((1, 1)), np.full((1, 1), 1e12), np.zeros((1, 3, 1)))
    assert not (np.abs(played) < 1e6).any()


BALLS = """<mujoco><option timestep="0.002"/><worldbody>
<geom name="floor" type="plane" size="1 1 1"/>
<body pos="0 0 .15"><freejoint/><geom name="falls" size=".1"/></body>
<body pos="1 0 5"><freejoint/><geom name="far" size=".1"/></body></worldbody></mujoco>"""


def test_geoms_touch_once_they_have_fallen() -> None:
    model = mujoco.MjModel.from_xml_string(BALLS)
    start = model.qpos0[None], np.zeros((1, model.nv))
    assert touching(model, 5, *start, np.zeros((1, 5, 0))) == frozenset()  # .05 m take .1 s
    fallen = touching(model, 5, *start, np.zeros((1, 20, 0)))
    assert {model.geom(g).name for g in fallen} == {"floor", "falls"}
