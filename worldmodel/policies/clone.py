"""Behaviour cloning: the observations of a task's episodes → the actions that were taken there.

The recipe is one function of the pooled rows: each row weighs 1, real or synthetic; the number of
steps is the same for every data set. All data sets of a study are trained in one vmapped call. A
policy is a small MLP of the last few observations that answers with the next few actions.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from worldmodel.errors import InputError
from worldmodel.policies.contract import check, contract
from worldmodel.runtime import checkpoint
from worldmodel.tasks import sensors
from worldmodel.tasks.task import Task
from worldmodel.types import Array, Episode

_SIZES = ("observed", "action", "width", "history", "chunk")
_FEWEST = 1e-6  # a standard deviation below this is a constant's, and divides nothing


@dataclasses.dataclass(frozen=True)
class CloneConfig:
    """How policies are trained; the same for every data set."""

    width: int = 32
    steps: int = 150  # full-batch Adam steps
    learning_rate: float = 5e-3  # falls to zero (cosine)
    weight_decay: float = 30.0  # divided by the number of rows: a prior that data outweigh
    history: int = 1  # observations that a policy sees: the present one and those before
    chunk: int = 1  # actions that it decides on at once, then plays
    standardise: bool = True  # whether observations are centred and scaled by the data's
    first_frame: bool = False  # whether an episode is one row: its action is decided once
    action_unit: tuple[float, ...] = ()  # of each number of an action, in which errors count; (): 1

    def __post_init__(self) -> None:
        for name in ("width", "steps", "history", "chunk"):
            if getattr(self, name) < 1:
                raise InputError(f"CloneConfig: {name} = {getattr(self, name)}; at least 1")


class MLP(nn.Module):
    """Observations → actions, zero before training."""

    width: int
    size: int  # of the answer

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.tanh(nn.Dense(self.width)(x))
        x = nn.tanh(nn.Dense(self.width)(x))
        return nn.Dense(self.size, kernel_init=nn.initializers.zeros)(x)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cloned:
    """A cloned policy. Before it has seen as many observations as it looks back on, the first one
    stands for those before it."""

    weights: Any  # of the MLP
    centre: Array  # (observed,) of the observations that it was cloned from
    scale: Array  # (observed,)
    observed: int = dataclasses.field(metadata={"static": True})  # numbers of an observation
    action: int = dataclasses.field(metadata={"static": True})  # numbers of an action
    width: int = dataclasses.field(metadata={"static": True})
    history: int = dataclasses.field(metadata={"static": True})
    chunk: int = dataclasses.field(metadata={"static": True})
    traceable = True

    def init(self, observation: Array, key: Array) -> Any:
        """Observations (history, observed), actions decided on (chunk, action), how many of them
        were played."""
        del key
        if jnp.shape(observation) != (self.observed,):
            raise InputError(
                f"the policy observes {self.observed} numbers, the task gives it "
                f"{jnp.shape(observation)}; train one on this task"
            )
        past = jnp.broadcast_to(observation, (self.history, self.observed))
        return past, jnp.zeros((self.chunk, self.action)), jnp.full((), self.chunk)

    def act(self, carry: Any, observation: Array, key: Array) -> tuple[Array, Any]:
        """The next action of the chunk; a new chunk where all were played."""
        del key
        past, decided, played = carry
        past = jnp.concatenate([past[1:], observation[None]])
        fresh = played >= self.chunk
        decided = jnp.where(fresh, self.actions(past).astype(decided.dtype), decided)
        played = jnp.where(fresh, 0, played)
        return decided[played], (past, decided, played + 1)

    def actions(self, past: Array) -> Array:
        """Observations (…, history, observed) → the next actions (…, chunk, action)."""
        x = (jnp.asarray(past, jnp.float32) - self.centre) / self.scale
        batch = x.shape[:-2]
        module = MLP(self.width, self.chunk * self.action)
        out = jnp.asarray(module.apply(self.weights, x.reshape(*batch, -1)))
        return out.reshape(*batch, self.chunk, self.action).astype(float)


@dataclasses.dataclass(frozen=True)
class Clone:
    """Behaviour cloning as the trainer of a loop."""

    config: CloneConfig = CloneConfig()

    def __call__(self, task: Task, episodes: Sequence[Episode], seed: int) -> Cloned:
        """The policy of one data set."""
        return clone(task, [episodes], [seed], self.config)[0]


def clone(
    task: Task,
    data: Sequence[Sequence[Episode]],
    seeds: Sequence[int],
    config: CloneConfig = CloneConfig(),
) -> list[Cloned]:
    """One policy per data set, all trained in one call.

    Args:
      task: its ``observe`` gives the observations, and its ``action`` the actions of episodes, or
        of frames of a person's, that carry none.
      data: per policy, its episodes, real and synthetic alike.
      seeds: per policy, of its initial weights.

    Raises:
      InputError: an empty data set; an observation or an action that is not finite; a policy that
        looks back on more, or decides on more, than the longest episode has.
      TaskError: episodes without what the task's sensors report.
    """
    longest = max((len(e.ctrl) for episodes in data for e in episodes), default=0) - 1
    for name in ("history", "chunk"):
        if 0 < longest < (asked := getattr(config, name)):
            raise InputError(
                f"CloneConfig: {name} = {asked}, and the longest episode has {longest} actions; "
                "give fewer"
            )
    rows: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for episode in (e for episodes in data for e in episodes):
        if id(episode) not in rows:
            rows[id(episode)] = examples(task, episode, config)
    tables = []
    for i, episodes in enumerate(data):
        if not episodes:
            raise InputError(f"data set {i} of {len(data)} is empty; give it an episode")
        pairs = [rows[id(e)] for e in episodes]
        tables.append(
            (np.concatenate([x for x, _ in pairs]), np.concatenate([y for _, y in pairs]))
        )
    return _train(tables, seeds, config)


def examples(task: Task, episode: Episode, config: CloneConfig) -> tuple[np.ndarray, np.ndarray]:
    """What an episode teaches.

    Frames that are not valid teach nothing, nor does the last, after which no action acts.

    Returns:
      Observations (rows, history, observed), actions (rows, chunk, action).

    Raises:
      InputError: an observation or an action that is not finite, or an episode without a row.
      TaskError: an episode without a goal that the task cannot give one either.
    """
    goal = episode.goal or (task.goal(episode) if task.reset(jax.random.key(0))[1] else {})
    measured = sensors.measurements(task.scene, task.sensors, episode)
    observe, act = _compiled(task)
    observed = np.asarray(observe(measured, goal), np.float32)
    taken, hers = episode.action, episode.intervention
    person = np.zeros(len(observed), bool) if hers is None else hers
    if taken is None or person.any():
        commanded = np.asarray(act(measured, episode.ctrl, goal))
        taken = commanded if taken is None else np.where(person[:, None], commanded, taken)
    last = len(observed) - 2  # the last frame whose action acts
    frames = np.flatnonzero(episode.valid[: last + 1])[: 1 if config.first_frame else None]
    back = np.arange(1 - config.history, 1)
    x = observed[np.maximum(frames[:, None] + back, 0)]
    y = np.asarray(taken)[np.minimum(frames[:, None] + np.arange(config.chunk), max(last, 0))]
    if not (len(x) and np.isfinite(x).all() and np.isfinite(y).all()):
        bad = ~(np.isfinite(x).all((1, 2)) & np.isfinite(y).all((1, 2)))
        raise InputError(
            f"episode {episode.id} observes or takes numbers that are not finite in {bad.sum()} "
            f"of {len(frames)} frames"
            + (f", first in {frames[bad][0]}" if bad.any() else "")
            + "; let the task's 'observe' stand in for what was not measured, or remove it"
        )
    return x, y.astype(np.float32)


@functools.lru_cache(maxsize=8)
def _compiled(task: Task) -> tuple[Callable[..., Array], Callable[..., Array]]:
    """A task's ``observe`` and ``action`` over the frames of an episode."""
    return (
        jax.jit(jax.vmap(task.observe, in_axes=(0, None))),
        jax.jit(jax.vmap(task.action, in_axes=(0, 0, None))),
    )


