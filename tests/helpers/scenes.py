"""Small scenes that the tests share."""

import numpy as np

from worldmodel.scene import Scene, load_scene

GRAVITY = 9.81  # [m/s²], MuJoCo's
# Scenes and options: all that MJX has, of two bodies.
MATRIX = [
    (name, {"cone": cone, "integrator": integrator, "condim": condim})
    for name in ("box", "finger")
    for cone in ("elliptic", "pyramidal")
    for integrator in ("Euler", "implicitfast", "RK4")
    for condim in (1, 3, 4, 6)
    if (cone, condim) != ("elliptic", 1)  # not in MJX, refused by the scene
]


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


def mechanism(*, cone: str = "pyramidal", integrator: str = "Euler") -> Scene:
    """What the other two scenes lack: frame, ball joint, spring, activation, tendons, equality."""
    return load_scene(
        f"""
        <mujoco model="mechanism">
          <option cone="{cone}" integrator="{integrator}" tolerance="1e-14" iterations="50"
                  ls_iterations="30"/>
          <worldbody>
            <geom name="table" type="plane" size="0 0 .1" friction="0.5 0.01 0.001"/>
            <frame pos="0 0 0.1" euler="0 0 20">
              <frame pos="0.01 0 0" euler="10 0 0">
                <body name="crank" pos="0 0 .3333333333">
                  <joint name="crank" type="ball" damping="0.01"/>
                  <geom name="crank" type="capsule" fromto="0 0 0 0.1 0 0.02" size="0.01" mass="0.2"
                        contype="0" conaffinity="0"/>
                  <site name="tip" pos="0.1 0 0.0233333333"/>
                  <body name="rod" pos="0.1 0 0.02">
                    <joint name="rod" type="hinge" axis="0 1 0" range="-20 20" stiffness="0.1"
                           springref="3"/>
                    <geom name="rod" type="capsule" fromto="0 0 0 0.05 0.01 -0.08" size="0.008"
                          mass="0.1" contype="0" conaffinity="0"/>
                    <site name="end" pos="0.05 0.01 -0.08"/>
                  </body>
                </body>
              </frame>
            </frame>
            <body name="a" pos="0.3 0 .1">
              <joint name="a" type="slide" axis="0 0 1" frictionloss="0.3" damping="0.2"/>
              <geom name="a" size="0.02" mass="0.3" contype="0" conaffinity="0"/>
            </body>
            <body name="b" pos="0.4 0 .1">
              <joint name="b" type="slide" axis="0 0 1"/>
              <geom name="b" size="0.02" mass="0.2" contype="0" conaffinity="0"/>
            </body>
            <body name="pill" pos="0.6 0 .0295">
              <freejoint name="pill"/>
              <geom name="pill" type="capsule" size="0.03 0.05" euler="5 88 0" mass="0.3"
                    condim="6" friction="0.6 0.02 0.004"/>
            </body>
            <body name="pusher" pos="0.522 0 .05">
              <joint name="pusher" type="slide" axis="1 0 0" frictionloss="0.5"/>
              <geom name="pusher" size="0.02" mass="0.4" condim="4"/>
            </body>
          </worldbody>
          <tendon>
            <fixed name="pulley" limited="true" range="-0.02 -0.0003333333" frictionloss="0.05">
              <joint joint="a" coef="1"/>
              <joint joint="b" coef="1.1234567891"/>
            </fixed>
            <spatial name="string" stiffness="3" damping="0.1" springlength="0.1">
              <site site="tip"/><site site="end"/>
            </spatial>
          </tendon>
          <equality>
            <joint joint1="a" joint2="b" polycoef="0 -1.3333333333 0 0 0" solref="0.0123456789 1"/>
          </equality>
          <actuator>
            <general name="lift" joint="a" dyntype="filterexact" dynprm="0.05" gainprm="5"/>
            <motor name="push" joint="pusher" gear="1.5555555555"/>
          </actuator>
        </mujoco>
        """,
        control_hz=500.0,
        substeps=1,
    )


MECHANISM_QVEL = np.array([0.4, -0.3, 0.5, 2.0, 0.1, -0.2, 0.3, 0.1, 0.0, 0.2, 1.0, 0.5, 0.2])
MECHANISM_CTRL = np.array([0.8, 0.6])


