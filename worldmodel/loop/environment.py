"""A version of the world model as an environment of Brax; a file apart, since Brax loads slowly."""

import jax
import jax.numpy as jnp

from worldmodel.episodes.windows import History
from worldmodel.loop.versions import Version, refuse_unplayable
from worldmodel.model import Parameters
from worldmodel.model.ensemble import members
from worldmodel.model.world import make_step
from worldmodel.model.world import start as begun
from worldmodel.policies.brax_env import TaskEnv, as_brax_env
from worldmodel.tasks.task import Task
from worldmodel.types import Start, State


def environment(version: Version, task: Task) -> TaskEnv:
    """A version as the environment in which a policy learns a task; of an ensemble, each episode
    runs in one of its members.

    Raises:
      InputError: the task or the version begins with numbers that are not finite.
      TaskError: the task gives no reward.
      LoopError: see ``versions.refuse_unplayable``.
    """
    world = version.world
    refuse_unplayable(version.name, world)

    def step(parameters: Parameters, state: State, ctrl: jax.Array) -> State:
        return make_step(world, parameters)(state, ctrl)

    def start(parameters: Parameters, start: Start) -> State:
        history = History.without_past(start.qpos, start.qvel, world.scene.mj_model.nu)
        return begun(world, parameters, history)

    each = members(version.parameters)
    if len(each) == 1:
        return as_brax_env(task, step, each[0], start)
    stacked = jax.tree.map(lambda *x: jnp.stack(x), *each)
    return as_brax_env(task, step, stacked, start, members=len(each))
