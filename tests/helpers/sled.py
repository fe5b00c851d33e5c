"""A mass that a motor pushes along x, over a floor or in the air; as a robot and as a scene."""

import functools

import numpy as np

from worldmodel.reality import HiddenPhysics, SimulatedRobot, deploy
from worldmodel.rollout import replay
from worldmodel.scene import Scene, load_scene
from worldmodel.types import Episode

FRICTION, MASS, HZ = 0.1, 0.5, 1000.0
TOUCH = (("sled", "floor"),)


def mjcf(*, floor: bool = True, damping: float = 0.0) -> str:
    return f"""
        <mujoco model="sled">
          <option cone="elliptic" tolerance="1e-12" iterations="50"/>
          <worldbody>
            <geom name="floor" type="plane" size="0 0 .1"/>
            <body name="sled" pos="0 0 0.005">
              <joint name="x" type="slide" axis="1 0 0" damping="{damping}"/>
              <joint name="y" type="slide" axis="0 1 0"/>
              {'<joint name="z" type="slide" axis="0 0 1"/>' if floor else ""}
              <geom name="sled" size="0.005" mass="{MASS}" friction="{FRICTION} 0 0" priority="1"
                    contype="{int(floor)}" conaffinity="{int(floor)}"/>
            </body>
          </worldbody>
          <actuator><motor name="push" joint="x"/></actuator>
        </mujoco>
    """


def robot(hidden: HiddenPhysics, *, floor: bool = True, damping: float = 0.0) -> SimulatedRobot:
    return SimulatedRobot(
        mjcf(floor=floor, damping=damping),
        hidden,
        body="sled",
        geom="sled",
        control_hz=HZ,
        substeps=1,
        touch=TOUCH,
        seed=0,
    )


@functools.cache
def scene(*, floor: bool = True) -> Scene:
    return load_scene(mjcf(floor=floor), control_hz=HZ, substeps=1)


def play(
    hidden: HiddenPhysics,
    ctrl: np.ndarray,
    qpos: np.ndarray | None = None,
    *,
    floor: bool = True,
    damping: float = 0.0,
) -> Episode:
    """An episode of the robot under commands (steps, 1)."""
    machine, joints = robot(hidden, floor=floor, damping=damping), scene(floor=floor)
    start = np.zeros(joints.mj_model.nq) if qpos is None else qpos
    return deploy(machine, replay(ctrl), joints, start, len(ctrl), "test")
