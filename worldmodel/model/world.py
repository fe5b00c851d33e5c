"""The world model's step: the sum of physics and a learned correction.

    physics:  x' = f(x, u; θ)
    latent:   x' = x moved on at its velocity + g(x, u, z; φ)
    hybrid:   x' = f(x, u; θ) + g(x, u, z, Δv; φ)

f is the model's ``base``: MuJoCo's contact simulator with physical parameters θ, or a body that
keeps its velocity. g is the network's output, Δv the change of velocity by f, z the latent state,
which the encoder computes from the past; the encoder also corrects the initial velocity. The
``correction`` decides what g is added to (``model.correction``). Without one the step is f.

A step is that of one member of an ensemble (``model.ensemble``): θ and φ are its own.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from worldmodel import physics
from worldmodel._mujoco import mjx
from worldmodel.episodes.windows import History
from worldmodel.model import network as learned
from worldmodel.model.correction import Correction, Velocity
from worldmodel.model.features import features, rotations, to_body, to_world
from worldmodel.model.network import Network
from worldmodel.physics import parameters as physical
from worldmodel.physics.backward import HARD, Backward
from worldmodel.rollout import Step
from worldmodel.scene import FreeParameter, Scene, drives
from worldmodel.scene.tangent import integrate
from worldmodel.types import State

# Of one member: {"physics": {name: (size,)}, "network": {"weights", "norm", "gate"}}; of a whole
# model see ``init``. Without a network they are the same.
Parameters = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Physics:
    """The base of MuJoCo's contact simulator; static."""

    backward: Backward = HARD  # options of its derivative

    def model(self, scene: Scene, free: tuple[FreeParameter, ...], parameters: Any) -> mjx.Model:
        """The scene's model, its physical parameters applied."""
        return physical.apply(scene, scene.mjx_model(), free, parameters)

    def start(
        self, scene: Scene, free: tuple[FreeParameter, ...], parameters: Any, history: History
    ) -> State:
        """The last recorded frame; its drives have the commands before it."""
        state = physics.initial_state(scene, history.qpos[0], history.qvel[0])
        if not state.drive.size:
            return state
        model = physical.moved(scene, scene.mjx_model(), free, parameters)
        past = history.ctrl[1:], history.known[1:]
        memory = drives.remembered(model, state.drive, *past, scene.substeps)
        return dataclasses.replace(state, drive=memory)

    def step(
        self, scene: Scene, model: Any, state: State, ctrl: jax.Array, force: jax.Array | None
    ) -> State:
        """One control step, see ``physics.control_step``."""
        return physics.control_step(scene, model, state, ctrl, force=force, backward=self.backward)


@dataclasses.dataclass(frozen=True)
class ConstantVelocity:
    """The base without physics: every body keeps its velocity; static."""

    def model(self, scene: Scene, free: tuple[FreeParameter, ...], parameters: Any) -> None:
        """None: there is no parameter."""

    def start(
        self, scene: Scene, free: tuple[FreeParameter, ...], parameters: Any, history: History
    ) -> State:
        """The last recorded frame."""
        return physics.initial_state(scene, history.qpos[0], history.qvel[0])

    def step(
        self, scene: Scene, model: Any, state: State, ctrl: jax.Array, force: jax.Array | None
    ) -> State:
        """One control step at the present velocity."""
        dt = 1.0 / scene.control_hz
        moved = integrate(scene, state.qpos, state.qvel, dt)
        return dataclasses.replace(state, qpos=moved, time=state.time + dt)


@dataclasses.dataclass(frozen=True)
class WorldModel:
    """A world model: scene, base, correction, network; static. Its numbers are ``Parameters``."""

    scene: Scene
    free: tuple[FreeParameter, ...] = ()  # physical parameters that can be fitted
    base: Physics | ConstantVelocity = Physics()
    correction: Correction | None = None  # how the network's output is added; None: not
    network: Network = dataclasses.field(default_factory=Network)

    def __post_init__(self) -> None:
        if not isinstance(self.base, Physics) and not isinstance(self.correction, Velocity | None):
            raise ValueError(
                "a base without physics has nothing but its velocity to correct; give Velocity() "
                "or None"
            )

    @classmethod
    def latent(cls, scene: Scene, network: Network) -> "WorldModel":
        """The network alone, without physics."""
        return cls(scene, base=ConstantVelocity(), correction=Velocity(), network=network)

    @property
    def learns(self) -> bool:
        """Whether it has a network."""
        return self.correction is not None

    @property
    def name(self) -> str:
        """Its name in reports: physics, hybrid, latent, or constant velocity."""
        if isinstance(self.base, ConstantVelocity):
            return "latent" if self.learns else "constant velocity"
        return "hybrid" if self.learns else "physics"

    def without_network(self) -> "WorldModel":
        """Its base alone."""
        return dataclasses.replace(self, correction=None)