def _train(
    tables: Sequence[Sequence[np.ndarray]], seeds: Sequence[int], config: CloneConfig
) -> list[Cloned]:
    most, first = max(len(x) for x, _ in tables), tables[0]
    x = np.zeros((len(tables), most, *first[0].shape[1:]), np.float32)
    y = np.zeros((len(tables), most, first[1][0].size), np.float32)
    weight = np.zeros((len(tables), most), np.float32)
    observed, action = first[0].shape[2], first[1].shape[2]
    centre = np.zeros((len(tables), observed), np.float32)
    scale = np.ones_like(centre)
    if len(config.action_unit) not in (0, action):
        raise InputError(
            f"CloneConfig: action_unit = {config.action_unit} for {action} numbers of an action"
        )
    unit = np.tile(np.asarray(config.action_unit or np.ones(action), np.float32), config.chunk)
    for i, (inputs, outputs) in enumerate(tables):
        rows = len(inputs)
        if config.standardise:
            centre[i], scale[i] = inputs[:, -1].mean(0), inputs[:, -1].std(0)
            scale[i] = np.where(scale[i] < _FEWEST, 1.0, scale[i])
        x[i, :rows] = (inputs - centre[i]) / scale[i]
        y[i, :rows], weight[i, :rows] = outputs.reshape(rows, -1) / unit, 1.0 / rows
    module = MLP(config.width, y.shape[2])
    schedule = optax.cosine_decay_schedule(config.learning_rate, config.steps)

    def train(x: jax.Array, y: jax.Array, weight: jax.Array, seed: jax.Array) -> Any:
        decay = config.weight_decay * jnp.max(weight)  # a row weighs one over their number
        optimiser = optax.adamw(schedule, weight_decay=decay)

        def loss(weights: Any) -> jax.Array:
            return jnp.sum(weight[:, None] * jnp.square(jnp.asarray(module.apply(weights, x)) - y))

        def step(carry: tuple, _: None) -> tuple[tuple, None]:
            weights, state = carry
            updates, state = optimiser.update(jax.grad(loss)(weights), state, weights)
            return (optax.apply_updates(weights, updates), state), None

        weights = module.init(jax.random.key(seed), x[0])
        weights = jax.tree.map(lambda w: w.astype(jnp.float32), weights)
        (weights, _), _ = jax.lax.scan(
            step, (weights, optimiser.init(weights)), length=config.steps
        )
        last = weights["params"]["Dense_2"]  # it answers in units of the actions
        scaled = {name: x * unit for name, x in last.items()}
        return {"params": weights["params"] | {"Dense_2": scaled}}

    flat = x.reshape(len(tables), most, -1)
    trained = jax.jit(jax.vmap(train))(flat, y, weight, np.asarray(seeds))
    trained = jax.tree.map(np.asarray, trained)
    sizes = {"observed": observed, "action": action, "width": config.width}
    sizes |= {"history": config.history, "chunk": config.chunk}
    return [
        Cloned(
            jax.tree.map(lambda w, i=i: w[i], trained),
            centre[i],
            scale[i],
            **sizes,
        )
        for i in range(len(tables))
    ]


