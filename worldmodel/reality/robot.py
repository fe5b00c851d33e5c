"""Deploy: a robot plays a policy, and what it measured comes back as an episode."""

import dataclasses
from collections.abc import Callable
from typing import Protocol

import numpy as np

from worldmodel.types import Episode


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What a robot reports at its control rate."""

    qpos: np.ndarray  # (nq,) measured, noise included
    contact: np.ndarray  # (pairs,) bool; its touch sensors


class Robot(Protocol):
    """A machine, or a stand-in for one. It is asked one thing at a time and may fail at any."""

    control_hz: float  # [1/s]
    nq: int
    nu: int

    def reset(self, qpos: np.ndarray) -> Measurement:
        """Puts everything in place, at rest; (nq,) → what it measures there."""
        ...

    def step(self, ctrl: np.ndarray) -> Measurement:
        """Plays one command, (nu,), for one control step; raises ``TimeoutError`` when the
        machine does not answer."""
        ...


class Operator(Protocol):
    """A person who demonstrates on the robot."""

    def demonstrate(self, contexts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """(episodes, context) what is asked for → (episodes, action) what the person did."""
        ...


class RobotError(RuntimeError):
    """A robot that failed in mid-episode; ``episode`` holds what had been captured till then."""

    def __init__(self, message: str, episode: Episode | None) -> None:
        super().__init__(message)
        self.episode = episode


Policy = Callable[[int, Measurement], np.ndarray]  # (step, last measurement) → ctrl (nu,)


def run_policy(
    robot: Robot, policy: Policy, qpos: np.ndarray, frames: int, identity: int | str
) -> tuple[Episode, np.ndarray]:
    """Deploys a policy for one episode: ``frames`` control steps from ``qpos``.

    Velocities of the episode are backward differences of the measured positions, and zero in
    the first frame, where everything is at rest.

    Returns:
      The episode, frames + 1 long (its last command is repeated), and (frames + 1, pairs) bool
      contacts.

    Raises:
      RobotError: the robot stops answering, or reports something that is not finite or of
        another size; whatever was captured before comes with it.
      ValueError: the policy's command is not finite or of another size.
    """
    measured: list[Measurement] = []
    commands: list[np.ndarray] = []

    def episode() -> Episode:
        positions = np.stack([m.qpos for m in measured])
        held = [*commands, commands[-1] if commands else np.zeros(robot.nu)][: len(measured)]
        count = len(positions)
        qvel = np.zeros_like(positions)
        qvel[1:] = np.diff(positions, axis=0) * robot.control_hz
        return Episode(
            id=identity,
            time=np.arange(count) / robot.control_hz,
            qpos=positions,
            qvel=qvel,
            ctrl=np.stack(held),
            valid=np.ones(count, bool),
            fresh=np.ones(count, bool),
        )

    def take(ask: Callable[[], Measurement]) -> None:
        try:
            answer = ask()
        except (TimeoutError, OSError) as error:
            raise RobotError(
                f"episode {identity}: the robot stopped answering at frame {len(measured)} "
                f"({error}); check it, then run the same command again",
                episode() if measured else None,
            ) from error
        position = np.asarray(answer.qpos, float)
        if position.shape != (robot.nq,) or not np.isfinite(position).all():
            raise RobotError(
                f"episode {identity}: at frame {len(measured)} the robot reports {position}, not "
                f"{robot.nq} finite positions; check its sensors, then run the same command again",
                episode() if measured else None,
            )
        measured.append(Measurement(position, np.asarray(answer.contact, bool)))

    take(lambda: robot.reset(qpos))
    for t in range(frames):
        ctrl = np.asarray(policy(t, measured[-1]), float)
        if ctrl.shape != (robot.nu,) or not np.isfinite(ctrl).all():
            raise ValueError(
                f"episode {identity}: the policy commands {ctrl} at step {t}; the robot takes "
                f"{robot.nu} finite numbers"
            )
        commands.append(ctrl)
        take(lambda ctrl=ctrl: robot.step(ctrl))
    return episode(), np.stack([m.contact for m in measured])
