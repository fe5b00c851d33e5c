"""Short-horizon policy gradients: a policy learns by the derivative of its return, through the
model.

Every update plays a window of ``horizon`` steps in each environment and differentiates the return
of the window, with the critics' value of where it ends, in the weights of the policy.

    Jie Xu et al., Accelerated policy learning with parallel differentiable simulation, ICLR 2022,
        arXiv:2204.07137: windows, λ-returns, target critics
    Eliot Xing et al., Stabilizing reinforcement learning in differentiable multiphysics simulation,
        ICLR 2025, arXiv:2412.12089: entropy as a part of the reward, two critics whose mean the
        policy climbs and whose smaller value the critics learn from

    B. T. Polyak and A. B. Juditsky, Acceleration of stochastic approximation by averaging, SIAM
        Journal on Control and Optimization 30, 1992: the average of the weights, which is kept

The gradient of each environment is shortened to ``max_norm`` before the mean, so that one contact
cannot drown all others.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from brax import envs
from brax.training import networks
from brax.training.acme import running_statistics
from brax.training.distribution import NormalTanhDistribution
from jax.flatten_util import ravel_pytree

from worldmodel import runtime
from worldmodel.errors import InputError
from worldmodel.policies.actor import Actor
from worldmodel.policies.brax_env import TaskEnv
from worldmodel.policies.epochs import Run, actor_of, now, row
from worldmodel.runtime.settings import check_settings, flat
from worldmodel.types import Array

CRITICS = 2


@dataclasses.dataclass(frozen=True)
class GradientConfig:
    """How a policy is trained.

    Raises:
      InputError: a value that nothing can be trained with; the message names the setting.
    """

    steps: int = 600_000  # control steps of all environments, rounded up to whole epochs
    environments: int = 64
    horizon: int = 32  # control steps that a gradient passes through
    updates: int = 10  # of the policy in an epoch, after which the run is saved
    width: int = 64  # of the layers of policy and critics
    layers: int = 2
    learning_rate: float = 5e-3  # of the policy and of the critics
    betas: tuple[float, float] = (0.7, 0.95)  # of Adam
    max_norm: float = 10.0  # of one environment's gradient; longer ones are shortened to it
    discount: float = 0.98
    trace: float = 0.95  # lambda of the critics' targets
    entropy: float = 1e-2
    passes: int = 8  # of the critics over a window
    minibatches: int = 4  # of a pass
    following: float = 0.2  # share of the critics that their targets take over per update
    averaging: float = 0.02  # share of the policy that its average, which is kept, takes over; at
    # first, until so many updates have been, the average is that of all

    def __post_init__(self) -> None:
        sizes = ("steps", "environments", "horizon", "updates", "width", "layers")
        check_settings(
            self,
            counts=(*sizes, "passes", "minibatches"),
            not_negative=("entropy",),
            positive=("learning_rate", "max_norm", "averaging"),
            shares=("discount", "trace", "following"),
        )
        if self.averaging > 1.0:
            raise InputError(f"GradientConfig: averaging = {self.averaging}; give at most 1")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise InputError(
                f"GradientConfig: betas = {self.betas}; give two numbers from 0 on and below 1"
            )
        if self.environments * self.horizon % self.minibatches:
            raise InputError(
                f"GradientConfig: environments * horizon = {self.environments * self.horizon} is "
                f"no multiple of minibatches = {self.minibatches}; change one"
            )

    @property
    def epoch(self) -> int:
        """Control steps of an epoch."""
        return self.updates * self.environments * self.horizon


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Learner:
    """All that training changes, but for the environments."""

    policy: Any  # weights
    average: Any  # of the policy's weights over the last updates
    critics: Any  # weights of both, with a leading dimension
    targets: Any  # what the critics were of late
    policy_adam: Any
    critics_adam: Any
    normaliser: Any  # running mean and deviation of the observations


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Window:
    """What was played, a row per step."""

    observed: Array  # (observation,) before the step
    reward: Array  # () with the bonus for entropy
    reached: Array  # (observation,) after it, before any reset; before it where it diverged
    ended: Array  # () bool; the next row is of another episode
    failed: Array  # () bool; nothing comes after
    diverged: Array  # () bool
    weight: Array  # () the discount since the window, or its last episode, began


class Method:
    """The method on an environment: pure functions of a learner, environments and a key."""

    def __init__(self, env: TaskEnv, config: GradientConfig) -> None:
        self.env, self.config = env, config
        self.noise = NormalTanhDistribution(env.action_size)
        layers = (config.width,) * config.layers
        normalise, swish = running_statistics.normalize, jax.nn.swish
        self.network = networks.make_policy_network(
            self.noise.param_size, env.observation_size, normalise, layers, swish
        )
        self.critic = networks.make_value_network(env.observation_size, normalise, layers, swish)
        self.adam = optax.adam(config.learning_rate, b1=config.betas[0], b2=config.betas[1])

    def init(self, key: Array) -> tuple[Learner, envs.State]:
        """A learner that knows nothing, and environments at their starts."""
        one, two, three = jax.random.split(key, 3)
        policy = self.network.init(one)
        critics = jax.vmap(self.critic.init)(jax.random.split(two, CRITICS))
        adam = self.adam.init(policy), self.adam.init(critics)
        seen = running_statistics.init_state(jnp.zeros(self.env.observation_size))
        keys = jax.random.split(three, self.config.environments)
        return Learner(policy, policy, critics, critics, *adam, seen), self.env.reset(keys)

    def values(self, normaliser: Any, critics: Any, observed: Array) -> Array:
        """(critics, …) of observations (…, observation)."""
        return jax.vmap(self.critic.apply, (None, 0, None))(normaliser, critics, observed)

    def play(
        self, policy: Any, learner: Learner, state: envs.State, key: Array
    ) -> tuple[envs.State, Window]:
        """A window of one environment; its rows are differentiable in the policy's weights."""
        config = self.config

        def advance(carry: tuple, key: Array) -> tuple[tuple, Window]:
            state, weight = carry
            asked = self.network.apply(learner.normaliser, policy, state.obs)
            raw = self.noise.sample_no_postprocessing(asked, key)  # reparameterised
            surprise = -self.noise.log_prob(asked, raw)
            after = self.env.step(state, self.noise.postprocess(raw))
            ended = after.info["episode_done"] > 0
            rows = Window(
                observed=state.obs,
                reward=after.reward + config.entropy * surprise,
                reached=after.info["last_observation"],
                ended=ended,
                failed=after.metrics["failed"] > 0,
                diverged=after.metrics["diverged"] > 0,
                weight=weight,
            )
            return (after, jnp.where(ended, 1.0, config.discount * weight)), rows

        begun = state, jnp.ones(())
        keys = jax.random.split(key, config.horizon)
        (state, _), rows = jax.lax.scan(jax.checkpoint(advance), begun, keys)
        return state, rows

    def loss(
        self, policy: Any, learner: Learner, state: envs.State, key: Array
    ) -> tuple[Array, tuple[envs.State, Window]]:
        """() less the mean over the window's steps of what they return, of one environment.

        Where an episode or the window ends, the mean of the critics stands for what comes after;
        nothing comes after a failure. A step that diverged returns the value of where it began.
        """
        state, rows = self.play(policy, learner, state, key)
        last = jnp.arange(self.config.horizon) == self.config.horizon - 1
        value = self.values(learner.normaliser, learner.targets, rows.reached).mean(0)
        after = jnp.where((rows.ended | last) & ~rows.failed, self.config.discount * value, 0.0)
        returned = jnp.where(rows.diverged, value, rows.reward + after)
        return -jnp.mean(rows.weight * returned), (state, rows)

    def gradient(
        self, learner: Learner, states: envs.State, key: Array
    ) -> tuple[Any, Array, envs.State, Window]:
        """The gradient of the loss: each environment's is shortened to ``max_norm``, then the
        mean is taken. One that is not finite is left out.

        Returns:
          The gradient; () how many were left out; the environments after; the windows.
        """
        keys = jax.random.split(key, self.config.environments)
        each, (states, rows) = jax.vmap(jax.grad(self.loss, has_aux=True), (None, None, 0, 0))(
            learner.policy, learner, states, keys
        )
        flat = jax.vmap(lambda tree: ravel_pytree(tree)[0])(each)  # (environments, weights)
        norms = jnp.linalg.norm(flat, axis=1)
        finite = jnp.isfinite(norms)
        share = jnp.where(finite, jnp.minimum(1.0, self.config.max_norm / norms), 0.0)
        share = share / jnp.maximum(finite.sum(), 1)
        mean = share.astype(flat.dtype) @ jnp.where(finite[:, None], flat, 0.0)
        return ravel_pytree(learner.policy)[1](mean), (~finite).sum(), states, rows

    def targets(self, learner: Learner, rows: Window) -> Array:
        """(horizon,) λ-returns of a window, of the smaller of the critics' values."""
        config = self.config
        after = self.values(learner.normaliser, learner.targets, rows.reached).min(0)
        after = jnp.where(rows.failed, 0.0, after)

        def back(following: Array, x: tuple[Array, Window]) -> tuple[Array, Array]:
            value, row = x
            following = jnp.where(row.ended, value, following)
            mixed = (1.0 - config.trace) * value + config.trace * following
            # A step that diverged has no reward; its value is that of where it began.
            now = jnp.where(row.diverged, value, row.reward + config.discount * mixed)
            return now, now

        return jax.lax.scan(back, after[-1], (after, rows), reverse=True)[1]

    def update(self, learner: Learner, states: envs.State, key: Array) -> tuple:
        """One gradient step of the policy, and passes of the critics over its windows."""
        config = self.config
        playing, shuffling = jax.random.split(key)
        gradient, out, states, rows = self.gradient(learner, states, playing)
        step, policy_adam = self.adam.update(gradient, learner.policy_adam)
        policy = optax.apply_updates(learner.policy, step)
        share = jnp.maximum(config.averaging, 1.0 / optax.tree_utils.tree_get(policy_adam, "count"))

        targets = jax.vmap(functools.partial(self.targets, learner))(rows).ravel()
        observed = rows.observed.reshape(targets.size, -1)

        def off(critics: Any, at: Array) -> Array:
            values = self.values(learner.normaliser, critics, observed[at])
            return jnp.mean(jnp.square(values - targets[at])) * CRITICS

        def improve(carry: tuple, at: Array) -> tuple[tuple, None]:
            critics, adam = carry
            step, adam = self.adam.update(jax.grad(off)(critics, at), adam)
            return (optax.apply_updates(critics, step), adam), None

        keys = jax.random.split(shuffling, config.passes)
        orders = jax.vmap(lambda key: jax.random.permutation(key, targets.size))(keys)
        orders = orders.reshape(config.passes * config.minibatches, -1)
        begun = learner.critics, learner.critics_adam
        (critics, critics_adam), _ = jax.lax.scan(improve, begun, orders)
        learner = Learner(
            policy,
            optax.incremental_update(policy, learner.average, share),
            critics,
            optax.incremental_update(critics, learner.targets, config.following),
            policy_adam,
            critics_adam,
            running_statistics.update(learner.normaliser, observed),
        )
        return learner, states, out

    def epoch(self, learner: Learner, states: envs.State, key: Array) -> tuple:
        """``updates`` of them.

        Returns:
          The learner; the environments; () gradients that were left out.
        """

        def body(carry: tuple, key: Array) -> tuple[tuple, Array]:
            learner, states, out = self.update(carry[0], carry[1], key)
            return (learner, states), out

        keys = jax.random.split(key, self.config.updates)
        (learner, states), out = jax.lax.scan(body, (learner, states), keys)
        return learner, states, out.sum()


