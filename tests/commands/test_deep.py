"""What a compiled scene says: the log that it plays must have a start."""

import numpy as np
import pytest

from worldmodel.commands.deep import deep
from worldmodel.errors import InputError
from worldmodel.scene import load_scene
from worldmodel.types import Episode

TWO = """<mujoco><worldbody><body><joint name="a" type="slide"/><geom size=".1"/></body>
<body><joint name="b" type="slide"/><geom size=".1"/></body></worldbody></mujoco>"""


def test_an_episode_without_a_known_frame_is_named() -> None:
    qpos = np.zeros((6, 2))
    qpos[:3, 0] = qpos[3:, 1] = np.nan  # each is measured, but never both
    episode = Episode.regular(
        "night", 10.0, qpos=qpos, qvel=np.zeros((6, 2)), ctrl=np.zeros((6, 0))
    )
    with pytest.raises(InputError, match="episode night: no frame has every position"):
        deep(load_scene(TWO, control_hz=10.0, substeps=1), (), episode)
