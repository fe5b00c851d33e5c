"""The expert, or demonstrator: plans in a given simulator, then executes with a person's noise.

The same expert works in every world model and in reality, so that a model's demonstrations
differ by its physics and not by the person. A table of strokes is played once in the simulator;
planning inverts it.
"""

import dataclasses
from typing import Any

import jax
import numpy as np
from scipy.interpolate import RegularGridInterpolator

from worldmodel.rollout import Constant
from worldmodel.tasks.errors import TaskError
from worldmodel.tasks.play import Simulate
from worldmodel.tasks.slide import task
from worldmodel.types import Array, Goal, Start

STARTS = np.linspace(-0.16, 0.16, 3)  # [m] grid of the table
SPEEDS = np.geomspace(0.4, 5.0, 11)  # [m/s]
DIRECTIONS = np.linspace(-0.95, 0.95, 7)  # [rad]


@dataclasses.dataclass(frozen=True)
class Demonstrator:
    """An ``Expert`` of task slide, and a person's noise of execution."""

    speed: float = 0.15  # relative standard deviation
    direction: float = 0.08  # [rad] standard deviation

    def plan(self, simulate: Simulate, starts: Start, goals: Goal, key: Array) -> Constant:
        """Strokes towards the goals (episodes,), one ``Constant`` policy each.

        Raises:
          TaskError: a stroke of the table after which the puck's position is not finite.
        """
        del starts  # the goals know where the puck is
        return self.act(make_table(simulate), goals, key)

    def act(self, table: np.ndarray, goals: Goal, key: Array) -> Constant:
        """The same, of a table that was made before."""
        speed, direction = invert(table, goals)
        noise = np.asarray(jax.random.normal(key, (2, len(speed))))
        speed = np.clip(speed * np.exp(self.speed * noise[0]), *task.SPEED)
        direction = np.clip(direction + self.direction * noise[1], *task.DIRECTION)
        return Constant(task.action_of(speed, direction, goals))


EXACT = Demonstrator(speed=0.0, direction=0.0)


def make_table(simulate: Simulate) -> np.ndarray:
    """Plays the grid of strokes once: (starts, speeds, directions, 2) [m] the puck's displacement.

    Raises:
      TaskError: a stroke after which the puck's position is not finite; the message names it.
    """
    grid = np.meshgrid(STARTS, SPEEDS, DIRECTIONS, indexing="ij")
    start, speed, direction = (x.reshape(-1) for x in grid)
    goal = {"start": start, "distance": np.ones_like(start), "direction": direction}
    policy = Constant(task.action_of(speed, direction, goal))
    played = simulate(policy, task.at_rest(start), goal, jax.random.key(0))
    moved = np.asarray(played.measured.joints)[:, -1, task.PUCK] - task.puck_place(start)
    if not np.isfinite(moved).all():
        i = np.flatnonzero(~np.isfinite(moved).all(1))[0]
        raise TaskError(
            f"the simulator diverges on the stroke of {speed[i]:.2f} m/s and {direction[i]:.2f} "
            f"rad from {start[i]:.2f} m; its parameters are not physical"
        )
    return np.asarray(moved).reshape(*grid[0].shape, 2)


def invert(table: np.ndarray, goals: Goal) -> tuple[np.ndarray, np.ndarray]:
    """Speeds [m/s] and directions [rad] that reach the goals (episodes,) by the table.

    Gauss-Newton on the trilinear interpolation, from the nearest node; a target out of the table's
    reach gets the nearest iterate.
    """
    outside: Any = None  # extrapolate; SciPy's stubs do not know that None is allowed
    moved = RegularGridInterpolator(
        (STARTS, np.log(SPEEDS), DIRECTIONS), table, bounds_error=False, fill_value=outside
    )
    low = np.array([np.log(SPEEDS[0]), DIRECTIONS[0]])
    high = np.array([np.log(SPEEDS[-1]), DIRECTIONS[-1]])
    start = np.asarray(goals["start"])
    wanted = np.asarray(task.target(goals) - task.puck_place(start))

    def miss(x: np.ndarray) -> np.ndarray:
        return moved(np.column_stack([start, x])) - wanted

    grid = np.stack(np.meshgrid(np.log(SPEEDS), DIRECTIONS, indexing="ij"), -1).reshape(-1, 2)
    misses = np.stack([miss(np.broadcast_to(g, (len(start), 2))) for g in grid])
    x = grid[np.argmin(np.linalg.norm(misses, axis=-1), axis=0)]
    best, nearest = x.copy(), np.linalg.norm(miss(x), axis=1)
    for _ in range(12):
        here, h = miss(x), 1e-4
        jacobian = np.stack(
            [(miss(x + h * e) - miss(x - h * e)) / (2 * h) for e in np.eye(2)], axis=-1
        )
        step = np.linalg.solve(jacobian + 1e-9 * np.eye(2), here[..., None])[..., 0]
        x = np.clip(x - np.clip(step, -0.3, 0.3), low, high)
        distance = np.linalg.norm(miss(x), axis=1)
        closer = distance < nearest
        best[closer], nearest[closer] = x[closer], distance[closer]
    return np.exp(best[:, 0]), best[:, 1]