def init(world: WorldModel, key: jax.Array) -> Parameters:
    """Parameters of the MJCF, and an ensemble of networks whose corrections are zero.

    Returns:
      ``{"physics": {name: (size,)}, "network": {}}`` without a network; with one, ``network`` holds
      of each member ``physics`` and ``weights`` (members, …), and what all share: ``norm``, the
      constants of ``network.neutral``; ``gate`` (len(GATE_STEPS),), the share of the corrections
      that counts; and (len(GATE_STEPS), nv) each what mends the deviations of forecasts:
      ``floor``, ``widening`` and ``freedom`` (``episodes.forecasts.Multipliers``).
    """
    physics = physical.zeros(world.free)
    if not world.learns:
        return {"physics": physics, "network": {}}
    count, steps = world.network.members, len(learned.GATE_STEPS)
    keys = jax.random.split(key, count)
    return {
        "physics": physics,
        "network": {
            "physics": jax.tree.map(lambda x: jnp.zeros((count, *x.shape)), physics),
            "weights": jax.vmap(lambda k: learned.init(world.network, world.scene, k))(keys),
            "norm": learned.neutral(world.scene),
            "gate": jnp.ones(steps),
            "floor": jnp.zeros((steps, world.scene.mj_model.nv)),
            "widening": jnp.ones((steps, world.scene.mj_model.nv)),
            "freedom": jnp.full((steps, world.scene.mj_model.nv), jnp.inf),
        },
    }


def start(world: WorldModel, parameters: Parameters, history: History) -> State:
    """The state that a rollout starts from: the last recorded frame, corrected by the encoder.

    Args:
      parameters: of one member.
      history: frames up to the start; nothing later is used.
    """
    state = world.base.start(world.scene, world.free, parameters["physics"], history)
    if not world.learns:
        return state
    z, g = learned.encode(world.network, world.scene, parameters["network"], history)
    g = to_world(world.scene, rotations(world.scene, state.qpos), g)
    g = learned.finite_gradient(g) * parameters["network"]["gate"][0]
    none = jnp.zeros_like(state.qvel)
    return dataclasses.replace(state, qvel=state.qvel + g, latent=z, correction=none, variance=none)


def make_step(world: WorldModel, parameters: Parameters) -> Step:
    """The step with its parameters applied: ``step(state, ctrl) -> state``, one control step.

    Args:
      parameters: θ and φ of one member; differentiable.
    """
    scene, base, correction = world.scene, world.base, world.correction
    model = base.model(scene, world.free, parameters["physics"])
    network = parameters["network"]
    if correction is None:
        return lambda state, ctrl: base.step(scene, model, state, ctrl, None)

    def step(state: State, ctrl: jax.Array) -> State:
        f = base.step(scene, model, state, ctrl, None)
        frame = jnp.round(state.time * scene.control_hz)
        before, share = (learned.gate_at(network["gate"], n) for n in (frame, frame + 1.0))
        rotation = rotations(scene, state.qpos)
        now = features(scene, state.qpos, state.qvel, ctrl)
        dv = f.qvel - state.qvel if correction.sees_push else jnp.zeros_like(state.qvel)
        dv = to_body(scene, rotation, dv)
        z, g, variance = learned.advance(world.network, scene, network, state.latent, now, dv)
        g = share * to_world(scene, rotation, g)
        # What a displacement has summed counts by the present share.
        fading = jnp.where(before > 0.0, share / jnp.where(before > 0.0, before, 1.0), 0.0)
        faded = dataclasses.replace(state, correction=fading * state.correction)
        # x' = f + g
        corrected = correction.add(
            scene, faded, f, lambda force: base.step(scene, model, state, ctrl, force), g
        )
        return dataclasses.replace(corrected, latent=z, variance=state.variance + variance)

    return step


def pose(world: WorldModel, state: State) -> jax.Array:
    """The positions that a model predicts in a state: (nq,)."""
    return state.qpos if world.correction is None else world.correction.pose(world.scene, state)
