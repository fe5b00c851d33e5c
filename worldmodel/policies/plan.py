"""A sampling planner over policies of few parameters, and the expert that demonstrates with it.

The cross-entropy method (Rubinstein & Kroese 2004) over an expert's parameters, or over the knots
of a sequence of actions (predictive sampling: Howell et al. 2022, arXiv 2212.00541). The world is
whatever ``simulate`` plays.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from scipy.interpolate import RBFInterpolator

from worldmodel.errors import InputError
from worldmodel.rollout import Replay
from worldmodel.runtime.progress import log
from worldmodel.tasks.play import Simulate, episodes
from worldmodel.tasks.task import Task
from worldmodel.types import Array, Family, Goal, Policy, Start

NEIGHBOURS = 3  # planned contexts whose parameters are tried in a context that is not planned


class PlanError(InputError):
    """A planner that finds no policy; the message says how close it came."""


class Expert(Protocol):
    """Plans a batch of contexts in the world that it is given, then errs as a person does."""

    def plan(self, simulate: Simulate, starts: Start, goals: Goal, key: Array) -> Policy:
        """A policy per context, with a leading dimension.

        Args:
          simulate: the world that it plans in.
          starts, goals: with a leading dimension.
          key: of its search and of its errors.
        """
        ...


def knots(task: Task, count: int) -> Family:
    """Sequences of actions, linear between ``count`` of them at even times."""
    at = np.linspace(0.0, count - 1.0, task.horizon)
    weight = np.maximum(0.0, 1.0 - np.abs(at[:, None] - np.arange(count)))
    bound = np.ones(count * task.action_size)

    def policy(parameters: Array, goal: Goal) -> Policy:
        del goal
        return Replay(weight @ jnp.reshape(parameters, (count, task.action_size)))

    return Family(policy, -bound, bound)


@dataclasses.dataclass(frozen=True)
class SearchConfig:
    """The cross-entropy method's; every context has its own mean and deviation."""

    samples: int = 64  # policies per context and iteration
    elites: int = 8  # of them, whose mean and deviation the next are drawn with
    iterations: int = 6
    floor: float = 0.01  # of the deviation, of a parameter's range

    def __post_init__(self) -> None:
        if not (0 < self.elites <= self.samples and self.iterations > 0 and self.floor >= 0):
            raise PlanError(f"{self} cannot search; give 0 < elites ≤ samples and an iteration")


@dataclasses.dataclass(frozen=True)
class Plan:
    """The best policy of every context."""

    parameters: np.ndarray  # (contexts, parameters)
    returns: np.ndarray  # (iterations, contexts) the best so far


def search(
    task: Task,
    family: Family,
    simulate: Simulate,
    starts: Start,
    goals: Goal,
    key: Array,
    config: SearchConfig,
) -> Plan:
    """Maximises the sum of the task's reward in every context; all their samples are one batch.

    The first samples cover the family evenly; all contexts share their random numbers. A sample
    out of the family's bounds is moved to the bound.

    Args:
      starts, goals: with a leading dimension.

    Raises:
      PlanError: a context whose every episode fails, or has a return that is not finite.
    """
    contexts, size = len(np.asarray(starts.qpos)), len(family.low)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key)).ravel())
    # Of the family's range: a Latin hypercube.
    strata = rng.permuted(np.tile(np.arange(config.samples), (size, 1)), axis=1).T
    x = (strata + rng.random(strata.shape)) / config.samples
    x = np.broadcast_to(x, (contexts, *x.shape))
    best, most = x[:, 0], np.full(contexts, -np.inf)
    history = []
    for iteration in range(config.iterations):
        value = returns(task, family, simulate, _scaled(family, x), starts, goals, key)
        order = np.argsort(-value, axis=1)
        top = np.take_along_axis(value, order[:, :1], axis=1)[:, 0]
        elites = np.take_along_axis(x, order[:, : config.elites, None], axis=1)
        best = np.where((top > most)[:, None], elites[:, 0], best)
        most = np.maximum(top, most)
        history.append(most)
        log(
            f"planning {contexts} contexts, iteration {iteration + 1} of {config.iterations}: "
            f"best return {np.mean(most):.4g} (mean), {np.min(most):.4g} (worst context)"
        )
        mean, deviation = elites.mean(1), np.maximum(elites.std(1), config.floor)
        drawn = rng.standard_normal((config.samples, size))
        x = np.clip(mean[:, None] + deviation[:, None] * drawn, 0.0, 1.0)
        x[:, 0] = mean
    if not np.isfinite(most).all():
        raise PlanError(
            f"in {int((~np.isfinite(most)).sum())} of {contexts} contexts, first in context "
            f"{int(np.argmin(np.isfinite(most)))}, every episode fails or has a reward that is not "
            "finite; look at the task's 'failed' and 'reward', or widen the family"
        )
    return Plan(_scaled(family, best), np.array(history))


