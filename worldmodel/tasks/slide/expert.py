"""The expert, or demonstrator: plans with a given simulator, then executes with a person's noise.

The same expert works in every world model and in reality, so that a model's demonstrations
differ by its physics and not by the person. A table of strokes is played once in the simulator;
planning inverts it.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.interpolate import RegularGridInterpolator

from worldmodel.errors import InputError
from worldmodel.tasks.slide import task
from worldmodel.types import Episode, Trial

# (episodes, nq) at rest, (episodes, FRAMES, nu) commands → (episodes, FRAMES + 1, nq)
Simulator = Callable[[np.ndarray, np.ndarray], np.ndarray]

STARTS = np.linspace(-0.16, 0.16, 3)  # [m] grid of the table
SPEEDS = np.geomspace(0.4, 5.0, 11)  # [m/s]
DIRECTIONS = np.linspace(-0.95, 0.95, 7)  # [rad]


@dataclasses.dataclass(frozen=True)
class Noise:
    """A person's noise of execution."""

    speed: float = 0.15  # relative standard deviation
    direction: float = 0.08  # [rad] standard deviation


@dataclasses.dataclass(frozen=True)
class Table:
    """Displacements of the puck by strokes on a grid, in one simulator."""

    moved: np.ndarray  # (starts, speeds, directions, 2) [m]


def make_table(simulate: Simulator) -> Table:
    """Plays the grid of strokes once.

    Raises:
      InputError: a stroke after which the puck's position is not finite; the message names it.
    """
    start, speed, direction = (
        x.reshape(-1) for x in np.meshgrid(STARTS, SPEEDS, DIRECTIONS, indexing="ij")
    )
    strokes = np.stack([speed, direction], axis=1)
    qpos = simulate(task.initial_qpos(start, strokes), task.play(start, strokes))
    moved = qpos[:, -1, task.PUCK] - task.puck_place(start)
    if not np.isfinite(moved).all():
        bad = np.flatnonzero(~np.isfinite(moved).all(1))[0]
        raise InputError(
            f"the simulator diverges on the stroke {strokes[bad]} from {start[bad]:.2f} m; "
            "its parameters are not physical"
        )
    return Table(moved.reshape(len(STARTS), len(SPEEDS), len(DIRECTIONS), 2))


def plan(table: Table, contexts: task.Contexts) -> np.ndarray:
    """Strokes that reach the targets by the table: (episodes, 2) speed [m/s], direction [rad].

    Gauss-Newton on the trilinear interpolation, from the nearest node; a target out of the table's
    reach gets the nearest iterate.
    """
    outside: Any = None  # extrapolate; SciPy's stubs do not know that None is allowed
    moved = RegularGridInterpolator(
        (STARTS, np.log(SPEEDS), DIRECTIONS), table.moved, bounds_error=False, fill_value=outside
    )
    low = np.array([np.log(SPEEDS[0]), DIRECTIONS[0]])
    high = np.array([np.log(SPEEDS[-1]), DIRECTIONS[-1]])
    wanted = contexts.target - task.puck_place(contexts.start)

    def miss(x: np.ndarray) -> np.ndarray:
        return moved(np.column_stack([contexts.start, x])) - wanted

    grid = np.stack(np.meshgrid(np.log(SPEEDS), DIRECTIONS, indexing="ij"), -1).reshape(-1, 2)
    misses = np.stack([miss(np.broadcast_to(g, (len(contexts), 2))) for g in grid])
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
    return np.column_stack([np.exp(best[:, 0]), best[:, 1]])


def demonstrate(
    table: Table, contexts: task.Contexts, noise: Noise, rng: np.random.Generator
) -> np.ndarray:
    """Planned strokes, executed with a person's noise: (episodes, 2)."""
    strokes = plan(table, contexts)
    strokes[:, 0] *= np.exp(noise.speed * rng.standard_normal(len(strokes)))
    strokes[:, 1] += noise.direction * rng.standard_normal(len(strokes))
    strokes[:, 0] = np.clip(strokes[:, 0], *task.SPEED)
    strokes[:, 1] = np.clip(strokes[:, 1], *task.DIRECTION)
    return strokes


def demonstrations(
    table: Table,
    play: Callable[[Sequence[Trial]], list[Episode]],
    episodes: int,
    noise: Noise,
    rng: np.random.Generator,
) -> list[Episode]:
    """Episodes of the demonstrator in contexts drawn at random.

    Args:
      table: of the simulator that it plans with.
      play: trials → episodes: a robot's ``capture``, or a world model's ``generate``.
      episodes: their number.
    """
    contexts = task.draw_contexts(episodes, rng)
    return play(task.trials(contexts, demonstrate(table, contexts, noise, rng)))
