"""A run of training in a folder that is saved after every epoch, and goes on to the same numbers.

``policy`` is the trained ``actor.Actor``; ``training`` is all that the next epoch starts from.
"""

import dataclasses
import functools
import hashlib
import json
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from worldmodel import runtime
from worldmodel.errors import InputError
from worldmodel.policies import actor
from worldmodel.policies.actor import Actor
from worldmodel.policies.brax_env import TaskEnv
from worldmodel.policies.contract import check, contract
from worldmodel.runtime import checkpoint
from worldmodel.runtime.settings import differences
from worldmodel.tasks.sensors import blank
from worldmodel.tasks.task import Task


@dataclasses.dataclass(frozen=True)
class Run:
    """A run, and what tells it from others."""

    folder: Path
    task: Task
    method: str  # as messages name it
    settings: dict[str, Any]  # JSON

    @functools.cached_property
    def described(self) -> dict[str, Any]:
        """What its checkpoint says it is."""
        return self.settings | {"contract": contract(self.task), "code": code(self.task)}

    def curve(self) -> list[dict[str, Any]]:
        """A row of each epoch that is done; none where the run has not begun.

        Raises:
          CheckpointError: the folder holds a run of other settings, or of a task whose reward or
            other functions were others.
          InputError: the folder holds a run of another task.
        """
        place = self.folder / "training"
        if checkpoint.latest(place) is None:
            return []
        former = checkpoint.read_metadata(place)
        check(former.get("contract", {}), self.task, f"the run of {self.method} in {place}")
        now = json.loads(json.dumps(self.described))
        if former.get("code", {}).get("by") != now["code"]["by"]:
            del now["code"]  # another JAX may write the same functions otherwise
        other = [d for name in now for d in differences(name, former.get(name), now[name])]
        if other:
            raise checkpoint.CheckpointError(
                f"{place} is of another run: {'; '.join(other)}; choose another folder"
            )
        return list(former["curve"])

    def save(self, going: Any, policy: Actor, curve: list[dict[str, Any]]) -> None:
        """Writes the policy, and what the next epoch starts from, a pytree of NumPy's arrays."""
        actor.save(self.folder / "policy", policy, self.task, {"steps": curve[-1]["steps"]})
        described = self.described | {"curve": curve}
        checkpoint.save(self.folder / "training", len(curve), _filled(going), described)

    def restore(self, like: Any) -> Any:
        """What the next epoch starts from, in the structure of ``like``."""
        saved = checkpoint.restore(self.folder / "training", _filled(like))[0]
        return jax.tree.map(
            lambda new, empty: empty if new is None else np.array(new),
            saved,
            like,
            is_leaf=lambda x: x is None,
        )

    def policy(self) -> Actor:
        """The policy as the last epoch left it."""
        return actor.restore(self.folder / "policy", self.task)


def code(task: Task) -> dict[str, str]:
    """A digest of each function that a policy is trained by, as JAX lowers it: of the function, all
    that it calls and all numbers in it, but not of how it is written. ``by``: which JAX, for what.
    """
    measured, (_, goal) = blank(task.sensors), task.reset(jax.random.key(0))
    action, out = jnp.zeros(task.action_size), {"by": f"{jax.__version__} {jax.default_backend()}"}
    for name, given in {
        "reset": (jax.random.key(0),),
        "observe": (measured, goal),
        "command": (measured, action, goal),
        "failed": (measured, goal),
        "reward": (measured, action, measured, goal),
    }.items():
        function = functools.partial(getattr(task, name))  # JAX would remember the method itself
        text = jax.jit(function).lower(*given).as_text()
        out[name] = hashlib.sha256(text.encode()).hexdigest()[:16]
    return out


def _filled(tree: Any) -> Any:
    """A tree without its leaves of size 0, which Orbax does not write."""
    return jax.tree.map(lambda x: x if x.size else None, tree)


def now() -> tuple[float, float]:
    """[s] of the wall clock and of this process's cores."""
    return time.perf_counter(), time.process_time()


def row(env: TaskEnv, environments: Any, steps: int, began: tuple[float, float]) -> dict[str, Any]:
    """What an epoch came to, which is logged.

    Args:
      environments: the state of ``env`` after it, a batch.
      steps: of the run so far, of all environments.
      began: ``now`` at its beginning.
    """
    seconds, spent = (after - before for after, before in zip(now(), began, strict=True))
    ended = np.asarray(environments.info["last_return"])
    ended = ended[np.isfinite(ended)]
    result: dict[str, Any] = {"steps": steps, "return": float(ended.mean()) if ended.size else None}
    result |= {"seconds": round(seconds, 3), "core_seconds": round(spent, 3)}
    result["diverged"] = env.divergences(environments)
    shown = f"return {result['return']:.4g}" if ended.size else "no episode has ended"
    runtime.log(f"{steps} steps: {shown}, {seconds:.1f} s")
    if result["diverged"]:
        counts = ", ".join(f"{name} in {count}" for name, count in result["diverged"].items())
        runtime.log(f"episodes that diverged so far: {counts}")
    return result


def actor_of(weights: Any, normaliser: Any, method: str) -> Actor:
    """The mode of a policy network of Brax, whose last layer gives its mean and its width.

    Args:
      weights: ``{"params": {"hidden_0": {"kernel", "bias"}, …}}``.
      normaliser: its ``mean`` and ``std`` (observation,).
      method: as a message names it.

    Raises:
      InputError: weights that are not finite.
    """
    weights = jax.tree.map(lambda x: np.asarray(x, np.float32), weights["params"])
    names = sorted(weights, key=lambda name: int(name.removeprefix("hidden_")))
    layers = [(weights[name]["kernel"], weights[name]["bias"]) for name in names]
    if not all(np.isfinite(x).all() for layer in layers for x in layer):
        raise InputError(
            f"{method}: the weights of the policy are not finite; lower its learning rate, or look "
            "at the task's reward"
        )
    kernel, bias = layers[-1]
    size = bias.size // 2  # the other half is the width of what it explores
    layers[-1] = kernel[:, :size], bias[:size]
    centre, scale = (np.asarray(x, np.float32) for x in (normaliser.mean, normaliser.std))
    return Actor(tuple(layers), centre, scale)
