"""A rollout whose gradient is timed, and its variants.

All variants have the same rollouts and the same loss, a fixed random mix of final positions and
velocities; gradients are in parameters, start and controls.

- ``forward``: stock ``mjx.step``, no gradient;
- ``gradient``: reverse mode through ``worldmodel.physics.step``;
- ``unrolled``: reverse mode through stock MJX, its solver's loop a ``scan`` of all iterations;
- ``one``: reverse mode through stock MJX with ``iterations=1``, its users' usual workaround;
- ``unsolved``: ``forward`` without an iteration of the solver, which shows the solver's share;
- ``differences``: one-sided differences of stock MJX, the whole batch anew for every number.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from experiments.gradients.scenes import Bench
from worldmodel import physics
from worldmodel._mujoco import mjx
from worldmodel.physics import parameters

STEPS, ITERATIONS = 32, 10  # of a rollout; of the solver, in every scene
SPREAD = 0.05  # [m/s, rad/s]: how the states of a batch differ
DIFFERENCE = 1e-6  # of a one-sided difference
CPU_BATCH = 512  # states at once on a CPU: XLA does not finish 4096
VARIANTS = ("forward", "gradient", "unrolled", "one", "differences")
Point = dict[str, Any]  # parameters, qpos, qvel, ctrl


def batch(bench: Bench, size: int) -> Point:
    """``size`` states that differ in their velocities; the parameters are shared."""
    random = np.random.default_rng(1)
    noise = SPREAD * random.normal(size=(size, len(bench.qvel)))
    noise[0] = 0.0
    states = {"qpos": bench.qpos, "qvel": bench.qvel, "ctrl": bench.ctrl}
    tiled = {name: np.tile(value, (size, 1)) for name, value in states.items()}
    tiled["qvel"] = tiled["qvel"] + noise
    unmoved = parameters.zeros(bench.free)
    moved = {name: 0.1 * random.normal(size=u.shape) for name, u in unmoved.items()}
    return jax.tree.map(jnp.asarray, {"parameters": moved, **tiled})


def loss(bench: Bench, x: Point, *, step: Callable, iterations: int = ITERATIONS) -> jax.Array:
    """() of one state.

    Args:
      step: ``physics.step`` or ``mjx.step``.
      iterations: of the solver.
    """
    scene = bench.scene
    model = parameters.apply(scene, scene.mjx_model(), bench.free, x["parameters"])
    model = model.tree_replace({"opt.iterations": iterations})
    blank = mjx.make_data(scene.mj_model).replace(ctrl=x["ctrl"])
    weights = np.random.default_rng(0).normal(size=scene.mj_model.nq + scene.mj_model.nv)

    @functools.partial(
        jax.checkpoint, policy=jax.checkpoint_policies.save_only_these_names(physics.SOLUTION)
    )
    def body(carry: tuple, _: None) -> tuple[tuple, None]:
        qpos, qvel, warmstart = carry
        data = step(model, blank.replace(qpos=qpos, qvel=qvel, qacc_warmstart=warmstart))
        return (data.qpos, data.qvel, jax.lax.stop_gradient(data.qacc_warmstart)), None

    start = x["qpos"], x["qvel"], jnp.zeros_like(x["qvel"])
    (qpos, qvel, _), _ = jax.lax.scan(body, start, length=STEPS)
    return jnp.asarray(weights) @ jnp.concatenate([qpos, qvel])


def program(bench: Bench, variant: str) -> Callable[[Point], Any]:
    """The mean loss of a batch, or with its gradient in everything; by ``differences`` (numbers,),
    in what moves all states of the batch alike."""
    step = physics.step if variant == "gradient" else mjx.step
    iterations = {"one": 1, "unsolved": 0}.get(variant, ITERATIONS)
    one = functools.partial(loss, bench, step=step, iterations=iterations)

    def mean(x: Point) -> jax.Array:
        states = {k: x[k] for k in ("qpos", "qvel", "ctrl")}
        here = lambda s: one({"parameters": x["parameters"], **s})  # noqa: E731
        if jax.default_backend() == "cpu" and len(states["qpos"]) > CPU_BATCH:
            return jnp.mean(jax.lax.map(here, states, batch_size=CPU_BATCH))
        return jnp.mean(jax.vmap(here)(states))

    def differences(x: Point) -> jax.Array:
        first = {k: v if k == "parameters" else v[0] for k, v in x.items()}
        numbers, unflatten = ravel_pytree(jax.tree.map(jnp.zeros_like, first))
        moves = DIFFERENCE * jnp.eye(numbers.size + 1, numbers.size, dtype=numbers.dtype)
        losses = jax.lax.map(lambda by: mean(jax.tree.map(jnp.add, x, unflatten(by))), moves)
        return (losses[:-1] - losses[-1]) / DIFFERENCE

    whole = {"forward": mean, "unsolved": mean, "differences": differences}
    return whole.get(variant) or jax.value_and_grad(mean)


@contextlib.contextmanager
def unrolled_solver() -> Iterator[None]:
    """While tracing: MJX's solver as a scan of all iterations, which reverse mode accepts."""
    original = jax.lax.while_loop

    def loop(cond: Callable, body: Callable, init: Any) -> Any:
        if cond.__module__ != "mujoco.mjx._src.solver":
            return original(cond, body, init)

        def once(x: Any, _: None) -> tuple[Any, None]:
            return jax.lax.cond(cond(x), body, lambda x: x, x), None

        return jax.lax.scan(once, init, length=ITERATIONS)[0]

    with mock.patch.object(jax.lax, "while_loop", loop):
        yield
