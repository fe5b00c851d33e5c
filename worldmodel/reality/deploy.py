"""Deploy: a robot plays a policy, and what it measured comes back as an episode."""

from collections.abc import Callable

import jax
import numpy as np

from worldmodel.errors import InputError
from worldmodel.reality.robot import Robot, RobotError
from worldmodel.scene import Scene
from worldmodel.scene.tangent import backward_velocities
from worldmodel.types import Episode, Measurement, Policy


def deploy(
    robot: Robot,
    policy: Policy,
    scene: Scene,
    qpos: np.ndarray,
    steps: int,
    identity: int | str,
    *,
    key: jax.Array | None = None,
) -> Episode:
    """Deploys a policy for one episode: ``steps`` control steps from ``qpos``, at rest.

    The episode's velocities are backward differences of the measured positions, and zero in the
    first frame.

    Args:
      policy: observes the last measurement.
      scene: of the robot; for its sizes and its control rate.
      identity: the episode's id.
      key: the policy's randomness, split as ``rollout`` splits it; without one the policy gets
        None.

    Returns:
      The episode, steps + 1 frames long; its last command is repeated.

    Raises:
      InputError: the robot runs at another rate than the scene.
      RobotError: the robot stops answering, or reports positions that are not finite, or positions
        or contacts of another size; it carries the frames before.
      ValueError: the policy's command is not finite or of another size.
    """
    nq, nu = scene.mj_model.nq, scene.mj_model.nu
    if robot.control_hz != scene.control_hz:
        raise InputError(
            f"the robot takes {robot.control_hz} commands per second, scene '{scene.name}' "
            f"{scene.control_hz}; load the scene with the robot's control_hz"
        )
    measured: list[Measurement] = []
    commands: list[np.ndarray] = []

    def episode() -> Episode | None:
        if not measured:
            return None
        qpos = np.stack([m.qpos for m in measured])
        held = [*commands, commands[-1] if commands else np.zeros(nu)][: len(measured)]
        return Episode.regular(
            identity,
            scene.control_hz,
            qpos=qpos,
            qvel=backward_velocities(scene, qpos),
            ctrl=np.stack(held),
            contact=np.stack([m.contact for m in measured]),
        )

    def take(ask: Callable[[], Measurement]) -> None:
        try:
            answer = ask()
        except (TimeoutError, OSError) as error:
            raise RobotError(
                f"episode {identity}: the robot stopped answering at frame {len(measured)} "
                f"({error}); check it, then run the same command again",
                episode(),
            ) from error
        position = np.asarray(answer.qpos, float)
        if position.shape != (nq,) or not np.isfinite(position).all():
            raise RobotError(
                f"episode {identity}: at frame {len(measured)} the robot reports {position}, not "
                f"{nq} finite positions; check its sensors, then run the same command again",
                episode(),
            )
        contact = np.asarray(answer.contact, bool)
        if measured and contact.shape != measured[0].contact.shape:
            raise RobotError(
                f"episode {identity}: at frame {len(measured)} the robot reports {contact.size} "
                f"touch sensors, before {measured[0].contact.size}; check them",
                episode(),
            )
        measured.append(Measurement(position, contact))

    keys = None if key is None else jax.random.split(key, steps)
    take(lambda: robot.reset(qpos))
    for t in range(steps):
        ctrl = np.asarray(policy(measured[-1], t, None if keys is None else keys[t]), float)
        if ctrl.shape != (nu,) or not np.isfinite(ctrl).all():
            raise ValueError(
                f"episode {identity}: the policy commands {ctrl} at step {t}; the robot takes "
                f"{nu} finite numbers"
            )
        commands.append(ctrl)
        take(lambda ctrl=ctrl: robot.step(ctrl))
    complete = episode()
    assert complete is not None
    return complete