def train(
    env: TaskEnv,
    config: GradientConfig,
    folder: Path,
    *,
    seed: int = 0,
    settings: dict[str, Any] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[Actor, list[dict[str, Any]]]:
    """Trains a policy. A call that was ended, even by a kill, goes on from its last whole epoch,
    and comes to the same numbers as one that was not.

    Args:
      env: of a model whose step has a derivative.
      folder: of the run: ``policy``, an ``actor.Actor``, and ``training``, all that goes on.
      seed: of weights, exploration and environments.
      settings: what else tells this run from others, as JSON, such as the model's parameters.
      stop: asked after every epoch.

    Returns:
      The policy; a row per epoch: steps so far, the mean return of the last episode of each
      environment (None before one has ended), seconds, also of its cores, divergences by name so
      far, and gradients that were not finite and so left out.

    Raises:
      CheckpointError: the folder holds a run of another configuration, seed or settings, or of
        another reward or other function of the task.
      InputError: the folder holds a run of another task; no gradient of an epoch is finite.
      Interrupted: ``stop`` returned True.
    """
    total = -(-config.steps // config.epoch)
    fixed = flat("gradient", config)
    del fixed["gradient.steps"]  # more may be asked for later
    run = Run(folder, env.task, "gradients", fixed | {"seed": seed} | (settings or {}))
    curve = run.curve()
    method, root = Method(env, config), jax.random.PRNGKey(seed)
    learner, states = jax.tree.map(np.array, jax.jit(method.init)(root))
    if curve:
        learner, states = run.restore((learner, states))
    compiled = jax.jit(method.epoch)
    while len(curve) < total:
        number = len(curve)
        began = now()
        # Arrays of the host, always: those of a device would compile it again.
        key = np.array(jax.random.fold_in(root, number))
        learner, states, out = jax.tree.map(np.array, compiled(learner, states, key))
        if out == config.updates * config.environments:
            raise InputError(
                "no gradient of an epoch is finite; look at the task's 'reward' and 'observe', "
                "such as a root or a norm of zero"
            )
        curve.append(row(env, states, config.epoch * (number + 1), began))
        curve[-1]["not_finite"] = int(out)
        if out:
            runtime.log(f"{out} gradients were not finite and left out")
        policy = actor_of(learner.average, learner.normaliser, "gradients")
        run.save((learner, states), policy, curve)
        if stop() and len(curve) < total:
            raise runtime.Interrupted(f"saved after {curve[-1]['steps']} steps of gradients")
    return run.policy(), curve
