"""The expert of task "grasp": reach, close, lift, carry, lower and open, closed loop."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel.tasks.grasp.task import BOX, LIFT, SPEED, WIDE
from worldmodel.types import Array, Family, Goal

UNITS = np.array([0.1, 0.1, 0.05, 0.3, 0.1, 0.02, 0.02, 3.0])  # of an observation
HOVER = 0.07  # [m] of the pads above the box's middle until they are above the box
CARRY = LIFT + 0.02  # [m] above the table
NEAR = 0.006  # [m] from the goal where the box is let go of


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Carry:
    """Takes the box, and puts it down where it observes the goal.

    What it does is a smooth function of what it observes; the command of the gripper's width says
    whether it has closed.
    """

    squeeze: Any  # () [m] by which the commanded width is smaller than the box
    speed: Any  # () [m/s] of the hand
    height: Any  # () [m] of the pads above the box's middle
    release: Any  # () [m] above the table at which it lets go
    traceable = True

    def init(self, observation: Any, key: Any) -> Any:
        """Nothing."""
        del observation, key
        return jnp.zeros(0)

    def act(self, carry: Any, observation: Any, key: Any) -> tuple[Any, Any]:
        """How fast the hand and the gripper's width are to move, of ``SPEED``."""
        del key
        x, z, box, _, goal, _, command, _ = jnp.asarray(observation) * UNITS
        command = command + BOX
        there = within(goal, NEAR, 0.001)
        done = there * below(box, self.release + 0.003, 0.001)
        grip = within(x, 0.004, 0.001) * within(z + self.height, 0.004, 0.001)
        closing = below(command, BOX, 0.001)
        closed = below(command, BOX - 0.7 * self.squeeze, 0.05 * self.squeeze)
        holding = closed * (1.0 - done)
        # The gripper.
        close = (1.0 - done) * jnp.maximum(grip, closing)
        width = close * (BOX - self.squeeze) + (1.0 - close) * WIDE
        # Up or down: to the box, then with it, and away.
        over = within(x, 0.01, 0.002)
        reach = z + over * self.height + (1.0 - over) * HOVER
        lift = there * self.release + (1.0 - there) * CARRY - box
        opened = 1.0 - below(command, BOX + 0.01, 0.002)
        rise = holding * lift + (1.0 - holding) * ((1.0 - done) * (1.0 - closing) * reach)
        up = jnp.tanh(rise / 0.02) + done * opened
        # Across: above the box, then with it.
        clear = 1.0 - below(box, 0.6 * LIFT, 0.002)
        across = holding * clear * goal + (1.0 - closing) * (1.0 - done) * x
        move = self.speed * jnp.stack([jnp.tanh(across / 0.04), up])
        return jnp.append(move, 0.3 * jnp.tanh((width - command) / 0.005)) / SPEED, carry


def below(value: Any, bound: Any, blend: Any) -> Any:
    """1 below a bound, 0 above it, smoothly."""
    return jax.nn.sigmoid((bound - value) / blend)


def within(value: Any, bound: Any, blend: Any) -> Any:
    """1 within ± a bound, 0 out of it, smoothly."""
    return below(jnp.abs(value), bound, blend)


def _carry(parameters: Array, goal: Goal) -> Carry:
    del goal
    return Carry(*parameters)


EXPERT = Family(
    _carry,
    low=np.array([0.004, 0.15, -0.01, 0.002]),
    high=np.array([0.036, 0.5, 0.015, 0.02]),
    absolute=np.array([0.001, 0.02, 0.002, 0.001]),
)
