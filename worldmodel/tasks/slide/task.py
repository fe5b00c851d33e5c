"""Task "slide": contexts, strokes, and the tracker that plays a stroke at the control rate.

A puck starts at ``PUCK_X`` metres in front of the arm, sideways at a given place, and must stop
at a target given by distance and direction from there. A stroke is a speed and a direction; the
fingertip goes through the place of the puck along a line, accelerating evenly to that speed and
stopping shortly after. All of this is the same in the model and in reality.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from worldmodel.episodes.errors import Channels
from worldmodel.errors import InputError
from worldmodel.scene import FreeParameter, Scene, load_scene
from worldmodel.types import Episode, Trial

MJCF = Path(__file__).with_name("scene.xml")
CONTROL_HZ = 50.0
SUBSTEPS = 4
FRAMES = 120  # control steps per episode: 2.4 s
LINKS = (0.35, 0.35)  # [m]
PUCK_X = 0.45  # [m]
REACH = 0.055 + 0.005  # [m] fingertip behind the puck's centre at the start: both radii and a gap
RUN_UP, RUN_OUT = 0.18, 0.06  # [m] over which the fingertip speeds up and stops
SPEED = (0.3, 5.0)  # [m/s] the strokes that the arm can play
DIRECTION = (-1.2, 1.2)  # [rad]
SUCCESS = 0.03  # [m]

CENTRE, WIDTH = np.array([0.0, 0.8, 0.0]), np.array([0.15, 0.4, 0.8])  # of contexts
OBSERVED, ANSWERED = 3, 2  # numbers that a policy observes and answers

PUCK = slice(2, 4)  # qpos: shoulder, elbow, puck x, y, z, yaw
TOUCH = (("finger", "puck_rim"),)  # what the touch sensors report
# What a fit may move; the world model does not know the rest.
FREE = (
    FreeParameter("friction", "puck_base"),
    FreeParameter("mass", "puck"),
    FreeParameter("damping", "shoulder"),
    FreeParameter("damping", "elbow"),
    FreeParameter("gain", "shoulder", 0.2 / 0.7),  # a deviation of 20 %
    FreeParameter("gain", "elbow", 0.2 / 0.7),
)
# The unit of a network's answers, a step's change of velocity: joints and puck in the plane
# [rad/s, m/s]; the puck is neither lifted nor turned.
RESIDUAL = np.array([0.1, 0.1, 0.02, 0.02, 0.0, 0.0])


def scene() -> Scene:
    """The world model's scene, with the MJCF's guesses."""
    return load_scene(MJCF, control_hz=CONTROL_HZ, substeps=SUBSTEPS)


def channels(scene: Scene) -> Channels:
    """The positions that a fit scores: the puck in the plane of the table, shoulder, elbow."""
    planar = {"puck": ("puck_x", "puck_y")}
    return Channels.of(scene, planar=planar, leave_out=("puck_z", "puck_yaw"))


@dataclasses.dataclass(frozen=True)
class Contexts:
    """The goals of episodes."""

    start: np.ndarray  # (episodes,) [m] the puck's place sideways
    distance: np.ndarray  # (episodes,) [m] of the target from the puck's start
    direction: np.ndarray  # (episodes,) [rad] 0 is straight ahead

    def __len__(self) -> int:
        return len(self.start)

    @property
    def table(self) -> np.ndarray:
        """(episodes, 3) start, distance, direction."""
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
    to_go = np.clip(1.0 - (time - run_up) / run_out, 0.0, 1.0)
    falling = np.where(time > run_up, RUN_OUT * (1.0 - np.square(to_go)), 0.0)
    tip = begin[:, None] + (rising + falling)[..., None] * along[:, None]
    return inverse_kinematics(tip)


def trials(contexts: Contexts, strokes: np.ndarray) -> list[Trial]:
    """Strokes (episodes, 2) as episodes to be played."""
    ctrl, qpos = play(contexts.start, strokes), initial_qpos(contexts.start, strokes)
    names = [field.name for field in dataclasses.fields(Contexts)]
    return [
        Trial(qpos[i], ctrl[i], dict(zip(names, contexts.table[i], strict=True)), strokes[i])
        for i in range(len(strokes))
    ]


def examples(episodes: Sequence[Episode]) -> tuple[np.ndarray, np.ndarray]:
    """The examples that a policy is cloned from: contexts (episodes, 3), strokes (episodes, 2)."""
    names = [field.name for field in dataclasses.fields(Contexts)]
    contexts = np.array([[float(e.goal[name]) for name in names] for e in episodes])
    return contexts, np.array([e.action for e in episodes])


def observe(contexts: np.ndarray) -> np.ndarray:
    """Contexts (episodes, 3) as a policy observes them, scaled to order one."""
    return ((contexts - CENTRE) / WIDTH).astype(np.float32)


def encode(contexts: np.ndarray, strokes: np.ndarray) -> np.ndarray:
    """Strokes (episodes, 2) as a policy answers them, of order one: the logarithm of the speed,
    and the direction's departure from the target's.

    Raises:
      InputError: a stroke whose speed is not positive.
    """
    if not (strokes[:, 0] > 0).all():
        i = np.flatnonzero(~(strokes[:, 0] > 0))[0]
        raise InputError(f"stroke {i} has the speed {strokes[i, 0]}; remove that episode")
    return np.stack(
        [np.log(strokes[:, 0]) / 0.5, (strokes[:, 1] - contexts[:, 2]) / 0.1], axis=1
    ).astype(np.float32)


def decode(contexts: np.ndarray, answer: np.ndarray) -> np.ndarray:
    """The inverse of ``encode``: (episodes, 2) speed [m/s], direction [rad]."""
    return np.stack([np.exp(0.5 * answer[:, 0]), contexts[:, 2] + 0.1 * answer[:, 1]], axis=1)


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
