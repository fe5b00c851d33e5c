"""The four recordings: which array of each archive is which joint, body and motor of its MJCF.

The MJCF files in this folder and the root README name the sources.
"""

from worldmodel.episodes.columns import Body, Columns, Command, Joint
from worldmodel.episodes.glitches import PlanarGlitches


def _tossed(name: str) -> Body:
    """A tracked body: its pose, and the stored velocities."""
    return Body(name, ("qpos[0:3]",), ("qpos[3:7]",), velocity=("qvel[0:6]",))


CUBE_TOSS = Columns(bodies=(_tossed("cube"),), rate_hz=148.0)
ELBOW_TOSS = Columns(
    bodies=(_tossed("link1"),), joints=(Joint("hinge", "qpos[7]", "qvel[6]"),), rate_hz=148.0
)
SQUARE_DROP = Columns(
    joints=(
        Joint("x", "qpos[0]", "qvel[0]"),
        Joint("z", "qpos[1]", "qvel[1]"),
        Joint("theta", "qpos[2]", "qvel[2]"),
    ),
    rate_hz=250.0,
    # It meets the table at 2.6 m/s at most, which as rotation alone would be 106 rad/s; spins of 60
    # to 75 rad/s that last a whole flight are real, and an impact changes the velocity by 4 m/s.
    rejects=PlanarGlitches(250.0, (0, 1), 2, turn=100.0, turn_change=60.0, velocity_change=6.0),
)
DOUBLE_PENDULUM = Columns(
    joints=(Joint("shoulder", "qpos[0]", "qvel[0]"), Joint("elbow", "qpos[1]", "qvel[1]")),
    commands=(
        Command("shoulder_motor", "torque_measured[0]"),
        Command("elbow_motor", "torque_measured[1]"),
    ),
    time="time",
    control_hz=200.0,
)
