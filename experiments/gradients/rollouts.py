"""The benchmark's rollout of a scene, and its variants."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from experiments.gradients.scenes import Bench
from worldmodel import physics
from worldmodel._mujoco import mjx
from worldmodel.physics import parameters

SPREAD = 0.05  # m/s, rad/s: how the states of a batch differ
DIFFERENCE = 1e-6  # of a one-sided difference
STEPS = {
    "step": physics.step,
    "gradient": physics.step,
    "bare_gradient": physics.step,
    "packed": physics.step,
    "unfinished": functools.partial(physics.step, backward=physics.Backward(finish=False)),
}
CPU_BATCH = 512  # states at once on a CPU, in every variant: XLA does not finish 4096


class Rollouts:
    """A benchmark scene's rollout of ``horizon`` physics steps, and its variants."""

    def __init__(self, bench: Bench, horizon: int) -> None:
        self.bench, self.horizon = bench, horizon
        model = bench.scene.mj_model
        random = np.random.default_rng(0)
        self.weights = jnp.asarray(random.normal(size=model.nq + model.nv))
        self.at: dict[str, Any] = {
            "parameters": {
                name: jnp.asarray(0.1 * random.normal(size=u.shape))
                for name, u in parameters.zeros(bench.free).items()
            },
            "qpos": jnp.asarray(bench.qpos),
            "qvel": jnp.asarray(bench.qvel),
            "ctrl": jnp.asarray(bench.ctrl),
        }

    def loss(
        self,
        x: dict[str, Any],
        *,
        step: Callable,
        iterations: int | None = None,
        remember: bool = False,
        packed: bool = False,
    ) -> Any:
        """() a mix of the final positions and velocities, from one state.

        Args:
          x: parameters, qpos, qvel, ctrl.
          step: ``physics.step`` or ``mjx.step``.
          iterations: of the solver; the scene's own where None.
          remember: whether every residual is kept, without a checkpoint per step.
          packed: whether the scan carries one array in place of three.
        """
        scene = self.bench.scene
        model = parameters.apply(scene, scene.mjx_model(), self.bench.free, x["parameters"])
        if iterations is not None:
            model = model.tree_replace({"opt.iterations": iterations})
        blank = mjx.make_data(scene.mj_model).replace(ctrl=x["ctrl"])

        start = x["qpos"], x["qvel"], jnp.zeros_like(x["qvel"])
        flat, unpack = ravel_pytree(start)

        def body(carry: Any, _: None) -> tuple[Any, None]:
            qpos, qvel, warmstart = unpack(carry) if packed else carry
            data = blank.replace(qpos=qpos, qvel=qvel, qacc_warmstart=warmstart)
            data = step(model, data)
            after = data.qpos, data.qvel, jax.lax.stop_gradient(data.qacc_warmstart)
            return ravel_pytree(after)[0] if packed else after, None

        keep = jax.checkpoint_policies.save_only_these_names(physics.SOLUTION)
        body = body if remember else jax.checkpoint(body, policy=keep)
        end, _ = jax.lax.scan(body, flat if packed else start, length=self.horizon)
        qpos, qvel, _ = unpack(end) if packed else end
        return self.weights @ jnp.concatenate([qpos, qvel])

    def batch(self, size: int) -> dict[str, Any]:
        """``size`` states that differ in their velocities; the parameters are shared."""
        noise = SPREAD * np.random.default_rng(1).normal(size=(size, len(self.bench.qvel)))
        noise[0] = 0.0
        tiled = {k: jnp.tile(self.at[k], (size, 1)) for k in ("qpos", "qvel", "ctrl")}
        tiled["qvel"] += noise
        return {"parameters": self.at["parameters"], **tiled}

    def total(self, variant: str) -> Callable[[dict[str, Any]], Any]:
        """The mean loss of a batch, or its gradient in everything; by ``differences`` (numbers,),
        in what moves all states of the batch alike."""
        one = functools.partial(
            self.loss,
            step=STEPS.get(variant, mjx.step),
            iterations={"one": 1, "bare": 0, "bare_gradient": 0}.get(variant),
            remember=variant == "remembered",
            packed=variant == "packed",
        )
        narrow = jax.default_backend() == "cpu"
        number, unflatten = ravel_pytree(self.at)

        def mean(x: dict[str, Any]) -> Any:
            states = {k: x[k] for k in ("qpos", "qvel", "ctrl")}
            here = lambda s: one({"parameters": x["parameters"], **s})  # noqa: E731
            if narrow and len(states["qpos"]) > CPU_BATCH:
                return jnp.mean(jax.lax.map(here, states, batch_size=CPU_BATCH))
            return jnp.mean(jax.vmap(here)(states))

        def differences(x: dict[str, Any]) -> jax.Array:
            def moved(step: jax.Array) -> jax.Array:
                return mean(jax.tree.map(jnp.add, x, unflatten(step)))

            steps = DIFFERENCE * jnp.eye(number.size + 1, number.size, dtype=number.dtype)
            losses = jax.lax.map(moved, steps)
            return (losses[:-1] - losses[-1]) / DIFFERENCE

        whole = {"forward": mean, "step": mean, "bare": mean, "differences": differences}
        return whole.get(variant) or jax.value_and_grad(mean)
