"""Scenes with free parameters, and windows that C MuJoCo plays with planted values of them."""

import dataclasses

import numpy as np

from worldmodel.episodes.windows import HISTORY, History, Windows
from worldmodel.finetune.engines import make_engine
from worldmodel.model import WorldModel
from worldmodel.scene import FreeParameter, Scene, load_scene

NOISE = 2e-3


def swing() -> Scene:
    """Two pushed hinges with friction in the bearing: smooth but for stiction."""
    return load_scene(
        """
        <mujoco model="swing">
          <option integrator="implicitfast" iterations="20" tolerance="1e-12"/>
          <worldbody>
            <body name="upper" pos="0 0 1">
              <joint name="shoulder" axis="0 1 0" damping="0.02" armature="0.001"/>
              <inertial pos="0 0 -0.2" mass="0.5" diaginertia="2e-3 2e-3 1e-3"/>
              <body name="lower" pos="0 0 -0.4">
                <joint name="elbow" axis="0 1 0" damping="0.01" frictionloss="0.02"/>
                <inertial pos="0 0 -0.15" mass="0.3" diaginertia="1e-3 1e-3 1e-3"/>
              </body>
            </body>
          </worldbody>
          <actuator><motor name="push" joint="shoulder" gear="1"/></actuator>
        </mujoco>
        """,
        control_hz=50.0,
        substeps=2,
    )


def puck() -> Scene:
    """A ball that a motor pushes over a table; it slides in the plane and presses on it."""
    return load_scene(
        """
        <mujoco model="puck">
          <option cone="elliptic" integrator="implicitfast" iterations="20" tolerance="1e-12"/>
          <worldbody>
            <geom name="table" type="plane" size="0 0 .1"/>
            <body name="puck" pos="0 0 .0199">
              <joint name="x" type="slide" axis="1 0 0" damping="0.001"/>
              <joint name="z" type="slide" axis="0 0 1"/>
              <inertial pos="0 0 0" mass="0.2" diaginertia="1e-4 1e-4 1e-4"/>
              <geom name="puck" type="sphere" size="0.02" priority="1" friction="0.2 0.005 0.0001"/>
            </body>
          </worldbody>
          <actuator><motor name="push" joint="x" gear="1"/></actuator>
        </mujoco>
        """,
        control_hz=50.0,
        substeps=2,
    )


def bob() -> Scene:
    """A pushed point mass on a string: its motion depends on mass / gain, not on the mass alone."""
    return load_scene(
        """
        <mujoco model="bob">
          <option iterations="20" tolerance="1e-12"/>
          <worldbody>
            <body name="bob" pos="0 0 1">
              <joint name="hinge" axis="0 1 0"/>
              <inertial pos="0 0 -0.3" mass="0.5" diaginertia="1e-9 1e-9 1e-9"/>
            </body>
          </worldbody>
          <actuator><motor name="push" joint="hinge" gear="1"/></actuator>
        </mujoco>
        """,
        control_hz=50.0,
        substeps=2,
    )


SWING = (
    FreeParameter("mass", "lower"),
    FreeParameter("com", "upper", (0.0, 0.0, 1.0)),
    FreeParameter("damping", "elbow"),
    FreeParameter("frictionloss", "elbow"),
)
PUCK = (
    FreeParameter("friction", "puck"),
    FreeParameter("mass", "puck"),
    FreeParameter("gain", "push"),
)


def recorded(
    world: WorldModel,
    u: np.ndarray,
    rng: np.random.Generator,
    *,
    windows: int = 8,
    horizon: int = 20,
    noise: float = NOISE,
    start_noise: float = 0.0,
    speed: float = 3.0,
) -> Windows:
    """Windows that the C engine plays with parameters ``u``, seen through noise."""
    m = world.scene.mj_model
    qvel = (
        speed * rng.normal(size=(windows, m.nv)) * np.array([1.0, 0.0 if m.ngeom else 1.0])[: m.nv]
    )
    qpos = np.zeros((windows, m.nq)) if m.ngeom else rng.uniform(-1.5, 1.5, (windows, m.nq))
    ctrl = np.repeat(rng.normal(size=(windows, horizon // 5, m.nu)), 5, axis=1)
    history = History(
        np.repeat(qpos[:, None], HISTORY, 1),
        np.repeat(qvel[:, None], HISTORY, 1),
        np.zeros((windows, HISTORY, m.nu)),
        np.tile(np.arange(HISTORY) == 0, (windows, 1)),
        np.ones((windows, HISTORY), bool),
    )
    still = np.zeros((windows, horizon, m.nq))
    blank = Windows(history, ctrl, still, np.ones((windows, horizon), bool), np.arange(windows))
    played = make_engine(world, "c", windows).errors(u, np.zeros((windows, 0)), blank)
    # From a target of zero the difference is the position itself, up to whole turns.
    target = played + noise * rng.normal(size=played.shape)
    if start_noise:
        shaken = qpos + start_noise * rng.normal(size=qpos.shape)
        history = dataclasses.replace(history, qpos=np.repeat(shaken[:, None], HISTORY, 1))
    return dataclasses.replace(blank, history=history, target=target)
