"""Contact channels: distances, forces and events, against statics and C MuJoCo."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers import scenes
from worldmodel import physics
from worldmodel._mujoco import mjx, mujoco
from worldmodel.physics import contact
from worldmodel.rollout import Replay, rollout


def states_of(scene, qpos, qvel, steps):
    step = functools.partial(physics.control_step, scene, scene.mjx_model())
    state = physics.initial_state(scene, qpos, qvel)
    run = jax.jit(
        lambda s: rollout(step, Replay(jnp.zeros((steps, 0))), s, steps, jax.random.key(0))[0]
    )
    return run(state)


def test_pairs_are_named() -> None:
    assert physics.contact_pairs(scenes.box()) == (("table", "box"),)


@pytest.mark.parametrize("cone", ["elliptic", "pyramidal"])
def test_a_bouncing_box_begins_ends_and_comes_to_rest_on_its_weight(cone: str) -> None:
    scene = scenes.box(cone=cone, substeps=2)
    states = states_of(scene, np.array([0, 0, 0.06, 1, 0, 0, 0]), np.zeros(6), 400)
    contacts = states.contacts
    weight = 0.4 * 9.81
    np.testing.assert_allclose(contacts.force[-1, 0, 0], weight, rtol=1e-3)
    assert np.abs(contacts.force[-1, 0, 1:]).max() < 1e-3 * weight
    assert bool(contacts.active[-1, 0])
    assert -1e-3 < float(contacts.distance[-1, 0]) < 0
    begin, end = physics.contact_events(contacts.active)
    assert int(begin[:, 0].sum()) == int(end[:, 0].sum()) + 1  # it touches down and stays
    first = int(np.flatnonzero(begin[:, 0])[0])
    fall = np.sqrt(2 * 0.03 / 9.81) * scene.control_hz
    assert abs(first + 1 - fall) <= 2  # 3 cm of free fall
    assert not np.asarray(contacts.force)[: first - 1].any()  # no force before the touch


def test_forces_are_those_of_mujoco() -> None:
    for cone in ("elliptic", "pyramidal"):
        scene = scenes.box(cone=cone)
        model = scene.mjx_model()
        data = mjx.make_data(scene.mj_model).replace(
            qpos=jnp.asarray(scenes.BOX_QPOS), qvel=jnp.asarray(scenes.BOX_QVEL)
        )
        solved = jax.jit(physics.forward)(model, data)
        ours = physics.channels(scene, model, solved)
        truth = mujoco.MjData(scene.mj_model)
        truth.qpos[:], truth.qvel[:] = scenes.BOX_QPOS, scenes.BOX_QVEL
        mujoco.mj_forward(scene.mj_model, truth)
        world = np.zeros(3)
        for i in range(truth.ncon):
            force = np.zeros(6)
            mujoco.mj_contactForce(scene.mj_model, truth, i, force)
            world += truth.contact[i].frame.reshape(3, 3).T @ force[:3]
        frame = truth.contact[0].frame.reshape(3, 3)
        assert truth.ncon == 2
        np.testing.assert_allclose(ours.force[0], frame @ world, rtol=1e-8)
        np.testing.assert_allclose(ours.distance[0], truth.contact.dist.min(), atol=1e-14)
        # It slides: friction takes the whole cone, against the motion.
        normal, tangent = float(ours.force[0, 0]), np.asarray(ours.force[0, 1:])
        assert np.linalg.norm(tangent) <= 0.4 * np.sqrt(2) * normal
        assert world[0] < 0


def test_sliding_friction_is_coulombs_and_opposes_the_motion() -> None:
    scene = scenes.slider()
    for direction in (1.0, -1.0):
        states = states_of(scene, np.zeros(2), np.array([1.5 * direction, 0.0]), 300)
        force = np.asarray(states.contacts.force[:, 0])
        friction = np.linalg.norm(force[:, 1:], axis=1)
        np.testing.assert_allclose(friction, 0.4 * force[:, 0], rtol=1e-6)
        # A fast sliding contact of MuJoCo hops (slip adds to the normal force): so on average.
        assert force[:, 0].mean() == pytest.approx(scenes.GRAVITY, rel=0.03)
        # Newton, each step: what a block of 1 kg loses in speed is the friction on it.
        lost = scene.control_hz * np.diff(np.asarray(states.qvel[:, 0], float))
        np.testing.assert_allclose(lost, -direction * friction[1:], rtol=1e-9, atol=1e-9)


def test_residual_separates_a_converged_solve_from_a_broken_off_one() -> None:
    scene = scenes.box()
    model = scene.mjx_model()
    data = mjx.make_data(scene.mj_model).replace(
        qpos=jnp.asarray(scenes.BOX_QPOS), qvel=jnp.asarray(scenes.BOX_QVEL)
    )

    @jax.jit
    def residual(m: mjx.Model, d: mjx.Data) -> jax.Array:
        """Of the largest acceleration."""
        d = physics.forward(m, d)
        return physics.solver_residual(m, d) / jnp.abs(d.qacc).max()

    broken = model.tree_replace({"opt.iterations": 2})
    assert float(residual(model, data)) < 1e-8
    assert float(residual(broken, data)) > 1e-3


def test_the_solvers_values_are_passed_on_bit_for_bit() -> None:
    scene = scenes.box()
    model = scene.mjx_model()
    data = mjx.make_data(scene.mj_model).replace(
        qpos=jnp.asarray(scenes.BOX_QPOS), qvel=jnp.asarray(scenes.BOX_QVEL)
    )

    @jax.jit
    def both(data: mjx.Data) -> tuple[mjx.Data, mjx.Data]:
        before = mjx.fwd_acceleration(model, mjx.forward(model, data))
        return contact.solve(model, before), mjx.solve(model, before)

    ours, theirs = both(data)
    assert np.abs(theirs.qfrc_constraint).max() > 1.0
    for field in ("qacc", "qfrc_constraint"):
        np.testing.assert_array_equal(getattr(ours, field), getattr(theirs, field), field)
