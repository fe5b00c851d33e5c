"""A servoed arm of two joints, played by C MuJoCo with hidden drives, and its log."""

import dataclasses

import numpy as np

from worldmodel._mujoco import mujoco
from worldmodel.scene import FreeParameter, Scene, load_scene
from worldmodel.types import Episode

HZ, SUBSTEPS = 30.0, 8
DRIVES = {"damping": (0.6, 0.5), "frictionloss": (0.06, 0.05), "gain": (17.0, 14.0)}
FREE = tuple(FreeParameter(kind, j) for kind in DRIVES for j in ("shoulder", "elbow"))
NOISE = 1e-3  # [rad]


def arm() -> Scene:
    """The arm with the guesses of its MJCF; gravity pulls both joints."""
    return load_scene(
        """
        <mujoco model="arm">
          <compiler angle="radian" autolimits="true"/>
          <option integrator="implicitfast"/>
          <default>
            <joint axis="0 1 0" damping="0.3" frictionloss="0.03" armature="0.02"/>
            <position kp="12" kv="0.4" forcerange="-3 3"/>
            <geom type="capsule" contype="0" conaffinity="0"/>
          </default>
          <worldbody>
            <body name="upper" pos="0 0 1">
              <joint name="shoulder" range="-1.8 1.8"/>
              <geom name="upper" size=".02" fromto="0 0 0 .2 0 0" mass=".25"/>
              <body name="lower" pos=".2 0 0">
                <joint name="elbow" range="-1.7 1.7"/>
                <geom name="lower" size=".018" fromto="0 0 0 .2 0 0" mass=".2"/>
              </body>
            </body>
          </worldbody>
          <actuator>
            <position name="shoulder" joint="shoulder"/>
            <position name="elbow" joint="elbow"/>
          </actuator>
        </mujoco>
        """,
        control_hz=HZ,
        substeps=SUBSTEPS,
    )


@dataclasses.dataclass(frozen=True)
class Log:
    """How the log differs from the robot, per joint: shoulder, elbow."""

    zero: tuple[float, float] = (0.0, 0.0)  # [rad] of the encoder: of position and command
    scale: tuple[float, float] = (1.0, 1.0)  # likewise
    command_zero: tuple[float, float] = (0.0, 0.0)  # [rad] of the command alone
    delay: int = 0  # frames from a command's entry to its action


def recorded(log: Log, *, episodes: int = 8, frames: int = 90) -> list[Episode]:
    """Strokes between random goals, twice a second, as the log has them."""
    m = arm().mj_model
    m.dof_damping[:], m.dof_frictionloss[:] = DRIVES["damping"], DRIVES["frictionloss"]
    m.actuator_gainprm[:, 0] = DRIVES["gain"]
    m.actuator_biasprm[:, 1] = -m.actuator_gainprm[:, 0]
    return [_played(m, log, seed, frames) for seed in range(episodes)]


def _played(m: mujoco.MjModel, log: Log, seed: int, frames: int) -> Episode:
    data, rng = mujoco.MjData(m), np.random.default_rng(seed)
    data.qpos[:] = rng.uniform(-0.3, 0.3, 2)
    goals = rng.uniform(-1.0, 1.0, (frames // 15 + 2, 2))
    goals[0] = data.qpos
    at = np.arange(frames) / 15.0
    ctrl = np.stack([np.interp(at, np.arange(len(goals)), g) for g in goals.T], axis=1)
    qpos, qvel = np.zeros((frames, 2)), np.zeros((frames, 2))
    for k in range(frames):
        qpos[k], qvel[k] = data.qpos, data.qvel
        data.ctrl[:] = ctrl[max(k - log.delay, 0)]
        mujoco.mj_step(m, data, nstep=SUBSTEPS)
    scale, zero = np.array(log.scale), np.array(log.zero)
    return Episode.regular(
        seed,
        HZ,
        qpos=scale * (qpos + rng.normal(0.0, NOISE, qpos.shape)) + zero,
        qvel=scale * qvel,
        ctrl=scale * (ctrl + np.array(log.command_zero)) + zero,
    )
