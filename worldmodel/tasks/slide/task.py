"""Task "slide": a two-joint arm strikes a puck, which must come to rest on a target.

The puck starts ``PUCK_X`` metres in front of the arm, sideways at a given place; the target is
given by distance and direction from there. The arm starts in one pose. An action is a stroke, its
speed and direction: the commanded fingertip runs in to the stroke's line behind the puck, then
goes along it through the puck's place, accelerating evenly to the speed and stopping shortly after.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel.episodes.errors import Channels
from worldmodel.scene import FreeParameter, load_scene
from worldmodel.tasks import sensors
from worldmodel.tasks.errors import TaskError
from worldmodel.tasks.task import Task
from worldmodel.types import Array, Episode, Goal, Measurement, Start

MJCF = Path(__file__).with_name("scene.xml")
CONTROL_HZ = 50.0
SUBSTEPS = 4
LINKS = (0.35, 0.35)  # [m]
PUCK_X = 0.45  # [m]
REST = np.array([0.34, 0.0])  # [m] the fingertip in the arm's starting pose
REACH = 0.055 + 0.005  # [m] fingertip behind the puck's centre, a stroke's start: radii and a gap
RUN_UP, RUN_OUT = 0.18, 0.06  # [m] over which the fingertip speeds up and stops
# The run-in: its speed, and the rate [1/s] at which it slows down, so that the arm has settled
# where the stroke begins.
RUN_IN, SLOWING = 0.6, 10.0  # [m/s], [1/s]
CLOSE = 1e-3  # [m] from the stroke's start, where the run-in ends
ON_LINE = 1e-4  # [m] within it a fingertip is on the stroke's line
SPEED = (0.3, 5.0)  # [m/s] the strokes that the arm can play
DIRECTION = (-1.2, 1.2)  # [rad]
TURN = 0.5  # [rad] from the target's direction to the stroke's, of an action of 1
# Of an action, in which strokes differ alike: half a logarithm of the speed, 0.1 rad.
ACTION_UNIT = (1.0 / float(np.log(SPEED[1] / SPEED[0])), 0.1 / TURN)
SUCCESS = 0.03  # [m]
CENTRE, WIDTH = np.array([0.0, 0.8, 0.0]), np.array([0.15, 0.4, 0.8])  # of goals
GOAL: tuple[str, ...] = (
    "start",
    "distance",
    "direction",
)  # [m] of the puck sideways, [m], [rad]: 0 is ahead
PUCK = slice(2, 4)  # joints: shoulder, elbow, puck x, y, z, yaw


class SlideTask(Task):
    """The puck must stop on the target; the arm's strokes are its actions, (2,)."""

    horizon = 160  # control steps: 3.2 s
    # What a fit may move; the world model does not know the rest.
    free = (
        FreeParameter("friction", "puck_base"),
        FreeParameter("mass", "puck"),
        FreeParameter("damping", "shoulder"),
        FreeParameter("damping", "elbow"),
        FreeParameter("gain", "shoulder", 0.2 / 0.7),  # a deviation of 20 %
        FreeParameter("gain", "elbow", 0.2 / 0.7),
    )

    def __init__(self) -> None:
        self.name, self.action_size = "slide", 2
        self.scene = load_scene(MJCF, control_hz=CONTROL_HZ, substeps=SUBSTEPS)
        self.sensors = sensors.all_sensors(self.scene, (("finger", "puck_rim"),))

    @property
    def channels(self) -> Channels:
        """The positions that a fit scores: the puck in the plane of the table, shoulder, elbow."""
        planar = {"puck": ("puck_x", "puck_y")}
        return Channels.of(self.scene, planar=planar, leave_out=("puck_z", "puck_yaw"))

    def reset(self, key: Array) -> tuple[Start, Goal]:
        """Goals uniform over ±0.15 m, 0.4–1.2 m and ±0.8 rad."""
        drawn = CENTRE + WIDTH * jax.random.uniform(key, (3,), minval=-1.0)
        return at_rest(drawn[0]), {name: drawn[i] for i, name in enumerate(GOAL)}

    def observe(self, measured: Measurement, goal: Goal) -> Array:
        """The goal, scaled to order one; the puck is where the goal has it until it is struck."""
        del measured
        return (jnp.stack([goal[name] for name in GOAL]) - CENTRE) / WIDTH

    def command(self, measured: Measurement, action: Array, goal: Goal) -> Array:
        """Moves the commanded fingertip on: along the stroke's line, or to where it begins.

        It depends on the command that acted alone, so that a stroke is played alike everywhere.
        """
        speed, direction = stroke(action, goal)
        place, along = puck_place(goal["start"]), _along(direction)
        begin, tip = place - REACH * along, forward_kinematics(measured.applied)
        gone = jnp.dot(tip - begin, along)
        aside = jnp.linalg.norm(tip - begin - gone * along)
        struck = (aside < ON_LINE) & (gone > -ON_LINE)
        # Each branch gets what it is defined for, or the gradient of the other would be NaN.
        nearer = _run_in(jnp.where(struck, begin, tip), place, direction)
        further = _advance(jnp.where(struck, jnp.clip(gone, 0.0, RUN_UP + RUN_OUT), 0.0), speed)
        return inverse_kinematics(jnp.where(struck, begin + further * along, nearer))

    def reward(self, before: Measurement, action: Array, after: Measurement, goal: Goal) -> Array:
        """How much nearer the puck has come [m]."""
        del action
        near = [jnp.square(m.joints[PUCK] - target(goal)).sum() for m in (before, after)]
        return jnp.sqrt(near[0] + 1e-8) - jnp.sqrt(near[1] + 1e-8)

    def error(self, episode: Episode) -> float:
        """[m] from where the puck came to rest to its target."""
        return float(np.linalg.norm(episode.qpos[-1, PUCK] - target(episode.goal)))

    def success(self, episode: Episode) -> bool:
        """Whether that is within 3 cm."""
        return self.error(episode) < SUCCESS

    def goal(self, episode: Episode) -> Goal:
        """In hindsight: where the puck started, and where it came to rest."""
        puck = episode.qpos[:, PUCK]
        x, y = puck[-1] - puck[0]
        values = puck[0, 1], np.hypot(x, y), np.arctan2(y, x)
        return {name: np.asarray(value) for name, value in zip(GOAL, values, strict=True)}

    def action(self, measured: Measurement, ctrl: Array, goal: Goal) -> Array:
        """Refused: many strokes have the same run-in."""
        del measured, ctrl, goal
        raise TaskError(
            "a stroke of task 'slide' does not follow from one command; record the episode's action"
        )


