"""Forty episodes of a robot that nobody here owns: a held-out simulation of the arm.

    python docs/examples/my_arm/record.py --out my_arm_data

stands in for your own recording and leaves a LeRobot v3.0 data set: 30 frames a second, state and
command of six joints, in degrees, the gripper in per cent of its range. The simulation knows what
``my_arm.xml`` does not: other gains, damping, friction and masses, which a fit can express; and a
command that lags, friction that falls with speed, and play between motor and link, which no
number of that MJCF can.
"""

import argparse
import math
from pathlib import Path

import mujoco
import numpy as np

from worldmodel.episodes import lerobot

FPS, SUBSTEPS = 30, 40
SECONDS = 4.0
LAG = 0.02  # [s] time constant of the servos' commands
PLAY = math.radians(0.7)  # [rad] between motor and link, to either side
STRIBECK, SLOW = 0.6, 0.15  # friction's relative rise at rest, and the speed [rad/s] it falls over
NOISE = math.radians(360 / 4096 / 2)  # [rad] of an encoder with 4096 steps
# Of each joint, shoulder_pan to gripper: what differs from my_arm.xml.
GAIN = np.array([1.9, 2.1, 1.7, 1.5, 1.2, 1.3])
DAMPING = np.array([1.8, 1.6, 1.5, 1.3, 1.2, 1.1])
FRICTION = np.array([2.0, 2.4, 2.0, 1.6, 1.3, 1.2])
ZERO = np.radians([0.0, 2.5, -1.5, 0.0, 0.0, 0.0])  # of the encoders, in state and command alike
CLOSED, OPEN = -0.17, 1.75  # [rad] the gripper at 0 and at 100 per cent


def hidden_arm(mjcf: Path) -> mujoco.MjModel:
    """The arm with hidden numbers, and with play behind every motor but the gripper's."""
    spec = mujoco.MjSpec.from_file(str(mjcf))
    motors = list(spec.joints)
    for motor in motors[:-1]:
        motor.parent.add_joint(
            name=f"{motor.name} play",
            axis=motor.axis,
            limited=True,
            range=[-PLAY, PLAY],
            armature=1e-4,
            damping=[1e-2, 0, 0],
            frictionloss=5e-3,
        )
    for body in ("upper_arm", "lower_arm", "wrist"):
        spec.geom(body).mass *= 1.25
    model = spec.compile()
    model.opt.timestep = 1.0 / (FPS * SUBSTEPS)
    for k, motor in enumerate(motors):
        dof, actuator = model.joint(motor.name).dofadr[0], model.actuator(motor.name).id
        model.dof_damping[dof] *= DAMPING[k]
        model.dof_frictionloss[dof] *= FRICTION[k]
        model.actuator_gainprm[actuator, 0] *= GAIN[k]
        model.actuator_biasprm[actuator, 1] *= GAIN[k]
    return model


def goals(generator: np.random.Generator, limits: np.ndarray, frames: int) -> np.ndarray:
    """(frames, 6) commanded angles [rad]: from pose to pose, with pauses."""
    low, high = limits.T
    low, high = 0.6 * low, 0.6 * high
    low[1], high[1] = -0.6, 0.5  # the arm stays above the desk
    low[2], high[2] = -0.5, 0.8
    poses = generator.uniform(low, high, size=(8, 6))
    at = np.concatenate([[0.0], np.cumsum(generator.uniform(0.4, 1.0, size=7))])
    x = np.clip(np.interp(np.arange(frames) / FPS, at, np.arange(8)), 0, 7 - 1e-9)
    step, part = x.astype(int), (x % 1.0)[:, None]
    smooth = np.clip(1.3 * part, 0, 1) ** 2 * (3 - 2 * np.clip(1.3 * part, 0, 1))
    return poses[step] * (1 - smooth) + poses[step + 1] * smooth


def play(model: mujoco.MjModel, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Measured angles and commands of one episode, (frames, 6) each [rad]."""
    generator, data = np.random.default_rng(seed), mujoco.MjData(model)
    names = [model.actuator(i).name for i in range(model.nu)]
    limits = np.array([model.joint(name).range for name in names])
    command = goals(generator, limits, int(SECONDS * FPS))
    data.qpos[[model.joint(name).qposadr[0] for name in names]] = command[0]
    for _ in range(FPS * SUBSTEPS):  # a second at rest
        data.ctrl[:] = command[0]
        mujoco.mj_step(model, data)
    measured = follow(model, data, command, command[0])
    return measured + NOISE * generator.standard_normal(measured.shape), command


def follow(
    model: mujoco.MjModel, data: mujoco.MjData, command: np.ndarray, held: np.ndarray
) -> np.ndarray:
    """Angles (frames, 6) [rad] before each command acts, without noise; ``held`` acted before."""
    names = [model.actuator(i).name for i in range(model.nu)]
    encoders = [
        [model.joint(j).qposadr[0] for j in (name, f"{name} play") if _has(model, j)]
        for name in names
    ]
    dofs = [model.joint(name).dofadr[0] for name in names]
    friction = model.dof_frictionloss[dofs].copy()
    held, keep = held.copy(), math.exp(-model.opt.timestep / LAG)
    measured = np.zeros((len(command), model.nu))
    for frame in range(len(command)):
        measured[frame] = [data.qpos[index].sum() for index in encoders]
        for _ in range(SUBSTEPS):
            held = keep * held + (1.0 - keep) * command[frame]
            data.ctrl[:] = held
            speed = np.abs(data.qvel[dofs])
            model.dof_frictionloss[dofs] = friction * (1 + STRIBECK * np.exp(-speed / SLOW))
            mujoco.mj_step(model, data)
    model.dof_frictionloss[dofs] = friction
    return measured


def _has(model: mujoco.MjModel, joint: str) -> bool:
    return mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_JOINT, joint) >= 0


def logged(angles: np.ndarray) -> np.ndarray:
    """As the robot's own software stores them: degrees, the gripper in per cent; float32."""
    out = np.degrees(angles + ZERO)
    out[:, 5] = 100.0 * (angles[:, 5] - CLOSED) / (OPEN - CLOSED)
    return out.astype(np.float32)


def main() -> None:
    """Writes the data set."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder, must not exist")
    parser.add_argument("--episodes", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    model = hidden_arm(Path(__file__).with_name("my_arm.xml"))
    names = tuple(f"{model.actuator(i).name}.pos" for i in range(model.nu))
    episodes = []
    for index in range(args.episodes):
        measured, command = play(model, 1000 * args.seed + index)
        episodes.append({"observation.state": logged(measured), "action": logged(command)})
    six = lerobot.Feature("float32", (6,), names)
    lerobot.write(
        args.out,
        lerobot.Dataset(
            fps=FPS,
            robot_type="my_arm",
            features={"observation.state": six, "action": six},
            episodes=episodes,
            tasks=["wander"] * len(episodes),
            provenance={"source": "held-out simulation", "seed": args.seed},
        ),
    )
    print(f"{args.out}: {len(episodes)} episodes of {SECONDS:g} s")


if __name__ == "__main__":
    main()
