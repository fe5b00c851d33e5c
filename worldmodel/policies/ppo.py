"""Brax's PPO on a task in a model, resumable to the same numbers.

Brax saves networks and normaliser alone, so a resumed run of its own begins with a new optimiser.
Here ``brax…ppo.train`` runs as it is, and each call of its compiled epoch is intercepted: what the
next one starts from is saved, optimiser, normaliser and environments included.

    John Schulman et al., Proximal policy optimization algorithms, 2017, arXiv:1707.06347
"""

import contextlib
import dataclasses
import functools
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
from brax.training.agents.ppo import networks
from brax.training.agents.ppo import train as brax_ppo

from worldmodel import runtime
from worldmodel.errors import InputError
from worldmodel.policies.actor import Actor
from worldmodel.policies.brax_env import TaskEnv
from worldmodel.policies.epochs import Run, actor_of, now, row
from worldmodel.runtime.settings import check_settings, flat


@dataclasses.dataclass(frozen=True)
class PPOConfig:
    """How a policy is trained.

    Raises:
      InputError: a value that nothing can be trained with; the message names the setting.
    """

    steps: int = 3_000_000  # control steps of all environments, rounded up to whole epochs
    environments: int = 256
    unroll: int = 16  # control steps of a row
    batch: int = 256  # rows of a gradient step
    minibatches: int = 8  # gradient steps over the rows of an update
    passes: int = 4  # over the rows of an update
    updates: int = 2  # of an epoch, after which the run is saved
    width: int = 64  # of the layers of policy and critic
    layers: int = 2
    learning_rate: float = 1e-3  # at first; then it keeps a step's divergence near ``divergence``
    divergence: float = 0.02  # of Kullback and Leibler, of the policies before and after
    max_norm: float = 1.0  # of the gradient; longer ones are shortened to it
    discount: float = 0.98
    trace: float = 0.95  # lambda of the advantages
    entropy: float = 1e-2

    def __post_init__(self) -> None:
        sizes = ("steps", "environments", "unroll", "batch", "minibatches", "passes", "updates")
        check_settings(
            self,
            counts=(*sizes, "width", "layers"),
            not_negative=("entropy",),
            positive=("learning_rate", "divergence", "max_norm"),
            shares=("discount", "trace"),
        )
        if self.batch * self.minibatches % self.environments:
            raise InputError(
                f"PPOConfig: batch * minibatches = {self.batch * self.minibatches} is no multiple "
                f"of environments = {self.environments}; change one"
            )

    @property
    def epoch(self) -> int:
        """Control steps of an epoch."""
        return self.updates * self.minibatches * self.batch * self.unroll


def train(
    env: TaskEnv,
    config: PPOConfig,
    folder: Path,
    *,
    seed: int = 0,
    settings: dict[str, Any] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[Actor, list[dict[str, Any]]]:
    """Trains a policy. A call that was ended, even by a kill, goes on from its last whole epoch,
    and comes to the same numbers as one that was not.

    Args:
      folder: of the run: ``policy``, an ``actor.Actor``, and ``training``, all that goes on.
      seed: of weights, exploration and environments.
      settings: what else tells this run from others, as JSON, such as the model's parameters.
      stop: asked after every epoch.

    Returns:
      The policy; a row per epoch: steps so far, the mean return of the last episode of each
      environment (None before one has ended), seconds, also of its cores, divergences by name so
      far.

    Raises:
      CheckpointError: the folder holds a run of another configuration, seed or settings, or of
        another reward or other function of the task.
      InputError: the folder holds a run of another task; the weights diverge.
      Interrupted: ``stop`` returned True.
    """
    task, total = env.task, -(-config.steps // config.epoch)
    fixed = flat("ppo", config)
    del fixed["ppo.steps"]  # more may be asked for later
    run = Run(folder, task, "PPO", fixed | {"seed": seed} | (settings or {}))
    curve = run.curve()
    going: Any = None  # training state and environments, as the last epoch ended

    def epoch(compiled: Callable, training: Any, environments: Any, keys: Any) -> Any:
        nonlocal going
        if going is None:  # arrays of the host, always: those of a device would compile it again
            going = jax.tree.map(np.array, (training, environments))
            going = run.restore(going) if curve else going
        number = len(curve)
        keys = jax.random.split(jax.random.fold_in(jax.random.PRNGKey(seed), number), len(keys))
        began = now()
        result = compiled(*going, np.array(keys))
        going = jax.tree.map(np.array, result[:2])
        curve.append(row(env, going[1], config.epoch * (number + 1), began))
        run.save(going, policy_of(going[0]), curve)
        if stop() and len(curve) < total:
            raise runtime.Interrupted(f"saved after {curve[-1]['steps']} steps of PPO")
        return result

    if remaining := max(total - len(curve), 0):
        with _intercepted(epoch):
            brax_ppo.train(
                env,
                num_timesteps=remaining * config.epoch,
                num_evals=remaining + 1,  # it makes one epoch fewer than evaluations
                run_evals=False,
                wrap_env=False,
                max_devices_per_host=1,
                num_envs=config.environments,
                num_eval_envs=1,
                episode_length=task.horizon,
                unroll_length=config.unroll,
                batch_size=config.batch,
                num_minibatches=config.minibatches,
                num_updates_per_batch=config.passes,
                learning_rate=config.learning_rate,
                learning_rate_schedule="ADAPTIVE_KL",
                desired_kl=config.divergence,
                max_grad_norm=config.max_norm,
                discounting=config.discount,
                gae_lambda=config.trace,
                entropy_cost=config.entropy,
                normalize_observations=True,
                network_factory=functools.partial(
                    networks.make_ppo_networks,
                    policy_hidden_layer_sizes=(config.width,) * config.layers,
                    value_hidden_layer_sizes=(config.width,) * config.layers,
                ),
                seed=seed,
            )
    return run.policy(), curve


@contextlib.contextmanager
def _intercepted(epoch: Callable) -> Iterator[None]:
    """Within, Brax's PPO calls ``epoch(compiled, training, environments, keys)`` in place of its
    compiled epoch; ``jax`` as Brax sees it differs in that alone."""
    seen = types.ModuleType("jax")
    seen.__getattr__ = lambda name: getattr(jax, name)

    def pmap(function: Callable, **options: Any) -> Callable:
        compiled = jax.pmap(function, **options)
        if function.__name__ != "training_epoch":
            return compiled
        return functools.partial(epoch, compiled)

    seen.__dict__["pmap"] = pmap
    brax_ppo.jax = seen
    try:
        yield
    finally:
        brax_ppo.jax = jax


def policy_of(training: Any) -> Actor:
    """The policy of Brax's ``TrainingState``, whose leaves have a leading dimension of devices.

    Raises:
      InputError: its weights are not finite.
    """
    weights, normaliser = training.params.policy, training.normalizer_params
    weights, normaliser = jax.tree.map(lambda x: x[0], (weights, normaliser))
    return actor_of(weights, normaliser, "PPO")
