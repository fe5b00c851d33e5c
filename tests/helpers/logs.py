"""Logs of small robots as their recorders might leave them, with the right values beside them."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.episodes.columns import Body, Columns, Command, Joint
from worldmodel.episodes.reading import Reading, read_episodes
from worldmodel.types import Episode

ARM = mujoco.MjModel.from_xml_string("""
<mujoco>
  <compiler angle="radian"/>
  <worldbody>
    <body><joint name="lift" axis="0 1 0" range="-2 2" limited="true"/><geom size=".1"/>
      <body pos="0 0 .2"><joint name="wheel" axis="0 1 0"/><geom size=".1"/>
        <body pos="0 0 .2"><joint name="jaw" type="slide" range="0 .08" limited="true"/>
          <geom size=".05"/></body></body></body>
  </worldbody>
  <actuator>
    <position name="lift" joint="lift" kp="10"/>
    <motor name="wheel_motor" joint="wheel"/>
    <position name="jaw" joint="jaw" kp="10"/>
  </actuator>
</mujoco>""")
BOX = mujoco.MjModel.from_xml_string("""
<mujoco><worldbody>
  <body name="box"><freejoint/><geom type="box" size=".05 .05 .05"/></body>
</worldbody></mujoco>""")

JOINTS = ("lift", "wheel", "jaw")
ACTUATORS = ("lift", "wheel_motor", "jaw")
COLUMNS = Columns(
    joints=tuple(Joint(name, f"q[{i}]") for i, name in enumerate(JOINTS)),
    commands=tuple(Command(name, f"u[{i}]") for i, name in enumerate(ACTUATORS)),
    time="time",
)
BOX_COLUMNS = Columns(
    bodies=(Body("box", ("pose[0:3]",), ("pose[3:7]",), velocity=("twist[0:6]",)),),
    rate_hz=100.0,
)


def truth(time: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions, velocities and commands of the arm at times [s]: (n, 3) each, SI units."""
    q = [1.2 * np.sin(2 * time), 6.0 * time + np.sin(time), 0.04 + 0.03 * np.sin(3 * time)]
    v = [2.4 * np.cos(2 * time), 6.0 + np.cos(time), 0.09 * np.cos(3 * time)]
    u = [1.2 * np.sin(2 * time + 0.2), np.cos(time), 0.04 + 0.03 * np.sin(3 * time + 0.3)]
    return np.stack(q, axis=1), np.stack(v, axis=1), np.stack(u, axis=1)


def arm_log(path: Path, hz: float = 100.0, seconds: float = 3.0, **changed: Any) -> Path:
    """An .npz of one episode of the arm: time, q, u; ``changed`` replaces or adds arrays."""
    time = np.arange(round(seconds * hz)) / hz
    q, _, u = truth(time)
    arrays = {"time": time, "q": q, "u": u} | changed
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def tumbling(hz: float = 100.0, count: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Poses (count, 7) and velocities (count, 6) of a body that flies and turns."""
    time = np.arange(count) / hz
    pose, twist = np.zeros((count, 7)), np.zeros((count, 6))
    pose[:, :3] = np.stack([0.5 * time, 0.2 * time, 1 + time - 4.9 * time**2], axis=1)
    twist[:, :3] = np.stack([0 * time + 0.5, 0 * time + 0.2, 1 - 9.8 * time], axis=1)
    twist[:, 3:] = [1.0, -2.0, 3.0]
    quaternion = np.array([1.0, 0.0, 0.0, 0.0])
    for k in range(count):
        pose[k, 3:] = quaternion
        mujoco.mju_quatIntegrate(quaternion, twist[k, 3:], 1 / hz)
    return pose, twist


HZ = 100.0
TIME = np.arange(300) / HZ
Q, V, U = truth(TIME)


def changed(columns: Columns = COLUMNS, **joints: dict[str, Any]) -> Columns:
    """The columns with keys of some joints and of their actuators replaced."""
    servo = {"wheel_motor": "wheel"}
    return dataclasses.replace(
        columns,
        joints=tuple(dataclasses.replace(j, **joints.get(j.name, {})) for j in columns.joints),
        commands=tuple(
            dataclasses.replace(
                c, **{k: v for k, v in joints.get(servo.get(c.name, c.name), {}).items()
                      if k in ("unit", "range") and c.name != "wheel_motor"}
            )
            for c in columns.commands
        ),
    )  # fmt: skip


def read(path: Path, columns: Columns = COLUMNS, **options: Any) -> tuple[Episode, Reading]:
    reading = read_episodes(path, columns, ARM, **options)
    return reading.episodes[0], reading


def repairs(reading: Reading) -> dict[str, int]:
    """Frames by rule and column, without the velocities, which these logs never have."""
    counts = {f"{r.rule}; {r.column}": r.frames for r in reading.repairs}
    return {k: n for k, n in counts.items() if "velocity" not in k}
