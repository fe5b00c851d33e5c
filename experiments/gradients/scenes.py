"""The scenes of the gradient benchmark: from a cube on a plane to a gripper that holds one."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from experiments.recordings.problems import CUBE, ELBOW, Problem, free_parameters
from worldmodel.scene import FreeParameter, Scene, load_scene

STEP_HZ = 500.0
QUADRUPED = Path(__file__).parent / "quick" / "quadruped.xml"
_OPTION = '<option cone="{cone}" integrator="Euler" iterations="{iterations}" ls_iterations="10"/>'

T_BLOCK = """
<mujoco model="t_block">
  {option}
  <worldbody>
    <geom name="table" type="plane" size="0 0 .1" friction="0.3 0.005 0.0001"/>
    <body name="block" pos="0 0 .0199">
      <freejoint name="block"/>
      <geom name="bar" type="box" size="0.08 0.02 0.02" mass="0.2" friction="0.4 0.005 0.0001"/>
      <geom name="stem" type="box" pos="0 -0.06 0" size="0.02 0.04 0.02" mass="0.1"
            friction="0.4 0.005 0.0001"/>
    </body>
    <body name="pusher" pos="0.03 0.034 .02">
      <joint name="push_x" type="slide" axis="1 0 0" damping="2" armature="0.05"/>
      <joint name="push_y" type="slide" axis="0 1 0" damping="2" armature="0.05"/>
      <geom name="pusher" type="sphere" size="0.015" mass="0.1" friction="0.3 0.005 0.0001"/>
    </body>
    </worldbody>
  <contact>
    <exclude body1="pusher" body2="world"/>
  </contact>
  <actuator>
    <position name="servo_x" joint="push_x" kp="200"/>
    <position name="servo_y" joint="push_y" kp="200"/>
  </actuator>
</mujoco>"""

HOPPER = """
<mujoco model="hopper">
  {option}
  <default><joint damping="1" armature="0.5"/><geom friction="0.8 0.1 0.01"/></default>
  <worldbody>
    <geom name="floor" type="plane" size="0 0 .1" priority="0"/>
    <body name="torso" pos="0 0 1.2">
      <joint name="root_x" type="slide" axis="1 0 0" damping="0" armature="0"/>
      <joint name="root_z" type="slide" axis="0 0 1" damping="0" armature="0"/>
      <joint name="root_turn" type="hinge" axis="0 1 0" damping="0" armature="0"/>
      <geom name="torso" type="capsule" fromto="0 0 .2 0 0 -.2" size=".05" mass="3.5"
            contype="0" conaffinity="0"/>
      <body name="thigh" pos="0 0 -.2">
        <joint name="hip" type="hinge" axis="0 -1 0" range="-150 0" limited="true"/>
        <geom name="thigh" type="capsule" fromto="0 0 0 0 0 -.45" size=".05" mass="3.9"
              contype="0" conaffinity="0"/>
        <body name="leg" pos="0 0 -.45">
          <joint name="knee" type="hinge" axis="0 -1 0" range="-150 0" limited="true"/>
          <geom name="leg" type="capsule" fromto="0 0 0 0 0 -.5" size=".04" mass="2.7"
                contype="0" conaffinity="0"/>
          <body name="foot" pos="0 0 -.5">
            <joint name="ankle" type="hinge" axis="0 -1 0" range="-45 45" limited="true"/>
            <geom name="foot" type="capsule" fromto="-.13 0 0 .26 0 0" size=".06" mass="5.1"
                  priority="1" friction="1.5 0.1 0.01"/>
          </body>
        </body>
      </body>
    </body>
  </worldbody>
  <actuator>
    <motor name="hip" joint="hip" gear="100"/>
    <motor name="knee" joint="knee" gear="100"/>
    <motor name="ankle" joint="ankle" gear="100"/>
  </actuator>
</mujoco>"""

GRIPPER = """
<mujoco model="gripper">
  {option}
  <worldbody>
    <geom name="table" type="plane" size="0 0 .1" friction="0.5 0.005 0.0001"/>
    <body name="cube" pos="0 0 .0249">
      <freejoint name="cube"/>
      <geom name="cube" type="box" size="0.025 0.025 0.025" mass="0.1"
            friction="0.8 0.005 0.0001"/>
    </body>
    <body name="palm" pos="0 0 .12">
      <joint name="lift" type="slide" axis="0 0 1" damping="5" armature="0.1"/>
      <geom name="palm" type="box" size="0.06 0.02 0.01" mass="0.3" contype="0" conaffinity="0"/>
      <body name="left" pos="-0.034 0 -.09">
        <joint name="left" type="slide" axis="1 0 0" damping="5" armature="0.1"/>
        <geom name="left" type="capsule" fromto="0 -.015 0 0 .015 0" size="0.01" mass="0.05"
              friction="1 0.005 0.0001"/>
      </body>
      <body name="right" pos="0.034 0 -.09">
        <joint name="right" type="slide" axis="-1 0 0" damping="5" armature="0.1"/>
        <geom name="right" type="capsule" fromto="0 -.015 0 0 .015 0" size="0.01" mass="0.05"
              friction="1 0.005 0.0001"/>
      </body>
    </body>
  </worldbody>
  <contact>
    <exclude body1="left" body2="right"/>
    <exclude body1="left" body2="world"/>
    <exclude body1="right" body2="world"/>
  </contact>
  <actuator>
    <position name="lift" joint="lift" kp="300"/>
    <motor name="left" joint="left"/>
    <motor name="right" joint="right"/>
  </actuator>
