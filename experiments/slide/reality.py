"""The held-out reality of task "slide": C MuJoCo with hidden physics that no version knows."""

import dataclasses
import functools
from collections.abc import Callable
from concurrent.futures import Executor

import jax
import numpy as np

from worldmodel.errors import InputError
from worldmodel.reality.disturbances import (
    Damping,
    Delay,
    Disturbance,
    FrictionPatches,
    Lag,
    Mass,
    SensorNoise,
)
from worldmodel.reality.simulated import SimulatedRobot
from worldmodel.rollout import Constant
from worldmodel.tasks import sensors
from worldmodel.tasks.play import Played, Simulate, begin
from worldmodel.tasks.slide.task import (
    CONTROL_HZ,
    PUCK,
    REST,
    SlideTask,
    at_rest,
    inverse_kinematics,
)
from worldmodel.types import Array, Goal, Measurement, Policy, Start

SETTLED = 15  # control steps after the last new command: the arm has come to rest
AT_REST = 1e-6  # [m] moved in a control step
JOB = 32  # episodes that a process plays at once
Hidden = tuple[Disturbance, ...]  # how reality departs from the task's MJCF


@functools.cache
def slide_task() -> SlideTask:
    """The task; one object, since what is compiled for it is kept by the object."""
    return SlideTask()


def draw_hidden(seed: int) -> Hidden:
    """A reality from the declared prior. Friction is about 20 % above (odd seeds) or below version
    0's guess; mass and damping are lognormal around it. No rigid-body parameter can express the
    rest."""
    rng = np.random.default_rng([seed, 7])
    side = 1.0 if seed % 2 else -1.0
    friction = float(np.exp(side * 0.2 + 0.02 * rng.standard_normal()))
    mass = float(np.exp(0.15 * rng.standard_normal()))
    damping = float(np.exp(0.3 * rng.standard_normal()))
    number = rng.uniform(2.0, 5.0, 3)  # [rad/m] of each wave
    angle, phase = rng.uniform(0.0, 2 * np.pi, (2, 3))
    waves = np.stack([number * np.cos(angle), number * np.sin(angle), phase], axis=1).tolist()
    speed, lag = float(rng.uniform(0.05, 0.25)), float(rng.uniform(0.01, 0.03))
    noise = (1e-3, 1e-3, 1e-3, 1e-3, 1e-5, 5e-3)  # [rad, m]
    return (
        Mass("puck", mass),
        Damping(damping),
        Delay(1),
        Lag(lag),
        FrictionPatches(
            "puck",
            ("puck_base",),
            factor=friction,
            amplitude=0.35,
            waves=tuple((kx, ky, phase) for kx, ky, phase in waves),
            speed=speed,
        ),
        SensorNoise(dict(zip(slide_task().sensors.joints, noise, strict=True))),
    )


def without_noise(hidden: Hidden) -> Hidden:
    """The same reality, whose sensors are exact."""
    return tuple(d for d in hidden if not isinstance(d, SensorNoise))


def robot(hidden: Hidden, *seeds: int) -> SimulatedRobot:
    """The machine; ``seeds`` are of its sensors' noise."""
    seed = int(np.random.SeedSequence(seeds).generate_state(1)[0])
    return SimulatedRobot(slide_task(), hidden, seed=seed)