def held() -> Scene:
    """A rod pinned to the world at a point and a plate welded to it, both pulled away a little."""
    return load_scene(
        """
        <mujoco model="held">
          <option tolerance="1e-14" iterations="50" ls_iterations="30"/>
          <worldbody>
            <body name="rod" pos="0 0 .3">
              <freejoint name="rod"/>
              <geom name="rod" type="capsule" fromto="0 0 0 .1 0 .05" size=".02" mass=".3"
                    contype="0" conaffinity="0"/>
            </body>
            <body name="plate" pos=".4 0 .3">
              <freejoint name="plate"/>
              <geom name="plate" type="box" size=".04 .03 .01" mass=".2" contype="0"
                    conaffinity="0"/>
            </body>
          </worldbody>
          <equality>
            <connect name="pin" body1="rod" anchor="0.01 0 0" solref="0.01 1"/>
            <weld name="glue" body1="plate" solref="0.015 0.8"/>
          </equality>
        </mujoco>
        """,
        control_hz=500.0,
        substeps=1,
    )


HELD_QPOS = np.array([0.002, 0.001, 0.301, 1, 0, 0, 0, 0.401, -0.001, 0.299, 1, 0, 0, 0])
HELD_QVEL = np.array([0.1, 0.0, 0.2, 0.5, -0.3, 0.4, 0.0, 0.1, -0.1, 0.3, 0.2, -0.4])


def linkage() -> Scene:
    """One of each number that no ``FreeParameter`` kind moves; all of them matter."""
    return load_scene(
        """
        <mujoco model="linkage">
          <option cone="elliptic" impratio="3" tolerance="1e-14" iterations="50"
                  ls_iterations="30"/>
          <worldbody>
            <geom name="table" type="plane" size="0 0 .1" friction="0.01 0.001 0.001"/>
            <body name="arm" pos="0 0 .2975">
              <joint name="arm" type="hinge" axis="0 1 0.1" stiffness="0.5" springref="20"/>
              <inertial pos="0.01 0.01 -0.07" mass="0.3" diaginertia="6e-4 7e-4 2e-4"/>
              <site name="wrist" pos="0.01 0.02 -.1"/>
              <body name="hand" pos="0.01 0 -.15" quat="0.98 0.1 0.1 0.1">
                <joint name="hand" type="hinge" axis="0 1 0" range="-25 90" frictionloss="2"
                       solreflimit="0.015 0.9" solimplimit="0.8 0.9 0.01 0.4 2.5"
                       solreffriction="0.018 0.9" solimpfriction="0.85 0.9 0.01 0.5 2"/>
                <inertial pos="0.01 0 -0.07" mass="0.2" diaginertia="4e-4 5e-4 1e-4"/>
                <geom name="tip" type="sphere" pos="0 0 -.14" size="0.02" priority="1"
                      friction="0.5 0.02 0.01" solref="0.01 0.9" solimp="0.8 0.93 0.004 0.4 2.5"/>
              </body>
            </body>
            <body name="a" pos="0.3 0 .1">
              <joint name="a" type="slide" axis="0 0 1"/>
              <geom name="a" size="0.02" mass="0.3" contype="0" conaffinity="0"/>
              <site name="hook"/>
            </body>
            <body name="b" pos="0.4 0 .1">
              <joint name="b" type="slide" axis="0 0 1"/>
              <geom name="b" size="0.02" mass="0.2" contype="0" conaffinity="0"/>
            </body>
          </worldbody>
          <tendon>
            <fixed name="pulley" limited="true" range="-0.5 -0.001" frictionloss="0.05"
                   solreflimit="0.014 0.8">
              <joint joint="a" coef="1"/>
              <joint joint="b" coef="1.1"/>
            </fixed>
            <spatial name="string" stiffness="3" damping="0.1" springlength="0.1 0.12">
              <site site="wrist"/><site site="hook"/>
            </spatial>
          </tendon>
          <equality>
            <joint joint1="a" joint2="b" polycoef="0.001 -1.3 0.1 0 0" solref="0.0123 0.9"
                   solimp="0.8 0.9 0.01 0.4 2.5"/>
          </equality>
          <actuator>
            <general name="lift" joint="a" dyntype="filterexact" dynprm="0.05" gainprm="5"/>
            <general name="turn" joint="arm" gear="1.5" gainprm="0.5" biastype="affine"
                     biasprm="0.1 -0.3 -0.02"/>
          </actuator>
        </mujoco>
        """,
        control_hz=250.0,
        substeps=2,
    )


