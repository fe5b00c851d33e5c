"""Rollouts whose gradients are timed: their scenes, from a cube to a gripper, and their variants.

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
import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from experiments.recordings.problems import CUBE, ELBOW, free_parameters
from worldmodel import physics
from worldmodel._mujoco import mjx
from worldmodel.physics import parameters
from worldmodel.scene import FreeParameter, Scene, load_scene

STEPS, ITERATIONS = 32, 10  # of a rollout; of the solver, in every scene
SPREAD = 0.05  # [m/s, rad/s]: how the states of a batch differ
DIFFERENCE = 1e-6  # of a one-sided difference
CPU_BATCH = 512  # states at once on a CPU: XLA does not finish 4096
VARIANTS = ("forward", "gradient", "unrolled", "one", "differences")
Point = dict[str, Any]  # parameters, qpos, qvel, ctrl
STEP_HZ = 500.0
HERE = Path(__file__).parent


@dataclasses.dataclass(frozen=True)
class Bench:
    """A scene, what is differentiated, and a state in which everything touches."""

    scene: Scene
    free: tuple[FreeParameter, ...]
    qpos: np.ndarray  # (nq,)
    qvel: np.ndarray  # (nv,)
    ctrl: np.ndarray  # (nu,) held


def _load(mjcf: Path) -> Scene:
    return load_scene(mjcf, control_hz=STEP_HZ, substeps=1)


def cube() -> Bench:
    """The tossed cube, tilted, an edge in the table."""
    qpos = np.array([0, 0, 0.0640, np.cos(0.15), 0.0, np.sin(0.15), 0])
    qvel = np.array([0.5, 0.2, -0.1, 0.3, 0.4, 1.0])
    return Bench(_load(CUBE.mjcf), CUBE.free, qpos, qvel, np.zeros(0))


def elbow() -> Bench:
    """The tossed elbow, flat and a millimetre deep in the table, turning and opening."""
    qpos = np.array([0, 0, 0.0240, 1.0, 0, 0, 0, 0.0])
    qvel = np.array([0.6, 0.3, 0.0, 0.0, 0.0, 2.0, 1.0])
    return Bench(_load(ELBOW.mjcf), ELBOW.free, qpos, qvel, np.zeros(0))


def t_block() -> Bench:
    """A T on the table, pushed off its centre."""
    free = (
        *free_parameters("mass com inertia", "block"),
        *free_parameters("friction solref solimp geom_size geom_pos", "bar", "stem"),
        *free_parameters("friction solref solimp", "pusher"),
        *free_parameters("damping armature", "push_x", "push_y"),
        *free_parameters("gain", "servo_x", "servo_y"),
    )
    qpos = np.array([0, 0, 0.0198, 1, 0, 0, 0, 0, 0])
    qvel = np.array([0, -0.2, 0, 0, 0, -0.5, 0.0, -0.25])
    return Bench(_load(HERE / "t_block.xml"), free, qpos, qvel, np.array([0.0, -0.05]))


def hopper() -> Bench:
    """A planar hopper that lands on its foot."""
    free = (
        *free_parameters("mass com inertia", "torso", "thigh", "leg", "foot"),
        *free_parameters("damping armature", "hip", "knee", "ankle"),
        *free_parameters("gain", "hip", "knee", "ankle"),
        *free_parameters("friction solref solimp", "foot"),
    )
    qpos = np.array([0, 0.009, 0.02, -0.05, -0.1, 0.07])
    qvel = np.array([0.8, -0.6, 0.2, 0.5, -0.5, 0.3])
    return Bench(_load(HERE / "hopper.xml"), free, qpos, qvel, np.array([0.1, -0.2, 0.1]))


def gripper() -> Bench:
    """Two fingers that squeeze a cube on the table and begin to lift it."""
    free = (
        *free_parameters("mass com inertia", "cube"),
        *free_parameters("friction solref geom_size", "cube"),
        *free_parameters("friction solref", "left", "right"),
        *free_parameters("damping armature", "lift", "left", "right"),
        *free_parameters("gain", "lift", "left", "right"),
    )
    qpos = np.array([0, 0, 0.0249, 1, 0, 0, 0, 0, -0.0008, -0.0008])
    qvel = np.array([0, 0, 0, 0, 0, 0, 0.1, 0.02, 0.03])
    return Bench(_load(HERE / "gripper.xml"), free, qpos, qvel, np.array([0.02, 4.0, 4.0]))


SCENES: dict[str, Callable[[], Bench]] = {
    "cube": cube,
    "elbow": elbow,
    "t_block": t_block,
    "hopper": hopper,
    "gripper": gripper,
}


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
