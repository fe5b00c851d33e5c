"""The held-out reality of task slide: its prior, and its batches against one episode at a time."""

import jax
import numpy as np
import pytest

from experiments.slide.reality import draw_hidden, robot, simulator, slide_task, without_noise
from experiments.slide.study import HIDDEN_SEEDS, PILOT_SEED
from experiments.slide.turn import draw, key
from worldmodel.errors import InputError
from worldmodel.reality import deploy
from worldmodel.reality.disturbances import FrictionPatches, Lag, SensorNoise
from worldmodel.rollout import Constant, Replay
from worldmodel.tasks.play import episodes
from worldmodel.types import Trial

STROKES = Constant(np.array([[0.4, 0.05], [0.2, -0.1]]))


def test_hidden_physics_follows_its_prior() -> None:
    drawn = [draw_hidden(s) for s in range(40)]
    patches = [p for hidden in drawn for p in hidden if isinstance(p, FrictionPatches)]
    friction = np.array([p.factor for p in patches])
    assert len(friction) == 40
    assert (np.abs(np.abs(np.log(friction)) - 0.2) < 0.1).all()
    assert (friction[1::2] > 1).all() and (friction[::2] < 1).all()
    assert all(draw_hidden(s) == drawn[s] for s in HIDDEN_SEEDS)
    assert PILOT_SEED not in HIDDEN_SEEDS
    # The reality that results are published for.
    (lag,) = (d.seconds for d in drawn[21] if isinstance(d, Lag))
    assert friction[21] == pytest.approx(1.247147298888347, rel=1e-12)
    assert lag == pytest.approx(0.013293465424465079, rel=1e-12)
    assert patches[21].waves[2][0] == pytest.approx(-2.3054827098663067, rel=1e-12)


def test_a_batch_of_strokes_is_what_is_deployed() -> None:
    """Commands that are known beforehand are those of the closed loop, to the last bit."""
    hidden = without_noise(draw_hidden(PILOT_SEED))
    start, goal = draw(2, key(3))
    played = simulator(hidden)(STROKES, start, goal, key(0))
    batch = episodes(slide_task(), played, goal, source="real")
    rows = [jax.tree.map(lambda x, i=i: x[i], (start, goal, STROKES)) for i in range(2)]
    for episode, row in zip(batch, rows, strict=True):
        alone = deploy(robot(hidden), slide_task(), Trial(*row), 0, key(0))
        for name in ("qpos", "qvel", "ctrl", "contact", "action", "intervention"):
            np.testing.assert_allclose(
                np.asarray(getattr(episode, name), float),
                np.asarray(getattr(alone, name), float),
                atol=1e-12,
                err_msg=name,
            )
        assert episode.success == alone.success
        assert episode.contact is not None and episode.contact.any()


def test_noise_is_each_machines_own_and_stays_out_of_the_dynamics() -> None:
    noise = (1e-3, 1e-3, 1e-3, 1e-3, 1e-5, 5e-3)
    hidden = (SensorNoise(dict(zip(slide_task().sensors.joints, noise, strict=True))),)
    start, goal = draw(2, key(4))
    exact, one, again, other = (
        simulator(hidden, *seeds)(STROKES, start, goal, key(0)).measured.joints
        for seeds in ((), (1,), (1,), (2,))
    )
    np.testing.assert_array_equal(one, again)
    assert (one != other).mean() > 0.99
    # 322 frames each: the standard error of a deviation is 4 %.
    np.testing.assert_allclose((one - exact).std((0, 1)), noise, rtol=0.2)


def test_a_policy_that_decides_as_it_goes_is_refused() -> None:
    start, goal = draw(1, key(0))
    with pytest.raises(InputError, match="only constant strokes"):
        simulator(())(Replay(np.zeros((1, 160, 2))), start, goal, key(0))
