"""How far the members of an ensemble disagree about episodes, and what that is good for.

Where members disagree, the data that they learned from say little. Synthetic episodes are thinned
there by a penalty, and corrections are asked for there (``turn``'s ``candidates``).

    Tianhe Yu et al., MOPO: model-based offline policy optimization, 2020, arXiv:2005.13239
    Ramanan Sekar et al., Planning to explore via self-supervised world models, 2020,
    arXiv:2005.05960
"""

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from worldmodel.errors import InputError
from worldmodel.loop.versions import LoopError, Version, simulator
from worldmodel.model.ensemble import members
from worldmodel.tasks.play import FARTHEST, Simulate, episodes
from worldmodel.tasks.task import Task
from worldmodel.types import Goal, Policy, Start


def disagreement(
    version: Version, task: Task, policy: Policy, start: Start, goal: Goal, key: jax.Array
) -> np.ndarray:
    """(episodes,) the deviation, over members, of the error that each predicts of the same policy
    in the same episode [the task's unit]; infinite where a member diverges.

    Args:
      policy, start, goal: with a leading dimension, one of each per episode.
      key: of the policies and of the sensors' noise, the same for all members.

    Raises:
      LoopError: a version that is not an ensemble.
    """
    each = members(version.parameters)
    if len(each) < 2:
        raise LoopError(
            f"{version.name} has one member, which cannot disagree; finetune it with a network of "
            "two members or more"
        )
    worlds = [simulator(dataclasses.replace(version, parameters=one), task) for one in each]
    return disagreement_between(worlds, task, policy, start, goal, key)


def disagreement_between(
    worlds: Sequence[Simulate], task: Task, policy: Policy, start: Start, goal: Goal, key: jax.Array
) -> np.ndarray:
    """``disagreement`` of two worlds or more, whatever plays them."""
    errors = []
    for world in worlds:
        played = world(policy, start, goal, key)
        sound = (np.asarray(played.farthest) <= FARTHEST).all(1)
        error = [task.error(e) for e in episodes(task, played, goal, source="member")]
        errors.append(np.where(sound, error, np.nan))
    deviation = np.std(errors, axis=0, ddof=1)
    return np.where(np.isnan(deviation), np.inf, deviation)


def check_penalty(penalty: float) -> None:
    """Raises InputError where a penalty is negative or not finite."""
    if not 0.0 <= penalty < np.inf:
        raise InputError(f"penalty = {penalty}; give 0 or more")


def thinned(doubt: np.ndarray, penalty: float, key: jax.Array) -> np.ndarray:
    """Which episodes are kept, as sorted rows: each with probability exp(−penalty · doubt / median
    of the finite ones), so a penalty of 0 keeps all but those where a member diverges.

    Args:
      doubt: (episodes,) ``disagreement``.

    Raises:
      InputError: a penalty that is negative or not finite.
    """
    check_penalty(penalty)
    finite = np.isfinite(doubt)
    typical = np.median(doubt[finite]) if finite.any() else 0.0
    apart = np.divide(doubt, typical, out=np.zeros(len(doubt)), where=finite & (typical > 0))
    drawn = np.asarray(jax.random.uniform(key, (len(doubt),)))
    return np.flatnonzero(finite & (drawn < np.exp(-penalty * apart)))


def most_doubtful(doubt: np.ndarray, count: int) -> np.ndarray:
    """The rows of the ``count`` episodes that members disagree most about, divergent ones first."""
    return np.argsort(-doubt, kind="stable")[:count]
