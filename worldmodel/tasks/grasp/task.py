"""Task "grasp": a parallel gripper takes a box, carries it over a table and puts it down.

Observation and action are relative to the hand and the box, so that what a policy learns in one
place holds in all.
"""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel.scene import FreeParameter, load_scene
from worldmodel.tasks import sensors
from worldmodel.tasks.task import Task
from worldmodel.types import Array, Episode, Goal, Measurement, Start

MJCF = Path(__file__).with_name("scene.xml")
SPEED = 0.5  # [m/s] of the hand, and of the gripper's width, of an action of 1
WIDE, BOX = 0.08, 0.04  # [m] the width of the gripper at most, and of the box
HALF = 0.03  # [m] height of the box's middle above the table it stands on
LIFT = 0.04  # [m] above the table that the box must have been
FALL = 0.6  # [m/s] that no hand lowers a box with: it is dropped
SUCCESS = 0.015  # [m]
GRIP_COST, REACH, FALLEN = 1e-2, 0.5, 5.0  # [m/N], (), () of a grip, a far hand and a fall
SQUEEZED = BOX - 0.02  # [m] the commanded width of a firm grip: 4 N
POINTS = np.array([[-0.02, -HALF], [0.02, -HALF], [0.0, HALF]])  # [m] of the box: x, z
PADS = (("thumb", "box"), ("finger", "box"))
HAND_X, HAND_Z, THUMB, FINGER, BOX_X, BOX_Z, BOX_PITCH = range(7)


class Grasp(Task):
    """The box stands on the table, the open gripper above. The goal is a place ``x`` [m] of the
    box. The error is the mean distance of three of its points from an upright box there, and what
    it was lifted less than ``LIFT``."""

    horizon = 150
    observed = (
        *(("hand.x", "0.1 m"), ("hand.z", "0.1 m"), ("box.z", "0.05 m"), ("box.pitch", "0.3 rad")),
        *(("goal.x", "0.1 m"), ("gripper.width", "0.02 m"), ("gripper.command", "0.02 m")),
        *(("gripper.force", "3 N"),),
    )

    def __init__(self) -> None:
        self.scene = load_scene(MJCF, control_hz=50.0, substeps=4)
        self.sensors = sensors.all_sensors(self.scene, PADS, PADS)
        self.free = (FreeParameter("friction", "box"), FreeParameter("mass", "box"))

    def reset(self, key: Array) -> tuple[Start, Goal]:
        """The box within 5 cm of x = −0.1 m, the open gripper 12 to 16 cm above the table and
        within 5 cm of the box; the goal 12 to 24 cm from it."""
        u = jax.random.uniform(key, (4,), float, -1.0, 1.0)
        box = -0.1 + 0.05 * u[0]
        hand = jnp.stack([box + 0.05 * u[1], 0.14 + 0.02 * u[2]])
        qpos = jnp.concatenate([hand, jnp.full(2, WIDE / 2), box[None], jnp.zeros(2)])
        return Start(qpos, jnp.zeros(7)), {"x": box + 0.18 + 0.06 * u[3]}

    def observe(self, measured: Measurement, goal: Goal) -> Array:
        """(8,) see ``observed``: the box's middle from the pads, its pose, the goal from it, the
        gripper's width, its command and the mean force of its pads."""
        q = measured.joints
        offsets = jnp.stack([q[BOX_X] - q[HAND_X], q[BOX_Z] + HALF - q[HAND_Z]]) / 0.1
        pose = jnp.stack([q[BOX_Z] / 0.05, q[BOX_PITCH] / 0.3, (goal["x"] - q[BOX_X]) / 0.1])
        width, command = widths(q, measured.applied)
        gripper = jnp.stack([(width - BOX) / 0.02, (command - BOX) / 0.02])
        return jnp.concatenate([offsets, pose, gripper, jnp.mean(measured.force)[None] / 3.0])

    def command(self, measured: Measurement, action: Array, goal: Goal) -> Array:
        """(4,) [m] of an action (3,): how fast the command of the hand and of the gripper's width
        moves."""
        del goal
        step = SPEED / self.scene.control_hz * action
        return measured.applied + jnp.stack([step[0], step[1], 0.5 * step[2], 0.5 * step[2]])

    def action(self, measured: Measurement, ctrl: Array, goal: Goal) -> Array:
        """The inverse of ``command``; of two pads that are commanded apart, the width's."""
        del goal
        moved = (ctrl - measured.applied) * self.scene.control_hz / SPEED
        return jnp.stack([moved[HAND_X], moved[HAND_Z], moved[THUMB] + moved[FINGER]])

    def failed(self, measured: Measurement, goal: Goal) -> Array:
        """Whether the box falls."""
        del goal
        return measured.velocities[BOX_Z] < -FALL

    def reward(self, before: Measurement, action: Array, after: Measurement, goal: Goal) -> Array:
        """() in units of ``SUCCESS``: how much nearer the pads have come to the box, closing
        around it, and the box to the goal, over the table and not along it. Less what is missing
        on the average of the episode, what the pads press with, and a fall."""
        del action
        was, now = _from(before, goal), _from(after, goal)
        carried = was[0] - now[0]
        lifted = jnp.clip(after.joints[BOX_Z] / LIFT, 0.0, 1.0)
        carried = jnp.where(carried > 0.0, lifted * carried, carried)
        cost = distance(after.joints[BOX_X:], goal["x"], jnp) + GRIP_COST * jnp.mean(after.force)
        gain = carried + was[1] - now[1] - cost / self.horizon
        return gain / SUCCESS - FALLEN * self.failed(after, goal)

    def error(self, episode: Episode) -> float:
        """[m] at the end; NaN where the box is not measured then, or never."""
        seen = np.isfinite(episode.qpos[:, BOX_Z])
        short = np.maximum(0.0, LIFT - np.max(episode.qpos[:, BOX_Z], initial=-np.inf, where=seen))
        return float(short) + float(distance(episode.qpos[-1, BOX_X:], episode.goal["x"], np))

    def success(self, episode: Episode) -> bool:
        """Whether the error is below ``SUCCESS``."""
        return self.error(episode) < SUCCESS


