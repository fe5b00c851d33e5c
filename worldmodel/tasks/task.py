"""The contract of a task: what a robot is to do, and how it is scored. It knows no model."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel.scene import FreeParameter, Scene
from worldmodel.tasks import sensors
from worldmodel.tasks.errors import TaskError
from worldmodel.types import Array, Episode, Goal, Measurement, Names, Start, State


class Task:
    """What a robot is to do. Subclass it, one level; set ``scene`` and ``horizon``; give ``error``.

    Methods up to ``reward`` are traced, of one robot: pure functions of arrays (``jax.numpy``),
    batched by their callers. ``error``, ``success``, ``goal`` and ``action`` run on the host. A
    task is closed over; it is never an argument of a compiled function. The same functions run in
    a model and on a robot.
    """

    scene: Scene
    horizon: int  # control steps of an episode
    free: tuple[FreeParameter, ...] = ()  # physical parameters that may be fitted

    @functools.cached_property
    def name(self) -> str:
        """Its name in results; the class's, when it is not set."""
        return type(self).__name__.lower()

    @functools.cached_property
    def sensors(self) -> Names:
        """What the robot reports; all joints and free bodies, when it is not set."""
        return sensors.all_sensors(self.scene)

    # Traced.

    def reset(self, key: Array) -> tuple[Start, Goal]:
        """Draws where an episode begins, and its goal. Default: the MJCF's own pose, no goal."""
        del key
        m = self.scene.mj_model
        return Start(jnp.asarray(m.qpos0), jnp.zeros(m.nv)), {}

    def observe(self, measured: Measurement, goal: Goal) -> Array:
        """(observation,) what a policy observes, of what a robot measures alone. Default: joints,
        velocities, objects, touch, force and the goal's numbers by name."""
        m = measured
        parts = [m.joints, m.velocities, m.objects, m.touch, m.force]
        parts += [goal[name] for name in sorted(goal)]
        return jnp.concatenate([jnp.ravel(jnp.asarray(x, float)) for x in parts])

    def sense(self, state: State, key: Array) -> Measurement:
        """What the robot's sensors report of a model's state; default: without noise."""
        del key
        return sensors.sense(self.scene, self.sensors, state)

    def command(self, measured: Measurement, action: Array, goal: Goal) -> Array:
        """(nu,) the command of an action in [−1, 1]. Default: affine over every ``ctrlrange``.

        Raises:
          TaskError: the default, where an actuator has no ``ctrlrange``.
        """
        del measured, goal
        low, high = self._command_range.T
        return low + 0.5 * (action + 1.0) * (high - low)

    def failed(self, measured: Measurement, goal: Goal) -> Array:
        """() bool: whether the episode is over, and lost. Default: never."""
        del measured, goal
        return jnp.zeros((), bool)

    def reward(self, before: Measurement, action: Array, after: Measurement, goal: Goal) -> Array:
        """() of one step, smooth; planners and reinforcement learning maximise its sum."""
        raise TaskError(f"task '{self.name}' gives no reward; planning and learning need one")

    # On the host, of episodes that may have been read back from disk.

    def error(self, episode: Episode) -> float:
        """How far an episode is from its goal: positive, less is better; NaN was not measured."""
        raise TaskError(f"task '{self.name}' gives no error of an episode")

    def success(self, episode: Episode) -> bool | None:
        """Whether an episode succeeded; None: a person is asked. Default: None."""
        del episode
        return None

    def goal(self, episode: Episode) -> Goal:
        """The goal of a foreign episode, which carries none."""
        raise TaskError(
            f"episode {episode.id} carries no goal, and task '{self.name}' cannot say what it was; "
            "override its 'goal'"
        )

    def action(self, measured: Measurement, ctrl: Array, goal: Goal) -> Array:
        """The action whose ``command`` is ``ctrl``. Default: the inverse of the affine one.

        Raises:
          TaskError: the default, where an actuator has no ``ctrlrange``.
        """
        del measured, goal
        low, high = self._command_range.T
        return 2.0 * (ctrl - low) / (high - low) - 1.0

    @functools.cached_property
    def action_size(self) -> int:
        """Numbers of an action: those of ``action``."""
        shape = jax.eval_shape(
            lambda: self.action(self._blank, jnp.zeros(self.scene.mj_model.nu), self._a_goal)
        )
        return int(np.prod(shape.shape))

    @functools.cached_property
    def observation_size(self) -> int:
        """Numbers of an observation."""
        return int(np.prod(jax.eval_shape(lambda: self.observe(self._blank, self._a_goal)).shape))

    @property
    def _a_goal(self) -> Goal:
        return self.reset(jax.random.key(0))[1]

    @property
    def _blank(self) -> Measurement:
        return sensors.blank(self.sensors)

    @functools.cached_property
    def _command_range(self) -> np.ndarray:
        m = self.scene.mj_model
        unlimited = np.flatnonzero(m.actuator_ctrllimited == 0)
        if unlimited.size:
            names = [self.sensors.actuators[i] for i in unlimited]
            raise TaskError(
                f"actuators {names} of scene '{self.scene.name}' have no ctrlrange; give them one "
                "in the MJCF, or override 'command' and 'action'"
            )
        return m.actuator_ctrlrange.copy()