</mujoco>"""


@dataclasses.dataclass(frozen=True)
class Bench:
    """A scene, what is differentiated, and a state in which everything touches."""

    scene: Scene
    free: tuple[FreeParameter, ...]
    qpos: np.ndarray  # (nq,)
    qvel: np.ndarray  # (nv,)
    ctrl: np.ndarray  # (nu,) held


def _from_text(mjcf: str, cone: str, iterations: int) -> Scene:
    option = _OPTION.format(cone=cone, iterations=iterations)
    return load_scene(mjcf.format(option=option), control_hz=STEP_HZ, substeps=1)


def _from_recording(problem: Problem, iterations: int) -> Scene:
    """A recording's scene at one substep per step, with ``iterations`` of its solver."""
    text = problem.mjcf.read_text()
    before, given = text.split(' iterations="', 1)
    after = given.split('"', 1)[1]
    return load_scene(f'{before} iterations="{iterations}"{after}', control_hz=STEP_HZ, substeps=1)


def cube(iterations: int) -> Bench:
    """The tossed cube, tilted, an edge in the table."""
    qpos = np.array([0, 0, 0.0640, np.cos(0.15), 0.0, np.sin(0.15), 0])
    qvel = np.array([0.5, 0.2, -0.1, 0.3, 0.4, 1.0])
    return Bench(_from_recording(CUBE, iterations), CUBE.free, qpos, qvel, np.zeros(0))


def elbow(iterations: int) -> Bench:
    """The tossed elbow, flat and a millimetre deep in the table, turning and opening."""
    qpos = np.array([0, 0, 0.0240, 1.0, 0, 0, 0, 0.0])
    qvel = np.array([0.6, 0.3, 0.0, 0.0, 0.0, 2.0, 1.0])
    return Bench(_from_recording(ELBOW, iterations), ELBOW.free, qpos, qvel, np.zeros(0))


def t_block(iterations: int) -> Bench:
    """A T on the table, pushed off its centre."""
    scene = _from_text(T_BLOCK, "pyramidal", iterations)
    free = (
        *free_parameters("mass com inertia", "block"),
        *free_parameters("friction solref solimp geom_size geom_pos", "bar", "stem", "pusher")[:-2],
        *free_parameters("damping armature", "push_x", "push_y"),
        *free_parameters("gain", "servo_x", "servo_y"),
    )
    qpos = np.array([0, 0, 0.0198, 1, 0, 0, 0, 0, 0])
    qvel = np.array([0, -0.2, 0, 0, 0, -0.5, 0.0, -0.25])
    return Bench(scene, free, qpos, qvel, np.array([0.0, -0.05]))


def hopper(iterations: int) -> Bench:
    """A planar hopper that lands on its foot."""
    scene = _from_text(HOPPER, "pyramidal", iterations)
    free = (
        *free_parameters("mass com inertia", "torso", "thigh", "leg", "foot"),
        *free_parameters("damping armature", "hip", "knee", "ankle"),
        *free_parameters("gain", "hip", "knee", "ankle"),
        *free_parameters("friction solref solimp", "foot"),
    )
    qpos = np.array([0, 0.009, 0.02, -0.05, -0.1, 0.07])
    qvel = np.array([0.8, -0.6, 0.2, 0.5, -0.5, 0.3])
    return Bench(scene, free, qpos, qvel, np.array([0.1, -0.2, 0.1]))


def gripper(iterations: int) -> Bench:
    """Two fingers that squeeze a cube on the table and begin to lift it."""
    scene = _from_text(GRIPPER, "elliptic", iterations)
    free = (
        *free_parameters("mass com inertia", "cube"),
        *free_parameters("friction solref geom_size", "cube"),
        *free_parameters("friction solref", "left", "right"),
        *free_parameters("damping armature", "lift", "left", "right"),
        *free_parameters("gain", "lift", "left", "right"),
    )
    qpos = np.array([0, 0, 0.0249, 1, 0, 0, 0, 0, -0.0008, -0.0008])
    qvel = np.array([0, 0, 0, 0, 0, 0, 0.1, 0.02, 0.03])
    return Bench(scene, free, qpos, qvel, np.array([0.02, 4.0, 4.0]))


def quadruped(iterations: int) -> Bench:
    """A quadruped of twelve servos that stands on four feet, pushed to its side."""
    text = QUADRUPED.read_text().replace('iterations="1"', f'iterations="{iterations}"', 1)
    scene = load_scene(text, control_hz=STEP_HZ, substeps=1)
    free = (
        *free_parameters("mass com inertia", "trunk"),
        *free_parameters("damping armature", "front_left_thigh", "rear_right_thigh"),
        *free_parameters("gain", "front_left_thigh", "rear_right_thigh"),
        *free_parameters("friction solref", "front_left_foot", "rear_right_foot"),
    )
    home = scene.keyframe("home")
    qvel = np.zeros(18)
    qvel[:6] = 0.2, 0.3, -0.1, 0.4, -0.3, 0.5
    return Bench(scene, free, home["qpos"], qvel, scene.keyframe_ctrl("home"))


SCENES: dict[str, Callable[[int], Bench]] = {
    "cube": cube,
    "elbow": elbow,
    "t_block": t_block,
    "hopper": hopper,
    "gripper": gripper,
    "quadruped": quadruped,
}