def widths(joints: Array, ctrl: Array) -> tuple[Array, Array]:
    """[m] of the gripper, measured and commanded: of joints (…, 7) and commands (…, 4)."""
    return joints[..., THUMB] + joints[..., FINGER], ctrl[..., THUMB] + ctrl[..., FINGER]


def _from(measured: Measurement, goal: Goal) -> tuple[Array, Array]:
    """() [m] how far the box is from the goal along the table; and the sum of how far it is above
    or below its way, tilted, and, until it is near the goal, the pads from its middle, and the
    gripper's command, there, from a firm grip."""
    q = measured.joints
    along = jnp.abs(goal["x"] - q[BOX_X])
    height = jnp.abs(q[BOX_Z] - jnp.minimum(2.0 * along, 1.3 * LIFT))
    reach = jnp.hypot(q[BOX_X] - q[HAND_X], q[BOX_Z] + HALF - q[HAND_Z])
    near = jnp.exp(-jnp.square(reach / 0.02))
    open_by = jnp.maximum(widths(q, measured.applied)[1], SQUEEZED) - SQUEEZED
    grip = near * open_by + (1.0 - near) * (WIDE - SQUEEZED)
    far = jnp.minimum(along / 0.05, 1.0)
    return along, height + HALF * jnp.abs(q[BOX_PITCH]) + far * (REACH * reach + grip)


def distance(box: Any, x: Any, numpy: Any) -> Any:
    """() [m] mean distance of the box's points from where a box that stands upright at ``x`` has
    them.

    Args:
      box: (3,) its joints.
    """
    c, s = numpy.cos(box[2]), numpy.sin(box[2])
    a, b = POINTS.T
    moved = numpy.stack([box[0] - x + c * a + s * b - a, box[1] - s * a + c * b - b])
    return numpy.mean(numpy.sqrt(numpy.sum(moved**2, axis=0) + 1e-12))
