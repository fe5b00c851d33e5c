"""Poses moved and compared: as C MuJoCo does it, in batches, in NumPy and JAX alike."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.helpers.poses import anywhere, cart_and_elbow
from worldmodel._mujoco import mujoco
from worldmodel.scene import Scene, load_scene
from worldmodel.scene.tangent import (
    backward_velocities,
    chord,
    difference,
    displacements,
    integrate,
    measured_difference,
    measured_dofs,
)


@pytest.fixture(scope="module")
def rich() -> Scene:
    return cart_and_elbow()


@pytest.fixture(scope="module")
def jointed() -> Scene:
    """A hinge before a ball joint before a free one: nq 12, nv 10, quaternions in the middle."""
    return load_scene(
        """<mujoco><worldbody>
        <body><joint type="hinge" axis="0 1 0"/><geom size=".1"/></body>
        <body><joint type="ball"/><geom size=".1"/></body>
        <body><freejoint/><geom size=".1"/></body></worldbody></mujoco>""",
        control_hz=50.0,
        substeps=1,
    )


def test_positions_are_moved_as_mujoco_moves_them(rich: Scene) -> None:
    move = functools.partial(integrate, rich)
    moved = jax.jit(move)
    slopes = jax.jit(jax.jacobian(move, argnums=1))
    m, h = rich.mj_model, 1e-6
    for seed, size in enumerate((0.0, 1e-9, 1e-4, 1e-2, 1.0, 30.0, 300.0)):
        qpos, qvel, _ = anywhere(rich, seed)
        qvel *= size

        def truth(qvel: np.ndarray, qpos: np.ndarray = qpos) -> np.ndarray:
            out = qpos.copy()
            mujoco.mj_integratePos(m, out, qvel, 0.01)
            return out

        np.testing.assert_allclose(moved(qpos, qvel, 0.01), truth(qvel), atol=1e-12)
        differences = [(truth(qvel + h * e) - truth(qvel - h * e)) / (2 * h) for e in np.eye(m.nv)]
        # Rounding of the differences: 1e-16 / h; MuJoCo moves by nothing below 1e-15.
        np.testing.assert_allclose(
            slopes(qpos, qvel, 0.01), np.stack(differences, axis=1), atol=1e-9
        )


def near(scene: Scene, qpos: np.ndarray, size: float, seed: int) -> np.ndarray:
    """(…, nq) poses moved by random tangents of that size."""
    out, rng = qpos.copy(), np.random.default_rng(seed)
    for index in np.ndindex(*qpos.shape[:-1]):
        step = size * rng.normal(size=scene.mj_model.nv)
        mujoco.mj_integratePos(scene.mj_model, out[index], step, 1.0)
    return out


def poses(scene: Scene, shape: tuple[int, ...]) -> np.ndarray:
    out = np.empty((*shape, scene.mj_model.nq))
    for seed, index in enumerate(np.ndindex(*shape)):
        out[index] = anywhere(scene, seed)[0]
    return out


def test_a_batch_of_differences_is_a_loop_in_numpy_and_in_jax(jointed: Scene) -> None:
    qpos = poses(jointed, (2, 3))
    other = near(jointed, qpos, 0.5, 1)
    batch = difference(jointed, qpos, other)
    assert isinstance(batch, np.ndarray) and batch.shape == (2, 3, jointed.mj_model.nv)
    compiled = jax.jit(functools.partial(difference, jointed))(qpos, other)
    np.testing.assert_allclose(compiled, batch, atol=1e-14)
    for index in np.ndindex(2, 3):
        one = difference(jointed, qpos[index], other[index])
        np.testing.assert_array_equal(one, batch[index])
        mapped = difference(jointed, jnp.asarray(qpos[index]), jnp.asarray(other[index]))
        assert isinstance(mapped, jax.Array)
        np.testing.assert_allclose(mapped, one, atol=1e-14)


def test_a_difference_is_mujocos_to_third_order(jointed: Scene) -> None:
    """Of a quaternion the chord, 2 sin(θ / 2) for θ; of all else the same number."""
    qpos = poses(jointed, (4,))
    errors = []
    for size in (0.1, 0.05):
        other = near(jointed, qpos, size, 2)
        exact, ours = displacements(jointed, qpos, other), difference(jointed, qpos, other)
        angle = np.linalg.norm(exact[:, 1:4], axis=1)
        length = np.linalg.norm(ours[:, 1:4], axis=1)
        np.testing.assert_allclose(length, 2.0 * np.sin(angle / 2.0), atol=1e-12)
        np.testing.assert_allclose(ours[:, [0, 4, 5, 6]], exact[:, [0, 4, 5, 6]], atol=1e-12)
        errors.append(np.abs(ours - exact).max())
    assert errors[0] / errors[1] == pytest.approx(8.0, rel=0.05)


def test_a_difference_takes_the_nearest_turn_and_the_nearer_sign(jointed: Scene) -> None:
    qpos = poses(jointed, (3,))
    other = near(jointed, qpos, 0.3, 3)
    wanted = difference(jointed, qpos, other)
    other[:, 0] += 4.0 * np.pi
    other[:, 1:5] *= -1.0
    other[:, 8:12] *= -1.0
    np.testing.assert_allclose(difference(jointed, qpos, other), wanted, atol=1e-12)
    slope = jax.jacobian(lambda q: difference(jointed, q, q))(jnp.asarray(qpos[0]))
    assert np.isfinite(slope).all()  # smooth at zero


def test_slides_and_hinges_between_limits_take_no_turn() -> None:
    joint = '<body><joint name="{0}" {1}/><geom size=".1" pos=".3 0 0"/></body>'
    kinds = {
        "gripper": 'type="slide" axis="1 0 0"',
        "knee": 'range="-175 175"',
        "wheel": 'range="-180 180"',
        "wrist": "",
    }
    bodies = "".join(joint.format(*item) for item in kinds.items())
    text = f"<mujoco><worldbody>{bodies}</worldbody></mujoco>"
    scene = load_scene(text, control_hz=50.0, substeps=1)
    turn = 2 * np.pi
    apart = difference(scene, np.zeros(4), np.array([turn, 6.1, turn + 0.1, 0.2 - turn]))
    np.testing.assert_allclose(apart, [turn, 6.1, 0.1, 0.2], atol=1e-12)


@pytest.mark.parametrize("convert", [np.asarray, jnp.asarray])
def test_a_difference_to_what_was_not_measured_is_zero_and_flat(
    jointed: Scene, convert: Callable[[Any], Any]
) -> None:
    qpos = poses(jointed, (3,))
    other = near(jointed, qpos, 0.3, 3)
    measured = np.ones(qpos.shape, bool)
    measured[0, 3] = False  # of the ball's quaternion
    measured[1, [0, 5, 9]] = False  # hinge, x of the body, its quaternion
    measured[2] = False
    wanted = np.ones((3, 10), bool)
    wanted[0, 1:4] = wanted[2] = False
    wanted[1, [0, 4, 7, 8, 9]] = False
    np.testing.assert_array_equal(measured_dofs(jointed, convert(measured)), wanted)
    unknown = np.where(measured, qpos, np.nan)
    out = measured_difference(jointed, convert(unknown), convert(other), convert(measured))
    np.testing.assert_allclose(out, np.where(wanted, difference(jointed, qpos, other), 0.0))

    def loss(q: jax.Array) -> jax.Array:
        return jnp.sum(measured_difference(jointed, unknown, q, measured) ** 2)

    slope = np.asarray(jax.grad(loss)(jnp.asarray(other)))
    assert np.isfinite(slope).all() and not slope[2].any() and slope[1].any()


@pytest.mark.parametrize("convert", [np.asarray, jnp.asarray])
def test_a_chord_is_twice_the_sine_of_half_the_angle(convert: Callable[[Any], Any]) -> None:
    angle = np.linspace(-3.0, 3.0, 7)
    zero = np.zeros_like(angle)
    quat = np.stack([np.cos(angle / 2), zero, np.sin(angle / 2), zero], axis=-1)
    out = chord(convert(np.eye(4)[:1]), convert(quat))
    np.testing.assert_allclose(out[:, 1], 2.0 * np.sin(angle / 2), atol=1e-14)
    np.testing.assert_allclose(out[:, [0, 2]], 0.0, atol=1e-14)


def test_displacements_are_mujocos_in_any_batch(jointed: Scene) -> None:
    m = jointed.mj_model
    assert (m.nq, m.nv) == (12, 10)
    qpos = poses(jointed, (2, 3))
    other = near(jointed, qpos, 2.0, 4)
    out = displacements(jointed, qpos, other)
    assert out.shape == (2, 3, m.nv)
    for index in np.ndindex(2, 3):
        wanted = np.zeros(m.nv)
        mujoco.mj_differentiatePos(m, wanted, 1.0, qpos[index], other[index])
        np.testing.assert_array_equal(out[index], wanted)
    assert np.abs(out).max() > 1.0


def test_backward_velocities_are_mujocos_differences_to_the_frame_before(jointed: Scene) -> None:
    m, frames = jointed.mj_model, 5
    qpos = np.repeat(anywhere(jointed, 7)[0][None], frames, axis=0)
    rng = np.random.default_rng(5)
    moved = rng.normal(size=(frames - 1, m.nv))
    for k in range(1, frames):
        qpos[k] = qpos[k - 1]
        mujoco.mj_integratePos(m, qpos[k], moved[k - 1], 1.0 / jointed.control_hz)
    out = backward_velocities(jointed, qpos)
    assert out.shape == (frames, m.nv)
    assert not out[0].any()
    np.testing.assert_allclose(out[1:], moved, atol=1e-11)
    wanted = np.zeros(m.nv)
    mujoco.mj_differentiatePos(m, wanted, 1.0 / jointed.control_hz, qpos[1], qpos[2])
    np.testing.assert_allclose(out[2], wanted, rtol=1e-12)
