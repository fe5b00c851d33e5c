"""The expert of task "push": one push against the flat side of the bar, closed loop."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel.tasks.push.task import BAR, RADIUS, SCALE, SPEED, rotation
from worldmodel.types import Array, Family, Goal

FACE = BAR - RADIUS  # [m] y of the touching fingertip in the T's frame
NEAR, BLEND = 0.008, 0.003  # [m] from the bar where the approach becomes a push, and how soon
PACE = 0.2  # [m/s]
STEER = 1.5  # [rad] sideways, which turns the T, for each rad that it must still turn


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Shove:
    """Approaches a place on the bar, then moves towards where that place is in the goal.

    What it does is a smooth function of what it observes; it remembers nothing.
    """

    place: Any  # () [m] along the bar
    aim: Any  # () [rad] by which the push is turned from the goal, at 0.1 m from it
    beyond: Any  # () [m] ahead of the goal at which it aims
    traceable = True

    def init(self, observation: Any, key: Any) -> Any:
        """Nothing."""
        del observation, key
        return jnp.zeros(0)

    def act(self, carry: Any, observation: Any, key: Any) -> tuple[Any, Any]:
        """The fingertip's velocity in the T's frame, of ``SPEED``."""
        del key
        tip_x, tip_y, goal_x, goal_y, turn = jnp.asarray(observation) * SCALE
        side, gap = self.place - tip_x, FACE - tip_y
        ready = jnp.exp(-jnp.square(side / 0.02))
        approach = PACE * jnp.stack([jnp.tanh(side / 0.03), ready])
        end = rotation(turn) @ jnp.stack([self.place, FACE + self.beyond])
        way = end + jnp.stack([goal_x, goal_y]) - jnp.stack([tip_x, tip_y])
        length = jnp.sqrt(jnp.sum(jnp.square(way)) + 1e-6)
        bend = self.aim * length / 0.1 - STEER * turn
        push = PACE * jnp.tanh(length / 0.04) / length * (rotation(bend) @ way)
        pushing = jax.nn.sigmoid((NEAR - gap) / BLEND)
        return (pushing * push + (1.0 - pushing) * approach) / SPEED, carry


def _shove(parameters: Array, goal: Goal) -> Shove:
    del goal
    return Shove(*parameters)


EXPERT = Family(
    _shove,
    low=np.array([-0.07, -1.0, -0.01]),
    high=np.array([0.07, 1.0, 0.03]),
    absolute=np.array([0.004, 0.05, 0.002]),
)
