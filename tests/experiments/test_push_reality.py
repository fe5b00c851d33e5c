"""The held-out reality of task push."""

import jax
import jax.numpy as jnp
import numpy as np

from experiments.manipulation.push_reality import draw_hidden, robot
from worldmodel import loop
from worldmodel.reality.simulated import SimulatedRobot, simulate
from worldmodel.rollout import Replay
from worldmodel.tasks.play_c import simulate_in_c
from worldmodel.tasks.push.task import Push


def test_a_seeds_reality_is_its_own_and_not_the_model() -> None:
    assert draw_hidden(0) == draw_hidden(0) != draw_hidden(1)
    task = Push()
    starts, goals = loop.draw(task, jax.random.key(0), 3)
    forward = jnp.tile(jnp.array([0.0, 0.6]), (3, task.horizon, 1))
    worlds = [simulate(task, lambda s=s: robot(task, s)) for s in (0, 1)]
    worlds += [
        simulate(task, lambda: SimulatedRobot(task)),
        simulate_in_c(task, task.scene.mj_model),
    ]
    poses = []
    for world in worlds:
        joints = np.asarray(
            world(Replay(forward), starts, goals, jax.random.key(1)).measured.joints
        )
        assert np.isfinite(joints).all()
        poses.append(joints[:, -1, 2:])
    # Without disturbances it is the model; with them the T ends centimetres away.
    np.testing.assert_allclose(poses[2], poses[3], atol=1e-12)
    for one, other in ((0, 1), (0, 3), (1, 3)):
        assert np.abs(poses[one] - poses[other]).max() > 0.01