def save(directory: Path, policy: Cloned, task: Task, metadata: dict[str, Any]) -> None:
    """Writes one policy, atomically."""
    sizes = {name: getattr(policy, name) for name in _SIZES}
    described = metadata | {"task": task.name, "clone": sizes, "contract": contract(task)}
    checkpoint.save(directory, 0, policy, described, keep=1)


def restore(directory: Path, task: Task) -> Cloned:
    """Reads a policy for a task.

    Raises:
      CheckpointError: absent, damaged, not a cloned policy.
      InputError: a policy of another task, or of another observation or action; the message names
        each number that one of the two lacks.
    """
    metadata = checkpoint.read_metadata(directory)
    sizes, contracted = metadata.get("clone"), metadata.get("contract")
    if not isinstance(sizes, dict) or sorted(sizes) != sorted(_SIZES) or contracted is None:
        what = "not a cloned policy, or one of an earlier version"
        raise checkpoint.CheckpointError(f"{directory} is {what}; train one there")
    check(contracted, task, f"the policy in {directory}")
    zeros = np.zeros(sizes["observed"], np.float32)
    module = MLP(sizes["width"], sizes["chunk"] * sizes["action"])
    weights = module.init(jax.random.key(0), jnp.zeros(zeros.size * sizes["history"], jnp.float32))
    weights = jax.tree.map(lambda w: w.astype(jnp.float32), weights)
    return checkpoint.restore(directory, Cloned(weights, zeros, zeros, **sizes))[0]
