"""The world model's step: physics + a learned correction, one visible sum.

    physics:  x' = f(x, u; θ)
    latent:   x' = x moved on at its velocity + g(x, u, z; φ)
    hybrid:   x' = f(x, u; θ) + g(x, u, z; φ)

f is MuJoCo's contact simulator with physical parameters θ, z a latent state that the past frames
start. What g is added to is the model's ``correction``:

- ``displacement``: to the pose that the model predicts (``pose``), summed over the steps, while
  the physics goes on from its own; for scenes whose contacts are chaotic, where a corrected
  state would be pushed about by the next contact;
- ``velocity``: to the velocity after the step, which also moves the positions over it; for
  scenes where errors of velocity persist, as in sliding;
- ``force``: to the acceleration, before the contact solve.

With the network off the step is the physics step, the same program.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from worldmodel import physics
from worldmodel.dynamics import latent as learned
from worldmodel.dynamics.features import features, rotations, to_body, to_world
from worldmodel.dynamics.latent import History, Network
from worldmodel.physics import parameters as physical
from worldmodel.physics.backward import HARD, Backward
from worldmodel.physics.tangent import integrate
from worldmodel.rollout import Step
from worldmodel.scene import Scene
from worldmodel.types import State

KINDS = ("physics", "latent", "hybrid")
CORRECTIONS = ("displacement", "velocity", "force")

Parameters = dict[str, Any]  # {"physics": {name: (size,)}, "network": {"weights", "norm"}}


@dataclasses.dataclass(frozen=True)
class WorldModel:
    """What a world model is made of; static. Its numbers are ``Parameters``."""

    scene: Scene
    free: tuple[physical.Free, ...] = ()  # physical parameters that can be fitted
    kind: str = "physics"  # physics, latent or hybrid
    network: Network = dataclasses.field(default_factory=Network)
    correction: str = "velocity"  # displacement, velocity or force
    backward: Backward = HARD  # how the physics' derivative departs from its value's

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind '{self.kind}' is none of {', '.join(KINDS)}")
        if self.correction not in CORRECTIONS:
            raise ValueError(f"correction '{self.correction}' is none of {', '.join(CORRECTIONS)}")
        if self.kind == "latent" and self.correction != "velocity":
            raise ValueError("a latent model has nothing but its velocity to correct")

    @property
    def learns(self) -> bool:
        """Whether it has a network."""
        return self.kind != "physics"


def init(world: WorldModel, key: jax.Array) -> Parameters:
    """Parameters of the MJCF, and a network whose corrections are zero."""
    network = learned.init(world.network, world.scene, key) if world.learns else {}
    return {"physics": physical.zeros(world.free), "network": network}


def start(world: WorldModel, parameters: Parameters, history: History) -> State:
    """The state a rollout starts from: the last recorded frame, and what the past says of it.

    Args:
      history: frames up to the start; nothing later is used.
    """
    state = physics.initial_state(world.scene, history.qpos[0], history.qvel[0])
    if not world.learns:
        return state
    network = parameters["network"]
    encoder, _ = world.network.modules(world.scene.mj_model.nv)
    now, past = learned.seen(world.scene, history)
    norm = network["norm"]
    z, added = jax.vmap(encoder.apply, (0, None, None, None))(
        network["weights"]["encoder"],
        learned.standardised(norm["now"], now),
        learned.standardised(norm["past"], past),
        jnp.asarray(history.known)[1:],
    )
    rotation = rotations(world.scene, state.qpos)
    added = to_world(world.scene, rotation, added.mean(axis=0) * norm["residual"])
    added = _finite_gradient(added)
    return dataclasses.replace(
        state, qvel=state.qvel + added, latent=z, correction=jnp.zeros_like(state.qvel)
    )


def stepper(world: WorldModel, parameters: Parameters) -> Step:
    """The step with its parameters applied: ``step(state, ctrl) -> state``, one control step.

    Args:
      parameters: θ and φ; differentiable.
    """
    scene, backward = world.scene, world.backward
    dt = 1.0 / scene.control_hz
    model = scene.mjx_model()
    if world.kind != "latent":
        model = physical.apply(scene, model, world.free, parameters["physics"])
    if not world.learns:
        return lambda state, ctrl: physics.control_step(
            scene, model, state, ctrl, backward=backward
        )
    network = parameters["network"]
    norm = network["norm"]
    _, transition = world.network.modules(scene.mj_model.nv)

    def base(state: State, ctrl: jax.Array) -> State:
        if world.kind == "latent":
            moved = integrate(scene, state.qpos, state.qvel, dt)
            return dataclasses.replace(state, qpos=moved, time=state.time + dt)
        return physics.control_step(scene, model, state, ctrl, backward=backward)

    def step(state: State, ctrl: jax.Array) -> State:
        after = base(state, ctrl)
        rotation = rotations(scene, state.qpos)
        push = to_body(scene, rotation, after.qvel - state.qvel)
        z, g = jax.vmap(transition.apply, (0, 0, None, None))(
            network["weights"]["transition"],
            state.latent,
            learned.standardised(norm["now"], features(scene, state.qpos, state.qvel, ctrl)),
            learned.standardised(norm["push"], push),
        )
        g = _finite_gradient(g.mean(axis=0)) * jax.lax.stop_gradient(norm["residual"])
        g = to_world(scene, rotation, g)
        if world.correction == "displacement":
            g = state.correction + g
            corrected = after
        elif world.correction == "force":
            force = jnp.asarray(scene.mj_model.dof_M0) * g / dt
            corrected = physics.control_step(
                scene, model, state, ctrl, force=force, backward=backward
            )
        else:
            corrected = add(scene, after, g, dt)
        return dataclasses.replace(corrected, latent=z, correction=g)

    return step


@jax.custom_vjp
def _finite_gradient(g: jax.Array) -> jax.Array:
    """``g``; a gradient that is not finite stops here. Weights are shared by all windows of a
    batch, and one contact that cannot be differentiated would spoil the gradient of every one;
    the fit sees such windows in the gradient of the physics, and counts them."""
    return g


_finite_gradient.defvjp(
    lambda g: (g, None), lambda _, c: (jnp.where(jnp.isfinite(c).all(), c, 0.0),)
)


def pose(world: WorldModel, state: State) -> jax.Array:
    """The positions that a model predicts in a state: (nq,)."""
    if not world.learns or world.correction != "displacement":
        return state.qpos
    return integrate(world.scene, state.qpos, state.correction, 1.0)


def add(scene: Scene, state: State, g: jax.Array, dt: float) -> State:
    """The sum: velocities + g, and positions moved by g over the step. g: (nv,) [m/s, rad/s]."""
    return dataclasses.replace(state, qpos=integrate(scene, state.qpos, g, dt), qvel=state.qvel + g)
