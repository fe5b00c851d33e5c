"""A two-joint arm with position servos, and a log of it as a user's recorder would write it.

The log is played by C MuJoCo with hidden damping, friction loss and gains; the MJCF that the user
has guesses them, and knows no friction loss.
"""

import csv
from pathlib import Path

import numpy as np

from worldmodel._mujoco import mujoco

HZ, SUBSTEPS, FRAMES = 50, 10, 80
JOINTS = ("shoulder", "elbow")
ARM = """<mujoco model="two_joints"><compiler angle="radian" autolimits="true"/>
<option timestep="0.002" integrator="implicitfast"/>
<default><geom type="capsule" size=".02" density="900" contype="0" conaffinity="0"/>
<joint axis="0 1 0" damping="0.2" armature="0.005" range="-2 2"/>
<position kp="8" kv="0.1" ctrlrange="-2 2"/></default>
<worldbody><body name="upper" pos="0 0 .5"><joint name="shoulder"/>
<geom name="upper" fromto="0 0 0 .25 0 0"/>
<body name="lower" pos=".25 0 0"><joint name="elbow"/>
<geom name="lower" fromto="0 0 0 .2 0 0"/></body></body></worldbody>
<actuator><position name="shoulder" joint="shoulder"/><position name="elbow" joint="elbow"/>
</actuator></mujoco>"""
TRUE = {"damping": (0.35, 0.12), "frictionloss": (0.05, 0.02), "gain": (12.0, 6.0)}


def true_model() -> mujoco.MjModel:
    """The arm as it is."""
    model = mujoco.MjModel.from_xml_string(ARM)
    model.opt.timestep = 1.0 / (HZ * SUBSTEPS)
    model.dof_damping[:], model.dof_frictionloss[:] = TRUE["damping"], TRUE["frictionloss"]
    model.actuator_gainprm[:, 0] = TRUE["gain"]
    model.actuator_biasprm[:, 1] = -np.array(TRUE["gain"])
    return model


def played(seed: int, frames: int = FRAMES) -> tuple[np.ndarray, np.ndarray]:
    """(frames, 2) positions with an encoder's noise and commands [rad] of one episode."""
    model, rng = true_model(), np.random.default_rng(seed)
    data = mujoco.MjData(model)
    data.qpos[:] = rng.uniform(-0.3, 0.3, 2)
    goals = rng.uniform(-1.2, 1.2, (frames // 20 + 2, 2))
    goals[0] = data.qpos
    at = np.arange(frames) / 20
    ctrl = np.stack([np.interp(at, np.arange(len(goals)), goals[:, j]) for j in range(2)], axis=1)
    qpos = np.zeros((frames, 2))
    for k in range(frames):
        qpos[k], data.ctrl[:] = data.qpos, ctrl[k]
        mujoco.mj_step(model, data, nstep=SUBSTEPS)
    return qpos + rng.normal(0, 2e-4, qpos.shape), ctrl


def write_log(path: Path, episodes: int = 8, sign: float = 1.0) -> None:
    """A CSV in degrees, its episodes one after another.

    Args:
      sign: of the shoulder's position, −1 where the recorder has it the other way round.
    """
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        names = [f"state.{j}" for j in JOINTS] + [f"action.{j}" for j in JOINTS]
        rows.writerow(["episode", "time", *names])
        for episode in range(episodes):
            qpos, ctrl = (np.degrees(x) for x in played(episode))
            qpos[:, 0] *= sign
            for k, row in enumerate(np.hstack([qpos, ctrl])):
                rows.writerow([episode, f"{k / HZ:.4f}", *(f"{x:.5f}" for x in row)])


COLUMNS = """time = "time"
episode = "episode"
control_hz = 50.0
[joints]
shoulder = { position = "state.shoulder", unit = "deg" }
elbow = { position = "state.elbow", unit = "deg" }
[commands]
shoulder = { column = "action.shoulder", unit = "deg" }
elbow = { column = "action.elbow", unit = "deg" }
"""
