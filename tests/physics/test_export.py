"""The gradient through contact lowers for accelerators from any machine."""

import functools

import jax
import jax.numpy as jnp
import pytest

from tests.helpers import scenes
from worldmodel import physics
from worldmodel.rollout import Replay, rollout

STEPS = 4


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_the_gradient_lowers_for(platform: str) -> None:
    scene = scenes.finger()
    step = functools.partial(physics.control_step, scene, scene.mjx_model())

    def loss(qpos: jax.Array, qvel: jax.Array, ctrl: jax.Array) -> jax.Array:
        state = physics.initial_state(scene, qpos, qvel)
        key = jax.random.key(0)
        states, _ = rollout(step, Replay(ctrl), state, STEPS, key, keep=(physics.SOLUTION,))
        return jnp.sum(jnp.square(states.qpos[-1]))

    gradient = jax.jit(jax.vmap(jax.grad(loss, (0, 1, 2))))
    sizes = ((8, 2), (8, 2), (8, STEPS, 2))
    arguments = [jax.ShapeDtypeStruct(size, jnp.float64) for size in sizes]
    exported = jax.export.export(gradient, platforms=(platform,))(*arguments)
    assert exported.platforms == (platform,)
    assert [a.shape for a in exported.out_avals] == list(sizes)
