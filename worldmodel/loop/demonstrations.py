"""Synthetic episodes: an expert demonstrates a task in a version of the world model."""

import jax
import numpy as np

from worldmodel import runtime
from worldmodel.loop.disagreement import check_penalty, disagreement, thinned
from worldmodel.loop.versions import LoopError, Version, generate, simulator
from worldmodel.policies.plan import Expert
from worldmodel.tasks.task import Task
from worldmodel.types import Episode, Goal, Start


def draw(task: Task, key: jax.Array, count: int) -> tuple[Start, Goal]:
    """So many starts and goals of a task, with a leading dimension, on the host."""
    drawn = jax.jit(jax.vmap(task.reset))(jax.random.split(key, count))
    return jax.tree.map(np.asarray, drawn)


def demonstrate(
    version: Version,
    task: Task,
    expert: Expert,
    starts: Start,
    goals: Goal,
    key: jax.Array,
    *,
    engine: str = "mjx",
    penalty: float = 0.0,
) -> list[Episode]:
    """Episodes of an expert who plans in a version.

    Args:
      penalty: above 0, an episode is kept with a probability that falls with the disagreement of
        the version's members about it, see ``disagreement.thinned``.

    Raises:
      LoopError: no policy of the expert's, or not one per context; a penalty on a version that is
        no ensemble, or that keeps no episode; see ``generate``.
      InputError: a penalty that is negative or not finite.
    """
    check_penalty(penalty)
    planning, playing = jax.random.split(key)
    policies = expert.plan(simulator(version, task, engine=engine), starts, goals, planning)
    contexts = len(np.asarray(starts.qpos))
    sizes = {np.shape(x)[:1] for x in jax.tree.leaves(policies)} - {(contexts,)}
    if sizes or not hasattr(policies, "traceable"):
        raise LoopError(
            f"the expert, a {type(expert).__name__}, plans a {type(policies).__name__} for "
            f"{contexts} contexts; return a policy whose every array has their number as its "
            "leading dimension"
        )
    kept = set(range(contexts))
    if penalty:
        doubt = disagreement(version, task, policies, starts, goals, playing)
        kept = set(thinned(doubt, penalty, jax.random.fold_in(playing, 1)).tolist())
        if not kept:
            lost = np.isinf(doubt).sum()
            raise LoopError(
                f"a penalty of {penalty} keeps none of {contexts} episodes, in {lost} of which a "
                f"member of {version.name} diverges; lower the penalty, or generate more"
            )
        runtime.log(f"the penalty keeps {len(kept)} of {contexts} episodes")
    played = generate(version, task, policies, starts, goals, playing, engine=engine)
    return [e for e in played if e.id in kept]