def returns(
    task: Task,
    family: Family,
    simulate: Simulate,
    parameters: np.ndarray,
    starts: Start,
    goals: Goal,
    key: Array,
) -> np.ndarray:
    """(contexts, samples) sums of the task's reward; −∞ where an episode fails or is not finite.

    Args:
      parameters: (contexts, samples, parameters).
      starts, goals: of the contexts.
    """
    contexts, samples, size = parameters.shape
    rows = (starts, goals)
    start, goal = jax.tree.map(lambda a: np.repeat(np.asarray(a), samples, axis=0), rows)
    policy = jax.vmap(family.policy)(jnp.asarray(parameters.reshape(-1, size)), goal)
    played = simulate(policy, start, goal, key)
    value = np.asarray(scorer(task)(played.measured, played.action, goal))
    good = np.isfinite(value) & ~np.asarray(played.failed).any(1)
    return np.where(good, value, -np.inf).reshape(contexts, samples)


@functools.lru_cache(maxsize=8)
def scorer(task: Task) -> Callable[..., Array]:
    """Of a batch of episodes, ``(measured, action, goal)`` → the sums of their rewards, up to the
    first step that fails; compiled once."""

    def total(measured: Any, action: Array, goal: Goal) -> Array:
        before = jax.tree.map(lambda a: a[:-1], measured)
        after = jax.tree.map(lambda a: a[1:], measured)
        reward = jax.vmap(task.reward, (0, 0, 0, None))(before, action, after, goal)
        failures = jnp.cumsum(jax.vmap(task.failed, (0, None))(after, goal))
        earlier = jnp.concatenate([jnp.zeros(1, failures.dtype), failures[:-1]])
        return jnp.sum(jnp.where(earlier == 0, reward, 0.0))

    return jax.jit(jax.vmap(total))


def _scaled(family: Family, unit: np.ndarray) -> np.ndarray:
    return family.low + unit * (family.high - family.low)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Trembling:
    """A policy whose hand trembles: white noise on its actions, which brings it to states from
    which it returns, so that a clone learns to return (Laskey et al. 2017, arXiv 1703.09327)."""

    policy: Any
    deviation: Any  # (action,) or ()
    traceable = True

    def init(self, observation: Any, key: Array) -> Any:
        """The policy's own."""
        return self.policy.init(observation, key)

    def act(self, carry: Any, observation: Any, key: Array) -> tuple[Array, Any]:
        """The policy's action, and noise."""
        acting, noise = jax.random.split(key)
        action, carry = self.policy.act(carry, observation, acting)
        return action + self.deviation * jax.random.normal(noise, action.shape, action.dtype), carry


