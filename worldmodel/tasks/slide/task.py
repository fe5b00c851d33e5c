"""Task "slide": contexts, strokes, and the tracker that plays a stroke at the control rate.

A puck starts at ``PUCK_X`` metres in front of the arm, sideways at a given place, and must stop
at a target given by distance and direction from there. A stroke is a speed and a direction; the
fingertip goes through the place of the puck along a line, accelerating evenly to that speed and
stopping shortly after. Everything here is the same in the model and in reality.
"""

import dataclasses

import numpy as np

from worldmodel.types import InputError

CONTROL_HZ = 50.0
FRAMES = 120  # control steps per episode: 2.4 s
LINKS = (0.35, 0.35)  # [m]
PUCK_X = 0.45  # [m]
REACH = 0.055 + 0.005  # [m] fingertip behind the puck's centre at the start: both radii and a gap
RUN_UP, RUN_OUT = 0.18, 0.06  # [m] over which the fingertip speeds up and stops
SPEED = (0.3, 5.0)  # [m/s] the strokes that the arm can play
DIRECTION = (-1.2, 1.2)  # [rad]
SUCCESS = 0.03  # [m]

# qpos: shoulder, elbow, puck x, y, z, yaw
PUCK = slice(2, 4)


@dataclasses.dataclass(frozen=True)
class Contexts:
    """What a policy is asked for."""

    start: np.ndarray  # (episodes,) [m] the puck's place sideways
    distance: np.ndarray  # (episodes,) [m] of the target from the puck's start
    direction: np.ndarray  # (episodes,) [rad] 0 is straight ahead

    def __len__(self) -> int:
        return len(self.start)

    @property
    def table(self) -> np.ndarray:
        """(episodes, 3) as a policy's observation."""
        return np.stack([self.start, self.distance, self.direction], axis=1)

    @property
    def target(self) -> np.ndarray:
        """(episodes, 2) world position of the target [m]."""
        along = np.stack([np.cos(self.direction), np.sin(self.direction)], axis=1)
        return puck_place(self.start) + self.distance[:, None] * along


def draw_contexts(count: int, rng: np.random.Generator) -> Contexts:
    """Contexts uniform over ±0.15 m, 0.4–1.2 m and ±0.8 rad."""
    return Contexts(
        rng.uniform(-0.15, 0.15, count),
        rng.uniform(0.4, 1.2, count),
        rng.uniform(-0.8, 0.8, count),
    )


def puck_place(start: np.ndarray) -> np.ndarray:
    """(episodes, 2) [m] where the puck starts."""
    return np.stack([np.full_like(start, PUCK_X), start], axis=-1)


def distance_to_target(contexts: Contexts, final: np.ndarray) -> np.ndarray:
    """The task's error: (episodes,) [m] from where the puck came to rest to its target."""
    return np.linalg.norm(final - contexts.target, axis=1)


def play(start: np.ndarray, stroke: np.ndarray) -> np.ndarray:
    """The tracker: joint angles to command, step by step.

    Args:
      start: (episodes,) the puck's place sideways [m].
      stroke: (episodes, 2) speed [m/s], direction [rad]; held within what the arm can play.

    Returns:
      (episodes, FRAMES, 2) position commands [rad].

    Raises:
      InputError: a stroke that is not finite.
    """
    if not np.isfinite(stroke).all():
        raise InputError(
            f"stroke {np.argwhere(~np.isfinite(stroke))[0][0]} is not finite; the policy diverged"
        )
    speed = np.clip(stroke[:, 0], *SPEED)
    along = _along(stroke)
    begin = puck_place(start) - REACH * along
    time = (np.arange(FRAMES) + 1.0) / CONTROL_HZ
    run_up = 2.0 * RUN_UP / speed[:, None]
    run_out = 2.0 * RUN_OUT / speed[:, None]
    rising = RUN_UP * np.square(np.minimum(time / run_up, 1.0))
    left = np.clip(1.0 - (time - run_up) / run_out, 0.0, 1.0)
    falling = np.where(time > run_up, RUN_OUT * (1.0 - np.square(left)), 0.0)
    tip = begin[:, None] + (rising + falling)[..., None] * along[:, None]
    return inverse_kinematics(tip)


def initial_qpos(start: np.ndarray, stroke: np.ndarray) -> np.ndarray:
    """(episodes, 6) qpos at rest: the fingertip behind the puck, on the stroke's line."""
    qpos = np.zeros((len(start), 6))
    qpos[:, :2] = inverse_kinematics(puck_place(start) - REACH * _along(stroke))
    qpos[:, PUCK] = puck_place(start)
    return qpos


def _along(stroke: np.ndarray) -> np.ndarray:
    direction = np.clip(stroke[:, 1], *DIRECTION)
    return np.stack([np.cos(direction), np.sin(direction)], axis=1)


def inverse_kinematics(tip: np.ndarray) -> np.ndarray:
    """Shoulder and elbow angles that put the fingertip there; the elbow bends to the right.

    Args:
      tip: (…, 2) [m]; what is out of reach is approached as far as the arm goes.
    """
    a, b = LINKS
    square = np.sum(np.square(tip), axis=-1)
    elbow = np.arccos(np.clip((square - a * a - b * b) / (2 * a * b), -1.0, 1.0))
    bearing = np.arctan2(tip[..., 1], tip[..., 0])
    shoulder = bearing - np.arctan2(b * np.sin(elbow), a + b * np.cos(elbow))
    return np.stack([shoulder, elbow], axis=-1)
