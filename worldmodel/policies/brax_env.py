"""A task in a model as an environment of Brax, for its PPO and APG.

Brax's wrappers replay the first state of each environment at every reset. This environment resets
itself, from a pool of starts; give ``wrap_env=False`` to Brax's trainers.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from brax import envs
from jax.core import Tracer

from worldmodel.errors import InputError
from worldmodel.rollout import Constant
from worldmodel.scene import Scene
from worldmodel.scene.names import joint_names
from worldmodel.tasks.play import FARTHEST, begin, decide, follow
from worldmodel.tasks.task import Task
from worldmodel.types import Array, Goal, Measurement, Start, State

if not hasattr(jax, "device_put_replicated"):  # gone since JAX 0.10; Brax 0.14.2 calls it

    def _replicated(tree: Any, devices: Any) -> Any:
        return jax.tree.map(lambda x: jnp.stack([jnp.asarray(x)] * len(devices)), tree)

    jax.device_put_replicated = _replicated

ELSEWHERE = ("action", "observation", "reward")  # what is not finite where every joint is


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Playing:
    """An episode in progress, between two steps."""

    state: State
    measured: Measurement
    goal: Goal
    member: Array  # () int; of the ensemble
    key: Array  # (2,) uint32; of the sensors' noise and of the next start


def as_brax_env(
    task: Task,
    step: Callable[[Any, State, Array], State],
    parameters: Any,
    start: Callable[[Any, Start], State],
    *,
    members: int | None = None,
    pool: int = 1024,
    seed: int = 0,
) -> "TaskEnv":
    """A task in a model, as Brax's trainers take it: ``ppo.train(env, wrap_env=False,
    episode_length=task.horizon, …)``.

    Args:
      step: ``step(parameters, state, ctrl) -> state``, one control step.
      parameters: of the model; a pytree.
      start: ``start(parameters, start) -> state``, where an episode begins.
      members: of an ensemble, whose parameters have a leading dimension of that size: each episode
        runs in one that is drawn; None: there is one model, without that dimension.
      pool: starts, goals and members that are drawn once; each episode begins with one of them.
      seed: of the pool.

    Raises:
      InputError: parameters of another number of members; a task that observes numbers that are
        not finite at its starts, or states that are not finite there.
      TaskError: a task without a reward.
    """
    if members is not None:
        sizes = {np.shape(x)[:1] for x in jax.tree.leaves(parameters)}
        if sizes != {(members,)}:
            raise InputError(
                f"parameters with leading dimensions {sorted(sizes)} for {members} members; give "
                "every leaf one row per member"
            )

    def of_member(member: Array) -> Any:
        return parameters if members is None else jax.tree.map(lambda x: x[member], parameters)

    def drawn(key: Array) -> Playing:
        of_start, of_member_, noise, following = jax.random.split(key, 4)
        where, goal = task.reset(of_start)
        member = jax.random.randint(of_member_, (), 0, members or 1)
        state = start(of_member(member), where)
        measured = begin(task, task.sense(state, noise))
        return Playing(state, measured, goal, member, jax.random.key_data(following))

    def advance(robot: Playing, ctrl: Array) -> State:
        return step(of_member(robot.member), robot.state, ctrl)

    robots = jax.jit(jax.vmap(drawn))(jax.random.split(jax.random.key(seed), pool))
    env = TaskEnv(task, advance, robots)
    bad = env.not_finite_at_starts()
    if bad:
        raise InputError(
            f"task '{task.name}' begins with numbers that are not finite, in "
            + ", ".join(f"{name} ({count} of {pool} starts)" for name, count in bad.items())
            + "; let its 'reset' and 'observe' give finite ones"
        )
    return env


class TaskEnv(envs.Env):
    """See ``as_brax_env``. ``reset`` and ``step`` take one environment or any batch of them.

    An episode ends when the task has ``failed``, after ``horizon`` steps, and where it diverges: a
    number is not finite or a position beyond ``FARTHEST``. Such a step teaches nothing: its reward
    is 0 and it counts as a truncation, which PPO's advantages leave out. The next observation is
    that of a new start; ``info['last_observation']`` is the step's own, and the one before where it
    diverges. ``metrics`` and ``info['episode_metrics']`` count failures and divergences;
    ``info['diverged']`` counts the latter by ``names``, since the environment was reset first.
    """

    def __init__(
        self, task: Task, advance: Callable[[Playing, Array], State], pool: Playing
    ) -> None:
        self.task, self._advance, self._pool = task, advance, pool
        self.names = (*_coordinates(task.scene)[0], *ELSEWHERE)

    @property
    def observation_size(self) -> int:
        """Numbers of an observation."""
        return self.task.observation_size

    @property
    def action_size(self) -> int:
        """Numbers of an action."""
        return self.task.action_size

    @property
    def backend(self) -> str:
        """What Brax reports."""
        return "worldmodel"

    def reset(self, rng: Array) -> envs.State:
        """New episodes, of keys (…, 2)."""
        return _batched(self._reset, np.ndim(rng) - 1)(rng)

    def step(self, state: envs.State, action: Array) -> envs.State:
        """One control step.

        Raises:
          InputError: an action that is not finite or outside [−1, 1], where it is not traced. A
            traced one that is not finite ends the episode, as a divergence; of one outside the
            command is clipped to the actuators' range, as on a robot.
        """
        if not isinstance(action, Tracer):
            outside = ~(np.abs(action) <= 1.0)  # NaN too
            if outside.any():
                raise InputError(
                    f"{outside.sum()} numbers of the action are not finite or outside [-1, 1], "
                    f"such as {np.asarray(action)[outside][0]}; scale actions to [-1, 1]"
                )
        return _batched(self._step, np.ndim(action) - 1)(state, action)

    def divergences(self, state: envs.State) -> dict[str, int]:
        """How many episodes diverged, by the joint or other number that did, since the first
        reset."""
        counts = np.asarray(state.info["diverged"]).reshape(-1, len(self.names)).sum(0)
        return {name: int(n) for name, n in zip(self.names, counts, strict=True) if n}

    def not_finite_at_starts(self) -> dict[str, int]:
        """How many starts of the pool are not finite, by name."""

        def check(robot: Playing) -> Array:
            observed = self.task.observe(robot.measured, robot.goal)
            return self._not_finite(robot.state, jnp.zeros(()), observed, jnp.zeros(()))

        counts = np.asarray(jax.jit(jax.vmap(check))(self._pool)).sum(0)
        return {name: int(n) for name, n in zip(self.names, counts, strict=True) if n}

    def _reset(self, rng: Array) -> envs.State:
        robot = self._start(jnp.asarray(rng, jnp.uint32))
        zero = jnp.zeros(())
        metrics = {"failed": zero, "diverged": zero}
        info: dict[str, Any]
        info = {name: zero for name in ("steps", "truncation", "time_out", "episode_done")}
        info["episode_metrics"] = {"sum_reward": zero, "length": zero} | metrics
        info["last_return"] = jnp.full((), jnp.nan, float)  # of the last episode that has ended
        info["diverged"] = jnp.zeros(len(self.names), jnp.int32)
        observed = self.task.observe(robot.measured, robot.goal)
        info["last_observation"] = observed  # of the step, before any reset
        return envs.State(robot, observed, zero, zero, metrics, info)

    def _start(self, key: Array) -> Playing:
        """A start of the pool; what is drawn later follows from ``key``, (2,) uint32."""
        choice, following = jax.random.split(jax.random.wrap_key_data(key))
        i = jax.random.randint(choice, (), 0, len(self._pool.member))
        robot = jax.tree.map(lambda x: x[i], self._pool)
        return dataclasses.replace(robot, key=jax.random.key_data(following))

    def _step(self, state: Any, action: Array) -> envs.State:
        task, info = self.task, state.info
        robot: Playing = state.pipeline_state
        noise, following, again = jax.random.split(jax.random.wrap_key_data(robot.key), 3)
        _, ctrl, _ = decide(task, Constant(action), (), robot.measured, robot.goal, noise)
        moved = self._advance(robot, ctrl)
        measured = follow(task, robot.measured, task.sense(moved, noise), ctrl, jnp.zeros((), bool))
        observed = task.observe(measured, robot.goal)
        reward = task.reward(robot.measured, action, measured, robot.goal)

        causes = self._not_finite(moved, action, observed, reward)
        diverged = causes.any()
        failed = task.failed(measured, robot.goal) & ~diverged
        steps = jnp.where(state.done > 0, 0.0, info["steps"]) + 1.0
        late = (steps >= task.horizon) & ~failed & ~diverged
        over = failed | diverged | late
        number = functools.partial(jnp.asarray, dtype=state.reward.dtype)
        reward = jnp.where(diverged, 0.0, reward).astype(state.reward.dtype)
        metrics = {"failed": number(failed), "diverged": number(diverged)}
        gained = {"sum_reward": reward, "length": number(1.0)} | metrics
        kept = 1.0 - info["episode_done"]
        totals = {name: kept * info["episode_metrics"][name] + gained[name] for name in gained}
        info = info | {
            "steps": steps,
            "truncation": number(late | diverged),
            "time_out": number(late),
            "episode_done": number(over),
            "episode_metrics": totals,
            "last_return": jnp.where(over, totals["sum_reward"], info["last_return"]),
            "diverged": info["diverged"] + causes,
            "last_observation": jnp.where(diverged, state.obs, observed),
        }
        ended = self._start(jax.random.key_data(again))
        going = Playing(moved, measured, robot.goal, robot.member, jax.random.key_data(following))
        robot = jax.tree.map(lambda new, old: jnp.where(over, new, old), ended, going)
        observed = jnp.where(over, task.observe(ended.measured, ended.goal), observed)
        return state.replace(
            pipeline_state=robot,
            obs=observed,
            reward=reward,
            done=number(over),
            metrics=state.metrics | metrics,
            info=info,
        )

    def _not_finite(self, state: State, action: Array, observed: Array, reward: Array) -> Array:
        """(names,) int32; 1 of what diverges: the joints, or what is given here where none does."""
        of_qpos, of_qvel = _coordinates(self.task.scene)[1:]
        bad = of_qpos @ ~(jnp.abs(state.qpos) <= FARTHEST) | of_qvel @ ~jnp.isfinite(state.qvel)
        others = [~jnp.isfinite(x).all() for x in (action, observed, reward)]
        elsewhere = jnp.stack(others) & ~bad.any()
        return jnp.concatenate([bad, elsewhere]).astype(jnp.int32)


def _batched(function: Callable, dimensions: int) -> Callable:
    for _ in range(dimensions):
        function = jax.vmap(function)
    return function


@functools.lru_cache(maxsize=64)
def _coordinates(scene: Scene) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """A scene's joints, a free one by its body's name, and which coordinates are whose: (joints,
    nq) and (joints, nv) bool."""
    m = scene.mj_model
    joints = np.arange(m.njnt)[:, None]
    of_qpos = np.searchsorted(m.jnt_qposadr, np.arange(m.nq), side="right") - 1 == joints
    return joint_names(m), of_qpos, m.dof_jntid == joints