# The tip is in the table, the hand past its limit, the pulley too long, the equality violated.
LINKAGE_QPOS = np.array([0.36, -0.44, 0.004, -0.001])
LINKAGE_QVEL = np.array([0.8, -0.6, 0.3, -0.2])
LINKAGE_ACT = np.array([0.3])
LINKAGE_CTRL = np.array([0.8, -0.2])


def drives() -> Scene:
    """Joints with springs, and one actuator of each sort that a drive can be; nothing touches."""
    return load_scene(
        """
        <mujoco model="drives">
          <option integrator="implicitfast" tolerance="1e-14" iterations="50"/>
          <worldbody>
            <body name="upper">
              <joint name="shoulder" axis="0 1 0.1" stiffness="0.5" springref="20" damping="0.05"
                     armature="0.01"/>
              <inertial pos="0.01 0.01 -0.07" mass="0.3" diaginertia="6e-4 7e-4 2e-4"/>
              <body name="lower" pos="0 0 -.15">
                <joint name="reach" type="slide" axis="0 0 1" stiffness="8" springref="0.01"/>
                <inertial pos="0.01 0 -0.07" mass="0.2" diaginertia="4e-4 5e-4 1e-4"/>
              </body>
            </body>
            <body name="top" pos="0.5 0 0">
              <joint name="top" type="ball" damping="0.01"/>
              <inertial pos="0.02 0 0.05" mass="0.2" diaginertia="4e-4 5e-4 3e-4"/>
            </body>
          </worldbody>
          <actuator>
            <position name="servo" joint="shoulder" kp="4" kv="0.3"/>
            <velocity name="speed" joint="shoulder" kv="0.2"/>
            <general name="valve" joint="reach" dyntype="filterexact" dynprm="0.05" gainprm="5"/>
            <general name="piston" joint="reach" dyntype="filter" dynprm="0.02" gainprm="2"
                     gear="-1.5"/>
            <motor name="twist" joint="top" gear="0 0.3 0.1 0 0 0"/>
          </actuator>
        </mujoco>
        """,
        control_hz=250.0,
        substeps=2,
    )


DRIVES_QPOS = np.array([0.36, 0.02, 0.97, 0.1, 0.2, 0.05]) / np.array([1, 1, *[0.9973] * 4])
DRIVES_QVEL = np.array([0.8, -0.1, 0.5, -0.6, 0.4])
DRIVES_CTRL = np.array([-0.2, 0.1, 0.8, 0.4, 0.3])


def slider() -> Scene:
    """A block of 1 kg that slides along x on a table, friction 0.4."""
    return load_scene(
        """
        <mujoco model="slider">
          <option cone="elliptic" tolerance="1e-14" iterations="50" impratio="10"/>
          <worldbody>
            <geom name="table" type="plane" size="0 0 .1"/>
            <body name="block" pos="0 0 .005">
              <joint name="x" type="slide" axis="1 0 0"/>
              <joint name="z" type="slide" axis="0 0 1"/>
              <geom name="block" type="sphere" size="0.005" mass="1" friction="0.4 0 0"
                    priority="1"/>
            </body>
          </worldbody>
        </mujoco>
        """,
        control_hz=1000.0,
        substeps=1,
    )


def tray() -> Scene:
    """A ball half a millimetre inside a tilted tray that nothing moves; two keyframes."""
    return load_scene(
        """
        <mujoco model="tray">
          <option tolerance="1e-14" iterations="50" ls_iterations="30"/>
          <worldbody>
            <body name="tray" mocap="true" pos="0.1 0.2 0.3" quat="0.97 0.1 0.2 0.05">
              <geom name="tray" type="box" size="0.1 0.1 0.02" friction="0.5 0.01 0.001"/>
            </body>
            <body name="ball" pos="0 0 1">
              <freejoint name="ball"/>
              <geom name="ball" type="sphere" size="0.02" mass="0.3"/>
            </body>
          </worldbody>
          <keyframe>
            <key name="on" time="0.5" qpos="0.11582545 0.19308134 0.33552376 1 0 0 0"
                 qvel="0.1 0.2 0 1 0 0"/>
            <key name="elsewhere" qpos="0.3 0.25 0.2 1 0 0 0" mpos="1 1 1"/>
          </keyframe>
        </mujoco>
        """,
        control_hz=250.0,
        substeps=2,
    )
