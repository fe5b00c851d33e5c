"""Small scenes that the tests share."""

import numpy as np

from worldmodel.scene import Scene, load_scene


def box(
    *, cone: str = "elliptic", integrator: str = "Euler", condim: int = 3, substeps: int = 1
) -> Scene:
    """A box that slides and spins on a table; its inertial frame is not its own."""
    return load_scene(
        f"""
        <mujoco model="box">
          <option cone="{cone}" integrator="{integrator}" tolerance="1e-14" iterations="50"
                  ls_iterations="30"/>
          <worldbody>
            <geom name="table" type="plane" size="0 0 .1" friction="0.01 0.001 0.001"/>
            <body name="box" pos="0 0 .1">
              <freejoint name="box"/>
              <inertial pos="0.004 -0.003 0.002" quat="0.98 0.1 0.1 0.1" mass="0.4"
                        diaginertia="5e-4 8e-4 6e-4"/>
              <geom name="box" type="box" size="0.05 0.04 0.03" priority="1" condim="{condim}"
                    friction="0.4 0.01 0.003" solref="0.012 0.9" solimp="0.8 0.93 0.002 0.4 2"/>
            </body>
          </worldbody>
        </mujoco>
        """,
        control_hz=500.0,
        substeps=substeps,
    )


# Tilted, two corners of an edge in the table, sliding and turning: no kink nearby.
BOX_QPOS = np.array([0.0, 0.0, 0.0423, np.cos(0.15), 0.0, np.sin(0.15), 0.0])
BOX_QVEL = np.array([0.5, 0.2, -0.1, 0.3, 0.4, 1.0])


def finger(*, cone: str = "pyramidal", integrator: str = "implicitfast", condim: int = 6) -> Scene:
    """Two actuated hinges with friction, a limit and a round tip that presses on a table."""
    return load_scene(
        f"""
        <mujoco model="finger">
          <option cone="{cone}" integrator="{integrator}" tolerance="1e-14" iterations="50"
                  ls_iterations="30"/>
          <worldbody>
            <geom name="table" type="plane" size="0 0 .1" friction="0.01 0.001 0.001"/>
            <body name="upper" pos="0 0 .28">
              <joint name="shoulder" type="hinge" axis="0 1 0.1" damping="0.05" armature="0.01"
                     frictionloss="0.03" limited="true" range="-1.5 1.5"/>
              <inertial pos="0.01 0.01 -0.07" mass="0.3" diaginertia="6e-4 7e-4 2e-4"/>
              <body name="lower" pos="0 0 -.15">
                <joint name="elbow" type="hinge" axis="0 1 0" damping="0.02" armature="0.004"
                       frictionloss="0.02" limited="true" range="-0.3 1.5"/>
                <inertial pos="0.01 0 -0.07" mass="0.2" diaginertia="4e-4 5e-4 1e-4"/>
                <geom name="tip" type="sphere" pos="0 0 -.14" size="0.02" priority="1"
                      condim="{condim}" friction="0.5 0.02 0.01" solref="0.01 1"/>
              </body>
            </body>
          </worldbody>
          <actuator>
            <motor name="shoulder_motor" joint="shoulder" gear="2"/>
            <position name="elbow_servo" joint="elbow" kp="4"/>
          </actuator>
        </mujoco>
        """,
        control_hz=500.0,
        substeps=1,
    )


# The tip is 1 mm inside the table, both hinges turn, the elbow is past its limit.
FINGER_QPOS = np.array([0.36, -0.32])
FINGER_QVEL = np.array([0.8, -0.6])
FINGER_CTRL = np.array([-0.2, 0.1])
