"""A model of the cart of ``small_tasks`` in one line, so that nothing of MJX is compiled."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from tests.helpers.small_tasks import Reach
from worldmodel.physics import initial_state
from worldmodel.policies.brax_env import TaskEnv, as_brax_env
from worldmodel.types import Start, State

TASK = Reach()


def step(gain: Any, state: State, ctrl: Any) -> State:
    """The cart goes ``gain`` of the way to its command, and is lost above 0.95."""
    moved = state.qpos + gain * (ctrl - state.qpos)
    moved = jnp.where(moved > 0.95, jnp.nan, moved)
    return dataclasses.replace(state, qpos=moved)


def start(gain: Any, start: Start) -> State:
    del gain
    return initial_state(TASK.scene, start.qpos, start.qvel)


def cart_env(task: Reach = TASK, gain: Any = 0.5, **options: Any) -> TaskEnv:
    return as_brax_env(task, step, jnp.asarray(gain), start, **options)


def keys(seed: int, count: int) -> jax.Array:
    return jax.random.split(jax.random.PRNGKey(seed), count)