def at_rest(start: Array) -> Start:
    """The arm in its starting pose, the puck at (…,) ``start`` [m] sideways, both at rest."""
    start = jnp.asarray(start)
    arm = jnp.broadcast_to(inverse_kinematics(REST), (*start.shape, 2))
    qpos = jnp.concatenate([arm, puck_place(start), jnp.zeros((*start.shape, 2))], axis=-1)
    return Start(qpos, jnp.zeros_like(qpos))


def puck_place(start: Array) -> Array:
    """(…, 2) [m] where the puck starts."""
    return jnp.stack([jnp.full_like(start, PUCK_X), start], axis=-1)


def target(goal: Goal) -> Array:
    """(…, 2) world position of the target [m]."""
    return puck_place(goal["start"]) + goal["distance"][..., None] * _along(goal["direction"])


def stroke(action: Array, goal: Goal) -> tuple[Array, Array]:
    """Actions (…, 2) as speed [m/s] and direction [rad], held within what the arm can play."""
    low, high = np.log(SPEED)
    part = jnp.clip(jnp.asarray(action), -1.0, 1.0)
    speed = jnp.exp(low + 0.5 * (part[..., 0] + 1.0) * (high - low))
    return speed, jnp.clip(goal["direction"] + TURN * part[..., 1], *DIRECTION)


def action_of(speed: np.ndarray, direction: np.ndarray, goal: Goal) -> np.ndarray:
    """The inverse of ``stroke``, (…, 2), for strokes that the arm can play."""
    low, high = np.log(SPEED)
    fast = 2.0 * (np.log(speed) - low) / (high - low) - 1.0
    turned = (direction - np.asarray(goal["direction"])) / TURN
    return np.clip(np.stack([fast, turned], axis=-1), -1.0, 1.0)


def _along(direction: Array) -> Array:
    return jnp.stack([jnp.cos(direction), jnp.sin(direction)], axis=-1)


def _run_in(tip: Array, place: Array, direction: Array) -> Array:
    """One step to the stroke's start: straight in distance and angle about the puck, so that the
    distance only falls, and the finger stays clear of it."""
    radius = jnp.linalg.norm(place - tip)
    angle = jnp.arctan2(*(place - tip)[::-1])
    turn = jnp.mod(direction - angle + np.pi, 2 * np.pi) - np.pi
    square = jnp.square(radius * turn) + jnp.square(REACH - radius)
    way = jnp.sqrt(jnp.maximum(square, 1e-18))
    step = jnp.minimum(RUN_IN, SLOWING * way) / CONTROL_HZ
    part = jnp.where(way > CLOSE, step / way, 1.0)
    return place - (radius + part * (REACH - radius)) * _along(angle + part * turn)


def _advance(gone: Array, speed: Array) -> Array:
    """One step along the stroke: [m] from its start, of [m] where it was."""
    run_up, run_out = 2.0 * RUN_UP / speed, 2.0 * RUN_OUT / speed  # [s]
    rising, falling = gone / RUN_UP, 1.0 - (gone - RUN_UP) / RUN_OUT
    root = jnp.sqrt(jnp.maximum(jnp.where(gone < RUN_UP, rising, falling), 1e-18))
    time = jnp.where(gone < RUN_UP, run_up * root, run_up + run_out * (1.0 - root))
    time += 1.0 / CONTROL_HZ
    to_go = jnp.clip(1.0 - (time - run_up) / run_out, 0.0, 1.0)
    after = RUN_UP + RUN_OUT * (1.0 - jnp.square(to_go))
    return jnp.where(time < run_up, RUN_UP * jnp.square(time / run_up), after)


def forward_kinematics(joints: Array) -> Array:
    """(…, 2) [m] the fingertip, of (…, 2) shoulder and elbow angles."""
    a, b = LINKS
    return a * _along(joints[..., 0]) + b * _along(joints[..., 0] + joints[..., 1])


def inverse_kinematics(tip: Array) -> Array:
    """Shoulder and elbow angles that put the fingertip there; the elbow bends to the right.

    Args:
      tip: (…, 2) [m]; what is out of reach is approached as far as the arm goes.
    """
    a, b = LINKS
    square = jnp.sum(jnp.square(tip), axis=-1)
    elbow = jnp.arccos(jnp.clip((square - a * a - b * b) / (2 * a * b), -1.0, 1.0))
    bearing = jnp.arctan2(tip[..., 1], tip[..., 0])
    shoulder = bearing - jnp.arctan2(b * jnp.sin(elbow), a + b * jnp.cos(elbow))
    return jnp.stack([shoulder, elbow], axis=-1)
