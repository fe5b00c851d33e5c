"""A scene of many kinds of joints, and poses in it."""

import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.scene import Scene, load_scene


def cart_and_elbow() -> Scene:
    """Every kind of joint that a network knows; corners in several bodies; never stepped."""
    return load_scene(
        """
        <mujoco model="rich">
          <worldbody>
            <geom name="table" type="plane" size="0 0 .1" pos="0 0 .02"/>
            <body name="cart" pos="1 0 .5">
              <joint name="cart" type="slide" axis="1 0 0"/>
              <geom type="sphere" size=".02"/>
              <body name="pole" pos="0 0 .1">
                <joint name="pole" type="hinge" axis="0 1 0"/>
                <geom type="box" size=".02 .02 .1"/>
              </body>
            </body>
            <body name="elbow" pos="0 0 .2">
              <freejoint name="elbow"/>
              <geom name="upper" type="box" size=".05 .04 .03" pos=".01 .02 .03" euler="10 20 30"/>
              <geom name="ghost" type="box" size=".3 .3 .3" contype="0" conaffinity="0"/>
              <body name="lower" pos=".1 0 0" euler="0 0 40">
                <joint name="knee" type="hinge" axis="0 1 0"/>
                <geom name="lower" type="box" size=".06 .02 .01" pos=".05 0 0"/>
                <geom name="toe" type="sphere" size=".01" pos=".1 0 0"/>
              </body>
            </body>
          </worldbody>
          <actuator><motor joint="pole"/><motor joint="knee"/></actuator>
        </mujoco>
        """,
        control_hz=100.0,
        substeps=1,
    )


def anywhere(scene: Scene, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A random qpos, qvel and ctrl."""
    m, rng = scene.mj_model, np.random.default_rng(seed)
    qpos = m.qpos0.copy()
    mujoco.mj_integratePos(m, qpos, rng.normal(size=m.nv), 1.0)
    return qpos, rng.normal(size=m.nv), rng.normal(size=m.nu)
