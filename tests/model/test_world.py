"""The world model's step: what the network adds to physics, and what it leaves alone."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers.learned_models import (
    INSIDE,
    MOVING,
    RESTING,
    SMALL,
    answering,
    ball,
    history_of,
    one_member,
    puck,
    shaken,
    turned,
)
from worldmodel import physics
from worldmodel._mujoco import mujoco
from worldmodel.episodes.windows import History
from worldmodel.model import (
    ConstantVelocity,
    Correction,
    Displacement,
    Force,
    Parameters,
    Velocity,
    WorldModel,
    make_step,
    start,
)
from worldmodel.model.network import GATE_STEPS, gate_at
from worldmodel.physics import parameters as physical
from worldmodel.types import State


@dataclasses.dataclass(frozen=True)
class Ball:
    """One step of a ball on a table, compiled once: hybrid, its base, and their sum."""

    world: WorldModel
    parameters: Parameters
    step: Any  # (parameters, state) → after, base, their sum
    force: Any  # (parameters, state) → after, with the correction as a force

    def state(self, qpos: np.ndarray, qvel: np.ndarray) -> State:
        state = physics.initial_state(self.world.scene, qpos, qvel)
        nv = self.world.scene.mj_model.nv
        return dataclasses.replace(
            state,
            latent=jnp.full(SMALL.latent, 0.3),
            correction=jnp.zeros(nv),
            variance=jnp.zeros(nv),
        )


@pytest.fixture(scope="module")
def rolling() -> Ball:
    scene = ball()
    world = WorldModel(scene, correction=Velocity(), network=SMALL)
    forced = dataclasses.replace(world, correction=Force())
    model, none = scene.mjx_model(), jnp.zeros(0)

    @jax.jit
    def step(parameters: Parameters, state: State) -> tuple[State, State, State]:
        after = make_step(world, parameters)(state, none)
        base = physics.control_step(scene, model, state, none)
        summed = Velocity().add(scene, state, base, lambda force: base, after.correction)
        return after, base, summed

    force = jax.jit(lambda parameters, state: make_step(forced, parameters)(state, none))
    return Ball(world, one_member(world), step, force)


def test_an_untrained_hybrid_is_its_physics(rolling: Ball) -> None:
    state = rolling.state(INSIDE, MOVING)
    after, base, _ = rolling.step(rolling.parameters, state)
    for field in ("qpos", "qvel", "act", "time", "qacc_warmstart", "contacts"):
        for a, b in zip(
            jax.tree.leaves(getattr(after, field)),
            jax.tree.leaves(getattr(base, field)),
            strict=True,
        ):
            np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12, err_msg=field)
    assert not after.correction.any()
    assert np.abs(base.contacts.force).max() > 1.0  # the table pushes


def test_the_sum_is_the_base_and_the_correction_that_it_says(rolling: Ball) -> None:
    state = rolling.state(INSIDE, MOVING)
    after, base, summed = rolling.step(shaken(rolling.parameters), state)
    # XLA fuses a product and a sum into one rounding where it likes.
    np.testing.assert_allclose(after.qvel, base.qvel + after.correction, rtol=1e-14)
    np.testing.assert_allclose(after.qvel, summed.qvel, rtol=1e-14)
    np.testing.assert_allclose(after.qpos, summed.qpos, rtol=1e-14)
    qpos = np.array(base.qpos)
    mujoco.mj_integratePos(rolling.world.scene.mj_model, qpos, np.array(after.correction), 0.01)
    np.testing.assert_allclose(after.qpos, qpos, atol=1e-12)
    assert np.abs(after.correction).min() > 1e-3
    assert np.abs(after.latent - state.latent).max() > 1e-3  # the memory moves
    np.testing.assert_allclose(after.contacts.force, base.contacts.force, rtol=1e-14)


def test_a_step_adds_to_the_variance_and_sizes_are_positive(rolling: Ball) -> None:
    state = rolling.state(INSIDE, MOVING)
    once, _, _ = rolling.step(shaken(rolling.parameters), state)
    twice, _, _ = rolling.step(
        shaken(rolling.parameters), dataclasses.replace(state, variance=once.variance)
    )
    assert (np.asarray(once.variance) > 0).all()
    np.testing.assert_allclose(twice.variance, 2.0 * once.variance, rtol=1e-12)
    # One number for the place, one for the rotation.
    np.testing.assert_array_equal(
        np.asarray(once.variance)[[0, 3]], np.asarray(once.variance)[[2, 5]]
    )
    with pytest.raises(ValueError, match="at least 1"):
        dataclasses.replace(SMALL, members=0)


def test_a_gate_scales_what_is_added_and_a_closed_one_leaves_physics(rolling: Ball) -> None:
    parameters, state = shaken(rolling.parameters), rolling.state(INSIDE, MOVING)

    def at(share: float) -> Parameters:
        gate = jnp.full(len(GATE_STEPS), share)
        return parameters | {"network": parameters["network"] | {"gate": gate}}

    whole, base, _ = rolling.step(at(1.0), state)
    half, _, _ = rolling.step(at(0.5), state)
    closed, _, _ = rolling.step(at(0.0), state)
    np.testing.assert_allclose(half.correction, 0.5 * whole.correction, rtol=1e-12)
    np.testing.assert_allclose(closed.qvel, base.qvel, rtol=1e-14)
    np.testing.assert_allclose(closed.qpos, base.qpos, rtol=1e-14)
    values = jnp.arange(float(len(GATE_STEPS)))
    for steps, expected in ((0, 0.0), (1, 1.0), (3, 2.0), (2, np.log2(3.0)), (10**6, 12.0)):
        assert float(gate_at(values, jnp.asarray(float(steps)))) == pytest.approx(expected)


def test_corrections_turn_with_the_body(rolling: Ball) -> None:
    parameters, scene = shaken(rolling.parameters), rolling.world.scene
    one, _, _ = rolling.step(parameters, rolling.state(INSIDE, MOVING))
    qpos, qvel = turned(scene, "ball", INSIDE, MOVING, "z", 1.1)
    qpos[:2] += 0.7
    other, _, _ = rolling.step(parameters, rolling.state(qpos, qvel))
    _, expected = turned(scene, "ball", INSIDE, np.array(one.correction), "z", 1.1)
    # The contact solve, whose frame does not turn, is converged to about 1e-12.
    np.testing.assert_allclose(other.correction, expected, atol=1e-9)
    np.testing.assert_allclose(other.latent, one.latent, atol=1e-9)


def test_a_force_meets_the_contact_a_velocity_does_not(rolling: Ball) -> None:
    down = answering(rolling.parameters, jnp.zeros(6).at[2].set(-0.2))
    state = rolling.state(RESTING, np.zeros(6))
    after, base, _ = rolling.step(down, state)
    assert after.qpos[2] - base.qpos[2] == pytest.approx(-0.002, rel=1e-9)  # 0.2 m/s for a step
    forced = rolling.force(down, state)
    assert forced.correction[2] == pytest.approx(-0.2, rel=1e-12)
    assert np.abs(forced.contacts.force[0, 0]) > 1.0  # the table answers
    assert -0.0005 < forced.qpos[2] - base.qpos[2] < 0.0

    air = rolling.state(RESTING + np.r_[0, 0, 1, np.zeros(4)], np.zeros(6))
    sideways = answering(rolling.parameters, jnp.array([0.2, -0.1, 0.3, 1.0, 2.0, -1.0]))
    summed, free = rolling.step(sideways, air)[0], rolling.force(sideways, air)
    # Where nothing is touched a force and a velocity are the same.
    np.testing.assert_allclose(free.qvel, summed.qvel, atol=1e-9)
    np.testing.assert_allclose(free.qpos, summed.qpos, atol=1e-9)


def equations(jaxpr: Any) -> list[tuple]:
    """What a program does, in order: every primitive with its results and its literals."""
    out = []
    for equation in jaxpr.eqns:
        literals = [str(v) for v in equation.invars if hasattr(v, "val")]
        out.append((equation.primitive.name, [str(v.aval) for v in equation.outvars], literals))
        for value in equation.params.values():
            for inner in value if isinstance(value, tuple | list) else [value]:
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    out += equations(inner)
    return out


def test_physics_alone_is_the_physics_step_the_same_program() -> None:
    scene = puck()
    world = WorldModel(scene)
    parameters = one_member(world)
    state = physics.initial_state(scene, np.zeros(2), np.array([0.1, 0.0]))
    ctrl = jnp.zeros(0)
    ours = jax.make_jaxpr(lambda s, u: make_step(world, parameters)(s, u))(state, ctrl)

    def control_step(state: State, ctrl: jax.Array) -> State:
        model = physical.apply(scene, scene.mjx_model(), (), {})
        return physics.control_step(scene, model, state, ctrl)

    theirs = jax.make_jaxpr(control_step)(state, ctrl)
    assert equations(ours.jaxpr) == equations(theirs.jaxpr)
    assert len(equations(ours.jaxpr)) > 1000
    for a, b in zip(ours.consts, theirs.consts, strict=True):
        np.testing.assert_array_equal(a, b)
    first = start(world, parameters, history_of(np.zeros(2), np.array([0.1, 0.0])))
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(state), strict=True):
        np.testing.assert_array_equal(a, b)


def test_an_untrained_latent_model_moves_by_inertia_alone() -> None:
    world = WorldModel.latent(ball(), SMALL)

    @jax.jit
    def step(parameters: Parameters, history: History) -> State:
        return make_step(world, parameters)(start(world, parameters, history), jnp.zeros(0))

    parameters = one_member(world)
    after = step(parameters, history_of(INSIDE, MOVING))
    moved = INSIDE.copy()
    mujoco.mj_integratePos(world.scene.mj_model, moved, MOVING, 0.01)
    np.testing.assert_allclose(after.qpos, moved, atol=1e-12)
    np.testing.assert_allclose(after.qvel, MOVING, atol=1e-14)  # through the table, no gravity
    assert float(after.time) == 0.01
    assert not after.contacts.force.any()
    assert np.abs(step(shaken(parameters), history_of(INSIDE, MOVING)).correction).min() > 1e-3


@pytest.mark.parametrize("correction", [Displacement(), Force()])
def test_a_ballistic_base_takes_a_velocity_alone(correction: Correction) -> None:
    with pytest.raises(ValueError, match="nothing but its velocity to correct"):
        WorldModel(puck(), base=ConstantVelocity(), correction=correction)


def test_the_names_of_reports() -> None:
    world = WorldModel(puck())
    hybrid = dataclasses.replace(world, correction=Force())
    latent = WorldModel.latent(puck(), SMALL)
    worlds = world, hybrid, latent, latent.without_network()
    assert [w.name for w in worlds] == ["physics", "hybrid", "latent", "constant velocity"]
    assert [w.learns for w in worlds] == [False, True, True, False]
    assert hybrid.without_network() == world
