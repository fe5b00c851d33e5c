"""A version as an environment of Brax: its episodes run in the members of the ensemble."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers.learned_models import SMALL, shaken
from tests.helpers.small_tasks import Reach
from worldmodel.loop import Version
from worldmodel.loop.environment import environment
from worldmodel.model import Velocity, WorldModel, init
from worldmodel.model.ensemble import members
from worldmodel.model.world import make_step


@pytest.mark.slow  # its quick substitute is in tests/policies/test_brax_env.py, without MJX
def test_each_episode_of_an_ensemble_steps_as_its_member() -> None:
    task = Reach()
    world = WorldModel(task.scene, task.free, correction=Velocity(), network=SMALL)
    parameters = shaken(init(world, jax.random.key(0)))
    env = environment(Version("v1", None, world, parameters, 0), task)
    state = env.reset(jax.random.split(jax.random.PRNGKey(0), 8))
    robots = state.pipeline_state
    assert set(np.asarray(robots.member)) == {0, 1}
    actions = np.linspace(-0.5, 0.5, 8)[:, None]
    after = jax.jit(lambda s, a: env.step(s, a))(state, actions).pipeline_state.state
    each = jax.tree.map(lambda *x: jnp.stack(x)[robots.member], *members(parameters))
    step = jax.jit(jax.vmap(lambda own, s, ctrl: make_step(world, own)(s, ctrl)))
    expected = step(each, robots.state, actions)  # commands are places within [-1, 1]
    np.testing.assert_allclose(after.qvel, expected.qvel, atol=1e-12)
    alike = np.asarray(after.qvel)[:, 0] - np.asarray(robots.state.qvel)[:, 0]
    assert np.ptp(alike) > 1e-3