def simulator(hidden: Hidden, *seeds: int, workers: Executor | None = None) -> Simulate:
    """Reality as the world in which a batch of ``Constant`` strokes is played, with its sensors'
    noise where ``seeds`` are given: the operator who knows the machine plans without.

    What it plays is what ``reality.deploy`` would play; the commands are known beforehand, so the
    episodes need not be decided step by step, and ``workers`` may share them.
    """
    hidden = hidden if seeds else without_noise(hidden)

    def simulate(policy: Policy, start: Start, goal: Goal, key: Array) -> Played:
        del key  # strokes are not random, and each machine has a seed
        if not isinstance(policy, Constant):
            raise InputError(f"only constant strokes are played here, not a {type(policy)}")
        qpos, ctrl = np.asarray(start.qpos), commands(policy.action, goal)
        rows = [slice(i, i + JOB) for i in range(0, len(ctrl), JOB)]
        jobs = [(hidden, (*seeds, i), qpos[r], ctrl[r]) for i, r in enumerate(rows)]
        parts = (workers.map if workers else map)(play, jobs)
        joints, touch = (np.concatenate(x) for x in zip(*parts, strict=True))
        held = np.asarray(inverse_kinematics(REST))
        frames = joints.shape[:2]
        measured = dataclasses.replace(
            jax.tree.map(
                lambda x: np.broadcast_to(x, (*frames, *x.shape)),
                sensors.blank(slide_task().sensors),
            ),
            joints=joints,
            velocities=np.diff(joints, axis=1, prepend=joints[:, :1]) * CONTROL_HZ,
            touch=touch,
            applied=np.concatenate([np.tile(held, (len(ctrl), 1, 1)), ctrl], axis=1),
        )
        action = np.repeat(np.asarray(policy.action)[:, None], ctrl.shape[1], axis=1)
        return Played(measured, ctrl, action, np.zeros(frames, bool))

    return simulate


def play(job: tuple[Hidden, tuple[int, ...], np.ndarray, np.ndarray]) -> tuple:
    """Joints (episodes, horizon + 1, joints) and touch (episodes, horizon + 1, pairs) under
    commands, of a machine of its own; one argument, so that a pool of processes can map it."""
    hidden, seeds, qpos, ctrl = job
    machine = robot(hidden, *seeds)
    episodes = [
        [machine.reset(Start(q, np.zeros_like(q))), *map(machine.step, rows)]
        for q, rows in zip(qpos, ctrl, strict=True)
    ]
    joints = np.array([[m.joints for m in episode] for episode in episodes])
    return joints, np.array([[m.touch for m in episode] for episode in episodes])


@functools.cache
def _commander() -> Callable[[Array, Goal], Array]:
    task = slide_task()

    def one(action: Array, goal: Goal) -> Array:
        still = dataclasses.replace(sensors.blank(task.sensors), joints=at_rest(goal["start"]).qpos)

        def step(measured: Measurement, _: None) -> tuple[Measurement, Array]:
            ctrl = task.command(measured, action, goal)
            return dataclasses.replace(measured, applied=ctrl), ctrl

        return jax.lax.scan(step, begin(task, still), length=task.horizon)[1]

    return jax.jit(jax.vmap(one))


def commands(action: Array, goal: Goal) -> np.ndarray:
    """The commands of constant actions: (episodes, 2) → (episodes, horizon, 2) [rad].

    In this task they depend on the commands before alone, whatever the machine does.
    """
    return np.asarray(_commander()(action, goal))


def final_places(job: tuple[Hidden, np.ndarray, np.ndarray]) -> np.ndarray:
    """Where commands take the puck in reality, without noise: (episodes, 2) [m].

    Args:
      job: hidden physics, starts (episodes, nq) and commands (episodes, horizon, 2); one argument,
        so that a pool of processes can map it. It holds no arrays of JAX, which is not configured
        there.

    Raises:
      InputError: commands that are not finite.
    """
    hidden, qpos, played = job
    if not np.isfinite(played).all():
        raise InputError("a policy's commands are not finite; its training diverged")
    machine = robot(without_noise(hidden))
    places = np.zeros((len(qpos), 2))
    for i, ctrls in enumerate(played):
        struck = np.flatnonzero(np.diff(ctrls, axis=0).any(axis=1))[-1] + 1 + SETTLED
        before = machine.reset(Start(qpos[i], np.zeros(6))).joints[PUCK]
        for t, ctrl in enumerate(ctrls):
            place = machine.step(ctrl).joints[PUCK]
            if t > struck and np.abs(place - before).max() < AT_REST:
                break
            before = place
        places[i] = place
    return places