@dataclasses.dataclass(frozen=True)
class Demonstrator:
    """An ``Expert``: a person who knows the world that she plans in, and errs in what she does.

    At most ``planned`` contexts are searched. In the others she tries what interpolation in the
    context's numbers gives and what the nearest planned contexts have, and takes the best.
    """

    task: Task
    family: Family
    config: SearchConfig = SearchConfig()
    planned: int = 64
    tremor: float = 0.0  # standard deviation of the noise on every action

    def plan(self, simulate: Simulate, starts: Start, goals: Goal, key: Array) -> Policy:
        """Policies of the family, within its bounds, see ``Expert``.

        Raises:
          PlanError: no planned context succeeds.
        """
        searching, erring = jax.random.split(key)
        parameters = self.best(simulate, starts, goals, searching)
        rng = np.random.default_rng(np.asarray(jax.random.key_data(erring)).ravel())
        factor, shift = rng.standard_normal((2, *parameters.shape))
        family = self.family
        parameters = parameters * np.exp(family.relative * factor) + family.absolute * shift
        parameters = np.clip(parameters, family.low, family.high)
        policy = jax.vmap(family.policy)(jnp.asarray(parameters), goals)
        if not self.tremor:
            return policy
        return Trembling(policy, np.full(len(parameters), self.tremor))

    def best(self, simulate: Simulate, starts: Start, goals: Goal, key: Array) -> np.ndarray:
        """(contexts, parameters) without a person's errors, see ``plan``."""
        numbers = _numbers(starts, goals)
        chosen = _spread(numbers, self.planned)
        others = np.setdiff1d(np.arange(len(numbers)), chosen)
        at, wanted = jax.tree.map(lambda a: np.asarray(a)[chosen], (starts, goals))
        plan = search(self.task, self.family, simulate, at, wanted, key, self.config).parameters
        self._refuse_nothing(simulate, plan, at, wanted, key)
        out = np.empty((len(numbers), plan.shape[1]))
        out[chosen] = plan
        if len(others):
            between = RBFInterpolator(numbers[chosen], plan, kernel="linear", degree=0)
            tried = [np.clip(between(numbers[others]), self.family.low, self.family.high)]
            apart = np.linalg.norm(numbers[others, None] - numbers[chosen], axis=2)
            tried += list(plan[np.argsort(apart, axis=1)[:, :NEIGHBOURS]].swapaxes(0, 1))
            at, wanted = jax.tree.map(lambda a: np.asarray(a)[others], (starts, goals))
            candidates = np.stack(tried, axis=1)
            value = returns(self.task, self.family, simulate, candidates, at, wanted, key)
            out[others] = candidates[np.arange(len(others)), np.argmax(value, axis=1)]
        return out

    def _refuse_nothing(
        self, simulate: Simulate, plan: np.ndarray, starts: Start, goals: Goal, key: Array
    ) -> None:
        policy = jax.vmap(self.family.policy)(jnp.asarray(plan), goals)
        played = episodes(self.task, simulate(policy, starts, goals, key), goals, source="plan")
        succeeded = [e.success for e in played if e.success is not None]
        errors = np.array([self.task.error(e) for e in played])
        log(
            f"planned {len(played)} contexts: {sum(succeeded)} succeed, error "
            f"{np.median(errors):.3g} (median), {np.max(errors):.3g} (worst)"
        )
        if succeeded and not any(succeeded):
            raise PlanError(
                f"no planned episode of task '{self.task.name}' succeeds; the errors by context "
                f"are {', '.join(f'{e:.3g}' for e in errors)}; widen the expert's bounds, or give "
                "it more samples or iterations"
            )


def _numbers(starts: Start, goals: Goal) -> np.ndarray:
    """(contexts, numbers) of the starts and goals, of order one."""
    arrays = [np.asarray(a, float) for a in jax.tree.leaves((starts, goals))]
    numbers = np.concatenate([a.reshape(len(a), -1) for a in arrays], axis=1)
    deviation = numbers.std(0)
    return (numbers - numbers.mean(0)) / np.where(deviation > 0, deviation, 1.0)


def _spread(numbers: np.ndarray, count: int) -> np.ndarray:
    """Indices of at most ``count`` different rows, each the farthest from those before it."""
    chosen = [int(np.argmin(np.linalg.norm(numbers, axis=1)))]
    apart = np.linalg.norm(numbers - numbers[chosen[0]], axis=1)
    while len(chosen) < count and apart.max() > 0:
        chosen.append(int(np.argmax(apart)))
        apart = np.minimum(apart, np.linalg.norm(numbers - numbers[chosen[-1]], axis=1))
    return np.array(chosen)
